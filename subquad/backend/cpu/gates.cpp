// Decay and write gates in SIMD. Schedule: blocks of rows, flat: the H parameters of a row are laid
// out again and again, so that any vector of gates meets its own. Roofline: one exponential and one
// logarithm per gate.
#include "subquad/backend/sequence.h"

#include <cmath>
#include <vector>

#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/gates.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

// Per-head values repeated over H vectors: element i of a block of rows meets entry i % (H kWidth).
// A long row of whole vectors needs no repetition.
struct Pattern {
  std::int64_t heads, per_rate, size;
  std::vector<float> rate, bias;  // exp(A_log)

  explicit Pattern(const GatesForward<float>& a)
      : heads(a.raw.dim(1)),
        per_rate(heads / a.A_log.dim(0)),
        size(heads >= 64 && heads % vm::kWidth == 0 ? heads : heads * vm::kWidth),
        rate(static_cast<std::size_t>(size)),
        bias(static_cast<std::size_t>(size)) {
    for (std::int64_t r = 0; r < a.A_log.dim(0); ++r)
      std::fill_n(rate.begin() + r * per_rate, per_rate, std::exp(*a.A_log.at(r)));
    std::copy_n(a.bias.at(0), heads, bias.begin());
    for (std::int64_t i = heads; i < size; ++i) {
      rate[static_cast<std::size_t>(i)] = rate[static_cast<std::size_t>(i - heads)];
      bias[static_cast<std::size_t>(i)] = bias[static_cast<std::size_t>(i - heads)];
    }
  }
};

// fn(i, at, count): elements [i, i + count) of the tensor meet entries from `at` on.
template <class Fn>
HWY_INLINE void for_gates(const Pattern& p, std::int64_t begin, std::int64_t end, Fn&& fn) {
  for (std::int64_t first = begin * p.heads; first < end * p.heads; first += p.size) {
    const std::int64_t n = HWY_MIN(p.size, end * p.heads - first);
    vm::for_vectors(n, [&](std::int64_t i, std::int64_t left) HWY_ATTR { fn(first + i, i, left); });
  }
}

struct Limits {
  V lo, hi;
  explicit Limits(const GatesForward<float>& a)
      : lo(vm::set(static_cast<float>(a.lo))),
        hi(vm::set(static_cast<float>(std::min(a.hi, 1e30)))) {}
  // The value comes second: NaN passes (see vector_math-inl.h).
  V clamp(V x) const { return hn::Min(hi, hn::Max(lo, x)); }
};

void gates_forward(const GatesForward<float>& a, ThreadPool& threads) {
  const Pattern pattern(a);
  const Limits limits(a);
  const V range = vm::set(static_cast<float>(a.write_range)), one = vm::set(1);
  for_row_blocks(
      threads, a.raw.dim(0), [&](std::int64_t begin, std::int64_t end, std::int64_t, Scratch&) {
        for_gates(pattern, begin, end,
                  [&](std::int64_t i, std::int64_t at, std::int64_t left) HWY_ATTR {
                    const V rate = vm::load(pattern.rate.data() + at, left),
                            bias = vm::load(pattern.bias.data() + at, left);
                    const V dt =
                        limits.clamp(vm::softplus(hn::Add(vm::load(a.raw.data + i, left), bias)));
                    const V g = hn::Neg(hn::Mul(rate, dt));
                    vm::store(a.signed_decay ? hn::MulSub(vm::set(2), vm::exp(g), one) : g,
                              a.decay.data + i, left);
                    if (!a.write) return;
                    vm::store(a.b ? hn::Mul(range, vm::sigmoid(vm::load(a.b.data + i, left))) : dt,
                              a.write.data + i, left);
                  });
      });
}

void gates_backward(const GatesBackward<float>& a, ThreadPool& threads) {
  const auto& f = a.f;
  const Pattern pattern(f);
  const Limits limits(f);
  const V range = vm::set(static_cast<float>(f.write_range)), zero = vm::set(0);
  const std::int64_t rows = f.raw.dim(0), heads = pattern.heads, size = pattern.size;
  PartialSums sums((rows + kRowBlock - 1) / kRowBlock, 2 * size);
  for_row_blocks(
      threads, rows, [&](std::int64_t begin, std::int64_t end, std::int64_t block, Scratch&) {
        float *dbias = sums.at(block), *dA_log = dbias + size;
        for_gates(
            pattern, begin, end, [&](std::int64_t i, std::int64_t at, std::int64_t left) HWY_ATTR {
              const V rate = vm::load(pattern.rate.data() + at, left);
              const V s =
                  hn::Add(vm::load(f.raw.data + i, left), vm::load(pattern.bias.data() + at, left));
              const V soft = vm::softplus(s), dt = limits.clamp(soft);
              V d_decay = a.ddecay ? vm::load(a.ddecay.data + i, left) : zero;
              if (f.signed_decay)  // d(2 exp(g) - 1)/dg
                d_decay =
                    hn::Mul(d_decay, hn::Mul(vm::set(2), vm::exp(hn::Neg(hn::Mul(rate, dt)))));
              const V along = hn::Mul(rate, d_decay);
              const V d_write = a.dwrite ? vm::load(a.dwrite.data + i, left) : zero;
              V d_dt = hn::Neg(along);
              if (f.b) {
                const V slope = vm::slope<Unary::sigmoid>(vm::load(f.b.data + i, left));
                vm::store(hn::Mul(hn::Mul(d_write, range), slope), a.db.data + i, left);
              } else {
                d_dt = hn::Add(d_dt, d_write);
              }
              // Outside the limits dt does not move; a NaN is not outside.
              const auto outside = hn::Or(hn::Lt(soft, limits.lo), hn::Gt(soft, limits.hi));
              const V d_raw =
                  hn::IfThenZeroElse(outside, hn::Mul(d_dt, vm::slope<Unary::softplus>(s)));
              vm::store(d_raw, a.draw.data + i, left);
              vm::store(hn::Add(vm::load(dbias + at, left), d_raw), dbias + at, left);
              vm::store(hn::NegMulAdd(along, dt, vm::load(dA_log + at, left)), dA_log + at, left);
            });
      });
  std::vector<float> total(static_cast<std::size_t>(2 * size), 0.0F);
  sums.add_to(total.data(), 0, 2 * size);
  for (std::int64_t i = 0; i < size; ++i) {
    *a.dbias.at(i % heads) += total[static_cast<std::size_t>(i)];
    *a.dA_log.at(i % heads / pattern.per_rate) += total[static_cast<std::size_t>(size + i)];
  }
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {
HWY_EXPORT(gates_forward);
HWY_EXPORT(gates_backward);

template <class... T>
bool all_contiguous(const View<T, 2>&... views) {
  return ((!views || contiguous(views)) && ...);
}
bool accepts_forward(const GatesForward<float>& a) {
  return all_contiguous(a.raw, a.b, a.decay, a.write);
}
bool accepts_backward(const GatesBackward<float>& a) {
  return all_contiguous(a.f.raw, a.f.b, a.ddecay, a.dwrite, a.draw, a.db);
}
}  // namespace

void add_gates_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(gates_forward)>("highway", accepts_forward));
  table.add(dispatched<HWY_DISPATCH_TABLE(gates_backward)>("highway", accepts_backward));
}

}  // namespace subquad
#endif
