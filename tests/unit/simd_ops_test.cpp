// Every fast op against its literal reference: odd sizes, resets, padding, extreme values.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "subquad/autograd/ops.h"
#include "subquad/base/rng.h"

namespace subquad {
namespace {

Tensor values(Shape shape, std::uint64_t stream, double amplitude) {
  Tensor t(shape, DType::f32);
  const Rng rng{3, stream};
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    t.data<float>()[i] =
        static_cast<float>(amplitude * rng.normal(0, static_cast<std::uint64_t>(i)));
  }
  return t;
}

using Build = std::function<std::vector<Var>(Context&, const std::vector<Var>&)>;

// Outputs, input gradients and parameter gradients of both, compared.
void compare(ParameterStore& store, const std::vector<Tensor>& inputs, const Build& build,
             const std::string& what, double bound = 1e-5) {
  std::vector<std::vector<Tensor>> results;
  for (const bool reference : {false, true}) {
    KernelTable kernels;
    add_op_kernels(kernels);
    kernels.use_reference_only(reference);
    ThreadPool threads(2);
    StoragePool storage;
    Tape tape;
    Context cx{
        .kernels = kernels, .params = store, .threads = threads, .storage = storage, .tape = &tape};
    store.zero_grads();
    std::vector<Var> leaves;
    for (const Tensor& t : inputs) leaves.push_back(tape.leaf(t));
    const std::vector<Var> out = build(cx, leaves);
    std::vector<Tensor>& r = results.emplace_back();
    for (std::size_t i = 0; i < out.size(); ++i) {
      r.push_back(out[i].value.clone());
      tape.add_grad(cx, out[i], values(out[i].shape(), 100 + i, 1));
    }
    tape.backward(cx);
    for (const Var& l : leaves) r.push_back(tape.grad(l).clone());
    r.push_back(store.flat_grads().clone());
  }
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    double worst = 0, scale = 1e-20;
    for (std::int64_t j = 0; j < results[0][i].numel(); ++j) {
      const double a = results[0][i].data<float>()[j], b = results[1][i].data<float>()[j];
      const double d = std::abs(a - b);
      if (!(d <= worst)) worst = d;
      scale = std::max(scale, std::abs(b));
    }
    EXPECT_LE(worst, bound * scale) << what << " result " << i;
  }
}

TEST(SimdOps, PointwiseEqualsReference) {
  const ParameterPlan plan;
  ParameterStore store(plan, DType::f32, 0);
  for (const Unary kind : {Unary::silu, Unary::sigmoid, Unary::tanh, Unary::softplus,
                           Unary::log_sigmoid, Unary::square, Unary::relu, Unary::gelu}) {
    for (const std::int64_t n : {1, 3, 17, 64, 65, 1000}) {
      for (const double amplitude : {1e-3, 1.0, 30.0, 700.0}) {
        const std::string what = "kind " + std::to_string(static_cast<int>(kind)) + " n " +
                                 std::to_string(n) + " x " + std::to_string(amplitude);
        compare(
            store, {values({2, n}, 1, amplitude)},
            [&](Context& cx, const auto& x) { return std::vector<Var>{unary(cx, kind, x[0])}; },
            what);
        compare(
            store, {values({3, 2 * n}, 2, amplitude)},
            [&](Context& cx, const auto& x) {
              return std::vector<Var>{gated_halves(cx, kind, x[0])};
            },
            what);
      }
    }
  }
}

TEST(SimdOps, NormsEqualReference) {
  for (const std::int64_t n : {1, 3, 16, 17, 64, 65}) {
    ParameterPlan plan;
    const ParamId w = plan.declare("w", {n}, Init::normal(1), false),
                  b = plan.declare("b", {n}, Init::normal(1), false);
    const ParamId per_head = plan.declare("h", {2 * n}, Init::normal(1), false);
    ParameterStore store(plan, DType::f32, 1);
    for (const bool center : {false, true}) {
      if (center && n == 1) continue;  // one value minus its mean is rounding noise
      const NormOptions o{.eps = 1e-5, .center = center, .plus_one = center};
      compare(
          store, {values({300, 2, n}, 1, 3)},
          [&](Context& cx, const auto& x) {
            return std::vector<Var>{norm(cx, x[0], w, b, o), norm(cx, x[0], per_head, {}, o),
                                    l2_norm(cx, x[0], 1e-6)};
          },
          "norm " + std::to_string(n), 3e-5);
    }
    for (const bool gate_first : {false, true}) {
      compare(
          store, {values({300, 2 * n}, 1, 2), values({300, 2 * n}, 2, 2)},
          [&](Context& cx, const auto& x) {
            return std::vector<Var>{
                gated_norm(cx, x[0], x[1], per_head, {.groups = 1, .gate_first = gate_first}),
                gated_norm(cx, x[0], x[1], w,
                           {.groups = 2, .gate_first = gate_first, .activation = Unary::sigmoid})};
          },
          "gated_norm " + std::to_string(n), 3e-5);
    }
  }
}

TEST(SimdOps, ConvolutionAndRopeEqualReference) {
  for (const std::int64_t channels : {1, 7, 16, 33}) {
    ParameterPlan plan;
    const ParamId w = plan.declare("w", {channels, 4}, Init::normal(1), true),
                  b = plan.declare("b", {channels}, Init::normal(1), false);
    ParameterStore store(plan, DType::f32, 1);
    for (const std::int64_t T : {1, 2, 3, 4, 9, 40}) {
      const std::vector<std::int64_t> starts = {T / 2, T, T + 1},
                                      valid = {T, std::max<std::int64_t>(T - 3, 0), T};
      std::vector<std::int64_t> increasing;
      for (std::int64_t s : starts) {
        if (increasing.empty() || s > increasing.back()) increasing.push_back(s);
      }
      for (const bool packed : {false, true}) {
        const Spans spans(
            packed ? Segments{.document_starts = increasing, .valid_lengths = valid} : Segments{},
            3, T);
        compare(
            store, {values({3, T, channels}, 1, 1), values({3, 3, channels}, 2, 1)},
            [&](Context& cx, const auto& x) {
              Var state = x[1];
              const Var y = short_conv(cx, x[0], w, b, true, spans, &state);
              return std::vector<Var>{y, state, short_conv(cx, x[0], w, {}, false, spans, nullptr)};
            },
            "conv C " + std::to_string(channels) + " T " + std::to_string(T));
        compare(
            store, {values({3, T, 2, 6}, 3, 1)},
            [&](Context& cx, const auto& x) {
              return std::vector<Var>{rope(cx, x[0], {}, spans, 1000),
                                      rope(cx, x[0], {.dims = 4, .interleaved = true}, spans, 0)};
            },
            "rope T " + std::to_string(T));
      }
    }
  }
}

// A broken weight must show: no function may turn NaN into a number, in a whole vector or its tail.
TEST(SimdOps, NanStaysNan) {
  const ParameterPlan plan;
  ParameterStore store(plan, DType::f32, 0);
  for (const Unary kind :
       {Unary::silu, Unary::gelu, Unary::gelu_tanh, Unary::sigmoid, Unary::tanh, Unary::softplus,
        Unary::exp, Unary::log_sigmoid, Unary::square, Unary::relu}) {
    for (const bool reference : {false, true}) {
      for (const std::int64_t n : {1, 3, 17, 64}) {
        KernelTable kernels;
        add_op_kernels(kernels);
        kernels.use_reference_only(reference);
        ThreadPool threads(1);
        StoragePool storage;
        Tape tape;
        Context cx{.kernels = kernels,
                   .params = store,
                   .threads = threads,
                   .storage = storage,
                   .tape = &tape};
        Tensor x = values({n}, 1, 1);
        x.data<float>()[n - 1] = std::nanf("");
        const Var leaf = tape.leaf(x), y = unary(cx, kind, leaf);
        const Tensor value = y.value;
        tape.add_grad(cx, y, values({n}, 2, 1));
        tape.backward(cx);
        const std::string what =
            "kind " + std::to_string(static_cast<int>(kind)) + (reference ? " reference" : "");
        EXPECT_TRUE(std::isnan(value.data<float>()[n - 1])) << what << " n " << n;
        if (kind != Unary::relu)  // its slope is a comparison
          EXPECT_TRUE(std::isnan(tape.grad(leaf).data<float>()[n - 1])) << what << " n " << n;
        for (std::int64_t i = 0; i < n - 1; ++i)
          EXPECT_TRUE(std::isfinite(value.data<float>()[i])) << what;
      }
    }
  }
}

TEST(SimdOps, WrongShapesAreRefused) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {4}, Init::ones(), false);
  ParameterStore store(plan, DType::f32, 0);
  KernelTable kernels;
  add_op_kernels(kernels);
  ThreadPool threads(1);
  StoragePool storage;
  Context cx{.kernels = kernels, .params = store, .threads = threads, .storage = storage};
  const Var flat{values({2, 3, 4}, 1, 1)}, wide{values({2, 3, 5}, 2, 1)},
      heads{values({2, 3, 2, 4}, 3, 1)};
  EXPECT_THROW(concat_time(cx, flat, wide), Error);
  EXPECT_NO_THROW(concat_time(cx, flat, Var{values({2, 7, 4}, 4, 1)}));
  EXPECT_THROW(add_skip(cx, flat, flat, w), Error);
  EXPECT_THROW(norm(cx, flat, {}, w, {}), Error);
  EXPECT_THROW(rope(cx, heads, {}, Spans({}, 1, 3), 0), Error);
  EXPECT_THROW(rope(cx, heads, {.dims = -2}, Spans({}, 2, 3), 0), Error);
}

}  // namespace
}  // namespace subquad
