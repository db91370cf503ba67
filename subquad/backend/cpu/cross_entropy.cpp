// Cross-entropy rows in SIMD. Schedule: one row at a time, three passes over a row that sits in L1
// (max, exponentials and their sum, gradient); blocks of rows are the parallel tasks. Roofline: one
// exp per logit (with a cap two, and a tanh).
#include "subquad/backend/dense.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/cross_entropy.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <algorithm>
#include <cmath>
#include "subquad/backend/cpu/dispatch.h"

#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;

// Applies fn(index, vector, count) over x[0, n); the tail has `fill` in the unused lanes.
template <class Fn>
HWY_INLINE void for_each(const float* x, std::int64_t n, float fill, Fn&& fn) {
  vm::for_vectors(n, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    auto v = vm::load(x + i, left);
    if (left < vm::kWidth)
      v = hn::IfThenElse(hn::FirstN(D(), static_cast<std::size_t>(left)), v, vm::set(fill));
    fn(i, v, left);
  });
}

void row(const CrossEntropyRows<float>& a, std::int64_t n) {
  const D d;
  const std::int64_t classes = a.logits.dim(1);
  float* x = a.logits.at(n);
  const std::int32_t target = *a.targets.at(n);
  *a.loss.at(n) = 0;
  if (a.predicted) *a.predicted.at(n) = -1;
  if (target < 0) {
    if (a.row_weight != 0) std::fill_n(x, classes, 0.0F);
    return;
  }
  constexpr float kLowest = -3.0e38F;
  auto top = hn::Set(d, kLowest);
  for_each(x, classes, kLowest, [&](std::int64_t, auto v, std::int64_t) { top = hn::Max(top, v); });
  const float highest = hn::GetLane(hn::MaxOfLanes(d, top));
  if (a.predicted) {
    *a.predicted.at(n) = static_cast<std::int32_t>(std::find(x, x + classes, highest) - x);
  }
  const auto cap = static_cast<float>(a.soft_cap);
  const float raw_target = x[target];
  float best = highest, chosen = raw_target;
  if (cap > 0) {
    best = cap * std::tanh(highest / cap);
    chosen = cap * std::tanh(raw_target / cap);
    const auto c = hn::Set(d, cap), inverse = hn::Set(d, 1 / cap);
    for_each(x, classes, 0, [&](std::int64_t i, auto v, std::int64_t count) {
      vm::store(hn::Mul(c, hn::Tanh(d, hn::Mul(v, inverse))), x + i, count);
    });
  }
  const auto shift = hn::Set(d, best);
  // Without a cap the gradient needs the exponentials only: they replace the logits at once.
  const bool keep = cap <= 0 && a.row_weight != 0;
  auto sum = hn::Zero(d);
  for_each(x, classes, kLowest, [&](std::int64_t i, auto v, std::int64_t count) HWY_ATTR {
    const auto e = vm::exp(hn::Sub(v, shift));
    sum = hn::Add(sum, e);
    if (keep) vm::store(e, x + i, count);
  });
  const float total = hn::GetLane(hn::SumOfLanes(d, sum)), lse = best + std::log(total);
  const auto z = static_cast<float>(a.z_weight);
  *a.loss.at(n) = lse - chosen + z * lse * lse;
  if (a.row_weight == 0) return;
  const auto weight = static_cast<float>(a.row_weight);
  if (keep) {
    const auto factor = hn::Set(d, weight * (1 + 2 * z * lse) / total);
    for_each(x, classes, 0, [&](std::int64_t i, auto e, std::int64_t count) HWY_ATTR {
      vm::store(hn::Mul(factor, e), x + i, count);
    });
    x[target] -= weight;
    return;
  }
  const auto of_exp = hn::Set(d, weight * (1 + 2 * z * lse)), down = hn::Set(d, lse);
  const auto inverse = hn::Set(d, 1 / cap), one = hn::Set(d, 1.0F);
  for_each(x, classes, kLowest, [&](std::int64_t i, auto v, std::int64_t count) {
    const auto y = hn::Mul(v, inverse);
    const auto slope = hn::NegMulAdd(y, y, one);
    vm::store(hn::Mul(hn::Mul(of_exp, slope), vm::exp(hn::Sub(v, down))), x + i, count);
  });
  const float y = chosen / cap;
  x[target] -= weight * (1 - y * y);
}

void cross_entropy_rows(const CrossEntropyRows<float>& a, ThreadPool& threads) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t rows = a.logits.dim(0);
  threads.run((rows + kBlock - 1) / kBlock, [&](std::int64_t block, Scratch&) {
    for (std::int64_t n = block * kBlock; n < std::min(rows, (block + 1) * kBlock); ++n) row(a, n);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace subquad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
HWY_EXPORT(cross_entropy_rows);

void add_cross_entropy_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(cross_entropy_rows)>("highway"));
}
}  // namespace subquad
#endif
