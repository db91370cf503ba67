// AdamW in SIMD. Schedule: flat blocks. Roofline: memory bandwidth, 28 bytes per parameter.
#include "subquad/backend/optimizer.h"

#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/optimizer.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

void adamw(const AdamWUpdate<float>& a, ThreadPool& threads) {
  const auto f = [](double x) { return vm::set(static_cast<float>(x)); };
  const V b1 = f(a.beta1), b2 = f(a.beta2), eps = f(a.eps), factor = f(a.factor), rate = f(a.rate),
          root = f(a.root), keep = f(a.keep), c1 = f(1 - a.beta1), c2 = f(1 - a.beta2);
  for_flat_blocks(threads, a.p.dim(0), [&](std::int64_t begin, std::int64_t end) {
    const float* g = a.g.data + begin;
    float *p = a.p.data + begin, *m = a.m.data + begin, *v = a.v.data + begin;
    vm::for_vectors(end - begin, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      const V d = hn::Mul(factor, vm::load(g + i, left));
      const V mi = hn::MulAdd(b1, vm::load(m + i, left), hn::Mul(c1, d));
      const V vi = hn::MulAdd(b2, vm::load(v + i, left), hn::Mul(hn::Mul(c2, d), d));
      const V step = hn::Div(hn::Mul(rate, mi), hn::MulAdd(root, hn::Sqrt(vi), eps));
      vm::store(mi, m + i, left);
      vm::store(vi, v + i, left);
      vm::store(hn::MulSub(keep, vm::load(p + i, left), step), p + i, left);
    });
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {
HWY_EXPORT(adamw);
}

void add_optimizer_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(adamw)>("highway"));
}

}  // namespace subquad
#endif
