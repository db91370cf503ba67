// Normalisation kernels. Schedule: one part of a row at a time, which sits in L1: statistics, then
// the output; weight gradients are summed per block of rows. Roofline: cache bandwidth.
#include "subquad/backend/norm.h"

#include <cmath>

#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/norm.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

struct Moments {
  float mean, r;
};

Moments moments(const NormSetup& s, const float* x, std::int64_t n) {
  float mean = 0;
  if (s.center) {
    V total = vm::set(0);
    for (std::int64_t i = 0; i < n; i += vm::kWidth) total = hn::Add(total, vm::load(x + i, n - i));
    mean = vm::sum(total) / static_cast<float>(n);
  }
  const V m = vm::set(mean);
  V square = vm::set(0);
  std::int64_t i = 0;
  for (; i + vm::kWidth <= n; i += vm::kWidth) {
    const V c = hn::Sub(vm::load(x + i, n - i), m);
    square = hn::MulAdd(c, c, square);
  }
  if (i < n) {  // lanes past the end must not count as 0 - mean
    const auto mask = hn::FirstN(vm::F(), static_cast<std::size_t>(n - i));
    const V c = hn::IfThenElseZero(mask, hn::Sub(vm::load(x + i, n - i), m));
    square = hn::MulAdd(c, c, square);
  }
  const float total = vm::sum(square) / (s.sum_not_mean ? 1.0F : static_cast<float>(n));
  return {mean, 1 / std::sqrt(total + static_cast<float>(s.eps))};
}

void norm_forward(const NormForward<float>& a, ThreadPool& threads) {
  const std::int64_t part = a.x.dim(1) / a.setup.groups;
  const V plus = vm::set(a.setup.plus_one ? 1.0F : 0.0F);
  for_row_blocks(
      threads, a.x.dim(0), [&](std::int64_t begin, std::int64_t end, std::int64_t, Scratch&) {
        for (std::int64_t n = begin; n < end; ++n) {
          for (std::int64_t g = 0; g < a.setup.groups; ++g) {
            const float* x = a.x.at(n, g * part);
            float* y = a.y.at(n, g * part);
            const float* w = a.w ? a.w.data + (a.w.dim(0) == part ? 0 : g * part) : nullptr;
            const float* b = a.b ? a.b.data + (a.b.dim(0) == part ? 0 : g * part) : nullptr;
            const Moments m = moments(a.setup, x, part);
            const V mean = vm::set(m.mean), r = vm::set(m.r);
            for (std::int64_t i = 0; i < part; i += vm::kWidth) {
              const std::int64_t rest = part - i;
              V v = hn::Mul(hn::Sub(vm::load(x + i, rest), mean), r);
              if (w) v = hn::Mul(v, hn::Add(vm::load(w + i, rest), plus));
              if (b) v = hn::Add(v, vm::load(b + i, rest));
              vm::store(v, y + i, rest);
            }
          }
        }
      });
}

void norm_backward(const NormBackward<float>& a, ThreadPool& threads) {
  const std::int64_t part = a.x.dim(1) / a.setup.groups, weights = a.w ? a.w.dim(0) : 0;
  const V plus = vm::set(a.setup.plus_one ? 1.0F : 0.0F);
  PartialSums sums((a.x.dim(0) + kRowBlock - 1) / kRowBlock,
                   std::max<std::int64_t>(2 * weights, 1));
  for_row_blocks(
      threads, a.x.dim(0), [&](std::int64_t begin, std::int64_t end, std::int64_t block, Scratch&) {
        for (std::int64_t n = begin; n < end; ++n) {
          for (std::int64_t g = 0; g < a.setup.groups; ++g) {
            const float *x = a.x.at(n, g * part), *dy = a.dy.at(n, g * part);
            float* dx = a.dx.at(n, g * part);
            const std::int64_t first = weights == part ? 0 : g * part;
            const float* w = a.w ? a.w.data + first : nullptr;
            float *dw = sums.at(block) + first, *db = dw + weights;
            const Moments m = moments(a.setup, x, part);
            const V mean = vm::set(m.mean), r = vm::set(m.r);
            V along = vm::set(0), total = vm::set(0);
            for (std::int64_t i = 0; i < part; i += vm::kWidth) {
              const std::int64_t rest = part - i;
              const V hat = hn::Mul(hn::Sub(vm::load(x + i, rest), mean), r);
              V d = vm::load(dy + i, rest);
              if (w) {
                vm::store(hn::MulAdd(d, hat, vm::load(dw + i, rest)), dw + i, rest);
                if (a.db) vm::store(hn::Add(d, vm::load(db + i, rest)), db + i, rest);
                d = hn::Mul(d, hn::Add(vm::load(w + i, rest), plus));
              }
              along = hn::MulAdd(d, hat, along);  // d is 0 past the end
              total = hn::Add(total, d);
            }
            const float scale = a.setup.sum_not_mean ? 1.0F : 1 / static_cast<float>(part);
            const V shift = vm::set(a.setup.center ? vm::sum(total) * scale : 0.0F),
                    slope = vm::set(vm::sum(along) * scale);
            for (std::int64_t i = 0; i < part; i += vm::kWidth) {
              const std::int64_t rest = part - i;
              const V hat = hn::Mul(hn::Sub(vm::load(x + i, rest), mean), r);
              V d = vm::load(dy + i, rest);
              if (w) d = hn::Mul(d, hn::Add(vm::load(w + i, rest), plus));
              vm::store(hn::Mul(r, hn::NegMulAdd(hat, slope, hn::Sub(d, shift))), dx + i, rest);
            }
          }
        }
      });
  if (a.dw) sums.add_to(a.dw.data, 0, weights);
  if (a.db) sums.add_to(a.db.data, weights, weights);
}

template <Unary kKind, bool kGateFirst>
void gated_part(const GatedNormForward<float>& a, std::int64_t n, std::int64_t g,
                std::int64_t part) {
  const float *x = a.x.at(n, g * part), *z = a.z.at(n, g * part),
              *w = a.w.data + (a.w.dim(0) == part ? 0 : g * part);
  float* y = a.y.at(n, g * part);
  V square = vm::set(0);
  for (std::int64_t i = 0; i < part; i += vm::kWidth) {
    V v = vm::load(x + i, part - i);
    if (kGateFirst) {
      v = hn::Mul(v, vm::value<kKind>(vm::load(z + i, part - i)));
      vm::store(v, y + i, part - i);
    }
    square = hn::MulAdd(v, v, square);
  }
  const V r = vm::set(
      1 / std::sqrt(vm::sum(square) / static_cast<float>(part) + static_cast<float>(a.eps)));
  for (std::int64_t i = 0; i < part; i += vm::kWidth) {
    const std::int64_t rest = part - i;
    V v = hn::Mul(hn::Mul(vm::load((kGateFirst ? y : x) + i, rest), r), vm::load(w + i, rest));
    if (!kGateFirst) v = hn::Mul(v, vm::value<kKind>(vm::load(z + i, rest)));
    vm::store(v, y + i, rest);
  }
}

template <Unary kKind, bool kGateFirst>
void gated_part_backward(const GatedNormBackward<float>& a, std::int64_t n, std::int64_t g,
                         std::int64_t part, float* dw) {
  const auto& f = a.f;
  const float *x = f.x.at(n, g * part), *z = f.z.at(n, g * part), *dy = a.dy.at(n, g * part);
  const float* w = f.w.data + (f.w.dim(0) == part ? 0 : g * part);
  float *dx = a.dx.at(n, g * part), *dz = a.dz.at(n, g * part);
  V square = vm::set(0);
  for (std::int64_t i = 0; i < part; i += vm::kWidth) {
    V v = vm::load(x + i, part - i);
    if (kGateFirst) v = hn::Mul(v, vm::value<kKind>(vm::load(z + i, part - i)));
    square = hn::MulAdd(v, v, square);
  }
  const V r = vm::set(
      1 / std::sqrt(vm::sum(square) / static_cast<float>(part) + static_cast<float>(f.eps)));
  V along = vm::set(0);
  for (std::int64_t i = 0; i < part; i += vm::kWidth) {
    const std::int64_t rest = part - i;
    const V zi = vm::load(z + i, rest), gate = vm::value<kKind>(zi), xi = vm::load(x + i, rest),
            wi = vm::load(w + i, rest);
    V d = vm::load(dy + i, rest);
    const V hat = hn::Mul(kGateFirst ? hn::Mul(xi, gate) : xi, r);
    if (!kGateFirst) {
      vm::store(hn::Mul(hn::Mul(hn::Mul(d, hat), wi), vm::slope<kKind>(zi)), dz + i, rest);
      d = hn::Mul(d, gate);
    }
    vm::store(hn::MulAdd(d, hat, vm::load(dw + i, rest)), dw + i, rest);
    along = hn::MulAdd(hn::Mul(d, wi), hat, along);
  }
  const V mean = vm::set(vm::sum(along) / static_cast<float>(part));
  for (std::int64_t i = 0; i < part; i += vm::kWidth) {
    const std::int64_t rest = part - i;
    const V zi = vm::load(z + i, rest), gate = vm::value<kKind>(zi), xi = vm::load(x + i, rest);
    V d = hn::Mul(vm::load(dy + i, rest), vm::load(w + i, rest));
    if (!kGateFirst) d = hn::Mul(d, gate);
    const V hat = hn::Mul(kGateFirst ? hn::Mul(xi, gate) : xi, r);
    const V dv = hn::Mul(r, hn::NegMulAdd(hat, mean, d));
    if (kGateFirst) {
      vm::store(hn::Mul(dv, gate), dx + i, rest);
      vm::store(hn::Mul(hn::Mul(dv, xi), vm::slope<kKind>(zi)), dz + i, rest);
    } else {
      vm::store(dv, dx + i, rest);
    }
  }
}

template <class Fn>
void with_gate(Unary kind, bool gate_first, Fn&& fn) {
  if (kind == Unary::silu) {
    gate_first ? fn.template operator()<Unary::silu, true>()
               : fn.template operator()<Unary::silu, false>();
  } else {
    gate_first ? fn.template operator()<Unary::sigmoid, true>()
               : fn.template operator()<Unary::sigmoid, false>();
  }
}

void gated_norm_forward(const GatedNormForward<float>& a, ThreadPool& threads) {
  const std::int64_t part = a.x.dim(1) / a.groups;
  with_gate(a.activation, a.gate_first, [&]<Unary kKind, bool kGateFirst>() {
    for_row_blocks(threads, a.x.dim(0),
                   [&](std::int64_t begin, std::int64_t end, std::int64_t, Scratch&) {
                     for (std::int64_t n = begin; n < end; ++n) {
                       for (std::int64_t g = 0; g < a.groups; ++g)
                         gated_part<kKind, kGateFirst>(a, n, g, part);
                     }
                   });
  });
}

void gated_norm_backward(const GatedNormBackward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.f.x.dim(0), part = a.f.x.dim(1) / a.f.groups, weights = a.f.w.dim(0);
  PartialSums sums((rows + kRowBlock - 1) / kRowBlock, weights);
  with_gate(a.f.activation, a.f.gate_first, [&]<Unary kKind, bool kGateFirst>() {
    for_row_blocks(threads, rows,
                   [&](std::int64_t begin, std::int64_t end, std::int64_t block, Scratch&) {
                     for (std::int64_t n = begin; n < end; ++n) {
                       for (std::int64_t g = 0; g < a.f.groups; ++g) {
                         gated_part_backward<kKind, kGateFirst>(
                             a, n, g, part, sums.at(block) + (weights == part ? 0 : g * part));
                       }
                     }
                   });
  });
  sums.add_to(a.dw.data, 0, weights);
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(norm_forward);
HWY_EXPORT(norm_backward);
HWY_EXPORT(gated_norm_forward);
HWY_EXPORT(gated_norm_backward);

bool plain_gate(Unary kind) { return kind == Unary::silu || kind == Unary::sigmoid; }

}  // namespace

void add_norm_cpu(KernelTable& table) {
  table.add(
      Impl<NormForward<float>>{"highway", nullptr, [](const NormForward<float>& a, ThreadPool& t) {
                                 HWY_DYNAMIC_DISPATCH(norm_forward)(a, t);
                               }});
  table.add(Impl<NormBackward<float>>{"highway", nullptr,
                                      [](const NormBackward<float>& a, ThreadPool& t) {
                                        HWY_DYNAMIC_DISPATCH(norm_backward)(a, t);
                                      }});
  table.add(Impl<GatedNormForward<float>>{
      "highway", [](const GatedNormForward<float>& a) { return plain_gate(a.activation); },
      [](const GatedNormForward<float>& a, ThreadPool& t) {
        HWY_DYNAMIC_DISPATCH(gated_norm_forward)(a, t);
      }});
  table.add(Impl<GatedNormBackward<float>>{
      "highway", [](const GatedNormBackward<float>& a) { return plain_gate(a.f.activation); },
      [](const GatedNormBackward<float>& a, ThreadPool& t) {
        HWY_DYNAMIC_DISPATCH(gated_norm_backward)(a, t);
      }});
}

}  // namespace subquad
#endif
