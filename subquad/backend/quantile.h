// Arguments of the quantile kernels.
#pragma once

#include <span>

#include "subquad/backend/kernel_table.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

// loss_n = sum over steps p and levels q of pinball(y_np - yhat_nqp, q) / Q,
//   pinball(e, q) = q e for e >= 0, else (q - 1) e.
// Shapes: predicted, gradient (N,Q P), by level and then step   targets (N,P), NaN = not scored
// gradient = row_weight dloss/dpredicted, or absent; at e = 0 it is that of e > 0.
template <class T>
struct PinballRows {
  static constexpr std::string_view kOp = "pinball_rows";
  View<const T, 2> predicted, targets;
  std::span<const double> levels;
  View<T, 1> loss;  // or absent
  View<T, 2> gradient;
  double row_weight = 1;
};

}  // namespace subquad
