// Arguments of the normalisation kernels. Rows are (N,C); a row is split into `groups` parts of
// C/groups that are normalised independently.
#pragma once

#include "subquad/backend/pointwise.h"

namespace subquad {

// y = (x - mean) r (w | 1 + w) + b,   r = 1/sqrt(mean (x - mean)^2 + eps); mean = 0 unless center.
// sum_not_mean: r = 1/sqrt(sum x^2 + eps) (the L2 norm). w (C), (C/groups) or absent; b as w.
struct NormSetup {
  std::int64_t groups = 1;
  double eps = 1e-6;
  bool center = false;
  bool plus_one = false;
  bool sum_not_mean = false;
};
template <class T>
struct NormForward {
  static constexpr std::string_view kOp = "norm";
  NormSetup setup;
  View<const T, 2> x;
  View<const T, 1> w, b;
  View<T, 2> y;
};
template <class T>
struct NormBackward {
  static constexpr std::string_view kOp = "norm_backward";
  NormSetup setup;
  View<const T, 2> x;
  View<const T, 1> w;
  View<const T, 2> dy;
  View<T, 2> dx;      // written
  View<T, 1> dw, db;  // accumulated into; absent if w, b are
};

// gate_first: y = rms(x f(z)) w;  otherwise y = rms(x) w f(z). w (C) or (C/groups).
template <class T>
struct GatedNormForward {
  static constexpr std::string_view kOp = "gated_norm";
  std::int64_t groups = 1;
  double eps = 1e-5;
  bool gate_first = false;
  Unary activation = Unary::silu;
  View<const T, 2> x, z;
  View<const T, 1> w;
  View<T, 2> y;
};
template <class T>
struct GatedNormBackward {
  static constexpr std::string_view kOp = "gated_norm_backward";
  GatedNormForward<T> f;  // y unused
  View<const T, 2> dy;
  View<T, 2> dx, dz;  // written
  View<T, 1> dw;      // accumulated into
};

}  // namespace subquad
