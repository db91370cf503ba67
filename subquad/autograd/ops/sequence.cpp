#include "subquad/backend/sequence.h"

#include <memory>

#include "subquad/autograd/ops.h"

namespace subquad {

Var short_conv(Context& cx, const Var& x, ParamId w, ParamId b, bool silu, const Spans& spans,
               Var* state) {
  const Tensor weight = cx.params.value(w);
  require(x.shape().rank == 3 && weight.shape().rank == 2 && weight.shape()[0] == x.shape()[2] &&
              weight.shape()[1] >= 1,
          ErrorCode::shape_mismatch, "short_conv of ", x.shape().text(), " with a weight of ",
          weight.shape().text(), ", wanted (B,T,C) and (C,K)");
  require(spans.batch() == x.shape()[0] && spans.length() == x.shape()[1],
          ErrorCode::shape_mismatch, "spans of another batch");
  const std::int64_t past = weight.shape()[1] - 1;
  const Shape state_shape{x.shape()[0], past, x.shape()[2]};
  const Var initial = state ? *state : Var{};
  require(!initial.value || initial.shape() == state_shape, ErrorCode::shape_mismatch,
          "conv state of shape ", initial.value ? initial.shape().text() : "", ", wanted ",
          state_shape.text());
  const Tensor y = cx.empty(x.shape()), final_state = state ? cx.empty(state_shape) : Tensor();
  const auto shared = std::make_shared<const Spans>(spans);
  const auto arguments = [x, w, b, initial, shared, silu]<class T>(Context& cx, T) {
    return ConvForward<T>{x.value.view<const T, 3>(),
                          cx.params.value(w).view<const T, 2>(),
                          b ? cx.params.value(b).view<const T, 1>() : View<const T, 1>{},
                          initial.value.view<const T, 3>(),
                          shared.get(),
                          silu,
                          {},
                          {}};
  };
  with_scalar(cx.dtype(), [&]<class T>() {
    auto args = arguments(cx, T());
    args.y = y.view<T, 3>();
    args.final_state = final_state.view<T, 3>();
    cx.run(args);
  });
  std::vector<Tensor> outputs = {y};
  if (state) outputs.push_back(final_state);
  auto vars =
      cx.record("short_conv", std::move(outputs),
                [x, w, b, initial, arguments](Context& cx, std::span<const Tensor> d) {
                  const Tensor dx = cx.empty(x.shape());
                  const Tensor dinitial = initial.node >= 0 ? cx.empty(initial.shape()) : Tensor();
                  with_scalar(cx.dtype(), [&]<class T>() {
                    cx.run(ConvBackward<T>{
                        arguments(cx, T()), d[0].view<const T, 3>(),
                        d.size() > 1 ? d[1].view<const T, 3>() : View<const T, 3>{},
                        dx.view<T, 3>(), cx.params.grad(w).view<T, 2>(),
                        b ? cx.params.grad(b).view<T, 1>() : View<T, 1>{}, dinitial.view<T, 3>()});
                  });
                  cx.add_grad(x, dx);
                  cx.add_grad(initial, dinitial);
                });
  if (state) *state = vars[1];
  return vars[0];
}

Var rope(Context& cx, const Var& x, const RopeOptions& options, const Spans& spans,
         std::int64_t first_position) {
  require(x.shape().rank == 4, ErrorCode::shape_mismatch, "rope of ", x.shape().text(),
          ", wanted (B,T,H,D)");
  require(spans.batch() == x.shape()[0] && spans.length() == x.shape()[1],
          ErrorCode::shape_mismatch, "rope of ", x.shape().text(), " with spans of ", spans.batch(),
          " rows of ", spans.length(), " positions");
  const std::int64_t dims = options.dims == 0 ? x.shape()[3] : options.dims;
  require(dims % 2 == 0 && dims >= 0 && dims <= x.shape()[3], ErrorCode::invalid_argument,
          "rope over ", dims, " of ", x.shape()[3],
          " features, wanted an even number of at most all");
  const auto shared = std::make_shared<const Spans>(spans);
  const auto rotate = [=](Context& cx, const Tensor& from, bool backward) {
    const Tensor to = cx.empty(from.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(Rope<T>{from.view<const T, 4>(), shared.get(), first_position, options.theta, dims,
                     options.interleaved, backward, to.view<T, 4>()});
    });
    return to;
  };
  return cx.record("rope", rotate(cx, x.value, false), [x, rotate](Context& cx, const Tensor& dy) {
    cx.add_grad(x, rotate(cx, dy, true));
  });
}

}  // namespace subquad
