// Gates of one chunk and head, and the (C,C) pair matrices made from them. One scalar f64 pass
// makes the prefix sums, everything after it is f32 vectors. Entries above the diagonal are zero.
//
// Where the exponents of a chunk span less than kFactorSpan, D_ij = row_i column_j with factors far
// from overflow: two exponentials per token instead of one per pair, and no D at all.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_GATES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_GATES_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_GATES_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_GATES_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/linear_rows-inl.h"
#include "subquad/mixer/common/linear_workspace.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Before AVX2 nobody waits for the compiler to make kernels of every size.
constexpr bool kOldTarget = HWY_TARGET > HWY_AVX2;
constexpr float kNever = -1e30f;     // exponent of a weight that is zero
constexpr float kStrongest = -1e5f;  // a stronger decay is the same: f64 prefix sums stay exact
// exp(40) = 2e17: far enough from the ends of f32 for any product of a factor, its inverse and
// tensors of ordinary size.
constexpr double kFactorSpan = 40;

using F64 = hn::ScalableTag<double>;
using VD = hn::Vec<F64>;
using F32Half = hn::Rebind<float, F64>;  // as many floats as a vector has doubles
constexpr std::int64_t kDoubles = kLanes / 2;

// x to the nearest float, and what that leaves.
HWY_INLINE void split(VD x, float* high, float* low) {
  const F32Half d;
  const auto nearest = hn::DemoteTo(d, x);
  hn::Store(nearest, d, high);
  hn::Store(hn::DemoteTo(d, hn::Sub(x, hn::PromoteTo(F64(), nearest))), d, low);
}

// signed_decay: products instead of exponents. The running product only ever shrinks.
template <class Plan>
inline void signed_gates(std::int64_t n, std::int64_t padded, LinearGates<Plan>& g) {
  float product = 1;
  for (std::int64_t i = 0; i < n; ++i) g.from_start[i] = product *= g.a[i];
  g.carry = product;
  product = 1;
  for (std::int64_t i = n - 1; i >= 0; --i) {
    g.to_end[i] = product;
    product *= g.a[i];
  }
  for (std::int64_t i = n; i < padded; ++i) g.from_start[i] = g.to_end[i] = 0;
}

// exp(high + low) for a small low.
HWY_INLINE VF exp_pair(const float* high, const float* low) {
  const F32 d;
  const VF e = vm::exp(hn::Load(d, high));
  return hn::MulAdd(e, hn::Load(d, low), e);
}

// The sequential half of the gates: one step per token, no branch and no exponential. Behind the
// last token every exponent is kNever.
HWY_INLINE void prefix_sums(bool exponential, std::int64_t n, std::int64_t padded,
                            const float* decay, const float* write, float m, LinearPrefix& s) {
  double prefix = 0;
  if (exponential) {
    auto best = static_cast<double>(m);
    for (std::int64_t i = 0; i < n; ++i) {
      prefix += static_cast<double>(HWY_MAX(kStrongest, decay[i]));
      s.G[i] = prefix;
      s.c[i] = static_cast<double>(write[i]) - prefix;
      s.before[i] = best;
      best = HWY_MAX(best, s.c[i]);
      s.r[i] = -best;
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      prefix += static_cast<double>(HWY_MAX(kStrongest, decay[i]));
      s.r[i] = prefix;
      s.c[i] = -prefix;
    }
  }
  for (std::int64_t i = n; i < padded; ++i) {
    s.G[i] = s.before[i] = s.r[i] = s.c[i] = static_cast<double>(kNever);
  }
}

// r, c relative to the last r: column_j is then the weight of token j in the outgoing state, and
// what the incoming state weighs is the same in every row but for the factor row_i.
template <class Plan>
HWY_INLINE void factor_gates(std::int64_t n, std::int64_t padded, const LinearPrefix& x, float m,
                             LinearGates<Plan>& g) {
  const F32 d;
  const VD last = hn::Set(F64(), x.r[n - 1]);
  for (std::int64_t i = 0; i < padded; i += kDoubles) {
    split(hn::Sub(hn::Load(F64(), x.r + i), last), g.r_high + i, g.r_low + i);
    split(hn::Add(hn::Load(F64(), x.c + i), last), g.c_high + i, g.c_low + i);
  }
  const auto start = static_cast<float>(static_cast<double>(m) + x.r[n - 1]);
  const VF carry = vm::exp(hn::Set(d, start));
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    hn::Store(exp_pair(g.r_high + i, g.r_low + i), d, g.row + i);
    hn::Store(exp_pair(g.c_high + i, g.c_low + i), d, g.column + i);
    hn::Store(first_lanes(carry, n - i), d, g.from_start + i);
    hn::Store(first_lanes(hn::Set(d, 1.0f), n - i), d, g.to_end + i);
  }
  g.carry = hn::GetLane(carry);
}

template <class Plan>
inline void pair_gates(std::int64_t n, std::int64_t padded, const LinearPrefix& x, float m,
                       LinearGates<Plan>& g) {
  const F32 d;
  const VD before = hn::Set(F64(), static_cast<double>(m));
  for (std::int64_t i = 0; i < padded; i += kDoubles) {
    const VD r = hn::Load(F64(), x.r + i);
    split(r, g.r_high + i, g.r_low + i);
    split(hn::Load(F64(), x.c + i), g.c_high + i, g.c_low + i);
    hn::Store(hn::DemoteTo(F32Half(), hn::Add(before, r)), F32Half(), g.from_start + i);
  }
  const VF last_high = hn::Set(d, g.r_high[n - 1]), last_low = hn::Set(d, g.r_low[n - 1]);
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    hn::Store(hn::Add(hn::Add(last_high, hn::Load(d, g.c_high + i)),
                      hn::Add(last_low, hn::Load(d, g.c_low + i))),
              d, g.to_end + i);
  }
  exp_row(g.from_start, padded);
  exp_row(g.to_end, padded);
  g.carry = g.from_start[n - 1];
}

// From g.a, the log decays, and `write`.
template <class Plan>
HWY_INLINE void exponential_gates(const Plan& p, std::int64_t n, const float* write, float m,
                                  LinearPrefix& x, LinearGates<Plan>& g) {
  const std::int64_t padded = p.padded(n);
  prefix_sums(p.exponential, n, padded, g.a, write, m, x);
  if (p.exponential) {
    g.m_next = static_cast<float>(x.G[n - 1] - x.r[n - 1]);
    for (std::int64_t i = 0; i < padded; i += kDoubles) {
      const F32Half half;
      const auto raised = hn::Gt(hn::Load(F64(), x.c + i), hn::Load(F64(), x.before + i));
      const VD flag = hn::IfThenElseZero(raised, hn::Set(F64(), 1.0));
      hn::Store(hn::DemoteTo(half, flag), half, g.m_from_write + i);
      const VD floor = hn::Sub(hn::Load(F64(), x.r + i), hn::Load(F64(), x.G + i));
      hn::Store(hn::DemoteTo(half, floor), half, g.floor + i);
    }
    if (p.normalizer) exp_row(g.floor, padded);
  }
  g.factored = x.r[0] - x.r[n - 1] <= kFactorSpan;  // false for NaN
  if (g.factored) {
    factor_gates(n, padded, x, m, g);
  } else {
    pair_gates(n, padded, x, m, g);
  }
}

// decay and write of the chunk's first token; the next token lies `stride` further.
template <class Plan>
inline void make_gates(const Plan& p, std::int64_t n, const float* decay, std::int64_t decay_stride,
                       const float* write, std::int64_t write_stride, float m, LinearPrefix& x,
                       LinearGates<Plan>& g) {
  const F32 d;
  const std::int64_t padded = p.padded(n);
  float* packed = p.exponential ? g.denominator : g.w;  // the denominators are not needed yet
  for (std::int64_t i = 0; i < n; ++i) {
    g.a[i] = decay[i * decay_stride];
    packed[i] = write[i * write_stride];
  }
  for (std::int64_t i = n; i < padded; ++i) g.a[i] = packed[i] = 0;
  g.factored = false;
  g.m_next = 0;
  if (p.is_signed) {
    signed_gates(n, padded, g);
  } else {
    exponential_gates(p, n, packed, m, x, g);
  }
  const VF one = hn::Set(d, 1.0f);
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    if (p.exponential) hn::Store(first_lanes(one, n - i), d, g.w + i);
    if (!g.factored) hn::Store(one, d, g.row + i);
    if (!g.factored) hn::Store(one, d, g.column + i);
    if (!p.exponential) hn::Store(one, d, g.floor + i);
    const VF w = hn::Load(d, g.w + i);
    hn::Store(hn::Mul(w, hn::Load(d, g.column + i)), d, g.w_in + i);
    hn::Store(hn::Neg(hn::Mul(w, hn::Load(d, g.from_start + i))), d, g.erase_scale + i);
    hn::Store(hn::Load(d, g.row + i), d, g.out + i);
  }
}

// D for the rows of the chunk, as far as lower_columns.
template <class Plan>
inline void make_decay_matrix(const Plan& p, std::int64_t n, const LinearGates<Plan>& g, float* D) {
  const F32 d;
  const std::int64_t ld = p.chunk;
  for (std::int64_t i = 0; i < n; ++i) {
    float* row = D + i * ld;
    const std::int64_t cols = lower_columns(i);
    if (p.is_signed) {
      const float* above = row - ld;
      const VF a = hn::Set(d, g.a[i]);
      const std::int64_t old = i == 0 ? 0 : lower_columns(i - 1);
      for (std::int64_t j = 0; j < old; j += kLanes) {
        hn::Store(hn::Mul(a, hn::Load(d, above + j)), d, row + j);
      }
      zero(row + old, cols - old);
      row[i] = 1;
      continue;
    }
    const VF high = hn::Set(d, g.r_high[i]), low = hn::Set(d, g.r_low[i]);
    for (std::int64_t j = 0; j < cols; j += kLanes) {
      const VF x =
          hn::Add(hn::Add(high, hn::Load(d, g.c_high + j)), hn::Add(low, hn::Load(d, g.c_low + j)));
      hn::Store(first_lanes(vm::exp_at_most_88(hn::Min(hn::Zero(d), x)), i + 1 - j), d, row + j);
    }
  }
  for (std::int64_t i = n; i < p.padded(n); ++i) zero(D + i * ld, lower_columns(i));
}

// pairs = D.qk and its row sums weighted by w (denominator), if there are outputs; with erase
// n = -w_i D.kk. What lies on the diagonal of n is not read.
template <class Plan>
inline void make_pair_matrices(const Plan& p, std::int64_t n, bool outputs, const float* kk,
                               LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  const F32 d;
  const std::int64_t ld = p.chunk, padded = p.padded(n);
  s.pairs = g.factored ? s.qk : s.weighted;
  if (!g.factored) make_decay_matrix(p, n, g, s.decay);
  for (std::int64_t i = 0; outputs && !g.factored && i < padded; ++i) {
    for (std::int64_t j = i * ld; j < i * ld + lower_columns(i); j += kLanes) {
      hn::Store(hn::Mul(hn::Load(d, s.decay + j), hn::Load(d, s.qk + j)), d, s.weighted + j);
    }
  }
  for (std::int64_t i = 0; p.erase && i < padded; ++i) {
    const VF w = hn::Set(d, -g.w[i]);
    for (std::int64_t j = i * ld; j < i * ld + lower_columns(i); j += kLanes) {
      const VF score = hn::Load(d, kk + j);
      const VF pair = g.factored ? score : hn::Mul(hn::Load(d, s.decay + j), score);
      hn::Store(hn::Mul(w, pair), d, s.n + j);
    }
  }
  if (!outputs || !p.normalizer) return;
  row_sums(padded, g.denominator, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(s.pairs + i * ld, g.w_in, lower_columns(i));
  });
}

// inverse_i = 1 / (max(|d_i|, floor_i) + eps), with what the incoming state adds to d_i.
template <class Plan>
inline void finish_denominators(const Plan& p, std::int64_t n, bool fresh, const float* norm,
                                LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  const F32 d;
  const std::int64_t padded = p.padded(n);
  if (!fresh) {
    row_sums(padded, s.read_norm,
             [&](std::int64_t i) HWY_ATTR { return multiply_rows(s.q + i * p.dk, norm, p.dk); });
  }
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    VF sum = hn::Load(d, g.denominator + i);
    if (!fresh) {
      sum = hn::MulAdd(hn::Load(d, g.from_start + i), hn::Load(d, s.read_norm + i), sum);
    }
    const VF row = hn::Load(d, g.row + i);
    sum = hn::Mul(row, sum);
    hn::Store(sum, d, g.denominator + i);
    const VF size = hn::Max(hn::Load(d, g.floor + i), hn::Abs(sum));  // NaN stays
    const VF inverse = hn::Div(hn::Set(d, 1.0f), hn::Add(size, hn::Set(d, p.eps)));
    hn::Store(first_lanes(inverse, n - i), d, g.inverse + i);
    hn::Store(first_lanes(hn::Mul(row, inverse), n - i), d, g.out + i);
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
