#include "subquad/backend/norm.h"

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

Tensor rows_of(const Tensor& t, std::int64_t width) {
  return t.reshaped({width ? t.numel() / width : 0, width});
}

template <class T>
View<const T, 1> weight_view(Context& cx, ParamId id) {
  return id ? cx.params.value(id).view<const T, 1>() : View<const T, 1>{};
}
template <class T>
View<T, 1> grad_view(Context& cx, ParamId id) {
  return id ? cx.params.grad(id).view<T, 1>() : View<T, 1>{};
}

// x seen as rows of `width`.
Var normalise(Context& cx, std::string_view op, const Var& x, std::int64_t width, ParamId w,
              ParamId b, const NormSetup& setup) {
  const Tensor y = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(NormForward<T>{setup, rows_of(x.value, width).view<const T, 2>(), weight_view<T>(cx, w),
                          weight_view<T>(cx, b), rows_of(y, width).view<T, 2>()});
  });
  return cx.record(op, y, [x, width, w, b, setup](Context& cx, const Tensor& dy) {
    const Tensor dx = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(NormBackward<T>{setup, rows_of(x.value, width).view<const T, 2>(),
                             weight_view<T>(cx, w), rows_of(dy, width).view<const T, 2>(),
                             rows_of(dx, width).view<T, 2>(), grad_view<T>(cx, w),
                             grad_view<T>(cx, b)});
    });
    cx.add_grad(x, dx);
  });
}

}  // namespace

Var norm(Context& cx, const Var& x, ParamId w, ParamId b, const NormOptions& options) {
  require(w || !b, ErrorCode::invalid_argument,
          "norm with a bias but no weight, wanted both or none");
  const std::int64_t n = x.shape()[-1];
  const std::int64_t size = w ? cx.params.value(w).numel() : n;
  const std::int64_t heads =
      x.shape().rank >= 2 && size == n * x.shape()[-2] && size != n ? x.shape()[-2] : 1;
  require(size == n * heads && (!b || cx.params.value(b).numel() == size),
          ErrorCode::shape_mismatch, "norm weight of ", size, " elements for an input of shape ",
          x.shape());
  return normalise(cx, "norm", x, n * heads, w, b,
                   {.groups = heads,
                    .eps = options.eps,
                    .center = options.center,
                    .plus_one = options.plus_one});
}

Var l2_norm(Context& cx, const Var& x, double eps) {
  return normalise(cx, "l2_norm", x, x.shape()[-1], {}, {}, {.eps = eps, .sum_not_mean = true});
}

Var gated_norm(Context& cx, const Var& x, const Var& z, ParamId w,
               const GatedNormOptions& options) {
  const std::int64_t width = x.shape()[-1], size = cx.params.value(w).numel();
  require(x.shape() == z.shape(), ErrorCode::shape_mismatch, "gated_norm of ", x.shape(),
          " with a gate of ", z.shape());
  require(options.groups >= 1 && width % options.groups == 0 &&
              (size == width || size * options.groups == width),
          ErrorCode::shape_mismatch, "gated_norm: ", width, " channels in ", options.groups,
          " groups with a weight of ", size);
  const auto arguments = [x, z, w, options, width]<class T>(Context& cx, T) {
    return GatedNormForward<T>{options.groups,
                               options.eps,
                               options.gate_first,
                               options.activation,
                               rows_of(x.value, width).view<const T, 2>(),
                               rows_of(z.value, width).view<const T, 2>(),
                               weight_view<T>(cx, w),
                               {}};
  };
  const Tensor y = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    auto args = arguments(cx, T());
    args.y = rows_of(y, width).view<T, 2>();
    cx.run(args);
  });
  return cx.record("gated_norm", y, [x, z, w, width, arguments](Context& cx, const Tensor& dy) {
    const Tensor dx = cx.empty(x.shape()), dz = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(GatedNormBackward<T>{arguments(cx, T()), rows_of(dy, width).view<const T, 2>(),
                                  rows_of(dx, width).view<T, 2>(), rows_of(dz, width).view<T, 2>(),
                                  grad_view<T>(cx, w)});
    });
    cx.add_grad(x, dx);
    cx.add_grad(z, dz);
  });
}

}  // namespace subquad
