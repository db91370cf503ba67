// Token by token, for decoding and very short spans: the state is read and written in place, so a
// step costs one pass over S (two with erase: both reads k.S and q.S come from the old state, then
// S = a S + k uᵀ). Bound by the bandwidth of S.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_STEP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_STEP_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_STEP_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_STEP_INL_H
#endif

#include <hwy/highway.h>

#include <cmath>

#include "subquad/mixer/common/linear_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct LinearStep {
  const float *q, *k, *v;
  float* o;
  float *S, *norm;  // read and overwritten; S is (Dk,Dv) with rows `stride` apart
  std::int64_t Dk, Dv, stride;
  float decay, write, scale, inverse;  // o = inverse * scale * Sᵀ q
  bool erase;
};

// Columns [j, j + lanes) of S; V is a vector or, for the tail, one float.
template <class Tag>
HWY_INLINE void step_columns(const LinearStep& x, float kq, std::int64_t j) {
  const Tag d;
  const auto a = hn::Set(d, x.decay), w = hn::Set(d, x.write);
  auto u = hn::Mul(w, hn::LoadU(d, x.v + j));
  auto o = hn::Zero(d);
  float* S = x.S + j;
  if (x.erase) {
    auto read = hn::Zero(d);
    for (std::int64_t i = 0; i < x.Dk; ++i) {
      const auto s = hn::LoadU(d, S + i * x.stride);
      read = hn::MulAdd(hn::Set(d, x.k[i]), s, read);
      o = hn::MulAdd(hn::Set(d, x.q[i]), s, o);
    }
    u = hn::NegMulAdd(hn::Mul(w, a), read, u);
    o = hn::MulAdd(hn::Set(d, kq), u, hn::Mul(a, o));
    for (std::int64_t i = 0; i < x.Dk; ++i) {
      const auto s = hn::Mul(a, hn::LoadU(d, S + i * x.stride));
      hn::StoreU(hn::MulAdd(hn::Set(d, x.k[i]), u, s), d, S + i * x.stride);
    }
  } else {
    for (std::int64_t i = 0; i < x.Dk; ++i) {
      const auto s = hn::MulAdd(hn::Set(d, x.k[i]), u, hn::Mul(a, hn::LoadU(d, S + i * x.stride)));
      hn::StoreU(s, d, S + i * x.stride);
      o = hn::MulAdd(hn::Set(d, x.q[i]), s, o);
    }
  }
  hn::StoreU(hn::Mul(hn::Set(d, x.scale * x.inverse), o), d, x.o + j);
}

inline void step(const LinearStep& x) {
  float kq = 0;
  for (std::int64_t i = 0; x.erase && i < x.Dk; ++i) kq += x.k[i] * x.q[i];
  std::int64_t j = 0;
  for (; j + kLanes <= x.Dv; j += kLanes) step_columns<F32>(x, kq, j);
  for (; j < x.Dv; ++j) step_columns<hn::CappedTag<float, 1>>(x, kq, j);
}

// One row and value head. `scratch` holds Dk*Dv + Dk floats for states nobody wants back.
void linear_step_task(const LinearPlan& p, const LinearCoreForward<float>& f, std::int64_t index,
                      float* scratch) {
  const std::int64_t b = index / p.H, h = index % p.H, key_head = h / p.group;
  const std::int64_t size = p.Dk * p.Dv;
  float* S = f.S_final ? f.S_final.at(b, h) : scratch;
  float* norm = f.n_final ? f.n_final.at(b, h) : scratch + size;
  float m = f.m_initial && p.exponential ? *f.m_initial.at(b, h) : 0.0f;
  if (!f.S_initial)
    zero(S, size);
  else if (f.S_initial.at(b, h) != S)
    std::memcpy(S, f.S_initial.at(b, h), sizeof(float) * static_cast<std::size_t>(size));
  if (!f.n_initial || !p.normalizer)
    zero(norm, p.Dk);
  else if (f.n_initial.at(b, h) != norm)
    std::memcpy(norm, f.n_initial.at(b, h), sizeof(float) * static_cast<std::size_t>(p.Dk));
  const auto spans = f.spans->row(b);
  zero_padding(f.o, b, h, spans);
  for (const Span& span : spans) {
    if (span.reset) {
      zero(S, size);
      zero(norm, p.Dk);
      m = 0;
    }
    for (std::int64_t t = span.begin; t < span.end; ++t) {
      LinearStep x{.q = f.q.at(b, t, key_head),
                   .k = f.k.at(b, t, key_head),
                   .v = f.v.at(b, t, h),
                   .o = f.o.at(b, t, h),
                   .S = S,
                   .norm = norm,
                   .Dk = p.Dk,
                   .Dv = p.Dv,
                   .stride = p.Dv,
                   .decay = *f.decay.at(b, t, h),
                   .write = *f.write.at(b, t, h),
                   .scale = p.scale,
                   .inverse = 1,
                   .erase = p.erase};
      float floor = 1;
      if (p.exponential) {
        const double kept = static_cast<double>(x.decay) + static_cast<double>(m);
        const double best = HWY_MAX(kept, static_cast<double>(x.write));
        x.decay = std::exp(static_cast<float>(kept - best));
        x.write = std::exp(static_cast<float>(static_cast<double>(x.write) - best));
        m = static_cast<float>(best);
        floor = std::exp(HWY_MIN(-m, 88.0f));
      } else if (!p.is_signed) {
        x.decay = std::exp(x.decay);
      }
      if (p.normalizer) {
        float d = 0;
        for (std::int64_t i = 0; i < p.Dk; ++i) {
          norm[i] = x.decay * norm[i] + x.write * x.k[i];
          d += norm[i] * x.q[i];
        }
        d *= p.scale;
        x.inverse = 1.0f / (HWY_MAX(d < 0 ? -d : d, floor) + p.eps);
      }
      step(x);
    }
  }
  if (f.m_final) *f.m_final.at(b, h) = m;
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
