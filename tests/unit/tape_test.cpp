#include "subquad/autograd/tape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

KernelTable op_kernels() {
  KernelTable table;
  add_op_kernels(table);
  return table;
}

struct Bench {
  KernelTable kernels = op_kernels();
  ThreadPool threads;
  StoragePool storage;
  ParameterPlan plan;
  ParameterStore store{plan, DType::f64, 0};
  Tape tape;
  Context cx{
      .kernels = kernels, .params = store, .threads = threads, .storage = storage, .tape = &tape};
};

Tensor scalar(double value) { return Tensor::from<double>({1}, std::array{value}); }

Var times(Context& cx, const Var& a, const Var& b) {
  return cx.record("times", scalar(*a.value.data<double>() * *b.value.data<double>()),
                   [a, b](Context& cx, const Tensor& dy) {
                     const double g = *dy.data<double>();
                     cx.add_grad(a, scalar(g * *b.value.data<double>()));
                     cx.add_grad(b, scalar(g * *a.value.data<double>()));
                   });
}

Var plus(Context& cx, const Var& a, const Var& b) {
  return cx.record("plus", scalar(*a.value.data<double>() + *b.value.data<double>()),
                   [a, b](Context& cx, const Tensor& dy) {
                     cx.add_grad(a, dy);  // one tensor in two slots
                     cx.add_grad(b, dy);
                   });
}

TEST(Tape, SharedGradientsDoNotDisturbEachOther) {
  Bench t;
  const Var x = t.tape.leaf(scalar(3)), y = t.tape.leaf(scalar(5));
  // z = (x + y) + x y + x: dz/dx = 1 + y + 1, dz/dy = 1 + x
  const Var z = plus(t.cx, plus(t.cx, plus(t.cx, x, y), times(t.cx, x, y)), x);
  t.tape.backward(t.cx, z);
  EXPECT_DOUBLE_EQ(*t.tape.grad(x).data<double>(), 7);
  EXPECT_DOUBLE_EQ(*t.tape.grad(y).data<double>(), 4);
  EXPECT_EQ(t.tape.size(), 0U);
}

TEST(Tape, RecomputeGivesTheSameGradient) {
  for (const bool again : {false, true}) {
    Bench t;
    const Var x = t.tape.leaf(scalar(2));
    const auto block = [](Context& cx, const Var& v) { return times(cx, times(cx, v, v), v); };
    const Var y = again ? recompute(t.cx, x, block) : block(t.cx, x);
    EXPECT_EQ(t.tape.size(), again ? 1U : 2U);
    t.tape.backward(t.cx, times(t.cx, y, y));
    EXPECT_DOUBLE_EQ(*t.tape.grad(x).data<double>(), 6 * std::pow(2, 5));
  }
}

TEST(Tape, UnusedOutputsAreNotRun) {
  Bench t;
  bool called = false;
  const Var x = t.tape.leaf(scalar(2));
  t.cx.record("unused", scalar(1), [&](Context&, const Tensor&) { called = true; });
  t.tape.backward(t.cx, times(t.cx, x, x));
  EXPECT_FALSE(called);
}

TEST(Tape, FiniteCheckNamesOpAndPlace) {
  Bench t;
  t.cx.check_finite = true;
  const Var x = t.tape.leaf(scalar(1e308));
  const Scope scope(t.cx, "blocks.1.mixer");
  try {
    times(t.cx, x, x);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::numeric);
    EXPECT_NE(std::string(e.what()).find("op times in blocks.1.mixer"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace subquad
