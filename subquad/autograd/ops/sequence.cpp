#include "subquad/backend/sequence.h"

#include <memory>
#include <numeric>

#include "subquad/autograd/ops.h"

namespace subquad {

namespace {

// Channels [first, first + width) of (B,T,C); an absent view stays absent.
template <class T>
View<T, 3> channels(View<T, 3> v, std::int64_t first, std::int64_t width) {
  if (!v) return v;
  v.data += first;
  v.dims[2] = width;
  return v;
}

// Everything a convolution's forward and backward need from its inputs, by value.
struct ConvCall {
  Var x, initial;
  ParamId w, b;
  std::shared_ptr<const Spans> spans;
  bool silu;

  template <class T>
  ConvForward<T> arguments(Context& cx, std::int64_t first, std::int64_t width) const {
    return {channels(x.value.view<const T, 3>(), first, width),
            cx.params.value(w).rows(first, width).view<const T, 2>(),
            b ? cx.params.value(b).rows(first, width).view<const T, 1>() : View<const T, 1>{},
            channels(initial.value.view<const T, 3>(), first, width),
            spans.get(),
            silu,
            {},
            {}};
  }
};

void conv_backward(Context& cx, const ConvCall& call, std::span<const std::int64_t> widths,
                   std::span<const Tensor> d) {
  const Var &x = call.x, &initial = call.initial;
  const bool has_final = d.size() > widths.size();
  const Tensor dx = cx.empty(x.shape());
  const Tensor dinitial = initial.node >= 0 ? cx.empty(initial.shape()) : Tensor();
  with_scalar(cx.dtype(), [&]<class T>() {
    std::int64_t first = 0;
    for (std::size_t i = 0; i < widths.size(); first += widths[i], ++i) {
      if (widths[i] == 0) continue;
      const View<const T, 3> dfinal = has_final ? d.back().view<const T, 3>() : View<const T, 3>{};
      cx.run(ConvBackward<T>{
          call.arguments<T>(cx, first, widths[i]), d[i].view<const T, 3>(),
          channels(dfinal, first, widths[i]), channels(dx.view<T, 3>(), first, widths[i]),
          cx.params.grad(call.w).rows(first, widths[i]).template view<T, 2>(),
          call.b ? cx.params.grad(call.b).rows(first, widths[i]).template view<T, 1>()
                 : View<T, 1>{},
          channels(dinitial.view<T, 3>(), first, widths[i])});
    }
  });
  cx.add_grad(x, dx);
  cx.add_grad(initial, dinitial);
}

}  // namespace

std::vector<Var> short_conv_split(Context& cx, const Var& x, ParamId w, ParamId b, bool silu,
                                  const Spans& spans, Var* state,
                                  std::span<const std::int64_t> widths) {
  const Tensor weight = cx.params.value(w);
  require(x.shape().rank == 3 && weight.shape().rank == 2 && weight.shape()[0] == x.shape()[2] &&
              weight.shape()[1] >= 1,
          ErrorCode::shape_mismatch, "short_conv of ", x.shape(), " with a weight of ",
          weight.shape(), ", wanted (B,T,C) and (C,K)");
  require(std::accumulate(widths.begin(), widths.end(), std::int64_t{0}) == x.shape()[2],
          ErrorCode::shape_mismatch, "short_conv of ", x.shape(),
          " into parts of other widths in sum");
  require(spans.batch() == x.shape()[0] && spans.length() == x.shape()[1],
          ErrorCode::shape_mismatch, "spans of another batch");
  const Shape state_shape{x.shape()[0], weight.shape()[1] - 1, x.shape()[2]};
  const ConvCall call{x, state ? *state : Var{}, w, b, std::make_shared<const Spans>(spans), silu};
  require(!call.initial.value || call.initial.shape() == state_shape, ErrorCode::shape_mismatch,
          "conv state of shape ", call.initial.value.shape(), ", wanted ", state_shape);
  const Tensor final_state = state ? cx.empty(state_shape) : Tensor();
  std::vector<Tensor> outputs;
  std::int64_t first = 0;
  for (const std::int64_t width : widths) {
    outputs.push_back(cx.empty(x.shape().with_last(width)));
    if (width == 0) continue;
    with_scalar(cx.dtype(), [&]<class T>() {
      auto args = call.arguments<T>(cx, first, width);
      args.y = outputs.back().view<T, 3>();
      args.final_state = channels(final_state.view<T, 3>(), first, width);
      cx.run(args);
    });
    first += width;
  }
  if (state) outputs.push_back(final_state);
  auto vars =
      cx.record("short_conv", std::move(outputs),
                [call, parts = std::vector(widths.begin(), widths.end())](
                    Context& cx, std::span<const Tensor> d) { conv_backward(cx, call, parts, d); });
  if (state) {
    *state = vars.back();
    vars.pop_back();
  }
  return vars;
}

Var short_conv(Context& cx, const Var& x, ParamId w, ParamId b, bool silu, const Spans& spans,
               Var* state) {
  const std::int64_t all[] = {x.shape()[-1]};
  return short_conv_split(cx, x, w, b, silu, spans, state, all)[0];
}

Var rope(Context& cx, const Var& x, const RopeOptions& options, const Spans& spans,
         std::int64_t first_position) {
  require(x.shape().rank == 4, ErrorCode::shape_mismatch, "rope of ", x.shape(),
          ", wanted (B,T,H,D)");
  require(spans.batch() == x.shape()[0] && spans.length() == x.shape()[1],
          ErrorCode::shape_mismatch, "rope of ", x.shape(), " with spans of ", spans.batch(),
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
                     options.interleaved, backward, to.view<T, 4>(), options.scaling});
    });
    return to;
  };
  return cx.record("rope", rotate(cx, x.value, false), [x, rotate](Context& cx, const Tensor& dy) {
    cx.add_grad(x, rotate(cx, dy, true));
  });
}

}  // namespace subquad
