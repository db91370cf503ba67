// The pinball loss, the residual MLP and whole forecasters against finite differences.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "tests/gradcheck/gradcheck.h"

namespace subquad {
namespace {

using Vars = std::vector<Var>;
constexpr double kLevels[] = {0.1, 0.5, 0.8};

Tensor targets(Shape shape) {
  const Tensor y(shape, DType::f32);
  const Tensor random = random_f64(shape, 77);
  for (std::int64_t i = 0; i < y.numel(); ++i)
    y.data<float>()[i] = i % 5 == 3 ? NAN : static_cast<float>(random.data<double>()[i]);
  return y;
}

TEST(ForecasterGradients, Pinball) {
  const Tensor y = targets({2, 3, 4});
  const KernelTable kernels = all_kernels();
  for (const std::int64_t over : {0, 50}) {
    gradcheck(kernels,
              {.inputs = {random_f64({2, 3, 12}, 1)},
               .build = [&](Context& cx,
                            const Vars& x) { return Vars{pinball(cx, x[0], y, kLevels, over)}; }},
              "pinball");
  }
}

// By hand: levels 0.1 and 0.5, y = 1, quantiles 3 and 0: 0.9 * 2 and 0.5 * 1, over two levels.
TEST(ForecasterGradients, PinballByHand) {
  ParameterPlan plan;
  ParameterStore store(plan, DType::f64, 0);
  Engine engine;
  Context cx = engine.context(store);
  const Tensor y(Shape{1, 2}, DType::f32);
  y.data<float>()[0] = 1;
  y.data<float>()[1] = NAN;
  const double q[] = {3, 100, 0, 100};
  const double levels[] = {0.1, 0.5};
  EXPECT_DOUBLE_EQ(*pinball(cx, {Tensor::from<double>({1, 4}, q)}, y, levels).value.data<double>(),
                   1.15);
  y.data<float>()[0] = NAN;
  EXPECT_EQ(*pinball(cx, {Tensor::from<double>({1, 4}, q)}, y, levels).value.data<double>(), 0);
}

TEST(ForecasterGradients, ResidualMlp) {
  ParameterPlan plan;
  const ResidualMlp mlp(5, 7, 3, plan);
  ParameterStore store(plan, DType::f64, 4);
  for (double& x : store.flat_values().host<double>()) x += 0.01;  // biases away from 0
  gradcheck(all_kernels(),
            {.store = &store,
             .inputs = {random_f64({2, 3, 5}, 1)},
             .build = [&](Context& cx, const Vars& x) { return Vars{mlp.forward(cx, x[0])}; }},
            "residual mlp");
}

TEST(ForecasterGradients, WholeModels) {
  for (const char* kind : {"slstm", "mlstm", "mamba2", "gated_deltanet", "attention"}) {
    ModelConfig c;
    c.patches = {.length = 4, .context = 64, .levels = {0.1, 0.5, 0.8}};
    c.vocabulary = c.patches.features();
    c.classes = c.patches.outputs();
    c.d_model = 8;
    c.heads = 2;
    c.mlp_hidden = 6;
    c.layers = {kind};
    ParameterPlan plan;
    const Model model(c, plan);
    ParameterStore store(plan, DType::f64, 9);
    Tensor tokens({2, 5, c.vocabulary}, DType::f32);
    const Tensor random = random_f64(tokens.shape(), 5);
    for (std::int64_t i = 0; i < tokens.numel(); ++i)
      tokens.data<float>()[i] = static_cast<float>(random.data<double>()[i]);
    const Tensor y = targets({2, 5, 4});
    gradcheck(
        all_kernels(),
        {.store = &store,
         .inputs = {},
         .build = [&](Context& cx, const Vars&) { return Vars{model.loss(cx, tokens, y, {}, 0)}; }},
        kind);
  }
}

}  // namespace
}  // namespace subquad
