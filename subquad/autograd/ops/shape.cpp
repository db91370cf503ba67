#include <cstring>
#include <numeric>

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

// Copies a block of `width` columns between row-major matrices.
template <class T>
void copy_columns(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                  std::int64_t rows, std::int64_t width) {
  for (std::int64_t n = 0; n < rows; ++n) {
    std::memcpy(to + n * to_stride, from + n * from_stride,
                static_cast<std::size_t>(width) * sizeof(T));
  }
}

}  // namespace

Var reshape(Context& cx, const Var& x, Shape shape) {
  const Tensor y = x.value.reshaped(shape);
  if (x.node < 0 || !cx.tape) return {y};
  return cx.record("reshape", y,
                   [x](Context& cx, const Tensor& dy) { cx.add_grad(x, dy.reshaped(x.shape())); });
}

std::vector<Var> split_last(Context& cx, const Var& x, std::span<const std::int64_t> widths) {
  const std::int64_t total = std::accumulate(widths.begin(), widths.end(), std::int64_t{0});
  require(x.shape().rank >= 1 && x.shape()[-1] == total, ErrorCode::shape_mismatch,
          "split of shape ", x.shape(), " into widths that add up to ", total);
  const std::int64_t rows = x.shape().rows();
  std::vector<Tensor> parts;
  with_scalar(cx.dtype(), [&]<class T>() {
    const T* from = x.value.data<T>();
    for (const std::int64_t width : widths) {
      parts.push_back(cx.empty(x.shape().with_last(width)));
      copy_columns(from, total, parts.back().data<T>(), width, rows, width);
      from += width;
    }
  });
  std::vector<std::int64_t> sizes(widths.begin(), widths.end());
  return cx.record("split_last", std::move(parts),
                   [x, rows, total, sizes](Context& cx, std::span<const Tensor> dy) {
                     if (x.node < 0) return;
                     const Tensor dx = cx.empty(x.shape());
                     with_scalar(cx.dtype(), [&]<class T>() {
                       T* to = dx.data<T>();
                       for (std::size_t i = 0; i < sizes.size(); to += sizes[i], ++i) {
                         if (dy[i]) {
                           copy_columns<T>(dy[i].data<T>(), sizes[i], to, total, rows, sizes[i]);
                           continue;
                         }
                         for (std::int64_t n = 0; n < rows; ++n)
                           std::fill_n(to + n * total, sizes[i], T(0));
                       }
                     });
                     cx.add_grad(x, dx);
                   });
}

Var concat_last(Context& cx, std::span<const Var> parts) {
  require(!parts.empty(), ErrorCode::invalid_argument, "concat_last of nothing");
  const std::int64_t rows = parts[0].shape().rows();
  std::int64_t total = 0;
  for (const Var& p : parts) {
    require(p.shape().with_last(1) == parts[0].shape().with_last(1), ErrorCode::shape_mismatch,
            "concat_last of ", parts[0].shape(), " and ", p.shape());
    total += p.shape()[-1];
  }
  const Tensor y = cx.empty(parts[0].shape().with_last(total));
  with_scalar(cx.dtype(), [&]<class T>() {
    T* to = y.data<T>();
    for (const Var& p : parts) {
      copy_columns<T>(p.value.data<T>(), p.shape()[-1], to, total, rows, p.shape()[-1]);
      to += p.shape()[-1];
    }
  });
  std::vector<Var> inputs(parts.begin(), parts.end());
  return cx.record("concat_last", y, [inputs, rows, total](Context& cx, const Tensor& dy) {
    with_scalar(cx.dtype(), [&]<class T>() {
      const T* from = dy.data<T>();
      for (const Var& p : inputs) {
        if (p.node >= 0) {
          const Tensor dx = cx.empty(p.shape());
          copy_columns<T>(from, total, dx.data<T>(), p.shape()[-1], rows, p.shape()[-1]);
          cx.add_grad(p, dx);
        }
        from += p.shape()[-1];
      }
    });
  });
}

Var concat_time(Context& cx, const Var& a, const Var& b) {
  const auto fits = [&] {
    if (a.shape().rank != b.shape().rank || a.shape().rank < 2) return false;
    Shape wanted = b.shape();
    wanted.dims[1] = a.shape()[1];
    return a.shape() == wanted;
  };
  require(fits(), ErrorCode::shape_mismatch, "concat_time of ", a.shape(), " and ", b.shape(),
          ", wanted shapes that differ in dimension 1 only");
  const std::int64_t batch = a.shape()[0], ta = a.shape()[1], tb = b.shape()[1];
  const std::int64_t row = batch * tb == 0 ? (batch * ta == 0 ? 0 : a.value.numel() / (batch * ta))
                                           : b.value.numel() / (batch * tb);
  Shape shape = b.shape();
  shape.dims[1] = ta + tb;
  const Tensor y = cx.empty(shape);
  // Rows of the batch are the "rows" of the copy, time and features its columns.
  with_scalar(cx.dtype(), [&]<class T>() {
    copy_columns<T>(a.value.data<T>(), ta * row, y.data<T>(), (ta + tb) * row, batch, ta * row);
    copy_columns<T>(b.value.data<T>(), tb * row, y.data<T>() + ta * row, (ta + tb) * row, batch,
                    tb * row);
  });
  return cx.record("concat_time", y, [a, b, batch, ta, tb, row](Context& cx, const Tensor& dy) {
    with_scalar(cx.dtype(), [&]<class T>() {
      if (a.node >= 0) {
        const Tensor da = cx.empty(a.shape());
        copy_columns<T>(dy.data<T>(), (ta + tb) * row, da.data<T>(), ta * row, batch, ta * row);
        cx.add_grad(a, da);
      }
      if (b.node >= 0) {
        const Tensor db = cx.empty(b.shape());
        copy_columns<T>(dy.data<T>() + ta * row, (ta + tb) * row, db.data<T>(), tb * row, batch,
                        tb * row);
        cx.add_grad(b, db);
      }
    });
  });
}

}  // namespace subquad
