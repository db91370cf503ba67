#include "subquad/backend/quantile.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

Tensor as_rows(const Tensor& t) { return t.reshaped({t.shape().rows(), t.shape()[-1]}); }

// f32 targets as rows of the context's type.
Tensor converted(Context& cx, const Tensor& targets) {
  const Tensor rows = as_rows(targets);
  if (cx.dtype() == DType::f32) return rows;
  const Tensor out = cx.empty(rows.shape());
  with_scalar(cx.dtype(),
              [&]<class T>() { std::copy_n(rows.data<float>(), rows.numel(), out.data<T>()); });
  return out;
}

}  // namespace

Var pinball(Context& cx, const Var& predicted, const Tensor& targets,
            std::span<const double> levels, std::int64_t mean_over) {
  require(
      targets.dtype() == DType::f32 && targets.shape().rank >= 1 &&
          predicted.shape() == targets.shape().with_last(targets.shape()[-1] *
                                                         static_cast<std::int64_t>(levels.size())),
      ErrorCode::shape_mismatch, "quantiles ", predicted.shape(), " of ", levels.size(),
      " levels and targets ", targets.shape(), " of type ", name_of(targets.dtype()));
  const auto values = targets.host<float>();
  const auto scored = std::count_if(values.begin(), values.end(), [](float y) { return y == y; });
  const double weight =
      1 / static_cast<double>(std::max<std::int64_t>(mean_over > 0 ? mean_over : scored, 1));
  const Tensor y = converted(cx, targets), rows = as_rows(predicted.value), loss = cx.empty({1});
  const std::vector<double> q(levels.begin(), levels.end());
  with_scalar(cx.dtype(), [&]<class T>() {
    const Tensor losses = cx.empty({rows.shape()[0]});
    cx.run(PinballRows<T>{.predicted = rows.view<const T, 2>(),
                          .targets = y.view<const T, 2>(),
                          .levels = q,
                          .loss = losses.view<T, 1>(),
                          .gradient = {}});
    double total = 0;
    for (const T value : losses.host<T>()) total += static_cast<double>(value);
    *loss.data<T>() = static_cast<T>(total * weight);
  });
  return cx.record("pinball", loss, [predicted, rows, y, q, weight](Context& cx, const Tensor& d) {
    const Tensor dx = cx.empty(predicted.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(PinballRows<T>{.predicted = rows.view<const T, 2>(),
                            .targets = y.view<const T, 2>(),
                            .levels = q,
                            .loss = {},
                            .gradient = as_rows(dx).view<T, 2>(),
                            .row_weight = weight * static_cast<double>(*d.data<T>())});
    });
    cx.add_grad(predicted, dx);
  });
}

}  // namespace subquad
