// Every fast op against its literal reference: odd sizes, resets, padding, extreme values.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "subquad/autograd/ops.h"
#include "subquad/backend/dense.h"
#include "subquad/backend/optimizer.h"
#include "subquad/model/engine.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

// The whole suite runs in every instruction set: tails are written in three forms.
class SimdOps : public testing::TestWithParam<std::string> {
  InstructionSet scope_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(In, SimdOps, testing::ValuesIn(instruction_sets()),
                         [](const auto& set) { return set.param; });

using Build = std::function<std::vector<Var>(Context&, const std::vector<Var>&)>;

// Outputs, input gradients and parameter gradients of both, compared.
void compare(ParameterStore& store, const std::vector<Tensor>& inputs, const Build& build,
             const std::string& what, double bound = 1e-5) {
  std::vector<Tensor> want;
  for (const bool reference : {true, false}) {
    KernelTable kernels;
    add_op_kernels(kernels);
    kernels.use_reference_only(reference);
    ThreadPool threads(2);
    StoragePool storage;
    fill_with_nan(storage, want);  // so that what a fast kernel does not write shows
    Tape tape;
    Context cx{
        .kernels = kernels, .params = store, .threads = threads, .storage = storage, .tape = &tape};
    store.zero_grads();
    std::vector<Var> leaves;
    for (const Tensor& t : inputs) leaves.push_back(tape.leaf(t));
    const std::vector<Var> out = build(cx, leaves);
    std::vector<Tensor> got;
    for (std::size_t i = 0; i < out.size(); ++i) {
      got.push_back(out[i].value.clone());
      tape.add_grad(cx, out[i], random_tensor(out[i].shape(), 100 + i));
    }
    tape.backward(cx);
    for (const Var& l : leaves) got.push_back(tape.grad(l).clone());
    got.push_back(store.flat_grads().clone());
    for (std::size_t i = 0; i < want.size(); ++i) {
      // Gradients of 1 come in: a slope that is all cancellation, 1 - tanh², is measured by them.
      const double floor = i < out.size() ? 1e-20 : 1e-2;
      EXPECT_LE(deviation(got[i], want[i], floor), bound) << what << " result " << i;
    }
    want = got;
  }
}

TEST_P(SimdOps, PointwiseEqualsReference) {
  const ParameterPlan plan;
  ParameterStore store(plan, DType::f32, 0);
  for (const Unary kind : {Unary::silu, Unary::sigmoid, Unary::tanh, Unary::softplus,
                           Unary::log_sigmoid, Unary::square, Unary::relu, Unary::gelu}) {
    for (const std::int64_t n : {1, 3, 17, 64, 65, 1000}) {
      for (const double amplitude : {1e-3, 1.0, 30.0, 700.0}) {
        const std::string what = "kind " + std::to_string(static_cast<int>(kind)) + " n " +
                                 std::to_string(n) + " x " + std::to_string(amplitude);
        compare(
            store, {random_tensor({2, n}, 1, amplitude)},
            [&](Context& cx, const auto& x) { return std::vector<Var>{unary(cx, kind, x[0])}; },
            what);
        compare(
            store, {random_tensor({3, 2 * n}, 2, amplitude)},
            [&](Context& cx, const auto& x) {
              return std::vector<Var>{gated_halves(cx, kind, x[0])};
            },
            what);
      }
    }
  }
}

TEST_P(SimdOps, NormsEqualReference) {
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
          store, {random_tensor({300, 2, n}, 1, 3)},
          [&](Context& cx, const auto& x) {
            return std::vector<Var>{norm(cx, x[0], w, b, o), norm(cx, x[0], per_head, {}, o),
                                    l2_norm(cx, x[0], 1e-6)};
          },
          "norm " + std::to_string(n), 3e-5);
    }
    for (const bool gate_first : {false, true}) {
      compare(
          store, {random_tensor({300, 2 * n}, 1, 2), random_tensor({300, 2 * n}, 2, 2)},
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

TEST_P(SimdOps, ConvolutionAndRopeEqualReference) {
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
            store, {random_tensor({3, T, channels}, 1), random_tensor({3, 3, channels}, 2)},
            [&](Context& cx, const auto& x) {
              Var state = x[1];
              const Var y = short_conv(cx, x[0], w, b, true, spans, &state);
              return std::vector<Var>{y, state, short_conv(cx, x[0], w, {}, false, spans, nullptr)};
            },
            "conv C " + std::to_string(channels) + " T " + std::to_string(T));
        compare(
            store, {random_tensor({3, T, 2, 6}, 3)},
            [&](Context& cx, const auto& x) {
              return std::vector<Var>{rope(cx, x[0], {}, spans, 1000),
                                      rope(cx, x[0], {.dims = 4, .interleaved = true}, spans, 0)};
            },
            "rope T " + std::to_string(T));
      }
    }
  }
}

// One long row is shared out by channels, the last task's narrower than the others'.
TEST_P(SimdOps, LongConvolutionEqualsReference) {
  constexpr std::int64_t kChannels = 100;
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {kChannels, 4}, Init::normal(1), true),
                b = plan.declare("b", {kChannels}, Init::normal(1), false);
  ParameterStore store(plan, DType::f32, 1);
  for (const std::int64_t T : {700, 3000}) {  // two tasks, seven tasks
    const std::vector<std::int64_t> starts = {300}, valid = {T - 5};
    const Spans spans(Segments{.document_starts = starts, .valid_lengths = valid}, 1, T);
    compare(
        store, {random_tensor({1, T, kChannels}, 1), random_tensor({1, 3, kChannels}, 2)},
        [&](Context& cx, const auto& x) {
          Var state = x[1];
          const Var y = short_conv(cx, x[0], w, b, true, spans, &state);
          return std::vector<Var>{y, state};
        },
        "T " + std::to_string(T));
  }
}

TEST_P(SimdOps, GatesEqualReference) {
  for (const std::int64_t heads : {1, 3, 4, 16, 20}) {
    for (const double range : {0.0, 1.0, 2.0}) {  // 0: Mamba-2
      for (const bool signed_decay : {false, true}) {
        if (range > 0 && signed_decay) continue;
        ParameterPlan plan;
        const ParamId A_log = plan.declare("A", {heads}, Init::uniform(-1, 2), false),
                      bias = plan.declare("b", {heads}, Init::normal(1), false);
        ParameterStore store(plan, DType::f32, 1);
        compare(
            store, {random_tensor({3, 101, heads}, 1, 4), random_tensor({3, 101, heads}, 2, 4)},
            [&](Context& cx, const auto& x) {
              const DecayGates g = range > 0
                                       ? gdn_gates(cx, x[0], x[1], A_log, bias, range)
                                       : mamba2_gates(cx, x[0], A_log, bias, 1e-3, 2, signed_decay);
              return std::vector<Var>{g.decay, g.write, x[1]};
            },
            "heads " + std::to_string(heads) + " range " + std::to_string(range), 2e-5);
      }
    }
    for (const std::int64_t channels : {2, 5, 16}) {
      ParameterPlan plan;
      const ParamId A_log = plan.declare("A", {heads}, Init::uniform(-1, 2), false),
                    bias = plan.declare("b", {heads * channels}, Init::normal(1), false);
      ParameterStore store(plan, DType::f32, 1);
      compare(
          store, {random_tensor({3, 101, heads * channels}, 1, 4)},
          [&](Context& cx, const auto& x) {
            return std::vector<Var>{channel_decay(cx, x[0], A_log, bias)};
          },
          "heads " + std::to_string(heads) + " of " + std::to_string(channels), 2e-5);
    }
  }
}

TEST_P(SimdOps, ArithmeticEqualsReference) {
  ParameterPlan plan;
  const ParamId D = plan.declare("D", {3}, Init::normal(1), false);
  ParameterStore store(plan, DType::f32, 1);
  for (const std::int64_t width : {1, 5, 16, 33}) {
    compare(
        store, {random_tensor({2, 300, 3, width}, 1), random_tensor({2, 300, 3, width}, 2)},
        [&](Context& cx, const auto& x) {
          return std::vector<Var>{add(cx, x[0], x[1]), mul(cx, x[0], x[1]),
                                  add_skip(cx, x[0], x[1], D)};
        },
        "width " + std::to_string(width));
  }
}

TEST_P(SimdOps, CrossEntropyEqualsReference) {
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
        loss.push_back(nan_tensor({rows}));
        best.emplace_back(Shape{rows}, DType::i32);
        std::ranges::fill(best.back().host<std::int32_t>(), -7);
        impl.run({.logits = logits.back().view<float, 2>(),
                  .targets = targets.view<const std::int32_t, 1>(),
                  .loss = loss.back().view<float, 1>(),
                  .predicted = best.back().view<std::int32_t, 1>(),
                  .z_weight = 0.01,
                  .soft_cap = cap,
                  .row_weight = 0.5},
                 threads);
      }
      EXPECT_LE(deviation(logits[0], logits[1]), 5e-6) << classes << " classes, cap " << cap;
      EXPECT_LE(deviation(loss[0], loss[1]), 5e-6) << classes << " classes, cap " << cap;
      EXPECT_TRUE(std::equal(best[0].host<std::int32_t>().begin(),
                             best[0].host<std::int32_t>().end(),
                             best[1].host<std::int32_t>().begin()));
    }
  }
}

TEST_P(SimdOps, AdamWEqualsReference) {
  KernelTable table;
  add_optimizer_cpu(table);
  add_optimizer_reference(table);
  ThreadPool threads(2);
  for (const std::int64_t n : {1, 3, 4, 15, 16, 17, 1000, 16384 + 5}) {
    std::vector<std::vector<Tensor>> results;
    for (const auto& impl : table.all<AdamWUpdate<float>>()) {
      const Tensor g = random_tensor({n}, 1), p = random_tensor({n}, 2), m = random_tensor({n}, 3),
                   v = random_tensor({n}, 4);
      for (float& x : v.host<float>()) x *= x;
      impl.run({.g = g.view<const float, 1>(),
                .beta1 = 0.9,
                .beta2 = 0.98,
                .eps = 1e-8,
                .factor = 0.3,
                .rate = 0.02,
                .root = 3,
                .keep = 0.999,
                .p = p.view<float, 1>(),
                .m = m.view<float, 1>(),
                .v = v.view<float, 1>()},
               threads);
      results.push_back({p, m, v});
    }
    ASSERT_EQ(results.size(), 2U);
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_LE(deviation(results[0][i], results[1][i]), 1e-6) << "n " << n << " result " << i;
  }
}

TEST_P(SimdOps, SplitProjectionsEqualTheWholeOne) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {30, 24}, Init::normal(0.2), true),
                b = plan.declare("b", {30}, Init::normal(1), false),
                taps = plan.declare("taps", {30, 4}, Init::normal(0.5), true);
  ParameterStore store(plan, DType::f32, 1);
  const std::vector<std::int64_t> widths = {16, 0, 10, 4};
  const std::vector<ProjectionPart> pieces = {{16, b, 0}, {0}, {10, b, 16}, {4, b, 26}};
  std::vector<Tensor> grads;
  for (const bool split : {false, true}) {
    Engine engine(2);
    Tape tape;
    Context cx = engine.context(store, &tape);
    store.zero_grads();
    const Var x = tape.leaf(random_tensor({2, 9, 24}, 1));
    const Spans spans({}, 2, 9);
    const auto parts =
        split ? linear_split(cx, x, w, pieces) : split_last(cx, linear(cx, x, w, b), widths);
    const Var joined = concat_last(cx, std::vector<Var>{parts[0], parts[2], parts[3]});
    const auto mixed =
        split ? short_conv_split(cx, joined, taps, {}, true, spans, nullptr, widths)
              : split_last(cx, short_conv(cx, joined, taps, {}, true, spans, nullptr), widths);
    for (const std::size_t i : {0U, 2U})  // the last part stays without a gradient
      tape.add_grad(cx, mixed[i], random_tensor(mixed[i].shape(), i, 1));
    tape.backward(cx);
    grads.push_back(tape.grad(x).clone());
    grads.push_back(store.flat_grads().clone());
  }
  for (std::size_t i : {0U, 1U}) {
    for (std::int64_t j = 0; j < grads[i].numel(); ++j)
      EXPECT_NEAR(grads[i].data<float>()[j], grads[i + 2].data<float>()[j], 2e-5);
  }
}

// A broken weight must show: no function may turn NaN into a number, in a whole vector or its tail.
TEST_P(SimdOps, NanStaysNan) {
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
        Tensor x = random_tensor({n}, 1);
        x.data<float>()[n - 1] = std::nanf("");
        const Var leaf = tape.leaf(x), y = unary(cx, kind, leaf);
        const Tensor value = y.value;
        tape.add_grad(cx, y, random_tensor({n}, 2));
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

TEST_P(SimdOps, WrongShapesAreRefused) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {4}, Init::ones(), false);
  ParameterStore store(plan, DType::f32, 0);
  KernelTable kernels;
  add_op_kernels(kernels);
  ThreadPool threads(1);
  StoragePool storage;
  Context cx{.kernels = kernels, .params = store, .threads = threads, .storage = storage};
  const Var flat{random_tensor({2, 3, 4}, 1)}, wide{random_tensor({2, 3, 5}, 2)},
      heads{random_tensor({2, 3, 2, 4}, 3)};
  EXPECT_THROW(concat_time(cx, flat, wide), Error);
  EXPECT_NO_THROW(concat_time(cx, flat, Var{random_tensor({2, 7, 4}, 4)}));
  EXPECT_THROW(add_skip(cx, flat, flat, w), Error);
  EXPECT_THROW(norm(cx, flat, {}, w, {}), Error);
  EXPECT_THROW(rope(cx, heads, {}, Spans({}, 1, 3), 0), Error);
  EXPECT_THROW(rope(cx, heads, {.dims = -2}, Spans({}, 2, 3), 0), Error);
}

}  // namespace
}  // namespace subquad
