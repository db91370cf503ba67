#include <gtest/gtest.h>

#include "subquad/autograd/ops.h"
#include "tests/gradcheck/gradcheck.h"

namespace subquad {
namespace {

using Vars = std::vector<Var>;

void check(ParameterStore* store, std::vector<Tensor> inputs,
           std::function<Vars(Context&, const Vars&)> build, const std::string& what) {
  KernelTable table;
  add_op_kernels(table);
  gradcheck(table, {.store = store, .inputs = std::move(inputs), .build = std::move(build)}, what);
}

TEST(OpGradients, Pointwise) {
  for (Unary kind : {Unary::silu, Unary::gelu, Unary::gelu_tanh, Unary::sigmoid, Unary::tanh,
                     Unary::softplus, Unary::exp, Unary::log_sigmoid, Unary::square}) {
    check(
        nullptr, {random_f64({3, 8}, 1, 2)},
        [&](Context& cx, const Vars& x) {
          return Vars{unary(cx, kind, x[0]), gated_halves(cx, kind, x[0])};
        },
        "unary " + std::to_string(static_cast<int>(kind)));
  }
  const auto mixed = [](Context& cx, const Vars& x) {
    const std::vector<std::int64_t> widths = {1, 3};
    const auto parts = split_last(cx, mul(cx, x[0], x[1]), widths);
    const Vars again = {parts[1], parts[0]};
    return Vars{gated(cx, Unary::sigmoid, x[0], add(cx, x[0], x[1])),
                soft_cap(cx, scale(cx, x[1], 3), 2), concat_last(cx, again),
                concat_time(cx, x[0], reshape(cx, x[1], {2, 3, 4}))};
  };
  check(nullptr, {random_f64({2, 3, 4}, 1), random_f64({2, 3, 4}, 2)}, mixed, "mixed");
}

TEST(OpGradients, Norms) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {6}, Init::normal(1), false),
                b = plan.declare("b", {6}, Init::normal(1), false);
  const ParamId per_head = plan.declare("per_head", {12}, Init::normal(1), false);
  ParameterStore store(plan, DType::f64, 1);
  for (bool center : {false, true}) {
    for (bool plus_one : {false, true}) {
      const NormOptions o{.eps = 1e-3, .center = center, .plus_one = plus_one};
      check(
          &store, {random_f64({2, 2, 6}, 1)},
          [&](Context& cx, const Vars& x) {
            return Vars{norm(cx, x[0], w, b, o), norm(cx, x[0], per_head, {}, o),
                        l2_norm(cx, x[0], 1e-3)};
          },
          "norm");
    }
  }
}

TEST(OpGradients, GatedNorms) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {12}, Init::normal(1), false);
  const ParamId shared = plan.declare("shared", {4}, Init::normal(1), false);
  ParameterStore store(plan, DType::f64, 1);
  for (bool gate_first : {false, true}) {
    check(
        &store, {random_f64({2, 3, 12}, 1), random_f64({2, 3, 12}, 2)},
        [&](Context& cx, const Vars& x) {
          return Vars{
              gated_norm(cx, x[0], x[1], w, {.eps = 1e-3, .groups = 2, .gate_first = gate_first}),
              gated_norm(cx, x[0], x[1], shared,
                         {.eps = 1e-3,
                          .groups = 3,
                          .gate_first = gate_first,
                          .activation = Unary::sigmoid})};
        },
        "gated_norm");
  }
}

TEST(OpGradients, ConvolutionWithStateResetsAndPadding) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {3, 4}, Init::normal(1), true);
  const ParamId b = plan.declare("b", {3}, Init::normal(1), false);
  ParameterStore store(plan, DType::f64, 1);
  const std::vector<std::int64_t> starts = {2, 6}, valid = {5, 6};
  for (std::int64_t length : {1, 2, 6}) {
    const Segments packed{.document_starts = starts, .valid_lengths = valid};
    const Spans spans(length < 6 ? Segments{} : packed, 2, length);
    check(
        &store, {random_f64({2, length, 3}, 1), random_f64({2, 3, 3}, 2)},
        [&](Context& cx, const Vars& x) {
          Var state = x[1];
          const Var y = short_conv(cx, x[0], w, b, true, spans, &state);
          return Vars{y, state, short_conv(cx, x[0], w, {}, false, spans, nullptr)};
        },
        "conv");
  }
}

TEST(OpGradients, RopeAndGates) {
  const Spans spans({}, 2, 3);
  check(
      nullptr, {random_f64({2, 3, 2, 6}, 1)},
      [&](Context& cx, const Vars& x) {
        return Vars{rope(cx, x[0], {}, spans, 5),
                    rope(cx, x[0], {.dims = 4, .interleaved = true}, spans, 0)};
      },
      "rope");
  ParameterPlan plan;
  const ParamId A = plan.declare("A", {3}, Init::normal(0.5), false);
  const ParamId bias = plan.declare("bias", {3}, Init::normal(1), false);
  ParameterStore store(plan, DType::f64, 1);
  for (bool signed_decay : {false, true}) {
    check(
        &store, {random_f64({2, 4, 3}, 1), random_f64({2, 4, 3}, 2)},
        [&](Context& cx, const Vars& x) {
          const auto m = mamba2_gates(cx, x[0], A, bias, 0.2, 1.5, signed_decay);
          const auto g = gdn_gates(cx, x[0], x[1], A, bias, 2);
          return Vars{m.decay, m.write, g.decay, g.write};
        },
        "gates");
  }
  const ParamId wide = plan.declare("wide", {12}, Init::normal(1), false);
  ParameterStore with_channels(plan, DType::f64, 1);
  check(
      &with_channels, {random_f64({2, 4, 12}, 1)},
      [&](Context& cx, const Vars& x) { return Vars{channel_decay(cx, x[0], A, wide)}; },
      "channel_decay");
}

TEST(OpGradients, DenseAndEmbedding) {
  ParameterPlan plan;
  const ParamId w = plan.declare("w", {5, 4}, Init::normal(1), true),
                b = plan.declare("b", {5}, Init::normal(1), false);
  const ParamId blocks = plan.declare("blocks", {2, 3, 2}, Init::normal(1), true);
  const ParamId table = plan.declare("table", {7, 4}, Init::normal(1), true);
  const ParamId gain = plan.declare("gain", {5}, Init::normal(1), false);
  ParameterStore store(plan, DType::f64, 1);
  const std::vector<std::int32_t> ids = {0, 3, 3, 6}, targets = {1, -1, 4, 0};
  check(
      &store, {random_f64({2, 2, 4}, 1)},
      [&](Context& cx, const Vars& x) {
        const Var e = embedding(cx, Tensor::from<std::int32_t>({2, 2}, ids), table);
        const Var h = add(cx, e, x[0]);
        const Var y = add_bias(cx, mul_weight(cx, linear(cx, h, w, b), gain), b);
        return Vars{y, head_linear(cx, h, blocks),
                    linear_cross_entropy(cx, h, w, b, Tensor::from<std::int32_t>({4}, targets),
                                         {.z_weight = 0.1, .soft_cap = 3})};
      },
      "dense");
}

}  // namespace
}  // namespace subquad
