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

// Lanes [0, count) of p, zeros above; count >= kWidth is a plain load.
HWY_INLINE V load(const float* p, std::int64_t count) {
  const F d;
  if (count >= kWidth) return hn::LoadU(d, p);
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
}
HWY_INLINE void store(V v, float* p, std::int64_t count) {
  const F d;
  if (count >= kWidth) {
    hn::StoreU(v, d, p);
  } else {
    hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
  }
}
HWY_INLINE V set(float x) { return hn::Set(F(), x); }
HWY_INLINE float sum(V v) { return hn::GetLane(hn::SumOfLanes(F(), v)); }

// NaN must come out as NaN everywhere, or a broken weight trains on unnoticed. On x86 Max and Min
// return their second operand if either is NaN: the value comes second, the limit first.

// exp(min(x, 88)); relative error below 3e-7; exactly 0 below -87. Cody-Waite reduction, Taylor to
// degree 6.
HWY_INLINE V exp(V x) {
  const F d;
  const hn::RebindToSigned<F> di;
  const auto tiny = hn::Lt(x, set(-87.0f));
  x = hn::Min(set(88.0f), hn::Max(set(-87.0f), x));
  const V n = hn::Round(hn::Mul(x, set(1.44269504f)));
  V r = hn::NegMulAdd(n, set(0.693359375f), x);
  r = hn::NegMulAdd(n, set(-2.12194440e-4f), r);
  V p = set(1.0f / 720);
  p = hn::MulAdd(p, r, set(1.0f / 120));
  p = hn::MulAdd(p, r, set(1.0f / 24));
  p = hn::MulAdd(p, r, set(1.0f / 6));
  p = hn::MulAdd(p, r, set(0.5f));
  p = hn::MulAdd(p, r, set(1.0f));
  p = hn::MulAdd(p, r, set(1.0f));
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  return hn::IfThenZeroElse(tiny, hn::Mul(p, hn::BitCast(d, power)));
}
HWY_INLINE V sigmoid(V x) { return hn::Div(set(1.0f), hn::Add(set(1.0f), exp(hn::Neg(x)))); }
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
  if constexpr (kKind == Unary::sigmoid) return hn::Mul(sigmoid(x), sigmoid(hn::Neg(x)));
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
