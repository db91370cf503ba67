// The elementwise half of the chunkwise backward: from the raw score gradients x = e uᵀ and
// y = du uᵀ to the pair gradients P and MM, the row and column sums of dwrite, and the decay
// gradient.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_DECAY_GRADIENT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_DECAY_GRADIENT_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_DECAY_GRADIENT_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_DECAY_GRADIENT_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/linear_gates-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct PairRow {  // sums over the lanes
  VF crossing;    // over columns j < i and rows >= i
  VF dwrite;
};

// Row i of P and MM. colsum_j is the sum over the rows from i on. With signed_decay s.x is
// overwritten by Z = (pair gradient).(pair product without D).
template <class Plan>
HWY_INLINE PairRow pair_row(const Plan& p, std::int64_t i, bool first_head, LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t at = i * p.chunk;
  const VF delta = hn::Set(d, p.normalizer ? s.delta[i] : 0.0f), w = hn::Set(d, g.w[i]);
  PairRow sums{hn::Zero(d), hn::Zero(d)};
  for (std::int64_t j = 0; j < lower_columns(i); j += kLanes) {
    VF dscore = hn::Load(d, s.x + at + j);
    const VF score = hn::Load(d, s.qk + at + j);
    const VF decay = g.factored ? score : hn::Load(d, s.decay + at + j);
    if (p.normalizer) {
      dscore = hn::MulAdd(delta, hn::Load(d, g.w_in + j), dscore);
      if (g.factored) dscore = first_lanes(dscore, i + 1 - j);
      const VF weights = hn::Load(d, s.pairs + at + j);
      hn::Store(hn::MulAdd(delta, weights, hn::Load(d, s.eta + j)), d, s.eta + j);
    }
    const VF pair = g.factored ? dscore : hn::Mul(dscore, decay);
    float* P = s.p_sum + at + j;
    hn::Store(first_head ? pair : hn::Add(pair, hn::Load(d, P)), d, P);
    VF crossing = hn::Mul(p.is_signed ? dscore : pair, score);
    if (p.erase) {
      const VF dM = first_lanes(hn::Neg(hn::Load(d, s.y + at + j)), i - j);
      const VF key_score = hn::Load(d, s.kk + at + j);
      const VF decayed = g.factored ? dM : hn::Mul(dM, decay);
      const VF mm = hn::Mul(w, decayed);
      float* MM = s.mm_sum + at + j;
      hn::Store(first_head ? mm : hn::Add(mm, hn::Load(d, MM)), d, MM);
      sums.dwrite = hn::MulAdd(decayed, key_score, sums.dwrite);
      crossing = hn::MulAdd(p.is_signed ? hn::Mul(w, dM) : mm, key_score, crossing);
    }
    if (p.is_signed) {
      hn::Store(first_lanes(crossing, i + 1 - j), d, s.x + at + j);
    } else {
      const VF colsum = hn::Add(crossing, hn::Load(d, s.colsum + j));
      hn::Store(colsum, d, s.colsum + j);
      sums.crossing = hn::Add(sums.crossing, first_lanes(colsum, i - j));
    }
  }
  return sums;
}

// From the last row to the first. Rows of padding are zero.
template <class Plan>
inline void pair_gradients(const Plan& p, std::int64_t n, bool first_head, LinearWorkspace& s) {
  zero(s.colsum, p.chunk);
  zero(s.eta, p.chunk);
  if (!p.erase) zero(s.dwrite, p.chunk);
  for (std::int64_t i = round_up(n, 4) - 4; i >= 0; i -= 4) {
    const PairRow r3 = pair_row(p, i + 3, first_head, s), r2 = pair_row(p, i + 2, first_head, s),
                  r1 = pair_row(p, i + 1, first_head, s), r0 = pair_row(p, i, first_head, s);
    hn::Store(sum_lanes(r0.crossing, r1.crossing, r2.crossing, r3.crossing), F32x4(), s.cross + i);
    if (!p.erase) continue;
    hn::Store(sum_lanes(r0.dwrite, r1.dwrite, r2.dwrite, r3.dwrite), F32x4(), s.dwrite + i);
  }
}

// signed_decay: no factor a_t may be divided out, so the path over t is cut into the two products
// around it: da_t = sum_{i>=t, j<t} D_it Z_ij D_{t-1,j}, with the chunk's two ends as further i and
// j.
template <class Plan>
inline void signed_decay_gradient(const Plan& p, std::int64_t n, float through,
                                  LinearWorkspace& s) {
  const LinearGates& g = s.gates;
  const std::int64_t padded = p.padded(n);
  constexpr GemmForm kForm{.lower = true, .cols = Plan::kChunk};
  small_gemm<kForm>({.rows = padded, .cols = padded, .c = s.y, .ldc = p.chunk},
                    Product<Reach::from_block>{.a = s.decay,
                                               .row_stride = 1,
                                               .k_stride = p.chunk,
                                               .b = s.x,
                                               .ldb = p.chunk,
                                               .depth = n});
  for (std::int64_t t = 0; t < n; ++t) {
    const float before = t == 0 ? 1.0f : g.from_start[t - 1];  // product of a up to t-1
    const float after = g.to_end[t];                           // product of a behind t
    float reads = 0;
    for (std::int64_t i = t; i < n; ++i) reads += s.decay[i * p.chunk + t] * s.row_q[i];
    float sum = before * (reads + after * through);
    for (std::int64_t j = 0; j < t; ++j) {
      const float D = s.decay[(t - 1) * p.chunk + j];
      sum += D * (s.y[t * p.chunk + j] + after * s.row_k[j]);
    }
    s.cross[t] = sum;
  }
}

template <class Plan>
inline void finish_decay_gradient(const Plan& p, std::int64_t n, float through,
                                  LinearWorkspace& s) {
  if (p.is_signed) return signed_decay_gradient(p, n, through, s);
  float reads = 0, writes = 0;
  for (std::int64_t t = n - 1; t >= 0; --t) s.cross[t] += reads += s.row_q[t];
  for (std::int64_t t = 0; t < n; ++t) {
    s.cross[t] += writes + s.gates.carry * through;
    writes += s.row_k[t];
  }
}

// What m_i receives belongs to whichever argument was the maximum: write_i, or decay_i and m_{i-1}.
inline void stabilizer_gradients(std::int64_t n, float& dm, LinearWorkspace& s) {
  for (std::int64_t i = n - 1; i >= 0; --i) {
    dm += s.dm[i];
    if (s.gates.m_from_write[i] != 0) {
      s.dwrite[i] += dm;
      dm = 0;
    } else {
      s.cross[i] += dm;
    }
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
