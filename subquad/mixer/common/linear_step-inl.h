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
  const float* before;  // the state before the step; may be S
  float *S, *norm;      // written; norm is read, too
  std::int64_t Dk, Dv;
  float decay, write, scale, inverse;  // o = inverse * scale * Sᵀ q
  bool erase;
  // Multiply-adds of the step: passes over S, then rows of Dv and of Dk.
  std::int64_t macs() const {
    return (erase ? 4 : 3) * Dk * Dv + (erase ? 5 : 2) * Dv + (erase ? Dk : 0);
  }
};

// kVectors neighbouring vectors, in named members so that they stay in registers.
template <class Tag, int kVectors>
struct StepColumns {
  hn::Vec<Tag> a, b, c, d;

  static constexpr std::int64_t kWidth = static_cast<std::int64_t>(hn::MaxLanes(Tag()));

  static HWY_INLINE StepColumns fill(float x) {
    const auto v = hn::Set(Tag(), x);
    return {v, v, v, v};
  }
  static HWY_INLINE StepColumns load(const float* p) {
    const Tag tag;
    StepColumns r = fill(0);
    r.a = hn::LoadU(tag, p);
    if constexpr (kVectors > 1) {
      r.b = hn::LoadU(tag, p + kWidth);
      r.c = hn::LoadU(tag, p + 2 * kWidth);
      r.d = hn::LoadU(tag, p + 3 * kWidth);
    }
    return r;
  }
  HWY_INLINE void store(float* p) const {
    const Tag tag;
    hn::StoreU(a, tag, p);
    if constexpr (kVectors > 1) {
      hn::StoreU(b, tag, p + kWidth);
      hn::StoreU(c, tag, p + 2 * kWidth);
      hn::StoreU(d, tag, p + 3 * kWidth);
    }
  }
  // this = s x + y
  HWY_INLINE void set_multiply_add(float s, const StepColumns& x, const StepColumns& y) {
    const auto v = hn::Set(Tag(), s);
    a = hn::MulAdd(v, x.a, y.a);
    if constexpr (kVectors > 1) {
      b = hn::MulAdd(v, x.b, y.b);
      c = hn::MulAdd(v, x.c, y.c);
      d = hn::MulAdd(v, x.d, y.d);
    }
  }
};

// The next 1 or 4 vectors of columns from column j on.
template <class Tag, int kVectors>
HWY_INLINE void step_columns(const LinearStep& x, float kq, std::int64_t j) {
  using Columns = StepColumns<Tag, kVectors>;
  const Columns zero = Columns::fill(0);
  Columns u = zero, o = zero;
  u.set_multiply_add(x.write, Columns::load(x.v + j), zero);
  const float* before = x.before + j;
  float* S = x.S + j;
  if (x.erase) {
    Columns read = zero;
    for (std::int64_t i = 0; i < x.Dk; ++i) {
      const Columns s = Columns::load(before + i * x.Dv);
      read.set_multiply_add(x.k[i], s, read);
      o.set_multiply_add(x.q[i], s, o);
    }
    u.set_multiply_add(-x.write * x.decay, read, u);
    o.set_multiply_add(x.decay, o, zero);
    o.set_multiply_add(kq, u, o);
  }
  for (std::int64_t i = 0; i < x.Dk; ++i) {
    Columns s = zero;
    s.set_multiply_add(x.decay, Columns::load(before + i * x.Dv), zero);
    s.set_multiply_add(x.k[i], u, s);
    s.store(S + i * x.Dv);
    if (!x.erase) o.set_multiply_add(x.q[i], s, o);
  }
  o.set_multiply_add(x.scale * x.inverse, o, zero);
  o.store(x.o + j);
}

inline void step(const LinearStep& x) {
  float kq = 0;
  for (std::int64_t i = 0; x.erase && i < x.Dk; ++i) kq += x.k[i] * x.q[i];
  std::int64_t j = 0;
  for (; j + 4 * kLanes <= x.Dv; j += 4 * kLanes) step_columns<F32, 4>(x, kq, j);
  for (; j + kLanes <= x.Dv; j += kLanes) step_columns<F32, 1>(x, kq, j);
  for (; j < x.Dv; ++j) step_columns<hn::CappedTag<float, 1>, 1>(x, kq, j);
}

// norm <- decay norm + write k; returns norm.q
inline float step_norm(const LinearStep& x) {
  const F32 d;
  const VF a = hn::Set(d, x.decay), w = hn::Set(d, x.write);
  VF sum = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + kLanes <= x.Dk; i += kLanes) {
    const VF n = hn::MulAdd(w, hn::LoadU(d, x.k + i), hn::Mul(a, hn::LoadU(d, x.norm + i)));
    hn::StoreU(n, d, x.norm + i);
    sum = hn::MulAdd(n, hn::LoadU(d, x.q + i), sum);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < x.Dk; ++i) {
    x.norm[i] = x.decay * x.norm[i] + x.write * x.k[i];
    total += x.norm[i] * x.q[i];
  }
  return total;
}

// The same with a decay per channel: what k and q read of the old state is read with rows that carry
// the decay.
struct ChannelStep {
  const float *a, *k_read, *q_read;  // (Dk): decay, decay k, decay q
  float kq;
};

template <class Tag, int kVectors>
HWY_INLINE void channel_step_columns(const LinearStep& x, const ChannelStep& c, std::int64_t j) {
  using Columns = StepColumns<Tag, kVectors>;
  const Columns zero = Columns::fill(0);
  Columns u = zero, o = zero, read = zero;
  const float* before = x.before + j;
  for (std::int64_t i = 0; i < x.Dk; ++i) {
    const Columns s = Columns::load(before + i * x.Dv);
    if (x.erase) read.set_multiply_add(c.k_read[i], s, read);
    o.set_multiply_add(c.q_read[i], s, o);
  }
  u.set_multiply_add(x.write, Columns::load(x.v + j), zero);
  if (x.erase) u.set_multiply_add(-x.write, read, u);
  o.set_multiply_add(c.kq, u, o);
  for (std::int64_t i = 0; i < x.Dk; ++i) {
    Columns s = zero;
    s.set_multiply_add(c.a[i], Columns::load(before + i * x.Dv), zero);
    s.set_multiply_add(x.k[i], u, s);
    s.store(x.S + i * x.Dv + j);
  }
  o.set_multiply_add(x.scale, o, zero);
  o.store(x.o + j);
}

// `rows` holds 3 Dk floats.
inline void channel_step(const LinearStep& x, const float* decay, bool is_signed, float* rows) {
  float *a = rows, *k_read = rows + x.Dk, *q_read = k_read + x.Dk, kq = 0;
  vm::for_vectors(x.Dk, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    const VF g = vm::load(decay + i, left), fade = is_signed ? g : vm::exp(g);
    vm::store(fade, a + i, left);
    vm::store(hn::Mul(fade, vm::load(x.k + i, left)), k_read + i, left);
    vm::store(hn::Mul(fade, vm::load(x.q + i, left)), q_read + i, left);
  });
  for (std::int64_t i = 0; i < x.Dk; ++i) kq += x.k[i] * x.q[i];
  const ChannelStep c{a, k_read, q_read, kq};
  std::int64_t j = 0;
  for (; j + 4 * kLanes <= x.Dv; j += 4 * kLanes) channel_step_columns<F32, 4>(x, c, j);
  for (; j + kLanes <= x.Dv; j += kLanes) channel_step_columns<F32, 1>(x, c, j);
  for (; j < x.Dv; ++j) channel_step_columns<hn::CappedTag<float, 1>, 1>(x, c, j);
}

// One row and value head. `scratch` holds Dk*Dv + Dk floats for states nobody wants back, and 3 Dk.
std::int64_t linear_step_task(const LinearPlan& p, const LinearCoreForward<float>& f,
                              std::int64_t index, float* scratch) {
  const std::int64_t b = index / p.H, h = index % p.H, key_head = h / p.group;
  const std::int64_t size = p.Dk * p.Dv;
  float* S = f.S_final ? f.S_final.at(b, h) : scratch;
  float* norm = f.n_final ? f.n_final.at(b, h) : scratch + size;
  float m = f.m_initial && p.exponential ? *f.m_initial.at(b, h) : 0.0f;
  const float* before = S;  // the first step reads the incoming state where it lies
  if (f.S_initial) {
    before = f.S_initial.at(b, h);
  } else {
    zero(S, size);
  }
  if (f.n_initial && p.normalizer) {
    if (f.n_initial.at(b, h) != norm) copy(f.n_initial.at(b, h), p.Dk, norm);
  } else {
    zero(norm, p.Dk);
  }
  std::int64_t macs = 0;
  const auto spans = f.spans->row(b);
  zero_padding(f.o, b, h, spans);
  for (const Span& span : spans) {
    if (span.reset) {
      zero(S, size);
      zero(norm, p.Dk);
      before = S;
      m = 0;
    }
    for (std::int64_t t = span.begin; t < span.end; ++t) {
      LinearStep x{.q = f.q.at(b, t, key_head),
                   .k = f.k.at(b, t, key_head),
                   .v = f.v.at(b, t, h),
                   .o = f.o.at(b, t, h),
                   .before = before,
                   .S = S,
                   .norm = norm,
                   .Dk = p.Dk,
                   .Dv = p.Dv,
                   .decay = *f.decay.at(b, t, h),
                   .write = *f.write.at(b, t, h),
                   .scale = p.scale,
                   .inverse = 1,
                   .erase = p.erase};
      if (p.channels) {
        channel_step(x, f.decay.at(b, t, h), p.is_signed, scratch + size + p.Dk);
        macs += channel_step_macs(p.erase, p.Dk, p.Dv);
        before = S;
        continue;
      }
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
        const float d = p.scale * step_norm(x);
        x.inverse = 1.0f / (HWY_MAX(floor, d < 0 ? -d : d) + p.eps);
      }
      step(x);
      macs += x.macs();
      before = S;
    }
  }
  if (before != S) copy(before, size, S);  // nothing but padding
  if (f.m_final) *f.m_final.at(b, h) = m;
  return macs;
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
