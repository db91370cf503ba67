// Arguments of the pointwise, gate, norm and sequence kernels.
#pragma once

#include "subquad/backend/kernel_table.h"
#include "subquad/backend/segments.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

enum class Unary : std::uint8_t {
  silu,
  gelu,  // erf form
  gelu_tanh,
  sigmoid,
  tanh,
  softplus,  // linear above 20
  exp,
  log_sigmoid,
  square,
  relu,
  one_minus_exp,  // 1 - exp(x), accurate near 0
};

// y = f(x); n values.
template <class T>
struct UnaryForward {
  static constexpr std::string_view kOp = "unary";
  Unary kind;
  View<const T, 1> x;
  View<T, 1> y;
};
template <class T>
struct UnaryBackward {
  static constexpr std::string_view kOp = "unary_backward";
  Unary kind;
  View<const T, 1> x, dy;
  View<T, 1> dx;
};

// y = f(gate) x, row-wise with strides, so that both halves of one tensor can be given.
template <class T>
struct GatedForward {
  static constexpr std::string_view kOp = "gated";
  Unary kind;
  View<const T, 2> gate, x;
  View<T, 2> y;
};
template <class T>
struct GatedBackward {
  static constexpr std::string_view kOp = "gated_backward";
  Unary kind;
  View<const T, 2> gate, x, dy;
  View<T, 2> dgate, dx;
};

// y = a + b; n values. y may be a.
template <class T>
struct Sum {
  static constexpr std::string_view kOp = "sum";
  View<const T, 1> a, b;
  View<T, 1> y;
};
// y = a b; n values.
template <class T>
struct Product {
  static constexpr std::string_view kOp = "product";
  View<const T, 1> a, b;
  View<T, 1> y;
};

// out = y + D_h x. Shapes: x, y, out (N,H*P), contiguous   D (H)
template <class T>
struct SkipForward {
  static constexpr std::string_view kOp = "skip";
  View<const T, 2> y, x;
  View<const T, 1> D;
  View<T, 2> out;
};
// dx = D_h dout (written), dD_h += sum dout x; dy is dout itself.
template <class T>
struct SkipBackward {
  static constexpr std::string_view kOp = "skip_backward";
  View<const T, 2> x, dout;
  View<const T, 1> D;
  View<T, 2> dx;
  View<T, 1> dD;
};

}  // namespace subquad
