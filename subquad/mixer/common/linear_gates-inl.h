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

#include "subquad/mixer/common/linear_plan.h"
#include "subquad/mixer/common/linear_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kNever = -1e30f;     // exponent of a weight that is zero
constexpr float kStrongest = -1e5f;  // a stronger decay is the same: f64 prefix sums stay exact
// exp(40) = 2e17: far enough from the ends of f32 for any product of a factor, its inverse and
// tensors of ordinary size.
constexpr double kFactorSpan = 40;

HWY_INLINE void split(double value, float& high, float& low) {
  high = static_cast<float>(value);
  low = static_cast<float>(value - static_cast<double>(high));
}

// signed_decay: products instead of exponents. The running product only ever shrinks.
inline void signed_gates(std::int64_t n, std::int64_t padded, LinearGates& g) {
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
  const VF e = exp_vector(hn::Min(hn::Set(d, 88.0f), hn::Load(d, high)));
  return hn::MulAdd(e, hn::Load(d, low), e);
}

// r, c relative to the last r: column_j is then the weight of token j in the outgoing state, and
// what the incoming state weighs is the same in every row but for the factor row_i.
inline void factor_gates(std::int64_t n, std::int64_t padded, const double* r, const double* c,
                         float m, LinearGates& g) {
  const F32 d;
  const double last = r[n - 1];
  for (std::int64_t i = 0; i < n; ++i) {
    split(r[i] - last, g.r_high[i], g.r_low[i]);
    split(c[i] + last, g.c_high[i], g.c_low[i]);
  }
  for (std::int64_t i = n; i < padded; ++i) {
    g.r_high[i] = g.c_high[i] = kNever;
    g.r_low[i] = g.c_low[i] = 0;
  }
  const auto start = static_cast<float>(static_cast<double>(m) + last);
  const VF carry = exp_vector(hn::Min(hn::Set(d, 88.0f), hn::Set(d, start)));
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    hn::Store(exp_pair(g.r_high + i, g.r_low + i), d, g.row + i);
    hn::Store(exp_pair(g.c_high + i, g.c_low + i), d, g.column + i);
    hn::Store(first_lanes(carry, n - i), d, g.from_start + i);
    hn::Store(first_lanes(hn::Set(d, 1.0f), n - i), d, g.to_end + i);
  }
  g.carry = hn::GetLane(carry);
}

inline void pair_gates(std::int64_t n, std::int64_t padded, const double* r, const double* c,
                       float m, LinearGates& g) {
  for (std::int64_t i = 0; i < n; ++i) {
    split(r[i], g.r_high[i], g.r_low[i]);
    split(c[i], g.c_high[i], g.c_low[i]);
    g.from_start[i] = static_cast<float>(static_cast<double>(m) + r[i]);
  }
  const float last_high = g.r_high[n - 1], last_low = g.r_low[n - 1];
  for (std::int64_t i = 0; i < n; ++i) {
    g.to_end[i] = (last_high + g.c_high[i]) + (last_low + g.c_low[i]);
  }
  for (std::int64_t i = n; i < padded; ++i) {
    g.r_high[i] = g.c_high[i] = g.from_start[i] = g.to_end[i] = kNever;
    g.r_low[i] = g.c_low[i] = 0;
  }
  exp_row(g.from_start, padded);
  exp_row(g.to_end, padded);
  g.carry = g.from_start[n - 1];
}

// From g.a, the log decays, and `write`.
inline void exponential_gates(const LinearPlan& p, std::int64_t n, std::int64_t padded,
                              const float* write, float m, LinearGates& g) {
  double r[kMaxLinearChunk], c[kMaxLinearChunk];
  double G = 0, best = static_cast<double>(m);  // prefix sum of the decay; M_i
  if (p.exponential) {
    for (std::int64_t i = 0; i < n; ++i) {
      G += static_cast<double>(HWY_MAX(kStrongest, g.a[i]));
      c[i] = static_cast<double>(write[i]) - G;
      g.m_from_write[i] = c[i] > best ? 1.0f : 0.0f;
      best = HWY_MAX(best, c[i]);
      r[i] = -best;
      g.floor[i] = static_cast<float>(-(G + best));
    }
    for (std::int64_t i = n; i < padded; ++i) g.floor[i] = 0;
    if (p.normalizer) exp_row(g.floor, padded);
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      G += static_cast<double>(HWY_MAX(kStrongest, g.a[i]));
      r[i] = G;
      c[i] = -G;
    }
  }
  g.m_next = p.exponential ? static_cast<float>(G + best) : 0.0f;
  g.factored = r[0] - r[n - 1] <= kFactorSpan;  // false for NaN
  if (g.factored) {
    factor_gates(n, padded, r, c, m, g);
  } else {
    pair_gates(n, padded, r, c, m, g);
  }
}

// decay and write of the chunk's first token; the next token lies `stride` further.
template <class Plan>
inline void make_gates(const Plan& p, std::int64_t n, const float* decay, std::int64_t decay_stride,
                       const float* write, std::int64_t write_stride, float m, LinearGates& g) {
  const F32 d;
  const std::int64_t padded = p.padded(n);
  float* packed = p.exponential ? g.denominator : g.w;  // the denominators are not needed yet
  for (std::int64_t i = 0; i < n; ++i) {
    g.a[i] = decay[i * decay_stride];
    packed[i] = write[i * write_stride];
  }
  for (std::int64_t i = n; i < padded; ++i) g.a[i] = packed[i] = 0;
  g.factored = false;
  if (p.is_signed) {
    signed_gates(n, padded, g);
  } else {
    exponential_gates(p, n, padded, packed, m, g);
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
inline void make_decay_matrix(const Plan& p, std::int64_t n, const LinearGates& g, float* D) {
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
      hn::Store(first_lanes(exp_vector(hn::Min(hn::Zero(d), x)), i + 1 - j), d, row + j);
    }
  }
  for (std::int64_t i = n; i < p.padded(n); ++i) zero(D + i * ld, lower_columns(i));
}

// pairs = D.qk and its row sums weighted by w (denominator), if there are outputs; with erase
// n = -w_i D.kk. What lies on the diagonal of n is not read.
template <class Plan>
inline void make_pair_matrices(const Plan& p, std::int64_t n, bool outputs, LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t ld = p.chunk, padded = p.padded(n);
  s.pairs = g.factored ? s.qk : s.pairs_buffer;
  if (!g.factored) make_decay_matrix(p, n, g, s.decay);
  for (std::int64_t i = 0; outputs && !g.factored && i < padded; ++i) {
    for (std::int64_t j = i * ld; j < i * ld + lower_columns(i); j += kLanes) {
      hn::Store(hn::Mul(hn::Load(d, s.decay + j), hn::Load(d, s.qk + j)), d, s.pairs_buffer + j);
    }
  }
  for (std::int64_t i = 0; p.erase && i < padded; ++i) {
    const VF w = hn::Set(d, -g.w[i]);
    for (std::int64_t j = i * ld; j < i * ld + lower_columns(i); j += kLanes) {
      const VF kk = hn::Load(d, s.kk + j);
      hn::Store(hn::Mul(w, g.factored ? kk : hn::Mul(hn::Load(d, s.decay + j), kk)), d, s.n + j);
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
                                LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t padded = p.padded(n);
  float* read = g.inverse;  // q.norm, for now
  if (!fresh) {
    row_sums(padded, read,
             [&](std::int64_t i) HWY_ATTR { return multiply_rows(s.q + i * p.dk, norm, p.dk); });
  }
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    VF sum = hn::Load(d, g.denominator + i);
    if (!fresh) {
      sum = hn::MulAdd(hn::Load(d, g.from_start + i), hn::Load(d, read + i), sum);
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
