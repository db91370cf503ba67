#include "subquad/mixer/attention/core.h"

#include <algorithm>
#include <memory>

#include "subquad/mixer/attention/core_tiles.h"

namespace subquad {
namespace {

// Adds the first D features of a gradient of values to that of the keys they are part of.
void add_to_keys(Context& cx, const Tensor& dv, const Tensor& dk) {
  const std::int64_t rows = dv.shape().rows(), D = dv.shape()[-1], stride = dk.shape()[-1];
  with_scalar(cx.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t d = 0; d < D; ++d) dk.data<T>()[i * stride + d] += dv.data<T>()[i * D + d];
    }
  });
}

// v: of its own, or if empty the first value_dim features of k.
Var attend(Context& cx, const Var& q, const Var& k, const Var& v, std::int64_t value_dim,
           const Spans& spans, double scale, std::int64_t window, std::int64_t keys) {
  const bool own = static_cast<bool>(v.value);
  const Shape &sq = q.shape(), &sk = k.shape();
  const Shape sv = own ? v.shape() : sk.with_last(value_dim);
  const std::int64_t filled = keys < 0 ? sk[1] : keys;
  require(filled == sk[1] || !cx.tape, ErrorCode::unsupported,
          "attention_core: a cache with spare room cannot be differentiated");
  require(sq.rank == 4 && sk.rank == 4 && sv.rank == 4 && sq[0] == sk[0] && sq[3] == sk[3] &&
              sk[0] == sv[0] && sk[1] == sv[1] && sk[2] == sv[2] && sk[2] > 0 &&
              sq[2] % sk[2] == 0 && filled >= sq[1] && filled <= sk[1] && (own || sv[3] <= sk[3]),
          ErrorCode::shape_mismatch, "attention_core: q ", sq, ", k ", sk, ", v ", sv,
          ", wanted q (B,Tq,Hq,D), k and v (B,Tk,Hkv,D), Tk >= Tq, Hq a multiple of Hkv");
  require(spans.batch() == sq[0] && spans.length() == sq[1], ErrorCode::shape_mismatch,
          "attention_core: spans of ", spans.batch(), " x ", spans.length(),
          " for queries of shape ", sq);
  require(window >= 0, ErrorCode::invalid_argument, "attention window ", window,
          ", wanted 0 (none) or more");
  const auto shared = std::make_shared<const Spans>(spans);
  const Tensor o = cx.empty({sq[0], sq[1], sq[2], sv[3]}), lse = cx.empty({sq[0], sq[1], sq[2]});
  const auto arguments = [=]<class T>(T) {
    AttentionForward<T> f{q.value.view<const T, 4>(),
                          k.value.view<const T, 4>(),
                          (own ? v : k).value.template view<const T, 4>(),
                          shared.get(),
                          scale,
                          window,
                          o.view<T, 4>(),
                          lse.view<T, 3>()};
    f.k.dims[1] = f.v.dims[1] = filled;
    f.v.dims[3] = sv[3];
    return f;
  };
  with_scalar(cx.dtype(), [&]<class T>() { cx.run(arguments(T())); });
  return cx.record("attention_core", o, [=](Context& cx, const Tensor& d_o) {
    const Tensor dq = cx.empty(q.shape()), dk = cx.empty(k.shape()), dv = cx.empty(sv);
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(AttentionBackward<T>{arguments(T()), d_o.view<const T, 4>(), dq.view<T, 4>(),
                                  dk.view<T, 4>(), dv.view<T, 4>()});
    });
    if (!own) add_to_keys(cx, dv, dk);
    cx.add_grad(q, dq);
    cx.add_grad(k, dk);
    if (own) cx.add_grad(v, dv);
  });
}

}  // namespace

Var attention_core(Context& cx, const Var& q, const Var& k, const Var& v, const Spans& spans,
                   double scale, std::int64_t window, std::int64_t keys) {
  return attend(cx, q, k, v, 0, spans, scale, window, keys);
}

Var attention_core_of_keys(Context& cx, const Var& q, const Var& k, std::int64_t value_dim,
                           const Spans& spans, double scale, std::int64_t keys) {
  return attend(cx, q, k, {}, value_dim, spans, scale, 0, keys);
}

double attention_core_macs(std::int64_t tokens, std::int64_t window, std::int64_t head_dim,
                           std::int64_t value_dim) {
  const auto T = static_cast<double>(tokens);
  const double w = window > 0 ? std::min(static_cast<double>(window), T) : T;
  const double pairs = w * (w + 1) / 2 + (T - w) * w;
  return pairs * static_cast<double>(head_dim + (value_dim ? value_dim : head_dim) + 1);
}

namespace {

// Pairs of one tile, as (key, query) scores in bands and as rows of weighted values.
struct Pairs {
  double scores = 0, values = 0;
};
Pairs tile_pairs(const TileGeometry& g, std::int64_t value_rows) {
  const std::int64_t band = g.tiles.band(), columns = g.columns();
  const Range keys = g.keys();
  Pairs pairs;
  const auto add = [&](std::int64_t x) {
    pairs.scores += static_cast<double>(band * g.queries_of_band(x).size());
  };
  // Bands before the tile that every query sees are equal.
  const std::int64_t seen =
      std::max(keys.begin, -round_down(std::max<std::int64_t>(g.window - columns, 0), band));
  pairs.scores += static_cast<double>(-seen * columns);
  for (std::int64_t x = 0; x < keys.end; x += band) add(x);
  for (std::int64_t x = keys.begin; x < seen; x += band) add(x);
  for (std::int64_t r = 0; r < round_up(g.count, band); r += value_rows) {
    const Range row = g.keys_of_queries(r, value_rows);
    pairs.values +=
        static_cast<double>(value_rows * Range{std::max(row.begin, keys.begin), row.end}.size());
  }
  return pairs;
}

}  // namespace

double attention_core_executed_macs(std::int64_t tokens, std::int64_t window, std::int64_t head_dim,
                                    std::int64_t value_dim) {
  if (value_dim == 0) value_dim = head_dim;
  if (tokens == 1) return static_cast<double>(head_dim + value_dim);  // a step has no tiles
  const AttentionTiles tiles = attention_core_tiles();
  const std::int64_t padded = round_up(value_dim, tiles.lanes);
  double macs = 0;
  for (std::int64_t first = 0; first < tokens; first += kAttentionQueryTile) {
    TileGeometry g{tiles, std::min(kAttentionQueryTile, tokens - first), -first};
    if (window > 0) g.window = std::min(window, g.window);
    const Pairs pairs = tile_pairs(g, padded == tiles.lanes ? tiles.band() : tiles.rows);
    macs +=
        pairs.scores * static_cast<double>(head_dim) + pairs.values * static_cast<double>(padded);
  }
  return macs;
}

}  // namespace subquad
