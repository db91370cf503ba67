// Scalar functions and their derivatives, in the one form that all references use.
#pragma once

#include <cmath>
#include <numbers>

#include "subquad/backend/pointwise.h"

namespace subquad::reference {

template <class T>
T sigmoid(T x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}
template <class T>
T softplus(T x) {
  return x > T(20) ? x : std::log1p(std::exp(x));
}
template <class T>
T softplus_slope(T x) {
  return x > T(20) ? T(1) : sigmoid(x);
}
template <class T>
T log_sigmoid(T x) {
  return std::min(x, T(0)) - std::log1p(std::exp(-std::abs(x)));
}

template <class T>
T value(Unary kind, T x) {
  switch (kind) {
    case Unary::silu: return x * sigmoid(x);
    case Unary::gelu: return T(0.5) * x * std::erfc(-x / std::numbers::sqrt2_v<T>);
    case Unary::gelu_tanh: {
      const T u = std::sqrt(2 / std::numbers::pi_v<T>) * (x + T(0.044715) * x * x * x);
      return x * sigmoid(2 * u);
    }
    case Unary::sigmoid: return sigmoid(x);
    case Unary::tanh: return std::tanh(x);
    case Unary::softplus: return softplus(x);
    case Unary::exp: return std::exp(x);
    case Unary::one_minus_exp: return -std::expm1(x);
    case Unary::log_sigmoid: return log_sigmoid(x);
    case Unary::square: return x * x;
    case Unary::relu: return x < 0 ? T(0) : x;  // NaN stays NaN
  }
  return x;
}

template <class T>
T slope(Unary kind, T x) {
  switch (kind) {
    case Unary::silu: {
      const T s = sigmoid(x);
      return s * (1 + x * (1 - s));
    }
    case Unary::gelu: {
      const T density = std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<T>);
      return T(0.5) * std::erfc(-x / std::numbers::sqrt2_v<T>) + x * density;
    }
    case Unary::gelu_tanh: {
      const T c = std::sqrt(2 / std::numbers::pi_v<T>);
      const T s = sigmoid(2 * c * (x + T(0.044715) * x * x * x));
      const T du = c * (1 + 3 * T(0.044715) * x * x);
      // s (1 - s) underflows before x^3 overflows: 0 * inf cannot occur for |x| < 1e12.
      return s + 2 * x * s * (1 - s) * du;
    }
    case Unary::sigmoid: {
      const T s = sigmoid(x);
      return s * sigmoid(-x);
    }
    case Unary::tanh: {
      const T y = std::tanh(x);
      return (1 - y) * (1 + y);
    }
    case Unary::softplus: return softplus_slope(x);
    case Unary::exp: return std::exp(x);
    case Unary::one_minus_exp: return -std::exp(x);
    case Unary::log_sigmoid: return sigmoid(-x);
    case Unary::square: return 2 * x;
    case Unary::relu: return x > 0 ? T(1) : T(0);
  }
  return T(0);
}

}  // namespace subquad::reference
