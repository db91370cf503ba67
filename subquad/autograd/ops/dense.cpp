#include "subquad/backend/dense.h"

#include <algorithm>
#include <numeric>

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

Tensor as_rows(const Tensor& t) { return t.reshaped({t.shape().rows(), t.shape()[-1]}); }

// (B,1,D): decoding, one position of every sequence.
bool single_position(const Tensor& x) { return x.shape().rank >= 2 && x.shape()[-2] == 1; }

Tensor as_blocks(const Tensor& w) {
  return w.shape().rank == 3 ? w : w.reshaped({1, w.shape()[0], w.shape()[1]});
}

template <class T>
View<const T, 1> bias_view(Context& cx, ParamId b) {
  return b ? cx.params.value(b).view<const T, 1>() : View<const T, 1>{};
}

Var blocks_linear(Context& cx, std::string_view op, const Var& x, ParamId w, ParamId b) {
  const Tensor weight = as_blocks(cx.params.value(w));
  const std::int64_t heads = weight.shape()[0], outs = weight.shape()[1], ins = weight.shape()[2];
  const std::string& name = cx.params.plan().info(w).name;
  require(x.shape().rank >= 1 && x.shape()[-1] == heads * ins, ErrorCode::shape_mismatch, name,
          " of shape ", cx.params.value(w).shape(), " got an input of shape ", x.shape(),
          ", wanted a last dimension of ", heads * ins);
  require(!b || cx.params.value(b).numel() == heads * outs, ErrorCode::shape_mismatch, "bias of ",
          name, ", wanted ", heads * outs, " elements");
  const Tensor y = cx.empty(x.shape().with_last(heads * outs));
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(LinearForward<T>{as_rows(x.value).view<const T, 2>(), weight.view<const T, 3>(),
                            bias_view<T>(cx, b), as_rows(y).view<T, 2>(),
                            single_position(x.value)});
  });
  return cx.record(op, y, [x, w, b](Context& cx, const Tensor& dy) {
    const Tensor dx = x.node >= 0 ? cx.empty(x.shape()) : Tensor();
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(LinearBackward<T>{
          as_rows(x.value).view<const T, 2>(), as_blocks(cx.params.value(w)).view<const T, 3>(),
          as_rows(dy).view<const T, 2>(), dx ? as_rows(dx).view<T, 2>() : View<T, 2>{},
          as_blocks(cx.params.grad(w)).view<T, 3>(),
          b ? cx.params.grad(b).view<T, 1>() : View<T, 1>{}});
    });
    cx.add_grad(x, dx);
  });
}

// Rows of logits held at once: 256 KiB where that is at least 128 rows, so that a tile stays in the
// second-level cache and its products are still efficient.
std::int64_t tile_rows(std::int64_t classes) {
  return std::clamp<std::int64_t>((1 << 16) / std::max<std::int64_t>(classes, 1), 128, 4096);
}

void require_targets(const Tensor& targets, std::int64_t rows, std::int64_t classes) {
  require(targets.dtype() == DType::i32 && targets.numel() == rows, ErrorCode::shape_mismatch,
          "targets of shape ", targets.shape(), " for ", rows, " rows");
  for (std::int32_t t : targets.host<std::int32_t>()) {
    require(t < classes, ErrorCode::invalid_argument, "target ", t, ", wanted below ", classes,
            " (or negative for unscored)");
  }
}

// logits = x wᵀ (+ b) of rows [first, first + count).
template <class T>
Tensor logits_tile(Context& cx, const Tensor& x, ParamId w, ParamId b, std::int64_t first,
                   std::int64_t count) {
  const Tensor logits = cx.empty({count, cx.params.value(w).shape()[0]});
  cx.run(LinearForward<T>{x.rows(first, count).view<const T, 2>(),
                          as_blocks(cx.params.value(w)).view<const T, 3>(), bias_view<T>(cx, b),
                          logits.view<T, 2>()});
  return logits;
}

}  // namespace

Var linear(Context& cx, const Var& x, ParamId w, ParamId b) {
  return blocks_linear(cx, "linear", x, w, b);
}

std::vector<Var> linear_split(Context& cx, const Var& x, ParamId w, ParamId b,
                              std::span<const std::int64_t> widths) {
  const Tensor weight = cx.params.value(w);
  const std::int64_t total = std::accumulate(widths.begin(), widths.end(), std::int64_t{0});
  const std::string& name = cx.params.plan().info(w).name;
  require(weight.shape().rank == 2 && weight.shape()[0] == total && x.shape().rank >= 1 &&
              x.shape()[-1] == weight.shape()[1],
          ErrorCode::shape_mismatch, name, " of shape ", weight.shape(), " got an input of shape ",
          x.shape(), " and parts that add up to ", total);
  require(!b || cx.params.value(b).numel() == total, ErrorCode::shape_mismatch, "bias of ", name,
          ", wanted ", total, " elements");
  // Rows [first, first + width) of the weight, or elements of the bias.
  const auto part = [](const Tensor& t, std::int64_t first, std::int64_t width) {
    return t ? t.rows(first, width) : t;
  };
  std::vector<Tensor> outputs;
  std::int64_t first = 0;
  for (const std::int64_t width : widths) {
    outputs.push_back(cx.empty(x.shape().with_last(width)));
    with_scalar(cx.dtype(), [&]<class T>() {
      const Tensor bias = b ? part(cx.params.value(b), first, width) : Tensor();
      if (width == 0) return;
      cx.run(LinearForward<T>{as_rows(x.value).view<const T, 2>(),
                              as_blocks(part(weight, first, width)).view<const T, 3>(),
                              bias.view<const T, 1>(), as_rows(outputs.back()).view<T, 2>(),
                              single_position(x.value)});
    });
    first += width;
  }
  std::vector<std::int64_t> sizes(widths.begin(), widths.end());
  return cx.record(
      "linear_split", std::move(outputs),
      [x, w, b, sizes, part](Context& cx, std::span<const Tensor> dy) {
        const Tensor dx = x.node >= 0 ? cx.empty(x.shape()) : Tensor();
        bool started = false;
        std::int64_t first = 0;
        for (std::size_t i = 0; i < sizes.size(); first += sizes[i], ++i) {
          if (!dy[i] || sizes[i] == 0) continue;
          with_scalar(cx.dtype(), [&]<class T>() {
            const Tensor db = b ? part(cx.params.grad(b), first, sizes[i]) : Tensor();
            cx.run(LinearBackward<T>{
                as_rows(x.value).view<const T, 2>(),
                as_blocks(part(cx.params.value(w), first, sizes[i])).view<const T, 3>(),
                as_rows(dy[i]).view<const T, 2>(), dx ? as_rows(dx).view<T, 2>() : View<T, 2>{},
                as_blocks(part(cx.params.grad(w), first, sizes[i])).view<T, 3>(), db.view<T, 1>(),
                started});
          });
          started = true;
        }
        if (started) cx.add_grad(x, dx);
      });
}

Var head_linear(Context& cx, const Var& x, ParamId w) {
  require(cx.params.value(w).shape().rank == 3, ErrorCode::shape_mismatch,
          "head_linear wants a weight (H,Dout,Din), got ", cx.params.value(w).shape());
  return blocks_linear(cx, "head_linear", x, w, {});
}

Var embedding(Context& cx, const Tensor& ids, ParamId table) {
  const Tensor rows = cx.params.value(table);
  require(ids.dtype() == DType::i32 && ids.shape().rank == 2, ErrorCode::shape_mismatch,
          "ids of shape ", ids.shape(), " and type ", name_of(ids.dtype()),
          ", wanted (B,T) of i32");
  for (std::int32_t id : ids.host<std::int32_t>()) {
    require(id >= 0 && id < rows.shape()[0], ErrorCode::invalid_argument, "token id ", id,
            ", wanted 0 to ", rows.shape()[0] - 1);
  }
  const Tensor y = cx.empty({ids.shape()[0], ids.shape()[1], rows.shape()[1]});
  const Tensor flat = ids.reshaped({ids.numel()});
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(EmbeddingForward<T>{flat.view<const std::int32_t, 1>(), rows.view<const T, 2>(),
                               as_rows(y).view<T, 2>()});
  });
  return cx.record("embedding", y, [flat, table](Context& cx, const Tensor& dy) {
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(EmbeddingBackward<T>{flat.view<const std::int32_t, 1>(),
                                  as_rows(dy).view<const T, 2>(),
                                  cx.params.grad(table).view<T, 2>()});
    });
  });
}

Var linear_cross_entropy(Context& cx, const Var& x, ParamId w, ParamId b, const Tensor& targets,
                         const CrossEntropyOptions& options) {
  const Tensor rows = as_rows(x.value);
  const std::int64_t n = rows.shape()[0], classes = cx.params.value(w).shape()[0];
  require_targets(targets, n, classes);
  const auto ids = targets.host<std::int32_t>();
  const auto scored = std::count_if(ids.begin(), ids.end(), [](std::int32_t t) { return t >= 0; });
  const double weight =
      options.mean ? 1.0 / static_cast<double>(std::max<std::int64_t>(scored, 1)) : 1.0;
  const bool want_gradient = cx.tape != nullptr;
  const Tensor flat = targets.reshaped({n});
  const Tensor loss = cx.empty({1});
  // The gradient for d(loss) = 1 is formed tile by tile right here, so no logits outlive their
  // tile; the backward pass only scales it.
  const Tensor dx = want_gradient ? cx.empty(rows.shape()) : Tensor();
  const Tensor dw = want_gradient ? cx.zeros(cx.params.value(w).shape()) : Tensor();
  const Tensor db = want_gradient && b ? cx.zeros(cx.params.value(b).shape()) : Tensor();
  with_scalar(cx.dtype(), [&]<class T>() {
    double total = 0;
    const std::int64_t tile = tile_rows(classes);
    for (std::int64_t first = 0; first < n; first += tile) {
      const std::int64_t count = std::min(tile, n - first);
      const Tensor logits = logits_tile<T>(cx, rows, w, b, first, count);
      const Tensor losses = cx.empty({count});
      cx.run(CrossEntropyRows<T>{.logits = logits.view<T, 2>(),
                                 .targets = flat.rows(first, count).view<const std::int32_t, 1>(),
                                 .loss = losses.view<T, 1>(),
                                 .predicted = {},
                                 .z_weight = options.z_weight,
                                 .soft_cap = options.soft_cap,
                                 .row_weight = want_gradient ? weight : 0});
      for (T value : losses.host<T>()) total += static_cast<double>(value);
      if (!want_gradient) continue;
      cx.run(LinearBackward<T>{rows.rows(first, count).view<const T, 2>(),
                               as_blocks(cx.params.value(w)).view<const T, 3>(),
                               logits.view<const T, 2>(), dx.rows(first, count).view<T, 2>(),
                               as_blocks(dw).view<T, 3>(), db ? db.view<T, 1>() : View<T, 1>{}});
    }
    *loss.data<T>() = static_cast<T>(total * weight);
  });
  const auto backward = [x, w, b, dx, dw, db](Context& cx, const Tensor& dloss) {
    with_scalar(cx.dtype(), [&]<class T>() {
      const T factor = *dloss.data<T>();
      const auto add_scaled = [&](const Tensor& to, const Tensor& from) {
        T* y = to.data<T>();
        const T* g = from.data<T>();
        for (std::int64_t i = 0; i < from.numel(); ++i) y[i] += factor * g[i];
      };
      add_scaled(cx.params.grad(w), dw);
      if (b) add_scaled(cx.params.grad(b), db);
      if (factor != T(1)) {
        for (T& g : dx.host<T>()) g *= factor;
      }
    });
    cx.add_grad(x, dx.reshaped(x.shape()));
  };
  return cx.record("linear_cross_entropy", loss, backward);
}

RowScores score_rows(Context& cx, const Tensor& x, ParamId w, ParamId b, const Tensor& targets,
                     double soft_cap) {
  const Tensor rows = as_rows(x);
  const std::int64_t n = rows.shape()[0], classes = cx.params.value(w).shape()[0];
  require_targets(targets, n, classes);
  const Tensor flat = targets.reshaped({n});
  const Tensor best({n}, DType::i32);
  RowScores scores;
  scores.loss.reserve(static_cast<std::size_t>(n));
  with_scalar(cx.dtype(), [&]<class T>() {
    const std::int64_t tile = tile_rows(classes);
    for (std::int64_t first = 0; first < n; first += tile) {
      const std::int64_t count = std::min(tile, n - first);
      const Tensor logits = logits_tile<T>(cx, rows, w, b, first, count);
      const Tensor losses = cx.empty({count});
      cx.run(CrossEntropyRows<T>{.logits = logits.view<T, 2>(),
                                 .targets = flat.rows(first, count).view<const std::int32_t, 1>(),
                                 .loss = losses.view<T, 1>(),
                                 .predicted = best.rows(first, count).view<std::int32_t, 1>(),
                                 .soft_cap = soft_cap});
      for (T value : losses.host<T>()) scores.loss.push_back(static_cast<float>(value));
    }
  });
  const auto predicted = best.host<std::int32_t>();
  scores.predicted.assign(predicted.begin(), predicted.end());
  return scores;
}

}  // namespace subquad
