// Attention in tiles of 64 queries x 256 keys with a streaming softmax: memory linear in T.
// Schedule: forward task (row, query head, query tile); backward task (row, key head), which walks
// its query heads and tiles in order, so dk and dv need no locks and keep their bits. Products go
// to oneDNN on strided rows (K = D is small: roofline is the product for D >= 64, the exp for D =
// 16). Tiles above the diagonal, outside the window or in another document are never formed.
#include "subquad/mixer/attention/core.h"

#include <algorithm>
#include <cmath>

#include "subquad/backend/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/attention/core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

constexpr std::int64_t kQueries = kAttentionQueryTile, kKeys = 256;

// One tile of queries of one document.
struct QueryTile {
  std::int64_t b, first, count;  // queries [first, first + count)
  std::int64_t low;              // first key of the document
};

template <class Fn>
void for_each_tile(const AttentionForward<float>& a, std::int64_t b, Fn&& fn) {
  const std::int64_t past = a.k.dim(1) - a.q.dim(1);
  for (const Span& span : a.spans->row(b)) {
    for (std::int64_t i = span.begin; i < span.end; i += kQueries) {
      fn(QueryTile{b, i, std::min(kQueries, span.end - i), span.reset ? past + span.begin : 0});
    }
  }
}

// First visible key of a query, and of a whole tile.
std::int64_t first_key(const AttentionForward<float>& a, const QueryTile& tile,
                       std::int64_t key_index) {
  return a.window > 0 ? std::max(tile.low, key_index - a.window + 1) : tile.low;
}

float dot(const float* x, const float* y, std::int64_t n) {
  V s = vm::set(0);
  for (std::int64_t i = 0; i < n; i += vm::kWidth)
    s = hn::MulAdd(vm::load(x + i, n - i), vm::load(y + i, n - i), s);
  return vm::sum(s);
}

// scores (count x width) of keys [j, j + width): scale q k, -inf where masked.
void scores(const AttentionForward<float>& a, const QueryTile& tile, std::int64_t h, std::int64_t j,
            std::int64_t width, float* s, Scratch& scratch) {
  const std::int64_t past = a.k.dim(1) - a.q.dim(1), hk = h / (a.q.dim(2) / a.k.dim(2)),
                     D = a.q.dim(3);
  const auto scale = static_cast<float>(a.scale);
  if (tile.count == 1) {  // decoding: dot products of fixed order, the same alone and in a batch
    const float* q = a.q.at(tile.b, tile.first, h);
    scratch.count_macs(width * D);
    for (std::int64_t c = 0; c < width; ++c) s[c] = scale * dot(q, a.k.at(tile.b, j + c, hk), D);
  } else {
    gemm<float>(scratch, false, true, tile.count, width, D, scale, a.q.at(tile.b, tile.first, h),
                a.q.stride(1), a.k.at(tile.b, j, hk), a.k.stride(1), 0, s, kKeys);
  }
  for (std::int64_t r = 0; r < tile.count; ++r) {
    const std::int64_t last = past + tile.first + r, first = first_key(a, tile, last);
    for (std::int64_t c = std::max<std::int64_t>(0, last + 1 - j); c < width; ++c)
      s[r * kKeys + c] = -INFINITY;
    for (std::int64_t c = 0; c < std::min(width, first - j); ++c) s[r * kKeys + c] = -INFINITY;
  }
}

void forward_tile(const AttentionForward<float>& a, const QueryTile& tile, std::int64_t h,
                  Scratch& scratch) {
  const std::int64_t past = a.k.dim(1) - a.q.dim(1), hk = h / (a.q.dim(2) / a.k.dim(2)),
                     Dv = a.v.dim(3);
  float* s = scratch.get<float>(kQueries * (kKeys + 2));
  float *top = s + kQueries * kKeys, *sum = top + kQueries;
  for (std::int64_t r = 0; r < tile.count; ++r) {
    top[r] = -INFINITY;
    sum[r] = 0;
    std::fill_n(a.o.at(tile.b, tile.first + r, h), Dv, 0.0F);
  }
  const std::int64_t end = past + tile.first + tile.count;
  for (std::int64_t j = first_key(a, tile, past + tile.first); j < end; j += kKeys) {
    const std::int64_t width = std::min(kKeys, end - j);
    scores(a, tile, h, j, width, s, scratch);
    for (std::int64_t r = 0; r < tile.count; ++r) {
      float* row = s + r * kKeys;
      V m = vm::set(-INFINITY);
      std::int64_t c = 0;
      for (; c + vm::kWidth <= width; c += vm::kWidth) m = hn::Max(m, hn::LoadU(vm::F(), row + c));
      float highest = hn::GetLane(hn::MaxOfLanes(vm::F(), m));
      for (; c < width; ++c) highest = std::max(highest, row[c]);
      if (highest == -INFINITY) {  // nothing of this block is visible to the row
        std::fill_n(row, width, 0.0F);
        continue;
      }
      const float now = std::max(top[r], highest);
      const V shift = vm::set(now);
      V total = vm::set(0);
      for (c = 0; c < width; c += vm::kWidth) {
        const V p = vm::exp(hn::Sub(vm::load(row + c, width - c), shift));
        vm::store(p, row + c, width - c);
        total = hn::Add(
            total,
            width - c >= vm::kWidth
                ? p
                : hn::IfThenElseZero(hn::FirstN(vm::F(), static_cast<std::size_t>(width - c)), p));
      }
      const float keep = top[r] == -INFINITY ? 0.0F : std::exp(top[r] - now);
      sum[r] = sum[r] * keep + vm::sum(total);
      top[r] = now;
      if (keep != 1.0F) {
        float* o = a.o.at(tile.b, tile.first + r, h);
        for (std::int64_t d = 0; d < Dv; ++d) o[d] *= keep;
      }
    }
    if (tile.count == 1) {
      float* o = a.o.at(tile.b, tile.first, h);
      scratch.count_macs(width * Dv);
      for (std::int64_t c = 0; c < width; ++c) {
        const float* v = a.v.at(tile.b, j + c, hk);
        const V p = vm::set(s[c]);
        for (std::int64_t d = 0; d < Dv; d += vm::kWidth) {
          vm::store(hn::MulAdd(p, vm::load(v + d, Dv - d), vm::load(o + d, Dv - d)), o + d, Dv - d);
        }
      }
    } else {
      gemm<float>(scratch, false, false, tile.count, Dv, width, 1, s, kKeys, a.v.at(tile.b, j, hk),
                  a.v.stride(1), 1, a.o.at(tile.b, tile.first, h), a.o.stride(1));
    }
  }
  for (std::int64_t r = 0; r < tile.count; ++r) {
    float* o = a.o.at(tile.b, tile.first + r, h);
    for (std::int64_t d = 0; d < Dv; ++d) o[d] /= sum[r];
    *a.lse.at(tile.b, tile.first + r, h) = top[r] + std::log(sum[r]);
  }
}

void attention_forward(const AttentionForward<float>& a, ThreadPool& threads) {
  const std::int64_t H = a.q.dim(2), Dv = a.v.dim(3);
  threads.run(a.q.dim(0) * H, [&](std::int64_t task, Scratch& scratch) {
    const std::int64_t b = task / H, h = task % H;
    for (std::int64_t i = a.spans->valid_length(b); i < a.q.dim(1); ++i) {
      std::fill_n(a.o.at(b, i, h), Dv, 0.0F);
      *a.lse.at(b, i, h) = 0;
    }
    for_each_tile(a, b, [&](const QueryTile& tile) { forward_tile(a, tile, h, scratch); });
  });
}

void backward_tile(const AttentionBackward<float>& g, const QueryTile& tile, std::int64_t h,
                   Scratch& scratch) {
  const auto& a = g.f;
  const std::int64_t past = a.k.dim(1) - a.q.dim(1), hk = h / (a.q.dim(2) / a.k.dim(2));
  const std::int64_t D = a.q.dim(3), Dv = a.v.dim(3);
  float* p = scratch.get<float>(2 * kQueries * kKeys + 2 * kQueries);
  float *dp = p + kQueries * kKeys, *along = dp + kQueries * kKeys, *lse = along + kQueries;
  for (std::int64_t r = 0; r < tile.count; ++r) {
    along[r] = dot(g.d_o.at(tile.b, tile.first + r, h), a.o.at(tile.b, tile.first + r, h), Dv);
    lse[r] = *a.lse.at(tile.b, tile.first + r, h);
  }
  const float* d_o = g.d_o.at(tile.b, tile.first, h);
  const std::int64_t end = past + tile.first + tile.count;
  for (std::int64_t j = first_key(a, tile, past + tile.first); j < end; j += kKeys) {
    const std::int64_t width = std::min(kKeys, end - j);
    scores(a, tile, h, j, width, p, scratch);
    if (tile.count ==
        1) {  // the same dot product as `along`: with one visible key the difference is exactly 0
      for (std::int64_t c = 0; c < width; ++c) dp[c] = dot(d_o, a.v.at(tile.b, j + c, hk), Dv);
    } else {
      gemm<float>(scratch, false, true, tile.count, width, Dv, 1, d_o, g.d_o.stride(1),
                  a.v.at(tile.b, j, hk), a.v.stride(1), 0, dp, kKeys);
    }
    for (std::int64_t r = 0; r < tile.count; ++r) {
      float *row = p + r * kKeys, *d = dp + r * kKeys;
      const V shift = vm::set(lse[r]), less = vm::set(along[r]),
              scale = vm::set(static_cast<float>(a.scale));
      for (std::int64_t c = 0; c < width; c += vm::kWidth) {
        const V weight = vm::exp(hn::Sub(vm::load(row + c, width - c), shift));
        vm::store(weight, row + c, width - c);
        vm::store(hn::Mul(hn::Mul(scale, weight), hn::Sub(vm::load(d + c, width - c), less)), d + c,
                  width - c);
      }
    }
    gemm<float>(scratch, true, false, width, Dv, tile.count, 1, p, kKeys, d_o, g.d_o.stride(1), 1,
                g.dv.at(tile.b, j, hk), g.dv.stride(1));
    gemm<float>(scratch, true, false, width, D, tile.count, 1, dp, kKeys,
                a.q.at(tile.b, tile.first, h), a.q.stride(1), 1, g.dk.at(tile.b, j, hk),
                g.dk.stride(1));
    gemm<float>(scratch, false, false, tile.count, D, width, 1, dp, kKeys, a.k.at(tile.b, j, hk),
                a.k.stride(1), 1, g.dq.at(tile.b, tile.first, h), g.dq.stride(1));
  }
}

void attention_backward(const AttentionBackward<float>& g, ThreadPool& threads) {
  const auto& a = g.f;
  const std::int64_t Hk = a.k.dim(2), group = a.q.dim(2) / Hk, D = a.q.dim(3), Dv = a.v.dim(3);
  threads.run(a.q.dim(0) * Hk, [&](std::int64_t task, Scratch& scratch) {
    const std::int64_t b = task / Hk, hk = task % Hk;
    for (std::int64_t j = 0; j < a.k.dim(1); ++j) {
      std::fill_n(g.dk.at(b, j, hk), D, 0.0F);
      std::fill_n(g.dv.at(b, j, hk), Dv, 0.0F);
    }
    for (std::int64_t h = hk * group; h < (hk + 1) * group; ++h) {
      for (std::int64_t i = 0; i < a.q.dim(1); ++i) std::fill_n(g.dq.at(b, i, h), D, 0.0F);
      for_each_tile(a, b, [&](const QueryTile& tile) { backward_tile(g, tile, h, scratch); });
    }
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(attention_forward);
HWY_EXPORT(attention_backward);

}  // namespace

void add_attention_core_cpu(KernelTable& table) {
  table.add(Impl<AttentionForward<float>>{
      "tiles", nullptr, [](const AttentionForward<float>& a, ThreadPool& threads) {
        HWY_DYNAMIC_DISPATCH(attention_forward)(a, threads);
      }});
  table.add(Impl<AttentionBackward<float>>{
      "tiles", nullptr, [](const AttentionBackward<float>& a, ThreadPool& threads) {
        HWY_DYNAMIC_DISPATCH(attention_backward)(a, threads);
      }});
}

}  // namespace subquad
#endif
