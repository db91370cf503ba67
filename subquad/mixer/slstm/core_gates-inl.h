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

// Every constant as a vector in memory. Functions that are not inlined get it by reference, so that
// constants are memory operands of the arithmetic instead of one broadcast each.
struct Constants {
  V zero, one, two, minus_zero;
  // Reduction x = n ln 2 + r, |r| <= ln 2 / 2. Adding `shift`, 1.5 2^23 + 127, rounds to the
  // nearest integer and leaves the biased exponent in the lowest bits.
  V log2_e, shift, minus_ln2_high, minus_ln2_low;
  V low, high, tanh_range, minus_tanh_range;
  V e2, e3, e4, e5;                      // e^r = 1 + r + e2 r^2 + ..., error 1.1e-7
  V t2, t3, t4, t5, t6;                  // (e^r - 1) / r = 1 + t2 r + ..., error 1.3e-8
  V l1, l2, l3, l4, l5, l6, l7, l8, l9;  // log1p(y) / y = l1 + l2 y + ... on [0,1], error 3e-8
};
HWY_INLINE void set(Constants& k) {
  k.zero = vm::set(0.0f), k.one = vm::set(1.0f), k.two = vm::set(2.0f);
  k.minus_zero = vm::set(-0.0f);
  k.log2_e = vm::set(1.44269504f), k.shift = vm::set(12583039.0f);
  k.minus_ln2_high = vm::set(-0.693359375f), k.minus_ln2_low = vm::set(2.12194440e-4f);
  k.low = vm::set(-87.0f), k.high = vm::set(87.0f);
  k.tanh_range = vm::set(20.0f), k.minus_tanh_range = vm::set(-20.0f);
  k.e2 = vm::set(0.49999232f), k.e3 = vm::set(0.16667114f), k.e4 = vm::set(0.04189011f);
  k.e5 = vm::set(0.00831252f);
  k.t2 = vm::set(0.49999998f), k.t3 = vm::set(0.16666544f), k.t4 = vm::set(0.0416672f);
  k.t5 = vm::set(0.00836651f), k.t6 = vm::set(0.00138825f);
  k.l1 = vm::set(0.99999997f), k.l2 = vm::set(-0.49999493f), k.l3 = vm::set(0.33319097f);
  k.l4 = vm::set(-0.24842983f), k.l5 = vm::set(0.19106008f), k.l6 = vm::set(-0.13663247f);
  k.l7 = vm::set(0.07822597f), k.l8 = vm::set(-0.02950525f), k.l9 = vm::set(0.0052327f);
}

// 2^n and r of -87 <= x <= 88.
struct Reduced {
  V power, r;
};
HWY_INLINE Reduced reduce(const Constants& k, V x) {
  const hn::RebindToSigned<vm::F> di;
  const V shifted = hn::MulAdd(x, k.log2_e, k.shift);
  const V n = hn::Sub(shifted, k.shift);
  const V r = hn::MulAdd(n, k.minus_ln2_high, x);
  return {hn::BitCast(vm::F(), hn::ShiftLeft<23>(hn::BitCast(di, shifted))),
          hn::MulAdd(n, k.minus_ln2_low, r)};
}

// exp(x) for -87 <= x <= 88, relative error below 2e-7.
HWY_INLINE V exp_in_range(const Constants& k, V x) {
  const auto [power, r] = reduce(k, x);
  const V r2 = hn::Mul(r, r);
  const V high = hn::MulAdd(hn::MulAdd(r, k.e5, k.e4), r2, hn::MulAdd(r, k.e3, k.e2));
  return hn::Mul(hn::MulAdd(high, r2, hn::Add(r, k.one)), power);
}

// exp(-|x|), never below exp(-87).
HWY_INLINE V exp_minus_abs(const Constants& k, V x) {
  return exp_in_range(k, hn::Max(k.low, hn::Or(x, k.minus_zero)));
}

HWY_INLINE V sigmoid(const Constants& k, V x) {
  const V minus = hn::Min(k.high, hn::Max(k.low, hn::Xor(x, k.minus_zero)));
  return hn::Div(k.one, hn::Add(k.one, exp_in_range(k, minus)));
}

// tanh(x) = E / (E + 2), E = exp(2 x) - 1 without cancellation; relative error below 3e-7.
HWY_INLINE V tanh(const Constants& k, V x) {
  const V twice = hn::Min(k.tanh_range, hn::Max(k.minus_tanh_range, hn::Add(x, x)));
  const auto [power, r] = reduce(k, twice);
  const V r2 = hn::Mul(r, r);
  const V high = hn::MulAdd(hn::MulAdd(r, k.t6, k.t5), r2, hn::MulAdd(r, k.t4, k.t3));
  const V p = hn::MulAdd(high, r2, hn::MulAdd(r, k.t2, k.one));
  const V e = hn::MulAdd(hn::Mul(p, r), power, hn::Sub(power, k.one));
  return hn::Div(e, hn::Add(e, k.two));
}

// log sigmoid(x) = min(x,0) - log1p(y) with y = exp(-|x|), relative error below 3e-7, and its
// derivative sigmoid(-x) = y / (1 + y) or 1 / (1 + y).
struct LogSigmoid {
  V value, slope;
};
HWY_INLINE LogSigmoid log_sigmoid(const Constants& k, V x) {
  const V y = exp_minus_abs(k, x), y2 = hn::Mul(y, y), y4 = hn::Mul(y2, y2);
  const V low = hn::MulAdd(hn::MulAdd(y, k.l4, k.l3), y2, hn::MulAdd(y, k.l2, k.l1));
  const V middle = hn::MulAdd(hn::MulAdd(y, k.l8, k.l7), y2, hn::MulAdd(y, k.l6, k.l5));
  const V p = hn::MulAdd(hn::MulAdd(y4, k.l9, middle), y4, low);
  const V lesser = hn::IfNegativeThenElse(x, k.one, y);
  return {hn::NegMulAdd(p, y, hn::Min(k.zero, x)), hn::Div(lesser, hn::Add(k.one, y))};
}

}  // namespace subquad::HWY_NAMESPACE::slstm_gates
HWY_AFTER_NAMESPACE();

#endif
