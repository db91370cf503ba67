// Vector functions for f32 kernels, and loads and stores that know about tails.
#if defined(SUBQUAD_BACKEND_CPU_VECTOR_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_BACKEND_CPU_VECTOR_MATH_INL_H
#undef SUBQUAD_BACKEND_CPU_VECTOR_MATH_INL_H
#else
#define SUBQUAD_BACKEND_CPU_VECTOR_MATH_INL_H
#endif

#include <hwy/highway.h>
// After highway.h:
#include <hwy/contrib/math/math-inl.h>

#include <cstdint>

#include "subquad/backend/pointwise.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::vm {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using V = hn::Vec<F>;
constexpr std::int64_t kWidth = HWY_LANES(float);

// Lanes [0, count) of p, zeros above; count >= kWidth is a plain load. What lies past the end is
// neither read nor written: only the wider instruction sets have masked accesses that promise it.
HWY_INLINE V load(const float* p, std::int64_t count) {
  const F d;
  if (count >= kWidth) return hn::LoadU(d, p);
#if HWY_TARGET <= HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
#else
  alignas(64) float lanes[kWidth] = {};
  for (std::int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return hn::Load(d, lanes);
#endif
}
HWY_INLINE void store(V v, float* p, std::int64_t count) {
  const F d;
  if (count >= kWidth) {
    hn::StoreU(v, d, p);
    return;
  }
#if HWY_TARGET <= HWY_AVX3
  hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
#else  // masked stores of AVX2 are microcode on some processors
  alignas(64) float lanes[kWidth];
  hn::Store(v, d, lanes);
  for (std::int64_t i = 0; i < count; ++i) p[i] = lanes[i];
#endif
}
// The nearest bf16, ties to even; NaN stays NaN. As round_to_bf16() of backend/bf16.h.
HWY_INLINE V round_to_bf16(V v) {
  const F d;
  const hn::RebindToUnsigned<F> du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded =
      hn::And(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF))), hn::Set(du, 0xFFFF0000));
  return hn::IfThenElse(hn::IsNaN(v), v, hn::BitCast(d, rounded));
}
HWY_INLINE V set(float x) { return hn::Set(F(), x); }
HWY_INLINE float sum(V v) { return hn::GetLane(hn::SumOfLanes(F(), v)); }

using F32x4 = hn::Full128<float>;

// The sum of a vector's 128-bit blocks.
template <class Wide>
HWY_INLINE hn::Vec<F32x4> sum_blocks(Wide v) {
  if constexpr (hn::MaxLanes(hn::DFromV<Wide>()) == 4) {
    return v;
  } else {
    const hn::Half<hn::DFromV<Wide>> half;
    return sum_blocks(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The sums of the lanes of four vectors, side by side.
HWY_INLINE hn::Vec<F32x4> sum_lanes(V r0, V r1, V r2, V r3) {
  const F d;
  const hn::ScalableTag<double> dd;
  const auto a =
      hn::BitCast(dd, hn::Add(hn::InterleaveLower(d, r0, r1), hn::InterleaveUpper(d, r0, r1)));
  const auto b =
      hn::BitCast(dd, hn::Add(hn::InterleaveLower(d, r2, r3), hn::InterleaveUpper(d, r2, r3)));
  return sum_blocks(hn::Add(hn::BitCast(d, hn::InterleaveLower(dd, a, b)),
                            hn::BitCast(d, hn::InterleaveUpper(dd, a, b))));
}

// fn(i, count) for the vectors of [0, n): whole ones with the constant kWidth, then what is left.
template <class Fn>
HWY_INLINE void for_vectors(std::int64_t n, Fn&& fn) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) fn(i, kWidth);
  if (i < n) fn(i, n - i);
}
// The same where outputs do not overlap inputs: the last vector may compute some elements again,
// which is cheaper than a masked store.
template <class Fn>
HWY_INLINE void for_overlapping_vectors(std::int64_t n, Fn&& fn) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) fn(i, kWidth);
  if (i == n) return;
  if (n >= kWidth) {
    fn(n - kWidth, kWidth);
  } else {
    fn(i, n - i);
  }
}

// NaN must come out as NaN everywhere, or a broken weight trains on unnoticed. On x86 Max and Min
// return their second operand if either is NaN: the value comes second, the limit first.

// exp of x in [-87, 88]; relative error below 1e-7, exp(0) = 1. Cody-Waite reduction: adding
// 1.5 2^23 rounds x / log 2 to an integer that then lies in the low bits; minimax polynomial of
// degree 6.
HWY_INLINE V exp_in_range(V x) {
  const F d;
  const hn::RebindToSigned<F> di;
  const V magic = set(12582912.0f), z = hn::MulAdd(x, set(1.44269504f), magic);
  const V n = hn::Sub(z, magic);
  V r = hn::NegMulAdd(n, set(0.693359375f), x);
  r = hn::NegMulAdd(n, set(-2.12194440e-4f), r);
  V p = set(1.3836835e-3f);
  p = hn::MulAdd(p, r, set(8.3748242e-3f));
  p = hn::MulAdd(p, r, set(4.1668225e-2f));
  p = hn::MulAdd(p, r, set(1.6666420e-1f));
  p = hn::MulAdd(p, r, set(4.9999991e-1f));
  p = hn::MulAdd(p, r, set(1.0f));
  p = hn::MulAdd(p, r, set(1.0f));
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::BitCast(di, z), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, power));
}
// exp(x) for x <= 88, exactly 0 below -87.
HWY_INLINE V exp_at_most_88(V x) {
  return hn::IfThenZeroElse(hn::Lt(x, set(-87.0f)), exp_in_range(hn::Max(set(-87.0f), x)));
}
// exp(min(x, 88)), exactly 0 below -87.
HWY_INLINE V exp(V x) { return exp_at_most_88(hn::Min(set(88.0f), x)); }
// 2^x for x <= 127, relative error below 2e-7 down to -126 and exactly 0 below -127. Adding
// 1.5 2^23 + 127 rounds to the nearest integer n and leaves the biased exponent of 2^n in the
// lowest bits; the polynomial is minimax on |x - n| <= 1/2. NaN stays: Max returns its second
// operand.
HWY_INLINE V exp2(V x) {
  const F d;
  const hn::RebindToSigned<F> di;
  x = hn::Max(set(-127.0f), x);
  const V shifted = hn::Add(x, set(12583039.0f));
  const V r = hn::Sub(x, hn::Sub(shifted, set(12583039.0f)));
  V p = hn::MulAdd(set(0.00132647273f), r, set(0.009671512729f));
  p = hn::MulAdd(p, r, set(0.055507337438f));
  p = hn::MulAdd(p, r, set(0.24022242084f));
  p = hn::MulAdd(p, r, set(0.693146977598f));
  p = hn::MulAdd(p, r, set(1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}
// 1 / (1 + exp(-x)), at least 1.6e-38.
HWY_INLINE V sigmoid(V x) {
  const V y = hn::Min(set(87.0f), hn::Max(set(-87.0f), hn::Neg(x)));
  return hn::Div(set(1.0f), hn::Add(set(1.0f), exp_in_range(y)));
}
// Relative accuracy also near 0, through expm1.
HWY_INLINE V tanh(V x) { return hn::Tanh(F(), x); }
HWY_INLINE V softplus(V x) {
  const V y = hn::Add(hn::Max(set(0.0f), x), hn::Log1p(F(), exp(hn::Neg(hn::Abs(x)))));
  return hn::IfThenElse(hn::Gt(x, set(20.0f)), x, y);
}
HWY_INLINE V log_sigmoid(V x) {
  return hn::Sub(hn::Min(set(0.0f), x), hn::Log1p(F(), exp(hn::Neg(hn::Abs(x)))));
}

template <Unary kKind>
HWY_INLINE V value(V x) {
  if constexpr (kKind == Unary::silu) return hn::Mul(x, sigmoid(x));
  if constexpr (kKind == Unary::sigmoid) return sigmoid(x);
  if constexpr (kKind == Unary::tanh) return tanh(x);
  if constexpr (kKind == Unary::softplus) return softplus(x);
  if constexpr (kKind == Unary::log_sigmoid) return log_sigmoid(x);
  if constexpr (kKind == Unary::square) return hn::Mul(x, x);
  if constexpr (kKind == Unary::relu) return hn::Max(set(0.0f), x);
  if constexpr (kKind == Unary::exp) return exp(x);
  return x;
}

template <Unary kKind>
HWY_INLINE V slope(V x) {
  const V one = set(1.0f);
  if constexpr (kKind == Unary::silu) {
    const V s = sigmoid(x);
    return hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
  }
  if constexpr (kKind == Unary::sigmoid) {  // e / (1 + e)^2: relative accuracy on both sides
    const V e = exp_in_range(hn::Max(set(-87.0f), hn::Neg(hn::Abs(x)))), y = hn::Add(one, e);
    return hn::Div(e, hn::Mul(y, y));
  }
  if constexpr (kKind == Unary::tanh) {
    const V y = tanh(x);
    return hn::Mul(hn::Sub(one, y), hn::Add(one, y));
  }
  if constexpr (kKind == Unary::softplus)
    return hn::IfThenElse(hn::Gt(x, set(20.0f)), one, sigmoid(x));
  if constexpr (kKind == Unary::log_sigmoid) return sigmoid(hn::Neg(x));
  if constexpr (kKind == Unary::square) return hn::Add(x, x);
  if constexpr (kKind == Unary::relu) return hn::IfThenElseZero(hn::Gt(x, set(0.0f)), one);
  if constexpr (kKind == Unary::exp) return exp(x);
  return one;
}

// Calls fn.operator()<kind>() with the kind as a constant, for the kinds with a vector form here.
template <class Fn>
void with_kind(Unary kind, Fn&& fn) {
  switch (kind) {
    case Unary::silu: return fn.template operator()<Unary::silu>();
    case Unary::sigmoid: return fn.template operator()<Unary::sigmoid>();
    case Unary::tanh: return fn.template operator()<Unary::tanh>();
    case Unary::softplus: return fn.template operator()<Unary::softplus>();
    case Unary::log_sigmoid: return fn.template operator()<Unary::log_sigmoid>();
    case Unary::square: return fn.template operator()<Unary::square>();
    case Unary::relu: return fn.template operator()<Unary::relu>();
    case Unary::exp: return fn.template operator()<Unary::exp>();
    default: return;
  }
}

}  // namespace subquad::HWY_NAMESPACE::vm
HWY_AFTER_NAMESPACE();

#endif
