// Attention in tiles of 64 queries x 64 keys with a streaming softmax: memory linear in T.
// Schedule: forward task (row, query head), backward task (row, key head), which walks its query
// heads and tiles in order, so dk and dv need no locks and keep their bits. K and V of the head are
// copied to scratch once. Scores are formed transposed, keys x queries: with a query per lane,
// maxima, sums and exponentials need no reduction across lanes, only q (and d_o, o) is transposed
// on the way in, and every other operand is used as it lies. Bands of 8 or 16 keys beyond the
// diagonal, outside the window or in another document are never formed.
// Roofline: FMA for D >= 64 (70 % of it on AVX2); at D = 16 the exponential, one per 4 D
// multiply-adds forward and 10 D backward, takes a third of the forward. One query per row
// (decoding) is in core_step-inl.h.
#include "subquad/mixer/attention/core.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/attention/core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/mixer/attention/core_products-inl.h"
#include "subquad/mixer/attention/core_step-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
namespace at = attention;
using at::Product;
using vm::V;

constexpr std::int64_t kQueries = kAttentionQueryTile, kKeys = 64;
constexpr std::int64_t kLine = kQueries + 16;
static_assert(kQueries % at::kBand == 0 && kKeys % at::kBand == 0);

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

// Key index of the tile's first query.
std::int64_t origin(const AttentionForward<float>& a, const QueryTile& tile) {
  return a.k.dim(1) - a.q.dim(1) + tile.first;
}

TileGeometry geometry(const AttentionForward<float>& a, const QueryTile& tile) {
  TileGeometry g{at::kTiles, tile.count, tile.low - origin(a, tile)};
  if (a.window > 0) g.window = std::min(a.window, g.window);
  return g;
}

// Keys [begin, end) that the tiles of row b form, whole bands of each tile: may reach past both
// ends.
Range all_keys(const AttentionForward<float>& a, std::int64_t b) {
  Range all{a.k.dim(1), 0};
  for_each_tile(a, b, [&](const QueryTile& tile) {
    const Range keys = geometry(a, tile).keys();
    all.begin = std::min(all.begin, origin(a, tile) + keys.begin);
    all.end = std::max(all.end, origin(a, tile) + keys.end);
  });
  return all;
}

Range intersect(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }
Range shift(Range a, std::int64_t by) { return {a.begin + by, a.end + by}; }

// Rows of one head of a key or value tensor in scratch, padded with zeros: key j at row j - first.
struct Rows {
  float* data;
  std::int64_t first, stride;
  float* at(std::int64_t j) const { return data + (j - first) * stride; }
};

Rows pack(const View<const float, 4>& x, std::int64_t b, std::int64_t h, Range keys, float* to) {
  const std::int64_t D = x.dim(3), P = round_up(D, vm::kWidth);
  const Range real = intersect(keys, {0, x.dim(1)});
  const Rows rows{to, keys.begin, P};
  std::fill_n(to, (real.begin - keys.begin) * P, 0.0F);
  at::copy_rows(x.at(b, real.begin, h), x.stride(1), real.size(), D, 1, rows.at(real.begin), P);
  std::fill_n(rows.at(real.end), (keys.end - real.end) * P, 0.0F);
  return rows;
}

// Scores s (key x, query r) that r does not see become -inf.
HWY_INLINE V masked(const TileGeometry& g, std::int64_t x, std::int64_t c, V s) {
  const V key = vm::set(static_cast<float>(x)), query = hn::Iota(vm::F(), static_cast<float>(c));
  const V oldest = hn::Sub(query, vm::set(static_cast<float>(g.window)));
  const auto seen = hn::And(hn::Le(key, query), hn::Gt(key, oldest));
  return x < g.lowest ? vm::set(-INFINITY) : hn::IfThenElse(seen, s, vm::set(-INFINITY));
}

// keys x queries of one block: s = K qᵀ where some query sees the key.
std::int64_t score_block(const TileGeometry& g, Range block, const float* k, std::int64_t P,
                         std::int64_t D, const float* qt, float* s) {
  const Product product{k, P, 1, qt, kLine, s, kLine};
  std::int64_t macs = 0;
  for (std::int64_t x = block.begin; x < block.end; x += at::kBand) {
    macs += at::run_band(product, x - block.begin, g.queries_of_band(x),
                         [D](std::int64_t, std::int64_t) {
                           return Range{0, D};
                         });
  }
  return macs;
}

// Running maximum, sum and the factor for what was summed before, of every query.
struct Softmax {
  float top[kQueries], sum[kQueries], keep[kQueries];
};

// One vector of queries (at c) over its keys of the block: scores become 2^(score - top).
HWY_NOINLINE void softmax_vector(const TileGeometry& g, Range block, std::int64_t c, float* s,
                                 Softmax& state) {
  const vm::F d;
  const Range keys = intersect(g.keys_of_column(c), block), plain = g.plain_keys_of_vector(c);
  float* column = s + c - block.begin * kLine;  // key x at column + x kLine
  const V before = hn::LoadU(d, state.top + c);
  V top = before;
  for (std::int64_t x = keys.begin; x < keys.end; ++x) {
    V score = hn::LoadU(d, column + x * kLine);
    if (x < plain.begin || x >= plain.end) {
      score = masked(g, x, c, score);
      hn::StoreU(score, d, column + x * kLine);
    }
    top = hn::Max(top, score);
  }
  // Where nothing was visible so far, any finite shift does.
  const V shift = hn::IfThenElse(hn::Eq(top, vm::set(-INFINITY)), vm::set(0), top);
  const V keep = vm::exp2(hn::Sub(before, shift));
  V sum = hn::Mul(hn::LoadU(d, state.sum + c), keep);
  for (std::int64_t x = keys.begin; x < keys.end; ++x) {
    const V p = vm::exp2(hn::Sub(hn::LoadU(d, column + x * kLine), shift));
    hn::StoreU(p, d, column + x * kLine);
    sum = hn::Add(sum, p);
  }
  hn::StoreU(top, d, state.top + c);
  hn::StoreU(sum, d, state.sum + c);
  hn::StoreU(keep, d, state.keep + c);
}

struct ForwardScratch {
  float *k, *v, *qt, *s, *o;
  static std::int64_t floats(std::int64_t keys, std::int64_t D, std::int64_t P, std::int64_t Pv) {
    return keys * (P + Pv) + kLine * (D + kKeys + Pv);
  }
  ForwardScratch(float* p, std::int64_t keys, std::int64_t D, std::int64_t P, std::int64_t Pv)
      : k(p), v(k + keys * P), qt(v + keys * Pv), s(qt + kLine * D), o(s + kLine * kKeys) {}
};

std::int64_t forward_tile(const AttentionForward<float>& a, const QueryTile& tile, std::int64_t h,
                          const Rows& k, const Rows& v, const ForwardScratch& w) {
  const vm::F d;
  const TileGeometry g = geometry(a, tile);
  const std::int64_t zero = origin(a, tile), D = a.q.dim(3), Dv = a.v.dim(3), Pv = v.stride;
  at::transpose(a.q.at(tile.b, tile.first, h), a.q.stride(1), tile.count, D, score_scale(a.scale),
                w.qt, kLine, g.columns());
  Softmax state;
  std::fill_n(state.top, kQueries, -INFINITY);
  std::fill_n(state.sum, kQueries, 0.0F);
  const Range keys = g.keys();
  std::int64_t macs = 0;
  for (Range block{keys.begin, 0}; block.begin < keys.end; block.begin = block.end) {
    block.end = std::min(block.begin + kKeys, keys.end);
    macs += score_block(g, block, k.at(zero + block.begin), k.stride, D, w.qt, w.s);
    for (std::int64_t c = 0; c < g.columns(); c += vm::kWidth) {
      softmax_vector(g, block, c, w.s, state);
    }
    const Product out{
        w.s, 1, kLine, v.at(zero + block.begin), Pv, w.o, Pv, block.begin > keys.begin, state.keep};
    for (std::int64_t r = 0; r < tile.count; r += at::kBand) {
      macs += at::run_band(out, r, {0, Pv}, [&](std::int64_t row, std::int64_t n) {
        return shift(intersect(g.keys_of_queries(row, n), block), -block.begin);
      });
    }
  }
  for (std::int64_t c = 0; c < g.columns(); c += vm::kWidth) {
    const V sum = hn::LoadU(d, state.sum + c);
    const V top = hn::Mul(vm::set(kLn2), hn::LoadU(d, state.top + c));
    hn::StoreU(hn::Add(top, hn::Log(d, sum)), d, state.top + c);
    hn::StoreU(hn::Div(vm::set(1), sum), d, state.sum + c);
  }
  for (std::int64_t r = 0; r < tile.count; ++r) {
    at::copy_rows(w.o + r * Pv, 0, 1, Dv, state.sum[r], a.o.at(tile.b, tile.first + r, h), Dv);
    *a.lse.at(tile.b, tile.first + r, h) = state.top[r];
  }
  return macs;
}

void attention_forward(const AttentionForward<float>& a, ThreadPool& threads) {
  if (a.q.dim(1) == 1) return attention_step::forward(a, threads);
  const std::int64_t H = a.q.dim(2), D = a.q.dim(3), Dv = a.v.dim(3);
  const std::int64_t P = round_up(D, vm::kWidth), Pv = round_up(Dv, vm::kWidth);
  threads.run(a.q.dim(0) * H, [&](std::int64_t task, Scratch& scratch) {
    const std::int64_t b = task / H, h = task % H, hk = h / (H / a.k.dim(2));
    for (std::int64_t i = a.spans->valid_length(b); i < a.q.dim(1); ++i) {
      std::fill_n(a.o.at(b, i, h), Dv, 0.0F);
      *a.lse.at(b, i, h) = 0;
    }
    const Range keys = all_keys(a, b);
    const ForwardScratch w(scratch.get<float>(ForwardScratch::floats(keys.size(), D, P, Pv)),
                           keys.size(), D, P, Pv);
    const Rows k = pack(a.k, b, hk, keys, w.k), v = pack(a.v, b, hk, keys, w.v);
    for_each_tile(a, b, [&](const QueryTile& tile) {
      scratch.count_macs(forward_tile(a, tile, h, k, v, w));
    });
  });
}

// One vector of queries (at c) over its keys of the block: scores s become weights p, and dp
// becomes ds = p (dp - along).
HWY_NOINLINE void weights_vector(const TileGeometry& g, Range block, std::int64_t c,
                                 const float* lse, const float* along, float* s, float* dp) {
  const vm::F d;
  const Range keys = intersect(g.keys_of_column(c), block), plain = g.plain_keys_of_vector(c);
  const V shift = hn::LoadU(d, lse + c), less = hn::LoadU(d, along + c);
  s += c - block.begin * kLine;
  dp += c - block.begin * kLine;
  for (std::int64_t x = keys.begin; x < keys.end; ++x) {
    V score = hn::LoadU(d, s + x * kLine);
    if (x < plain.begin || x >= plain.end) score = masked(g, x, c, score);
    const V p = vm::exp2(hn::Sub(score, shift));
    hn::StoreU(p, d, s + x * kLine);
    hn::StoreU(hn::Mul(p, hn::Sub(hn::LoadU(d, dp + x * kLine), less)), d, dp + x * kLine);
  }
}

// Of one (row, key head): k, v, dk, dv by key; of one tile: q and d_o transposed, and q, d_o
// and dq by query; of one block: scores and their gradients.
struct BackwardScratch {
  float *k, *v, *dk, *dv, *qt, *dot, *q, *d_o, *dq, *s, *ds;
  static std::int64_t ds_rows(std::int64_t Dv) { return std::max(kKeys, Dv); }  // also holds oᵀ
  static std::int64_t floats(std::int64_t keys, std::int64_t D, std::int64_t Dv) {
    const std::int64_t P = round_up(D, vm::kWidth), Pv = round_up(Dv, vm::kWidth);
    return 2 * keys * (P + Pv) + kLine * (D + Dv + 2 * P + Pv + kKeys + ds_rows(Dv));
  }
  BackwardScratch(float* p, std::int64_t keys, std::int64_t D, std::int64_t Dv) {
    const std::int64_t P = round_up(D, vm::kWidth), Pv = round_up(Dv, vm::kWidth);
    k = p;
    v = k + keys * P;
    dk = v + keys * Pv;
    dv = dk + keys * P;
    qt = dv + keys * Pv;
    dot = qt + kLine * D;
    q = dot + kLine * Dv;
    d_o = q + kLine * P;
    dq = d_o + kLine * Pv;
    s = dq + kLine * P;
    ds = s + kLine * kKeys;
  }
};

struct KeyHead {
  Rows k, v, dk, dv;
};

std::int64_t backward_tile(const AttentionBackward<float>& g, const QueryTile& tile, std::int64_t h,
                           const KeyHead& of, const BackwardScratch& w) {
  const auto& a = g.f;
  const vm::F d;
  const TileGeometry geo = geometry(a, tile);
  const std::int64_t zero = origin(a, tile), D = a.q.dim(3), Dv = a.v.dim(3);
  const std::int64_t P = of.k.stride, Pv = of.v.stride, columns = geo.columns();
  const auto scale = static_cast<float>(a.scale);
  const float *q = a.q.at(tile.b, tile.first, h), *d_o = g.d_o.at(tile.b, tile.first, h);
  at::copy_rows(q, a.q.stride(1), tile.count, D, 1, w.q, P);
  at::copy_rows(d_o, g.d_o.stride(1), tile.count, Dv, 1, w.d_o, Pv);
  at::transpose(w.q, P, tile.count, D, score_scale(a.scale), w.qt, kLine, columns);
  at::transpose(w.d_o, Pv, tile.count, Dv, 1, w.dot, kLine, columns);
  at::transpose(a.o.at(tile.b, tile.first, h), a.o.stride(1), tile.count, Dv, 1, w.ds, kLine,
                columns);
  float lse[kQueries] = {}, along[kQueries];
  for (std::int64_t r = 0; r < tile.count; ++r)
    lse[r] = kLog2E * *a.lse.at(tile.b, tile.first + r, h);
  for (std::int64_t c = 0; c < columns; c += vm::kWidth) {
    // In the order of the product below: with one visible key the difference is exactly 0.
    V sum = vm::set(0);
    for (std::int64_t i = 0; i < Dv; ++i) {
      sum =
          hn::MulAdd(hn::LoadU(d, w.ds + i * kLine + c), hn::LoadU(d, w.dot + i * kLine + c), sum);
    }
    hn::StoreU(sum, d, along + c);
  }
  const Range keys = geo.keys();
  std::int64_t macs = 0;
  for (Range block{keys.begin, 0}; block.begin < keys.end; block.begin = block.end) {
    block.end = std::min(block.begin + kKeys, keys.end);
    const std::int64_t first = zero + block.begin;
    macs += score_block(geo, block, of.k.at(first), P, D, w.qt, w.s);
    macs += score_block(geo, block, of.v.at(first), Pv, Dv, w.dot, w.ds);
    for (std::int64_t c = 0; c < columns; c += vm::kWidth) {
      weights_vector(geo, block, c, lse, along, w.s, w.ds);
    }
    const auto queries = [&](std::int64_t row, std::int64_t n) {
      return geo.queries_of_keys(block.begin + row, n);
    };
    const Product to_v{w.s, kLine, 1, w.d_o, Pv, of.dv.at(first), Pv, true};
    const Product to_k{w.ds, kLine, 1, w.q, P, of.dk.at(first), P, true};
    for (std::int64_t x = 0; x < block.size(); x += at::kBand) {
      macs += at::run_band(to_v, x, {0, Pv}, queries);
      macs += at::run_band(to_k, x, {0, P}, queries);
    }
    const Product to_q{w.ds, 1, kLine, of.k.at(first), P, w.dq, P, block.begin > keys.begin};
    for (std::int64_t r = 0; r < tile.count; r += at::kBand) {
      macs += at::run_band(to_q, r, {0, P}, [&](std::int64_t row, std::int64_t n) {
        return shift(intersect(geo.keys_of_queries(row, n), block), -block.begin);
      });
    }
  }
  for (std::int64_t r = 0; r < tile.count; ++r) {
    at::copy_rows(w.dq + r * P, 0, 1, D, scale, g.dq.at(tile.b, tile.first + r, h), D);
  }
  return macs;
}

// Rows of one head of a gradient tensor from scratch; keys outside the range were seen by nobody.
void unpack(const Rows& rows, Range keys, float scale, const View<float, 4>& x, std::int64_t b,
            std::int64_t h) {
  const std::int64_t D = x.dim(3);
  for (std::int64_t j = 0; j < x.dim(1); ++j) {
    if (j >= keys.begin && j < keys.end) {
      at::copy_rows(rows.at(j), 0, 1, D, scale, x.at(b, j, h), D);
    } else {
      std::fill_n(x.at(b, j, h), D, 0.0F);
    }
  }
}

void attention_backward(const AttentionBackward<float>& g, ThreadPool& threads) {
  const auto& a = g.f;
  const std::int64_t Hk = a.k.dim(2), group = a.q.dim(2) / Hk, D = a.q.dim(3), Dv = a.v.dim(3);
  threads.run(a.q.dim(0) * Hk, [&](std::int64_t task, Scratch& scratch) {
    const std::int64_t b = task / Hk, hk = task % Hk;
    const Range keys = all_keys(a, b);
    const BackwardScratch w(scratch.get<float>(BackwardScratch::floats(keys.size(), D, Dv)),
                            keys.size(), D, Dv);
    KeyHead of{pack(a.k, b, hk, keys, w.k), pack(a.v, b, hk, keys, w.v), {}, {}};
    of.dk = {w.dk, keys.begin, of.k.stride};
    of.dv = {w.dv, keys.begin, of.v.stride};
    std::fill_n(w.dk, keys.size() * (of.k.stride + of.v.stride), 0.0F);
    for (std::int64_t h = hk * group; h < (hk + 1) * group; ++h) {
      for (std::int64_t i = a.spans->valid_length(b); i < a.q.dim(1); ++i) {
        std::fill_n(g.dq.at(b, i, h), D, 0.0F);
      }
      for_each_tile(a, b, [&](const QueryTile& tile) {
        scratch.count_macs(backward_tile(g, tile, h, of, w));
      });
    }
    unpack(of.dk, keys, static_cast<float>(a.scale), g.dk, b, hk);
    unpack(of.dv, keys, 1, g.dv, b, hk);
  });
}

AttentionTiles tiles() { return at::kTiles; }

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(attention_forward);
HWY_EXPORT(attention_backward);
HWY_EXPORT(tiles);

}  // namespace

AttentionTiles attention_core_tiles() { return HWY_DYNAMIC_DISPATCH(tiles)(); }

void add_attention_core_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(attention_forward)>("tiles"));
  table.add(dispatched<HWY_DISPATCH_TABLE(attention_backward)>("tiles"));
}

}  // namespace subquad
#endif
