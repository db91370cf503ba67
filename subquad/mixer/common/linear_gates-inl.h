// Gates of one chunk and head, and the (C,C) pair matrices made from them. One scalar f64 pass
// makes the prefix sums, everything after it is f32 vectors. Only exponents <= 0 are exponentiated,
// and entries above the diagonal are masked before.
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

HWY_INLINE void split(double value, float& high, float& low) {
  high = static_cast<float>(value);
  low = static_cast<float>(value - static_cast<double>(high));
}

// signed_decay: products instead of exponents. The running product only ever shrinks.
inline void signed_gates(std::int64_t n, LinearGates& g) {
  float product = 1;
  for (std::int64_t i = 0; i < n; ++i) g.from_start[i] = product *= g.a[i];
  g.carry = product;
  product = 1;
  for (std::int64_t i = n - 1; i >= 0; --i) {
    g.to_end[i] = product;
    product *= g.a[i];
  }
}

inline void exponential_gates(const LinearPlan& p, std::int64_t n, std::int64_t padded,
                              const float* decay, const float* write, float m, LinearGates& g) {
  double G[kMaxLinearChunk], M[kMaxLinearChunk];  // prefix sums of the decay; M_i
  double prefix = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    prefix += static_cast<double>(HWY_MAX(kStrongest, decay[i]));
    G[i] = prefix;
  }
  double best = static_cast<double>(m);
  if (p.exponential) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double c = static_cast<double>(write[i]) - G[i];
      g.m_from_write[i] = c > best ? 1.0f : 0.0f;
      best = HWY_MAX(best, c);
      M[i] = best;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      split(-M[i], g.r_high[i], g.r_low[i]);
      split(static_cast<double>(write[i]) - G[i], g.c_high[i], g.c_low[i]);
      g.from_start[i] = static_cast<float>(static_cast<double>(m) - M[i]);
      g.floor[i] = static_cast<float>(-(G[i] + M[i]));
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      split(G[i], g.r_high[i], g.r_low[i]);
      g.c_high[i] = -g.r_high[i];
      g.c_low[i] = -g.r_low[i];
      g.from_start[i] = g.r_high[i];
    }
  }
  g.m_next = p.exponential ? static_cast<float>(prefix + best) : 0.0f;
  const float last_high = g.r_high[n - 1], last_low = g.r_low[n - 1];
  for (std::int64_t i = 0; i < n; ++i) {
    g.to_end[i] = (last_high + g.c_high[i]) + (last_low + g.c_low[i]);
  }
  for (std::int64_t i = n; i < padded; ++i) {
    g.r_high[i] = g.c_high[i] = g.from_start[i] = g.to_end[i] = kNever;
    g.r_low[i] = g.c_low[i] = g.floor[i] = 0;
  }
  exp_row(g.from_start, padded);
  exp_row(g.to_end, padded);
  if (p.exponential && p.normalizer) exp_row(g.floor, padded);
  g.carry = g.from_start[n - 1];
}

// decay and write of the chunk's first token; the next token lies `stride` further.
inline void make_gates(const LinearPlan& p, std::int64_t n, std::int64_t padded, const float* decay,
                       std::int64_t decay_stride, const float* write, std::int64_t write_stride,
                       float m, LinearGates& g) {
  for (std::int64_t i = 0; i < padded; ++i) {
    const bool real = i < n;
    g.w[i] = real ? (p.exponential ? 1.0f : write[i * write_stride]) : 0.0f;
    g.a[i] = real ? decay[i * decay_stride] : 0.0f;
    g.floor[i] = 1;
    g.from_start[i] = g.to_end[i] = 0;
  }
  if (p.is_signed) {
    signed_gates(n, g);
  } else {
    float* packed = g.denominator;  // not needed yet
    for (std::int64_t i = 0; i < n; ++i) packed[i] = write[i * write_stride];
    exponential_gates(p, n, padded, g.a, packed, m, g);
  }
  for (std::int64_t i = 0; i < padded; ++i) g.erase_scale[i] = -g.w[i] * g.from_start[i];
}

// D for the rows of the chunk; column vectors beyond the diagonal's group of 16 are not written.
inline void make_decay_matrix(const LinearPlan& p, std::int64_t n, const LinearGates& g, float* D) {
  const F32 d;
  const std::int64_t ld = p.chunk;
  for (std::int64_t i = 0; i < n; ++i) {
    float* row = D + i * ld;
    const std::int64_t cols = pad_lanes(i + 1);
    if (p.is_signed) {
      const float* above = row - ld;
      const VF a = hn::Set(d, g.a[i]);
      const std::int64_t old = i == 0 ? 0 : pad_lanes(i);
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
      VF y = exp_vector(hn::Min(hn::Zero(d), x));
      if (j + kLanes > i + 1) {
        const std::int64_t keep = HWY_MAX(i + 1 - j, std::int64_t{0});
        y = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(keep)), y);
      }
      hn::Store(y, d, row + j);
    }
  }
}

// With outputs att = D.qk and its row sums weighted by w (denominator); with erase
// n = -w_i D.kk below the diagonal.
inline void make_pair_matrices(const LinearPlan& p, std::int64_t n, std::int64_t padded,
                               bool outputs, LinearWorkspace& s) {
  const F32 d;
  const std::int64_t ld = p.chunk;
  make_decay_matrix(p, n, s.gates, s.decay);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* D = s.decay + i * ld;
    const float* qk = s.qk + i * ld;
    float* att = s.att + i * ld;
    const std::int64_t cols = pad_lanes(i + 1);
    VF sum = hn::Zero(d);
    for (std::int64_t j = 0; outputs && j < cols; j += kLanes) {
      const VF a = hn::Mul(hn::Load(d, D + j), hn::Load(d, qk + j));
      hn::Store(a, d, att + j);
      if (p.normalizer) sum = hn::MulAdd(a, hn::Load(d, s.gates.w + j), sum);
    }
    if (p.normalizer) s.gates.denominator[i] = hn::GetLane(hn::SumOfLanes(d, sum));
    if (!p.erase) continue;
    const float* kk = s.kk + i * ld;
    float* N = s.n + i * ld;
    const VF w = hn::Set(d, -s.gates.w[i]);
    for (std::int64_t j = 0; j < cols; j += kLanes) {
      hn::Store(hn::Mul(w, hn::Mul(hn::Load(d, D + j), hn::Load(d, kk + j))), d, N + j);
    }
    zero(N + i, cols - i);
  }
  for (std::int64_t i = n; i < padded; ++i) {
    zero(s.att + i * ld, padded);
    zero(s.decay + i * ld, padded);
    if (p.erase) zero(s.n + i * ld, padded);
  }
}

// inverse_i = 1 / (max(|d_i|, floor_i) + eps), with what the incoming state adds to d_i.
inline void finish_denominators(const LinearPlan& p, std::int64_t n, std::int64_t padded,
                                const float* norm, LinearWorkspace& s) {
  LinearGates& g = s.gates;
  for (std::int64_t i = 0; i < n; ++i) {
    const float d = g.denominator[i] + g.from_start[i] * dot(s.q + i * p.dk, norm, p.dk);
    g.denominator[i] = d;
    g.inverse[i] = 1.0f / (HWY_MAX(g.floor[i], d < 0 ? -d : d) + p.eps);
  }
  for (std::int64_t i = n; i < padded; ++i) g.inverse[i] = 0;
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
