#include "subquad/mixer/attention/core.h"

#include <algorithm>

#include <memory>

namespace subquad {

Var attention_core(Context& cx, const Var& q, const Var& k, const Var& v, const Spans& spans,
                   double scale, std::int64_t window, std::int64_t keys) {
  const Shape &sq = q.shape(), &sk = k.shape(), &sv = v.shape();
  const std::int64_t filled = keys < 0 ? sk[1] : keys;
  require(filled == sk[1] || !cx.tape, ErrorCode::unsupported,
          "attention_core: a cache with spare room cannot be differentiated");
  require(sq.rank == 4 && sk.rank == 4 && sv.rank == 4 && sq[0] == sk[0] && sq[3] == sk[3] &&
              sk[0] == sv[0] && sk[1] == sv[1] && sk[2] == sv[2] && sk[2] > 0 &&
              sq[2] % sk[2] == 0 && filled >= sq[1] && filled <= sk[1],
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
                          v.value.view<const T, 4>(),
                          shared.get(),
                          scale,
                          window,
                          o.view<T, 4>(),
                          lse.view<T, 3>()};
    f.k.dims[1] = f.v.dims[1] = filled;
    return f;
  };
  with_scalar(cx.dtype(), [&]<class T>() { cx.run(arguments(T())); });
  return cx.record("attention_core", o, [q, k, v, arguments](Context& cx, const Tensor& d_o) {
    const Tensor dq = cx.empty(q.shape()), dk = cx.empty(k.shape()), dv = cx.empty(v.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(AttentionBackward<T>{arguments(T()), d_o.view<const T, 4>(), dq.view<T, 4>(),
                                  dk.view<T, 4>(), dv.view<T, 4>()});
    });
    cx.add_grad(q, dq);
    cx.add_grad(k, dk);
    cx.add_grad(v, dv);
  });
}

double attention_core_macs(std::int64_t tokens, std::int64_t window, std::int64_t head_dim) {
  const auto T = static_cast<double>(tokens);
  const double w = window > 0 ? std::min(static_cast<double>(window), T) : T;
  const double pairs = w * (w + 1) / 2 + (T - w) * w;
  return pairs * (2 * static_cast<double>(head_dim) + 1);
}

double attention_core_executed_macs(std::int64_t tokens, std::int64_t window,
                                    std::int64_t head_dim) {
  double pairs = 0;
  for (std::int64_t first = 0; first < tokens; first += kAttentionQueryTile) {
    const std::int64_t end = std::min(first + kAttentionQueryTile, tokens);
    const std::int64_t low = window > 0 ? std::max<std::int64_t>(0, first - window + 1) : 0;
    pairs += static_cast<double>((end - first) * (end - low));
  }
  return 2 * pairs * static_cast<double>(head_dim);
}

}  // namespace subquad
