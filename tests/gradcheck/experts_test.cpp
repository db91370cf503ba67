// Routing to experts, their rows and the whole layer against finite differences. The chosen experts
// stay the same within a probe's step.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/nn/experts.h"
#include "tests/gradcheck/gradcheck.h"

namespace subquad {
namespace {

using Vars = std::vector<Var>;

KernelTable op_table() {
  KernelTable table;
  add_op_kernels(table);
  return table;
}

TEST(ExpertGradients, Routing) {
  ParameterPlan plan;
  const ParamId correction = plan.declare("correction", {5}, Init::normal(0.3), false);
  ParameterStore with_correction(plan, DType::f64, 2);
  for (const bool sigmoid : {false, true}) {
    for (const bool normalise : {false, true}) {
      const RouterOptions o{.active = 2, .sigmoid = sigmoid, .normalise = normalise, .scale = 2.5};
      gradcheck(op_table(),
                {.inputs = {random_f64({7, 5}, 1)},
                 .build = [&](Context& cx,
                              const Vars& x) { return Vars{route(cx, x[0], {}, o).weights}; }},
                "route");
      // The correction chooses, and has no gradient of its own.
      const Tensor logits = random_f64({7, 5}, 1);
      Tape tape;
      ThreadPool threads;
      StoragePool storage;
      const KernelTable table = op_table();
      Context cx{.kernels = table,
                 .params = with_correction,
                 .threads = threads,
                 .storage = storage,
                 .tape = &tape,
                 .training = true};
      const Routing plain = route(cx, {logits}, {}, o),
                    corrected = route(cx, tape.leaf(logits), correction, o);
      EXPECT_NE(plain.expert, corrected.expert);
      with_correction.zero_grads();
      tape.add_grad(cx, corrected.weights, random_f64({7, 2}, 4));
      tape.backward(cx);
      for (const double g : with_correction.grad(correction).host<double>()) EXPECT_EQ(g, 0);
    }
  }
}

TEST(ExpertRouting, WeightsAreTheChosenScores) {
  ParameterPlan plan;
  ParameterStore store(plan, DType::f64, 0);
  ThreadPool threads;
  StoragePool storage;
  const KernelTable table = op_table();
  Context cx{.kernels = table, .params = store, .threads = threads, .storage = storage};
  const std::vector<double> logits = {std::log(1.0), std::log(4.0), std::log(3.0), std::log(2.0)};
  const Var x{Tensor::from<double>({1, 4}, logits)};
  Routing r = route(cx, x, {}, {.active = 2, .normalise = false});
  EXPECT_EQ(r.expert, (std::vector<std::int64_t>{1, 2}));
  EXPECT_NEAR(r.weights.value.data<double>()[0], 0.4, 1e-12);
  EXPECT_NEAR(r.weights.value.data<double>()[1], 0.3, 1e-12);
  r = route(cx, x, {}, {.active = 2, .normalise = true, .scale = 7});
  EXPECT_NEAR(r.weights.value.data<double>()[0], 4, 1e-12);
  EXPECT_NEAR(r.weights.value.data<double>()[1], 3, 1e-12);
  EXPECT_THROW(route(cx, x, {}, {.active = 5}), Error);
  EXPECT_THROW(take_rows(cx, x, {1}), Error);
}

TEST(ExpertGradients, TheWholeLayer) {
  for (const bool sigmoid : {false, true}) {
    ParameterPlan plan;
    const Experts experts({.count = 4,
                           .active = 2,
                           .hidden = 3,
                           .shared_hidden = 5,
                           .shared_gate = !sigmoid,
                           .normalise = sigmoid,
                           .sigmoid_scores = sigmoid,
                           .scale = 1.5},
                          6, plan);
    ParameterStore store(plan, DType::f64, 5);
    gradcheck(
        op_table(),
        {.store = &store,
         .inputs = {random_f64({2, 4, 6}, 1)},
         .build = [&](Context& cx, const Vars& x) { return Vars{experts.forward(cx, x[0])}; }},
        "experts");
  }
}

TEST(MlpGradients, EveryKind) {
  for (const char* kind : {"swiglu", "geglu", "gelu_tanh"}) {
    ParameterPlan plan;
    const Mlp mlp(mlp_kind_named(kind), 6, 4, plan);
    ParameterStore store(plan, DType::f64, 5);
    gradcheck(op_table(),
              {.store = &store,
               .inputs = {random_f64({2, 3, 6}, 1)},
               .build = [&](Context& cx, const Vars& x) { return Vars{mlp.forward(cx, x[0])}; }},
              kind);
  }
  EXPECT_THROW(mlp_kind_named("relu"), Error);
}

TEST(Experts, BadSizesAreRefused) {
  for (const ExpertsConfig& bad :
       {ExpertsConfig{}, ExpertsConfig{.count = 2, .active = 3, .hidden = 4},
        ExpertsConfig{.count = 2, .active = 1, .hidden = 0}}) {
    ParameterPlan plan;
    EXPECT_THROW(Experts(bad, 8, plan), Error);
  }
}

}  // namespace
}  // namespace subquad
