#include <gtest/gtest.h>

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/attention/core.h"
#include "tests/golden/golden.h"

namespace subquad {
namespace {

// One file through the tape: rotation by the file's positions, then the core.
void compare(const Golden& g, DType dtype, bool reference_only) {
  SCOPED_TRACE(g.name() + " " + std::string(name_of(dtype)) + (reference_only ? " reference" : ""));
  KernelTable kernels;
  add_op_kernels(kernels);
  add_attention_core_cpu(kernels);
  add_attention_core_reference(kernels);
  kernels.use_reference_only(reference_only);
  ThreadPool threads(2);
  StoragePool storage;
  const ParameterPlan plan;
  ParameterStore store(plan, dtype, 0);
  Tape tape;
  Context cx{
      .kernels = kernels, .params = store, .threads = threads, .storage = storage, .tape = &tape};
  const std::int64_t B = g.size("B"), Tk = g.size("T"), Tq = g.sizes().get("Tq", Tk);

  // Documents and positions become spans: a new document starts where the id changes.
  std::vector<std::int64_t> starts;
  if (const Tensor documents = g.indices("documents")) {
    for (std::int64_t i = 0; i < B * Tk; ++i) {
      const auto id = documents.host<std::int32_t>();
      if (i % Tk == 0 || id[static_cast<std::size_t>(i)] != id[static_cast<std::size_t>(i - 1)])
        starts.push_back(i);
    }
  }
  const Segments segments{.document_starts = starts};
  const Spans all(segments, B, Tk), queries = Tq == Tk ? all : Spans({}, B, Tq);
  const Tensor positions = g.indices("positions");
  const std::int64_t first = positions ? positions.data<std::int32_t>()[0] : 0;
  const Var q = tape.leaf(g.input("q", dtype)), k = tape.leaf(g.input("k", dtype)),
            v = tape.leaf(g.input("v", dtype));
  Var rq = q, rk = k;
  const std::int64_t rotary = g.sizes().get("rotary", std::int64_t{0});
  if (positions && rotary > 0) {
    const RopeOptions options{.theta = g.number("theta"),
                              .dims = rotary,
                              .interleaved = g.name().find("interleaved") != std::string::npos};
    rq = rope(cx, q, options, queries, first + Tk - Tq);
    rk = rope(cx, k, options, all, first);
    if (g.has("q_rotated")) g.expect("q_rotated", rq.value);
    if (g.has("k_rotated")) g.expect("k_rotated", rk.value);
  }
  const Var o =
      attention_core(cx, rq, rk, v, queries, 1 / std::sqrt(static_cast<double>(g.size("D"))),
                     g.sizes().get("window", std::int64_t{0}));
  g.expect("o", o.value);
  tape.add_grad(cx, o, g.input("do", dtype));
  tape.backward(cx);
  g.expect("dq", tape.grad(q));
  g.expect("dk", tape.grad(k));
  g.expect("dv", tape.grad(v));
}

TEST(GoldenAttention, EveryImplementationEqualsThePublishedOnes) {
  const auto files = golden_files({"attention_"}, {"attention_layer_"});
  ASSERT_GE(files.size(), 8U);
  for (const std::string& path : files) {
    const Golden g(path);
    compare(g, DType::f64, true);
    compare(g, DType::f32, true);
    compare(g, DType::f32, false);
  }
}

}  // namespace
}  // namespace subquad
