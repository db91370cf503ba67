#include "tests/golden/layer.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace subquad {
namespace {

ParamId find(const ParameterStore& store, const std::string& name) {
  std::int32_t i = 0;
  for (const ParamInfo& p : store.plan().all()) {
    if (p.name == name || p.name.ends_with("." + name)) return ParamId{i};
    ++i;
  }
  ADD_FAILURE() << "no parameter " << name;
  return {};
}

// Calls fn(our first element, golden first element, count) for every row of a part.
template <class Fn>
std::int64_t walk(const Tensor& golden, const GoldenRows& part, std::int64_t at, Fn&& fn) {
  const std::int64_t rows = golden.shape().rank ? golden.shape()[0] : 1,
                     width = golden.numel() / rows;
  if (part.rows.empty()) {
    fn(at, std::int64_t{0}, golden.numel());
    return at + golden.numel();
  }
  for (const std::int64_t r : part.rows) {
    fn(at, r * width, width);
    at += width;
  }
  return at;
}

}  // namespace

void load_mapped(const Golden& g, const std::vector<Mapping>& mappings, ParameterStore& store) {
  with_scalar(store.dtype(), [&]<class T>() {
    for (const Mapping& m : mappings) {
      const Tensor to = store.value(find(store, m.parameter));
      std::int64_t at = 0;
      for (const GoldenRows& part : m.parts) {
        const Tensor from = g.input(part.tensor, store.dtype());
        ASSERT_TRUE(from) << g.name() << " has no " << part.tensor;
        at = walk(from, part, at, [&](std::int64_t ours, std::int64_t theirs, std::int64_t count) {
          ASSERT_LE(ours + count, to.numel()) << m.parameter;
          std::copy_n(from.data<T>() + theirs, count, to.data<T>() + ours);
        });
      }
      ASSERT_EQ(at, to.numel()) << g.name() << " " << m.parameter;
    }
  });
}

void expect_mapped_gradients(const Golden& g, const std::vector<Mapping>& mappings,
                             const ParameterStore& store) {
  with_scalar(store.dtype(), [&]<class T>() {
    for (const Mapping& m : mappings) {
      const Tensor ours = store.grad(find(store, m.parameter));
      std::int64_t at = 0;
      // A golden tensor may be spread over several parts of one parameter: gather it whole first.
      std::vector<std::pair<std::string, Tensor>> gathered;
      for (const GoldenRows& part : m.parts) {
        const Tensor shape_of = g.input(part.tensor, store.dtype());
        auto it = std::find_if(gathered.begin(), gathered.end(),
                               [&](const auto& e) { return e.first == part.tensor; });
        if (it == gathered.end())
          it = gathered.insert(gathered.end(),
                               {part.tensor, Tensor::zeros(shape_of.shape(), store.dtype())});
        at = walk(shape_of, part, at, [&](std::int64_t from, std::int64_t to, std::int64_t count) {
          std::copy_n(ours.data<T>() + from, count, it->second.template data<T>() + to);
        });
      }
      for (const auto& [tensor, gradient] : gathered) g.expect("d" + tensor, gradient);
    }
  });
}

void expect_conv_state(const Golden& g, const std::string& result, const Tensor& ours,
                       std::int64_t first) {
  const Tensor want = g.input(result, DType::f64);
  const std::int64_t B = want.shape()[0], C = want.shape()[1], W = want.shape()[2],
                     all = ours.shape()[2];
  with_scalar(ours.dtype(), [&]<class T>() {
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t c = 0; c < C; ++c) {
        for (std::int64_t j = 1; j < W; ++j) {
          EXPECT_NEAR(static_cast<double>(ours.data<T>()[(b * (W - 1) + j - 1) * all + first + c]),
                      want.data<double>()[(b * C + c) * W + j],
                      ours.dtype() == DType::f64 ? 1e-9 : 1e-5)
              << g.name() << " " << result;
        }
      }
    }
  });
}

void compare_layer(const Golden& g, const LayerCase& layer) {
  for (const auto& [dtype, reference] :
       {std::pair{DType::f64, true}, {DType::f32, true}, {DType::f32, false}}) {
    SCOPED_TRACE(g.name() + " " + std::string(name_of(dtype)) +
                 (reference ? " reference" : " fast"));
    ParameterPlan plan;
    const auto mixer = make_mixer(
        layer.kind, {.d_model = layer.d_model, .heads = layer.heads, .options = layer.options},
        plan);
    ParameterStore store(plan, dtype, 0);
    load_mapped(g, layer.mappings, store);
    std::size_t mapped = 0;
    for (const Mapping& m : layer.mappings) mapped += m.parts.empty() ? 0 : 1;
    EXPECT_EQ(mapped, plan.all().size()) << "every parameter of the mixer must be mapped";
    Engine engine(2);
    engine.kernels.use_reference_only(reference);
    Tape tape;
    Context cx = engine.context(store, &tape);
    const Var x = tape.leaf(g.input("x", dtype));
    const Var y = mixer->forward(cx, x, {}, nullptr);
    g.expect("y", y.value);
    tape.add_grad(cx, y, g.input("dy", dtype));
    tape.backward(cx);
    g.expect("dx", tape.grad(x));
    expect_mapped_gradients(g, layer.mappings, store);
    // Prefill, then one token at a time.
    Context decode = engine.context(store);
    const std::int64_t B = x.shape()[0], D = x.shape()[2];
    State state(mixer->state_spec(), B, dtype);
    mixer->forward(decode, {x.value}, {}, &state);
    if (layer.states) layer.states(g, state, "_prefill");
    const Tensor more = g.input("x_decode", dtype);
    const std::int64_t n = more.shape()[1];
    const Tensor decoded(more.shape(), dtype);
    with_scalar(dtype, [&]<class T>() {
      for (std::int64_t t = 0; t < n; ++t) {
        const Tensor one({B, 1, D}, dtype);
        for (std::int64_t b = 0; b < B; ++b)
          std::copy_n(more.data<T>() + (b * n + t) * D, D, one.data<T>() + b * D);
        const Var out = mixer->forward(decode, {one}, {}, &state);
        for (std::int64_t b = 0; b < B; ++b)
          std::copy_n(out.value.data<T>() + b * D, D, decoded.data<T>() + (b * n + t) * D);
      }
    });
    g.expect("y_decode", decoded);
    if (layer.states) layer.states(g, state, "_final");
  }
}

}  // namespace subquad
