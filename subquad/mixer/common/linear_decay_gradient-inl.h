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

struct PairSums {  // to be summed over their lanes
  VF crossing;     // over this vector's columns j < row and all rows from this one on
  VF dwrite;
};

// Column vector j of one row of P and MM; colsum has the rows behind it. With signed_decay s.x is
// overwritten by Z = (pair gradient).(pair product without D).
template <bool kFactored, bool kDiagonal, class Plan>
HWY_INLINE PairSums pair_row(const Plan& p, std::int64_t row, std::int64_t j, bool first_head,
                             const float* kk, const LinearGates<Plan>& g, VF w_in,
                             LinearWorkspace<Plan>& s, VF& colsum, VF& eta) {
  const F32 d;
  const std::int64_t at = row * p.chunk + j;
  VF dscore = hn::Load(d, s.x + at);
  const VF score = hn::Load(d, s.qk + at);
  if (p.normalizer) {
    const VF delta = hn::Set(d, s.delta[row]);
    dscore = hn::MulAdd(delta, w_in, dscore);
    if (kDiagonal) dscore = keep_lanes(dscore, row + 1 - j);
    eta = hn::MulAdd(delta, hn::Load(d, s.pairs + at), eta);
  }
  const VF pair = kFactored ? dscore : hn::Mul(dscore, hn::Load(d, s.decay + at));
  hn::Store(first_head ? pair : hn::Add(pair, hn::Load(d, s.p_sum + at)), d, s.p_sum + at);
  PairSums sums{hn::Mul(p.is_signed ? dscore : pair, score), hn::Zero(d)};
  if (p.erase) {
    VF dM = hn::Neg(hn::Load(d, s.y + at));
    if (kDiagonal) dM = keep_lanes(dM, row - j);
    const VF w = hn::Set(d, g.w[row]), key_score = hn::Load(d, kk + at);
    const VF decayed = kFactored ? dM : hn::Mul(dM, hn::Load(d, s.decay + at));
    const VF mm = hn::Mul(w, decayed);
    hn::Store(first_head ? mm : hn::Add(mm, hn::Load(d, s.mm_sum + at)), d, s.mm_sum + at);
    sums.dwrite = hn::Mul(decayed, key_score);
    sums.crossing = hn::MulAdd(p.is_signed ? hn::Mul(w, dM) : mm, key_score, sums.crossing);
  }
  if (p.is_signed) {
    hn::Store(kDiagonal ? keep_lanes(sums.crossing, row + 1 - j) : sums.crossing, d, s.x + at);
  }
  colsum = hn::Add(colsum, sums.crossing);
  sums.crossing = kDiagonal ? keep_lanes(colsum, row - j) : colsum;
  return sums;
}

// Four rows from i on, the last one first.
template <bool kFactored, bool kDiagonal, class Plan>
HWY_INLINE void pair_rows(const Plan& p, std::int64_t i, std::int64_t j, bool first_head,
                          const float* kk, const LinearGates<Plan>& g, LinearWorkspace<Plan>& s,
                          VF& colsum, VF& eta) {
  const VF w_in = hn::Load(F32(), g.w_in + j);
  const auto row = [&](std::int64_t r) HWY_ATTR {
    return pair_row<kFactored, kDiagonal>(p, r, j, first_head, kk, g, w_in, s, colsum, eta);
  };
  const PairSums r3 = row(i + 3), r2 = row(i + 2), r1 = row(i + 1), r0 = row(i);
  const vm::F32x4 four;
  const auto crossing = vm::sum_lanes(r0.crossing, r1.crossing, r2.crossing, r3.crossing);
  hn::Store(hn::Add(crossing, hn::Load(four, s.cross + i)), four, s.cross + i);
  if (!p.erase) return;
  const auto dwrite = vm::sum_lanes(r0.dwrite, r1.dwrite, r2.dwrite, r3.dwrite);
  hn::Store(hn::Add(dwrite, hn::Load(four, s.dwrite + i)), four, s.dwrite + i);
}

// By column vectors, and in each from the last row to the diagonal. Rows of padding are zero.
template <bool kFactored, class Plan>
HWY_INLINE void pair_gradients_of(const Plan& p, std::int64_t n, bool first_head, const float* kk,
                                  const LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  const F32 d;
  zero(s.cross, p.chunk);
  zero(s.dwrite, p.chunk);
  for (std::int64_t j = 0; j < p.padded(n); j += kLanes) {
    VF colsum = hn::Zero(d), eta = hn::Zero(d);
    std::int64_t i = round_up(n, 4) - 4;
    for (; p.chunk > kLanes && i >= j + kLanes; i -= 4) {  // a chunk of one vector has none
      pair_rows<kFactored, false>(p, i, j, first_head, kk, g, s, colsum, eta);
    }
    for (; i >= j; i -= 4) {
      pair_rows<kFactored, true>(p, i, j, first_head, kk, g, s, colsum, eta);
    }
    hn::Store(eta, d, s.eta + j);
  }
}

template <class Plan>
inline void pair_gradients(const Plan& p, std::int64_t n, bool first_head, const float* kk,
                           const LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  if (g.factored) {
    pair_gradients_of<true>(p, n, first_head, kk, g, s);
  } else {
    pair_gradients_of<false>(p, n, first_head, kk, g, s);
  }
}

// signed_decay: no factor a_t may be divided out, so the path over t is cut into the two products
// around it: da_t = sum_{i>=t, j<t} D_it Z_ij D_{t-1,j}, with the chunk's two ends as further i, j.
template <class Plan>
inline void signed_decay_gradient(const Plan& p, std::int64_t n, float through,
                                  const LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  const std::int64_t padded = p.padded(n);
  constexpr GemmForm kForm{.lower = true, .cols = Plan::kChunk};
  small_gemm<kForm>({.rows = padded, .cols = padded, .c = s.y, .ldc = p.chunk},
                    GemmTerm<Reach::from_block>{.a = s.decay,
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
                                  const LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  if (p.is_signed) return signed_decay_gradient(p, n, through, g, s);
  float reads = 0, writes = 0;
  for (std::int64_t t = n - 1; t >= 0; --t) s.cross[t] += reads += s.row_q[t];
  for (std::int64_t t = 0; t < n; ++t) {
    s.cross[t] += writes + g.carry * through;
    writes += s.row_k[t];
  }
}

// What m_i receives belongs to whichever argument was the maximum: write_i, or decay_i and m_{i-1}.
template <class Plan>
inline void stabilizer_gradients(std::int64_t n, const LinearGates<Plan>& g, float& dm,
                                 LinearWorkspace<Plan>& s) {
  for (std::int64_t i = n - 1; i >= 0; --i) {
    dm += s.dm[i];
    const float to_write = g.m_from_write[i] * dm;  // all or nothing
    s.dwrite[i] += to_write;
    dm -= to_write;
    s.cross[i] += dm;
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
