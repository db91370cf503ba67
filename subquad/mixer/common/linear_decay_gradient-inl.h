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

// Sum of x[0..count)
HWY_INLINE float prefix_sum(const float* x, std::int64_t count) {
  const F32 d;
  VF sum = hn::Zero(d);
  std::int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) sum = hn::Add(sum, hn::Load(d, x + j));
  const auto rest = hn::FirstN(d, static_cast<std::size_t>(count - j));
  if (j < count) sum = hn::Add(sum, hn::IfThenElseZero(rest, hn::Load(d, x + j)));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// One pass over the rows from the last to the first, so that colsum_j = sum over rows >= i. With
// signed_decay s.x is overwritten by Z = (pair gradient).(pair product without D).
inline void pair_gradients(const LinearPlan& p, std::int64_t n, bool first_head,
                           LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t ld = p.chunk;
  zero(s.colsum, p.chunk);
  zero(s.eta, p.chunk);
  for (std::int64_t i = n - 1; i >= 0; --i) {
    float* x = s.x + i * ld;
    const float* D = s.decay + i * ld;
    const float* qk = s.qk + i * ld;
    float* P = s.p_sum + i * ld;
    const VF delta = hn::Set(d, p.normalizer ? s.delta[i] : 0.0f);
    const VF w = hn::Set(d, g.w[i]);
    VF dwrite = hn::Zero(d);
    const std::int64_t cols = pad_lanes(i + 1);
    for (std::int64_t j = 0; j < cols; j += kLanes) {
      VF dscore = hn::Load(d, x + j);
      const VF decay = hn::Load(d, D + j), score = hn::Load(d, qk + j);
      if (p.normalizer) {
        dscore = hn::MulAdd(delta, hn::Load(d, g.w + j), dscore);
        const VF att = hn::Mul(decay, score);
        hn::Store(hn::MulAdd(delta, att, hn::Load(d, s.eta + j)), d, s.eta + j);
      }
      const VF pair = hn::Mul(dscore, decay);
      hn::Store(first_head ? pair : hn::Add(pair, hn::Load(d, P + j)), d, P + j);
      VF crossing = hn::Mul(p.is_signed ? dscore : pair, score);
      if (p.erase) {
        const float* y = s.y + i * ld;
        float* MM = s.mm_sum + i * ld;
        const std::int64_t below = HWY_MAX(i - j, std::int64_t{0});
        const VF dM = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(below)),
                                         hn::Neg(hn::Load(d, y + j)));
        const VF key_score = hn::Load(d, s.kk + i * ld + j);
        const VF decayed = hn::Mul(dM, decay);
        const VF mm = hn::Mul(w, decayed);
        hn::Store(first_head ? mm : hn::Add(mm, hn::Load(d, MM + j)), d, MM + j);
        dwrite = hn::MulAdd(decayed, key_score, dwrite);
        crossing = hn::MulAdd(p.is_signed ? hn::Mul(w, dM) : mm, key_score, crossing);
      }
      if (p.is_signed) {
        const std::int64_t keep = HWY_MAX(i + 1 - j, std::int64_t{0});
        const auto lower = hn::FirstN(d, static_cast<std::size_t>(keep));
        hn::Store(hn::IfThenElseZero(lower, crossing), d, x + j);
      } else {
        hn::Store(hn::Add(crossing, hn::Load(d, s.colsum + j)), d, s.colsum + j);
      }
    }
    s.dwrite[i] = p.erase ? hn::GetLane(hn::SumOfLanes(d, dwrite)) : 0.0f;
    if (!p.is_signed) s.cross[i] = prefix_sum(s.colsum, i);
  }
}

// signed_decay: no factor a_t may be divided out, so the path over t is cut into the two products
// around it: da_t = sum_{i>=t, j<t} D_it Z_ij D_{t-1,j}, with the chunk's two ends as further i and
// j.
inline void signed_decay_gradient(const LinearPlan& p, std::int64_t n, std::int64_t padded,
                                  float through, LinearWorkspace& s) {
  const LinearGates& g = s.gates;
  SmallGemm m{.rows = padded, .cols = padded, .c = s.y, .ldc = p.chunk, .products = 1};
  m.product[0] = {.a = s.decay,
                  .row_stride = 1,
                  .k_stride = p.chunk,
                  .b = s.x,
                  .ldb = p.chunk,
                  .depth = n,
                  .reach = Reach::from_block};
  m.lower_only = true;
  small_gemm(m);
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

inline void finish_decay_gradient(const LinearPlan& p, std::int64_t n, std::int64_t padded,
                                  float through, LinearWorkspace& s) {
  if (p.is_signed) return signed_decay_gradient(p, n, padded, through, s);
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
