#include "subquad/backend/dense.h"

#include <algorithm>
#include <type_traits>

#include "subquad/autograd/ops.h"
#include "subquad/backend/packed.h"

namespace subquad {
namespace {

Tensor as_rows(const Tensor& t) { return t.reshaped({t.shape().rows(), t.shape()[-1]}); }

// (B,1,D): decoding, one position of every sequence.
bool single_position(const Tensor& x) { return x.shape().rank >= 2 && x.shape()[-2] == 1; }

// Rows [first, first + count) of a weight seen as (rows, ins), or elements of a bias.
Tensor weight_rows(const Tensor& w, std::int64_t first, std::int64_t count) {
  return as_rows(w).rows(first, count);
}

// One product of a group: which columns of x, rows of the weight, elements of the bias, and columns
// of which output.
struct Piece {
  std::int64_t x_column = 0, ins = 0, w_row = 0, outs = 0;
  std::size_t output = 0;
  std::int64_t y_column = 0;
  ParamId bias{};
  std::int64_t bias_first = 0;
};

template <class T>
View<T, 2> columns(const Tensor& t, std::int64_t first, std::int64_t count) {
  if (!t) return {};
  View<T, 2> v = as_rows(t).view<T, 2>();
  v.data += first;
  v.dims[1] = count;
  return v;
}
template <class T>
View<T, 1> bias_of(const Piece& p, const Tensor& all) {
  return all ? all.slice(p.bias_first, {p.outs}).view<T, 1>() : View<T, 1>{};
}

void multiply_backward(Context& cx, const Var& x, ParamId w, const std::vector<Piece>& pieces,
                       std::span<const Tensor> dy) {
  const Tensor dx = x.node >= 0 ? cx.empty(x.shape()) : Tensor();
  with_scalar(cx.dtype(), [&]<class T>() {
    std::vector<LinearGradient<T>> parts;
    for (const Piece& p : pieces) {
      if (!dy[p.output]) continue;
      // Pieces that read the same columns of x add up.
      const bool add = std::any_of(parts.begin(), parts.end(), [&](const LinearGradient<T>& q) {
        return q.x.data == x.value.data<T>() + p.x_column;
      });
      parts.push_back({columns<const T>(x.value, p.x_column, p.ins),
                       weight_rows(cx.params.value(w), p.w_row, p.outs).template view<const T, 2>(),
                       columns<const T>(dy[p.output], p.y_column, p.outs),
                       columns<T>(dx, p.x_column, p.ins),
                       weight_rows(cx.params.grad(w), p.w_row, p.outs).template view<T, 2>(),
                       p.bias ? bias_of<T>(p, cx.params.grad(p.bias)) : View<T, 1>{}, add});
    }
    cx.run(LinearBackward<T>{parts, cx.precision});
  });
  cx.add_grad(x, dx);
}

// Products of rows [first, first + y.dim(1)) of a weight: one part, or one of every run of a packed
// weight that they touch.
template <class T>
class Products {
 public:
  Products(Context& cx, ParamId w)
      : cx_(cx), packed_(cx.params.packed(w)), w_(packed_ ? Tensor() : cx.params.value(w)) {
    require(!packed_ || !cx.tape, ErrorCode::unsupported, cx.params.plan().info(w).name,
            " is stored as ", packed_ ? packed_->packing_name() : "",
            " and has no gradient; training wants weights in f32");
  }
  void add(const View<const T, 2>& x, std::int64_t first, const View<const T, 1>& bias,
           const View<T, 2>& y) {
    if (!packed_) {
      parts_.push_back({x, weight_rows(w_, first, y.dim(1)).template view<const T, 2>(), bias, y});
      return;
    }
    if constexpr (std::is_same_v<T, float>) {
      packed_->for_runs(first, y.dim(1), [&](const PackedRows& rows, std::int64_t from) {
        View<float, 2> to = y;
        to.data += from;
        to.dims[1] = rows.rows;
        View<const float, 1> b = bias;
        if (b) b.data += from, b.dims[0] = rows.rows;
        packed_parts_.push_back({x, rows, b, to});
      });
    }
  }
  void run(bool single_position) {
    if (packed_) {
      cx_.run(PackedLinear{packed_parts_, single_position, cx_.precision});
    } else {
      cx_.run(LinearForward<T>{parts_, single_position, cx_.precision});
    }
  }

 private:
  Context& cx_;
  const PackedWeight* packed_;
  Tensor w_;
  std::vector<LinearPart<T>> parts_;
  std::vector<PackedPart> packed_parts_;
};

// The products of `pieces`, with outputs of these widths.
std::vector<Var> multiply(Context& cx, std::string_view op, const Var& x, ParamId w,
                          std::vector<Piece> pieces, std::span<const std::int64_t> widths) {
  std::vector<Tensor> outputs;
  for (const std::int64_t width : widths) outputs.push_back(cx.empty(x.shape().with_last(width)));
  std::erase_if(pieces, [](const Piece& p) { return p.outs == 0; });
  with_scalar(cx.dtype(), [&]<class T>() {
    Products<T> products(cx, w);
    for (const Piece& p : pieces) {
      products.add(columns<const T>(x.value, p.x_column, p.ins), p.w_row,
                   p.bias ? bias_of<const T>(p, cx.params.value(p.bias)) : View<const T, 1>{},
                   columns<T>(outputs[p.output], p.y_column, p.outs));
    }
    products.run(single_position(x.value));
  });
  return cx.record(op, std::move(outputs), [x, w, pieces](Context& cx, std::span<const Tensor> dy) {
    multiply_backward(cx, x, w, pieces, dy);
  });
}

void require_input(Context& cx, const Var& x, ParamId w, std::int64_t wanted) {
  require(x.shape().rank >= 1 && x.shape()[-1] == wanted, ErrorCode::shape_mismatch,
          cx.params.plan().info(w).name, " of shape ", cx.params.shape(w),
          " got an input of shape ", x.shape(), ", wanted a last dimension of ", wanted);
}

// Rows of logits held at once: 256 KiB, which stay in the second-level cache; of many classes up to
// 512 rows and 16 MiB, because every tile reads and writes all of the weight's gradient.
std::int64_t tile_rows(std::int64_t classes) {
  const std::int64_t n = std::max<std::int64_t>(classes, 1);
  return std::clamp<std::int64_t>(
      std::max((1 << 16) / n, std::min<std::int64_t>(512, (1 << 22) / n)), 128, 4096);
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
  const Tensor logits = cx.empty({count, cx.params.shape(w)[0]});
  Products<T> products(cx, w);
  products.add(x.rows(first, count).view<const T, 2>(), 0,
               b ? cx.params.value(b).view<const T, 1>() : View<const T, 1>{}, logits.view<T, 2>());
  products.run(false);
  return logits;
}

}  // namespace

Var linear(Context& cx, const Var& x, ParamId w, ParamId b) {
  const ProjectionPart all[] = {{cx.params.shape(w)[0], b}};
  return linear_split(cx, x, w, all)[0];
}

std::vector<Var> linear_split(Context& cx, const Var& x, ParamId w,
                              std::span<const ProjectionPart> parts) {
  const Shape shape = cx.params.shape(w);
  require(shape.rank == 2, ErrorCode::shape_mismatch, cx.params.plan().info(w).name, " of shape ",
          shape, ", wanted (out,in)");
  require_input(cx, x, w, shape[1]);
  std::vector<Piece> pieces;
  std::vector<std::int64_t> widths;
  std::int64_t row = 0;
  for (const ProjectionPart& p : parts) {
    require(!p.bias || p.bias_first + p.width <= cx.params.shape(p.bias).numel(),
            ErrorCode::shape_mismatch, "bias of ", cx.params.plan().info(w).name, " with ",
            p.bias ? cx.params.shape(p.bias).numel() : 0, " elements, wanted ",
            p.bias_first + p.width);
    pieces.push_back({.ins = shape[1],
                      .w_row = row,
                      .outs = p.width,
                      .output = widths.size(),
                      .bias = p.bias,
                      .bias_first = p.bias_first});
    widths.push_back(p.width);
    row += p.width;
  }
  require(row == shape[0], ErrorCode::shape_mismatch, cx.params.plan().info(w).name, " of shape ",
          shape, " in parts that add up to ", row);
  return multiply(cx, parts.size() == 1 ? "linear" : "linear_split", x, w, std::move(pieces),
                  widths);
}

Var head_linear(Context& cx, const Var& x, ParamId w) {
  const Shape shape = cx.params.shape(w);
  require(shape.rank == 3, ErrorCode::shape_mismatch,
          "head_linear wants a weight (H,Dout,Din), got ", shape);
  const std::int64_t heads = shape[0], outs = shape[1], ins = shape[2];
  require_input(cx, x, w, heads * ins);
  std::vector<Piece> pieces;
  for (std::int64_t h = 0; h < heads; ++h) {
    pieces.push_back(
        {.x_column = h * ins, .ins = ins, .w_row = h * outs, .outs = outs, .y_column = h * outs});
  }
  const std::int64_t widths[] = {heads * outs};
  return multiply(cx, "head_linear", x, w, std::move(pieces), widths)[0];
}

Var embedding(Context& cx, const Tensor& ids, ParamId table) {
  const Shape rows = cx.params.shape(table);
  require(ids.dtype() == DType::i32 && ids.shape().rank == 2, ErrorCode::shape_mismatch,
          "ids of shape ", ids.shape(), " and type ", name_of(ids.dtype()),
          ", wanted (B,T) of i32");
  for (std::int32_t id : ids.host<std::int32_t>()) {
    require(id >= 0 && id < rows[0], ErrorCode::invalid_argument, "token id ", id, ", wanted 0 to ",
            rows[0] - 1);
  }
  const Tensor y = cx.empty({ids.shape()[0], ids.shape()[1], rows[1]});
  const Tensor flat = ids.reshaped({ids.numel()});
  if (const PackedWeight* packed = cx.params.packed(table)) {
    require(!cx.tape, ErrorCode::unsupported, cx.params.plan().info(table).name, " is stored as ",
            packed->packing_name(), " and has no gradient; training wants weights in f32");
    std::vector<PackedRows> runs;
    packed->for_runs(0, rows[0], [&](const PackedRows& run, std::int64_t) { runs.push_back(run); });
    cx.run(PackedEmbedding{flat.view<const std::int32_t, 1>(), runs, as_rows(y).view<float, 2>()});
    return {y};
  }
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(EmbeddingForward<T>{flat.view<const std::int32_t, 1>(),
                               cx.params.value(table).view<const T, 2>(), as_rows(y).view<T, 2>()});
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
  const std::int64_t n = rows.shape()[0], classes = cx.params.shape(w)[0];
  require_targets(targets, n, classes);
  const auto ids = targets.host<std::int32_t>();
  const auto scored = std::count_if(ids.begin(), ids.end(), [](std::int32_t t) { return t >= 0; });
  const std::int64_t over = options.mean_over > 0 ? options.mean_over : scored;
  const double weight =
      options.mean ? 1.0 / static_cast<double>(std::max<std::int64_t>(over, 1)) : 1.0;
  const bool want_gradient = cx.tape != nullptr;
  const Tensor flat = targets.reshaped({n});
  const Tensor loss = cx.empty({1});
  // The gradient for d(loss) = 1 is formed tile by tile right here, so no logits outlive their
  // tile; the backward pass only scales it.
  const Tensor dx = want_gradient ? cx.empty(rows.shape()) : Tensor();
  const Tensor dw = want_gradient ? cx.zeros(cx.params.shape(w)) : Tensor();
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
      const LinearGradient<T> gradient{rows.rows(first, count).view<const T, 2>(),
                                       cx.params.value(w).view<const T, 2>(),
                                       logits.view<const T, 2>(),
                                       dx.rows(first, count).view<T, 2>(),
                                       dw.view<T, 2>(),
                                       db.view<T, 1>()};
      cx.run(LinearBackward<T>{{&gradient, 1}, cx.precision});
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
  const std::int64_t n = rows.shape()[0], classes = cx.params.shape(w)[0];
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
