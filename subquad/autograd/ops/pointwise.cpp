#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

Tensor flat(const Tensor& t) { return t.reshaped({t.numel()}); }
Tensor rows(const Tensor& t) { return t.reshaped({t.shape().rows(), t.shape()[-1]}); }

void require_same(std::string_view op, const Var& a, const Var& b) {
  require(a.shape() == b.shape(), ErrorCode::shape_mismatch, op, " of shapes ", a.shape(), " and ",
          b.shape());
}

// Both halves of the last dimension as strided views.
template <class T>
View<T, 2> half(const Tensor& t, std::int64_t which) {
  View<T, 2> v = rows(t).view<T, 2>();
  v.dims[1] /= 2;
  v.data += which * v.dims[1];
  return v;
}

}  // namespace

Var unary(Context& cx, Unary kind, const Var& x) {
  const Tensor y = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(UnaryForward<T>{kind, flat(x.value).view<const T, 1>(), flat(y).view<T, 1>()});
  });
  return cx.record("unary", y, [x, kind](Context& cx, const Tensor& dy) {
    if (x.node < 0) return;
    const Tensor dx = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(UnaryBackward<T>{kind, flat(x.value).view<const T, 1>(), flat(dy).view<const T, 1>(),
                              flat(dx).view<T, 1>()});
    });
    cx.add_grad(x, dx);
  });
}

Var add(Context& cx, const Var& a, const Var& b) {
  require_same("add", a, b);
  const Tensor y = cx.empty(a.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(Sum<T>{flat(a.value).view<const T, 1>(), flat(b.value).view<const T, 1>(),
                  flat(y).view<T, 1>()});
  });
  return cx.record("add", y, [a, b](Context& cx, const Tensor& dy) {
    cx.add_grad(a, dy);
    cx.add_grad(b, dy);
  });
}

Var mul(Context& cx, const Var& a, const Var& b) {
  require_same("mul", a, b);
  const auto product = [](Context& cx, const Tensor& p, const Tensor& q) {
    const Tensor y = cx.empty(p.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(
          Product<T>{flat(p).view<const T, 1>(), flat(q).view<const T, 1>(), flat(y).view<T, 1>()});
    });
    return y;
  };
  return cx.record("mul", product(cx, a.value, b.value),
                   [a, b, product](Context& cx, const Tensor& dy) {
                     if (a.node >= 0) cx.add_grad(a, product(cx, dy, b.value));
                     if (b.node >= 0) cx.add_grad(b, product(cx, dy, a.value));
                   });
}

Var scale(Context& cx, const Var& x, double factor) {
  const auto scaled = [factor](Context& cx, const Tensor& p) {
    const Tensor y = cx.empty(p.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      const T* u = p.data<T>();
      T* r = y.data<T>();
      const T f = static_cast<T>(factor);
      for (std::int64_t i = 0, n = y.numel(); i < n; ++i) r[i] = f * u[i];
    });
    return y;
  };
  return cx.record("scale", scaled(cx, x.value),
                   [x, scaled](Context& cx, const Tensor& dy) { cx.add_grad(x, scaled(cx, dy)); });
}

Var soft_cap(Context& cx, const Var& x, double cap) {
  if (cap <= 0) return x;
  return scale(cx, unary(cx, Unary::tanh, scale(cx, x, 1 / cap)), cap);
}

Var gated(Context& cx, Unary kind, const Var& gate, const Var& x) {
  require_same("gated", gate, x);
  const Tensor y = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(GatedForward<T>{kind, rows(gate.value).view<const T, 2>(),
                           rows(x.value).view<const T, 2>(), rows(y).view<T, 2>()});
  });
  return cx.record("gated", y, [gate, x, kind](Context& cx, const Tensor& dy) {
    const Tensor dgate = cx.empty(x.shape()), dx = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(GatedBackward<T>{kind, rows(gate.value).view<const T, 2>(),
                              rows(x.value).view<const T, 2>(), rows(dy).view<const T, 2>(),
                              rows(dgate).view<T, 2>(), rows(dx).view<T, 2>()});
    });
    cx.add_grad(gate, dgate);
    cx.add_grad(x, dx);
  });
}

Var gated_halves(Context& cx, Unary kind, const Var& x) {
  require(x.shape().rank >= 1 && x.shape()[-1] % 2 == 0, ErrorCode::shape_mismatch,
          "gated_halves of ", x.shape(), ", wanted an even last dimension");
  const Tensor y = cx.empty(x.shape().with_last(x.shape()[-1] / 2));
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(GatedForward<T>{kind, half<const T>(x.value, 0), half<const T>(x.value, 1),
                           rows(y).view<T, 2>()});
  });
  return cx.record("gated_halves", y, [x, kind](Context& cx, const Tensor& dy) {
    const Tensor dx = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(GatedBackward<T>{kind, half<const T>(x.value, 0), half<const T>(x.value, 1),
                              rows(dy).view<const T, 2>(), half<T>(dx, 0), half<T>(dx, 1)});
    });
    cx.add_grad(x, dx);
  });
}

Var add_bias(Context& cx, const Var& x, ParamId b) {
  const Tensor bias = cx.params.value(b);
  const std::int64_t n = x.shape().rows(), width = x.shape()[-1];
  require(bias.numel() == width, ErrorCode::shape_mismatch, cx.params.plan().info(b).name, " has ",
          bias.numel(), " elements for an input of shape ", x.shape());
  const Tensor y = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    const T *p = x.value.data<T>(), *q = bias.data<T>();
    T* r = y.data<T>();
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < width; ++j) r[i * width + j] = p[i * width + j] + q[j];
    }
  });
  return cx.record("add_bias", y, [x, b, n, width](Context& cx, const Tensor& dy) {
    with_scalar(cx.dtype(), [&]<class T>() {
      const T* p = dy.data<T>();
      T* g = cx.params.grad(b).data<T>();
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < width; ++j) g[j] += p[i * width + j];
      }
    });
    cx.add_grad(x, dy);
  });
}

Var mul_weight(Context& cx, const Var& x, ParamId w) {
  const Tensor weight = cx.params.value(w);
  const std::int64_t n = x.shape().rows(), width = x.shape()[-1];
  require(weight.numel() == width, ErrorCode::shape_mismatch, cx.params.plan().info(w).name,
          " has ", weight.numel(), " elements for an input of shape ", x.shape());
  const Tensor y = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    const T *p = x.value.data<T>(), *q = weight.data<T>();
    T* r = y.data<T>();
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < width; ++j) r[i * width + j] = p[i * width + j] * q[j];
    }
  });
  return cx.record("mul_weight", y, [x, w, n, width](Context& cx, const Tensor& dy) {
    const Tensor dx = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      const T *d = dy.data<T>(), *p = x.value.data<T>(), *q = cx.params.value(w).data<T>();
      T *g = cx.params.grad(w).data<T>(), *r = dx.data<T>();
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < width; ++j) {
          g[j] += d[i * width + j] * p[i * width + j];
          r[i * width + j] = d[i * width + j] * q[j];
        }
      }
    });
    cx.add_grad(x, dx);
  });
}

Var add_skip(Context& cx, const Var& y, const Var& x, ParamId D) {
  require_same("add_skip", y, x);
  require(x.shape().rank == 4 && x.shape()[2] > 0 && x.shape()[3] > 0, ErrorCode::shape_mismatch,
          "add_skip of ", x.shape(), ", wanted (B,T,H,P) with heads and channels");
  const std::int64_t heads = x.shape()[2], width = heads * x.shape()[3];
  require(cx.params.value(D).numel() == heads, ErrorCode::shape_mismatch, "add_skip: ", heads,
          " heads with a weight of ", cx.params.value(D).numel());
  const auto wide = [width](const Tensor& t) { return t.reshaped({t.numel() / width, width}); };
  const Tensor out = cx.empty(x.shape());
  with_scalar(cx.dtype(), [&]<class T>() {
    cx.run(SkipForward<T>{wide(y.value).template view<const T, 2>(),
                          wide(x.value).template view<const T, 2>(),
                          cx.params.value(D).view<const T, 1>(), wide(out).template view<T, 2>()});
  });
  return cx.record("add_skip", out, [y, x, D, wide](Context& cx, const Tensor& dout) {
    const Tensor dx = cx.empty(x.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(SkipBackward<T>{wide(x.value).template view<const T, 2>(),
                             wide(dout).template view<const T, 2>(),
                             cx.params.value(D).view<const T, 1>(), wide(dx).template view<T, 2>(),
                             cx.params.grad(D).view<T, 1>()});
    });
    cx.add_grad(y, dout);
    cx.add_grad(x, dx);
  });
}

}  // namespace subquad
