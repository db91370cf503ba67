#include "subquad/backend/dense.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "subquad/autograd/ops.h"
#include "subquad/base/rng.h"

namespace subquad {
namespace {

Tensor random_tensor(Shape shape, std::uint64_t stream, double amplitude = 1) {
  Tensor t(shape, DType::f32);
  const Rng rng{1, stream};
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] =
        static_cast<float>(amplitude * rng.normal(0, static_cast<std::uint64_t>(i)));
  }
  return t;
}

void expect_close(const Tensor& a, const Tensor& b, double bound, const std::string& what) {
  double worst = 0, scale = 1e-30;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a.data<float>()[i]) - b.data<float>()[i]));
    scale = std::max(scale, std::abs(static_cast<double>(b.data<float>()[i])));
  }
  EXPECT_LE(worst, bound * scale) << what;
}

// The blocks of a block-diagonal layer, or with one block a plain layer.
struct Layer {
  Tensor x, w, b, y, dy, dx, dw, db;  // x (N,H*ins)  w (H,outs,ins)  b (H*outs)
  std::vector<LinearPart<float>> forward;
  std::vector<LinearGradient<float>> backward;

  Layer(const Tensor& x_in, const Tensor& w_in, const Tensor& b_in, const Tensor& dy_in)
      : x(x_in), w(w_in), b(b_in), dy(dy_in) {
    const std::int64_t heads = w.shape()[0], outs = w.shape()[1], ins = w.shape()[2];
    y = Tensor(dy.shape(), DType::f32);
    dx = Tensor(x.shape(), DType::f32);
    dw = w.clone();
    db = b.clone();
    const auto columns = [](const Tensor& t, std::int64_t first, std::int64_t count) {
      View<float, 2> v = t.view<float, 2>();
      v.data += first;
      v.dims[1] = count;
      return v;
    };
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto matrix = [&](const Tensor& t) { return t.slice(h * outs * ins, {outs, ins}); };
      const auto vector = [&](const Tensor& t) { return t.slice(h * outs, {outs}); };
      forward.push_back({columns(x, h * ins, ins), matrix(w).view<const float, 2>(),
                         vector(b).view<const float, 1>(), columns(y, h * outs, outs)});
      backward.push_back({columns(x, h * ins, ins), matrix(w).view<const float, 2>(),
                          columns(dy, h * outs, outs), columns(dx, h * ins, ins),
                          matrix(dw).view<float, 2>(), vector(db).view<float, 1>()});
    }
  }
  std::vector<Tensor> gradients() const { return {dx, dw, db}; }
};

void compare_linear_implementations() {
  KernelTable table;
  add_dense_cpu(table);
  add_dense_reference(table);
  ThreadPool threads(2);
  for (auto [n, h, outs, ins] : {std::array<std::int64_t, 4>{1, 1, 1, 1},
                                 {3, 1, 17, 5},
                                 {130, 4, 6, 7},
                                 {2, 2, 3, 300},
                                 {97, 1, 41, 300},
                                 {65, 1, 300, 70},
                                 {2100, 1, 70, 33}}) {
    const Tensor x = random_tensor({n, h * ins}, 1), w = random_tensor({h, outs, ins}, 2),
                 b = random_tensor({h * outs}, 3), dy = random_tensor({n, h * outs}, 4);
    std::vector<Tensor> y;
    for (const auto& impl : table.all<LinearForward<float>>()) {
      Layer layer(x, w, b, dy);
      impl.run({layer.forward, true}, threads);
      y.push_back(layer.y);
    }
    std::vector<std::vector<Tensor>> gradients;
    for (const auto& impl : table.all<LinearBackward<float>>()) {
      Layer layer(x, w, b, dy);
      impl.run({layer.backward}, threads);
      gradients.push_back(layer.gradients());
    }
    for (std::size_t i = 0; i + 1 < y.size(); ++i) expect_close(y[i], y.back(), 2e-6, "y");
    for (std::size_t i = 0; i + 1 < gradients.size(); ++i) {
      for (std::size_t j = 0; j < 3; ++j)
        expect_close(gradients[i][j], gradients.back()[j], 5e-6, "dx, dw or db");
    }
  }
}

TEST(Dense, EveryLinearImplementationEqualsTheReference) { compare_linear_implementations(); }

TEST(Dense, AgreesOnEveryInstructionSet) {
  for (const std::int64_t target : {HWY_SSE4, HWY_AVX2}) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    compare_linear_implementations();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Outputs and gradients of a linear layer on this many threads.
std::vector<Tensor> layer(int threads, const Tensor& x, const Tensor& w, bool single_position) {
  KernelTable table;
  add_dense_cpu(table);
  ThreadPool pool(threads);
  const std::int64_t n = x.shape()[0], outs = w.shape()[1];
  Layer l(x, w, Tensor::zeros({outs}, DType::f32), random_tensor({n, outs}, 5));
  table.run(LinearForward<float>{l.forward, single_position}, pool);
  table.run(LinearBackward<float>{l.backward}, pool);
  return {l.y, l.dx, l.dw, l.db};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

TEST(Dense, SameBitsForAnyThreadCount) {
  const Tensor x = random_tensor({3000, 64}, 1), w = random_tensor({1, 192, 64}, 2);
  for (const bool single : {false, true}) {
    const auto one = layer(1, x, w, single);
    for (int threads : {2, 3}) {
      const auto many = layer(threads, x, w, single);
      for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], many[i])) << i;
    }
  }
}

TEST(Dense, ARowHasTheSameBitsInAnyBatch) {
  const Tensor x = random_tensor({200, 300}, 1), w = random_tensor({1, 70, 300}, 2);
  for (const bool single : {false, true}) {
    const Tensor all = layer(1, x, w, single)[0];
    for (const auto& [first, count] :
         {std::pair<std::int64_t, std::int64_t>{0, 1}, {199, 1}, {50, 3}, {97, 103}, {1, 8}}) {
      EXPECT_TRUE(same_bits(layer(1, x.rows(first, count).clone(), w, single)[0],
                            all.rows(first, count).clone()))
          << first << " " << count;
    }
  }
}

TEST(Dense, EveryCrossEntropyEqualsTheReference) {
  KernelTable table;
  add_dense_cpu(table);
  add_dense_reference(table);
  ThreadPool threads(2);
  for (const std::int64_t classes : {2, 3, 6, 16, 17, 65, 257}) {
    for (const double cap : {0.0, 5.0}) {
      const std::int64_t rows = 200;
      std::vector<std::int32_t> ids;
      for (std::int64_t n = 0; n < rows; ++n) {
        ids.push_back(n % 7 == 3 ? -1 : static_cast<std::int32_t>(n % classes));
      }
      const Tensor targets = Tensor::from<std::int32_t>({rows}, ids);
      const Tensor start = random_tensor({rows, classes}, 5, 10);
      start.data<float>()[0] = 80;  // one logit far above the rest
      std::vector<Tensor> logits, loss, best;
      for (const auto& impl : table.all<CrossEntropyRows<float>>()) {
        logits.push_back(start.clone());
        loss.emplace_back(Shape{rows}, DType::f32);
        best.emplace_back(Shape{rows}, DType::i32);
        impl.run({.logits = logits.back().view<float, 2>(),
                  .targets = targets.view<const std::int32_t, 1>(),
                  .loss = loss.back().view<float, 1>(),
                  .predicted = best.back().view<std::int32_t, 1>(),
                  .z_weight = 0.01,
                  .soft_cap = cap,
                  .row_weight = 0.5},
                 threads);
      }
      expect_close(logits[0], logits[1], 5e-6, "dlogits");
      expect_close(loss[0], loss[1], 5e-6, "loss");
      EXPECT_TRUE(std::equal(best[0].host<std::int32_t>().begin(),
                             best[0].host<std::int32_t>().end(),
                             best[1].host<std::int32_t>().begin()));
    }
  }
}

TEST(Dense, WrongShapesAndIdsTeach) {
  KernelTable table;
  add_dense_reference(table);
  ThreadPool threads;
  StoragePool storage;
  ParameterPlan plan;
  const ParamId w = plan.declare("blocks.0.w", {4, 3}, Init::normal(1), true);
  ParameterStore store(plan, DType::f32, 0);
  Context cx{.kernels = table, .params = store, .threads = threads, .storage = storage};
  try {
    linear(cx, {random_tensor({2, 5}, 1)}, w);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.0.w"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("(2, 5)"), std::string::npos);
  }
  const std::vector<std::int32_t> ids = {4};
  EXPECT_THROW(embedding(cx, Tensor::from<std::int32_t>({1, 1}, ids), w), Error);
  EXPECT_THROW(linear_cross_entropy(cx, {random_tensor({1, 3}, 1)}, w, {},
                                    Tensor::from<std::int32_t>({1}, ids), {}),
               Error);
}

}  // namespace
}  // namespace subquad
