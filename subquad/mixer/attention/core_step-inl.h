// One query per row: a token's step. Schedule: task (row, stretch of keys), all heads together, so
// that every line of the cache is read once and in order; a stretch has a fixed length, and the
// stretches of a row are joined in order, so a row's bits depend on neither its batch nor the
// number of threads. Roofline: reading the cache, 4 (D + Dv) bytes per key and key head.
#if defined(SUBQUAD_MIXER_ATTENTION_CORE_STEP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_ATTENTION_CORE_STEP_INL_H
#undef SUBQUAD_MIXER_ATTENTION_CORE_STEP_INL_H
#else
#define SUBQUAD_MIXER_ATTENTION_CORE_STEP_INL_H
#endif

#include <hwy/cache_control.h>

#include <cmath>

#include "subquad/backend/cpu/register_tile-inl.h"
#include "subquad/mixer/attention/core_tiles.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::attention_step {
namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

constexpr std::int64_t kBlock = 64, kStretch = 512;  // keys

// s[c] = scale q . k_c for the `keys` keys from k on, `stride` apart; asks for those of the next
// block. s has room for a multiple of four.
HWY_INLINE void scores(const float* q, const float* k, std::int64_t stride, std::int64_t keys,
                       std::int64_t D, float scale, float* s) {
  const V factor = vm::set(scale);
  for (std::int64_t c = 0; c < keys; c += 4) {
    const float *k0 = k + c * stride, *k1 = k + HWY_MIN(c + 1, keys - 1) * stride,
                *k2 = k + HWY_MIN(c + 2, keys - 1) * stride,
                *k3 = k + HWY_MIN(c + 3, keys - 1) * stride;
    V s0 = vm::set(0), s1 = s0, s2 = s0, s3 = s0;
    vm::for_vectors(D, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      const V x = hn::Mul(factor, vm::load(q + i, left));
      s0 = hn::MulAdd(x, vm::load(k0 + i, left), s0);
      s1 = hn::MulAdd(x, vm::load(k1 + i, left), s1);
      s2 = hn::MulAdd(x, vm::load(k2 + i, left), s2);
      s3 = hn::MulAdd(x, vm::load(k3 + i, left), s3);
      for (const float* row : {k0, k1, k2, k3}) hwy::Prefetch(row + i + kBlock * stride);
    });
    hn::StoreU(vm::sum_lanes(s0, s1, s2, s3), vm::F32x4(), s + c);
  }
}

// o[0, Dv) = keep o + sum over the keys of p[c] v_c.
HWY_INLINE void add_values(const float* p, const float* v, std::int64_t stride, std::int64_t keys,
                           std::int64_t Dv, float keep, float* o) {
  vm::for_vectors(Dv, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    V s0 = hn::Mul(vm::set(keep), vm::load(o + i, left)), s1 = vm::set(0), s2 = s1, s3 = s1;
    const float* row = v + i;
    std::int64_t c = 0;
    for (; c + 4 <= keys; c += 4, row += 4 * stride) {
      s0 = hn::MulAdd(vm::set(p[c]), vm::load(row, left), s0);
      s1 = hn::MulAdd(vm::set(p[c + 1]), vm::load(row + stride, left), s1);
      s2 = hn::MulAdd(vm::set(p[c + 2]), vm::load(row + 2 * stride, left), s2);
      s3 = hn::MulAdd(vm::set(p[c + 3]), vm::load(row + 3 * stride, left), s3);
      for (std::int64_t n = 0; n < 4; ++n) hwy::Prefetch(row + (kBlock + n) * stride);
    }
    for (; c < keys; ++c, row += stride) s0 = hn::MulAdd(vm::set(p[c]), vm::load(row, left), s0);
    vm::store(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), o + i, left);
  });
}

// s[c] <- 2^(s[c] - top); returns their sum.
HWY_INLINE float weights(float* s, std::int64_t keys, float top) {
  V total = vm::set(0);
  vm::for_vectors(keys, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
    V p = vm::exp2(hn::Sub(vm::load(s + c, left), vm::set(top)));
    if (left < vm::kWidth)
      p = hn::IfThenElseZero(hn::FirstN(vm::F(), static_cast<std::size_t>(left)), p);
    vm::store(p, s + c, left);
    total = hn::Add(total, p);
  });
  return vm::sum(total);
}

// What a stretch of keys adds to one head: o = sum of 2^(s - top) v, and the sum of the weights.
struct Partial {
  float* data;  // top, sum, o[Dv]
  float& top() const { return data[0]; }
  float& sum() const { return data[1]; }
  float* o() const { return data + 2; }
};

struct Step {
  const AttentionForward<float>& a;
  std::int64_t H = a.q.dim(2), D = a.q.dim(3), Dv = a.v.dim(3), group = H / a.k.dim(2);
  std::int64_t stretches = 0;  // of the longest row
  float* partials = nullptr;

  // Keys that the query of row b sees; none if the row is padding.
  Range keys(std::int64_t b) const {
    const auto spans = a.spans->row(b);
    const std::int64_t end = a.k.dim(1);
    if (spans.empty()) return {end, end};
    const std::int64_t low = spans[0].reset ? end - 1 : 0;
    return {a.window > 0 ? std::max(low, end - a.window) : low, end};
  }
  Partial at(std::int64_t b, std::int64_t stretch, std::int64_t h) const {
    return {partials + ((b * stretches + stretch) * H + h) * (Dv + 2)};
  }
  Range stretch_of(Range all, std::int64_t i) const {
    return {all.begin + i * kStretch, std::min(all.end, all.begin + (i + 1) * kStretch)};
  }

  void run(std::int64_t b, std::int64_t i, Scratch& scratch) const {
    const Range stretch = stretch_of(keys(b), i);
    if (stretch.size() == 0) return;
    const float scale = score_scale(a.scale);
    alignas(64) float s[kBlock];
    for (std::int64_t h = 0; h < H; ++h) {
      const Partial part = at(b, i, h);
      part.top() = -INFINITY;
      std::fill_n(&part.sum(), Dv + 1, 0.0F);
    }
    for (std::int64_t j = stretch.begin; j < stretch.end; j += kBlock) {
      const std::int64_t n = std::min(kBlock, stretch.end - j);
      for (std::int64_t h = 0; h < H; ++h) {
        const Partial part = at(b, i, h);
        scores(a.q.at(b, 0, h), a.k.at(b, j, h / group), a.k.stride(1), n, D, scale, s);
        const float highest = *std::max_element(s, s + n), now = std::max(part.top(), highest);
        const float keep = part.top() == now ? 1.0F : std::exp2(part.top() - now);
        part.sum() = part.sum() * keep + weights(s, n, now);
        part.top() = now;
        add_values(s, a.v.at(b, j, h / group), a.v.stride(1), n, Dv, keep, part.o());
      }
    }
    scratch.count_macs(H * stretch.size() * (D + Dv));
  }

  void join(std::int64_t b) const {
    const Range all = keys(b);
    const std::int64_t count = (all.size() + kStretch - 1) / kStretch;
    for (std::int64_t h = 0; h < H; ++h) {
      float *o = a.o.at(b, 0, h), top = -INFINITY, sum = 0;
      std::fill_n(o, Dv, 0.0F);
      for (std::int64_t i = 0; i < count; ++i) top = std::max(top, at(b, i, h).top());
      for (std::int64_t i = 0; i < count; ++i) {
        const Partial part = at(b, i, h);
        const float share = std::exp2(part.top() - top);
        sum += share * part.sum();
        for (std::int64_t d = 0; d < Dv; ++d) o[d] += share * part.o()[d];
      }
      for (std::int64_t d = 0; d < Dv && count > 0; ++d) o[d] /= sum;
      *a.lse.at(b, 0, h) = count > 0 ? kLn2 * (top + std::log2(sum)) : 0.0F;
    }
  }
};

inline void forward(const AttentionForward<float>& a, ThreadPool& threads) {
  Step step{a};
  const std::int64_t B = a.q.dim(0);
  for (std::int64_t b = 0; b < B; ++b) {
    step.stretches = std::max(step.stretches, (step.keys(b).size() + kStretch - 1) / kStretch);
  }
  step.partials = threads.shared<float>(B * step.stretches * step.H * (step.Dv + 2));
  threads.run(B * step.stretches, [&](std::int64_t task, Scratch& scratch) {
    step.run(task / step.stretches, task % step.stretches, scratch);
  });
  for (std::int64_t b = 0; b < B; ++b) step.join(b);
}

}  // namespace subquad::HWY_NAMESPACE::attention_step
HWY_AFTER_NAMESPACE();

#endif
