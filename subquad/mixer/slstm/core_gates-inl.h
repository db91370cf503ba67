// Gate functions of the sLSTM on one vector of units, cheaper than the general ones of
// vector_math-inl.h: exponents are rounded with an added constant, every polynomial is minimax on
// the reduced interval, and the slope of the forget gate shares its exponential with the gate.
// NaN comes out as NaN: x86 returns the second operand of Max and Min if one is NaN, so the bound
// is the first.
#if defined(SUBQUAD_MIXER_SLSTM_CORE_GATES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_SLSTM_CORE_GATES_INL_H
#undef SUBQUAD_MIXER_SLSTM_CORE_GATES_INL_H
#else
#define SUBQUAD_MIXER_SLSTM_CORE_GATES_INL_H
#endif

#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::slstm_gates {
namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

// x = n ln 2 + r with |r| <= ln 2 / 2, for -87 <= x <= 88: 2^n, and r. Adding 1.5 2^23 + 127 rounds
// to the nearest integer and leaves the biased exponent in the lowest bits.
struct Reduced {
  V power, r;
};
HWY_INLINE Reduced reduce(V x) {
  const vm::F d;
  const hn::RebindToSigned<vm::F> di;
  const V magic = vm::set(12583039.0f);
  const V shifted = hn::MulAdd(x, vm::set(1.44269504f), magic);
  const V n = hn::Sub(shifted, magic);
  const V r = hn::NegMulAdd(n, vm::set(0.693359375f), x);
  return {hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))),
          hn::NegMulAdd(n, vm::set(-2.12194440e-4f), r)};
}

// exp(x) for -87 <= x <= 88, relative error below 2e-7 (the polynomial's: 1.1e-7).
HWY_INLINE V exp_in_range(V x) {
  const auto [power, r] = reduce(x);
  V p = hn::MulAdd(vm::set(0.00831252f), r, vm::set(0.04189011f));
  p = hn::MulAdd(p, r, vm::set(0.16667114f));
  p = hn::MulAdd(p, r, vm::set(0.49999232f));
  p = hn::MulAdd(p, r, vm::set(1.0f));
  p = hn::MulAdd(p, r, vm::set(1.0f));
  return hn::Mul(p, power);
}

// exp(-|x|), never below exp(-87).
HWY_INLINE V exp_minus_abs(V x) {
  return exp_in_range(hn::Max(vm::set(-87.0f), hn::Or(x, vm::set(-0.0f))));
}

HWY_INLINE V sigmoid(V x) {
  const V minus = hn::Min(vm::set(87.0f), hn::Max(vm::set(-87.0f), hn::Neg(x)));
  return hn::Div(vm::set(1.0f), hn::Add(vm::set(1.0f), exp_in_range(minus)));
}

// tanh(x) = E / (E + 2), E = exp(2 x) - 1 without cancellation: relative error below 3e-7 for all
// x.
HWY_INLINE V tanh(V x) {
  const V twice = hn::Min(vm::set(20.0f), hn::Max(vm::set(-20.0f), hn::Add(x, x)));
  const auto [power, r] = reduce(twice);
  V p = hn::MulAdd(vm::set(0.00138825f), r, vm::set(0.00836651f));
  p = hn::MulAdd(p, r, vm::set(0.0416672f));
  p = hn::MulAdd(p, r, vm::set(0.16666544f));
  p = hn::MulAdd(p, r, vm::set(0.49999998f));
  p = hn::MulAdd(p, r, vm::set(1.0f));
  const V e = hn::MulAdd(hn::Mul(p, r), power, hn::Sub(power, vm::set(1.0f)));
  return hn::Div(e, hn::Add(e, vm::set(2.0f)));
}

// log sigmoid(x) = min(x,0) - log1p(y) with y = exp(-|x|), relative error below 3e-7, and its
// derivative sigmoid(-x) = y / (1 + y) or 1 / (1 + y).
struct LogSigmoid {
  V value, slope;
};
HWY_INLINE LogSigmoid log_sigmoid(V x) {
  const V y = exp_minus_abs(x);
  V p = hn::MulAdd(vm::set(0.0052327f), y, vm::set(-0.02950525f));
  p = hn::MulAdd(p, y, vm::set(0.07822597f));
  p = hn::MulAdd(p, y, vm::set(-0.13663247f));
  p = hn::MulAdd(p, y, vm::set(0.19106008f));
  p = hn::MulAdd(p, y, vm::set(-0.24842983f));
  p = hn::MulAdd(p, y, vm::set(0.33319097f));
  p = hn::MulAdd(p, y, vm::set(-0.49999493f));
  p = hn::MulAdd(p, y, vm::set(0.99999997f));
  const V small = hn::IfNegativeThenElse(x, vm::set(1.0f), y);
  return {hn::NegMulAdd(p, y, hn::Min(vm::set(0.0f), x)),
          hn::Div(small, hn::Add(vm::set(1.0f), y))};
}

}  // namespace subquad::HWY_NAMESPACE::slstm_gates
HWY_AFTER_NAMESPACE();

#endif
