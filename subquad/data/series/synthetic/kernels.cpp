#include "subquad/data/series/synthetic/kernels.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace subquad {
namespace {

using Kind = Kernel::Kind;

constexpr Kernel kBank[] = {
    {Kind::periodic, 24},  {Kind::periodic, 48},
    {Kind::periodic, 96},  {Kind::periodic, 168},
    {Kind::periodic, 336}, {Kind::periodic, 672},
    {Kind::periodic, 7},   {Kind::periodic, 14},
    {Kind::periodic, 30},  {Kind::periodic, 60},
    {Kind::periodic, 365}, {Kind::periodic, 730},
    {Kind::periodic, 4},   {Kind::periodic, 26},
    {Kind::periodic, 52},  {Kind::periodic, 4},
    {Kind::periodic, 6},   {Kind::periodic, 12},
    {Kind::periodic, 4},   {Kind::periodic, 40},
    {Kind::periodic, 10},  {Kind::linear, 0},
    {Kind::linear, 1},     {Kind::linear, 10},
    {Kind::rbf, 0.1},      {Kind::rbf, 1},
    {Kind::rbf, 10},       {Kind::rational_quadratic, 0.1},
    {Kind::white, 0.1},    {Kind::rational_quadratic, 1},
    {Kind::white, 1},      {Kind::rational_quadratic, 10},
    {Kind::constant, 1},
};

// Of the distance t; linear is not a function of it.
double stationary(const Kernel& k, double t, double nominal) {
  const double a = k.parameter;
  switch (k.kind) {
    case Kind::periodic: {
      const double s = std::sin(std::numbers::pi * t * nominal / a);
      return std::exp(-2 * s * s);
    }
    case Kind::rbf: return std::exp(-t * t / (2 * a * a));
    case Kind::rational_quadratic: return std::pow(1 + t * t / (2 * a), -a);
    case Kind::white: return t == 0 ? a : 0;
    case Kind::constant: return a;
    case Kind::matern: {
      const double s = std::sqrt(3.0) * t / a;
      return (1 + s) * std::exp(-s);
    }
    case Kind::piecewise_polynomial: {
      const double r = std::min(1.0, t / a), rest = 1 - r;
      return rest * rest * rest * (3 * r + 1);
    }
    case Kind::linear: break;
  }
  return 0;
}

CompositeKernel compose(Draws& draws, std::int64_t count, auto&& kernel) {
  CompositeKernel c;
  for (std::int64_t i = 0; i < count; ++i) {
    c.kernels.push_back(kernel());
    if (i > 0) c.product.push_back(draws.chance(0.5));
  }
  return c;
}

}  // namespace

std::span<const Kernel> kernel_bank() { return kBank; }

CompositeKernel draw_kernel_synth(Draws& draws) {
  return compose(draws, draws.between(1, 5), [&] { return kBank[draws.below(std::size(kBank))]; });
}

CompositeKernel draw_continuous_kernel(Draws& draws, std::int64_t length) {
  const double half = static_cast<double>(length) / 2;
  const double base = draws.log_uniform(3, half);
  const auto period = [&] {
    if (draws.chance(0.5)) return draws.log_uniform(3, half);
    return std::min(half, base * static_cast<double>(draws.one_of({1, 2, 4, 7})));
  };
  constexpr Kind kKinds[] = {Kind::periodic,
                             Kind::rbf,
                             Kind::linear,
                             Kind::rational_quadratic,
                             Kind::piecewise_polynomial,
                             Kind::matern,
                             Kind::white};
  constexpr double kWeights[] = {5, 1.5, 1, 1, 1, 1, 1};
  return compose(draws, draws.between(1, 6), [&]() -> Kernel {
    const Kind kind = kKinds[draws.weighted(kWeights)];
    switch (kind) {
      case Kind::periodic: return {kind, period()};
      case Kind::linear: return {kind, draws.log_uniform(0.1, 10)};
      case Kind::rational_quadratic: return {kind, draws.log_uniform(0.1, 10)};
      case Kind::white: return {kind, draws.log_uniform(1e-3, 1)};
      default: return {kind, draws.log_uniform(0.01, 2)};
    }
  });
}

std::vector<double> covariance(const CompositeKernel& composite, std::int64_t n,
                               std::int64_t nominal) {
  const auto size = static_cast<std::size_t>(n);
  const double step = n > 1 ? 1 / static_cast<double>(n - 1) : 0;
  std::vector<double> k(size * size), row(size);
  for (std::size_t c = 0; c < composite.kernels.size(); ++c) {
    const Kernel& kernel = composite.kernels[c];
    const bool linear = kernel.kind == Kind::linear;
    const bool product = c > 0 && composite.product[c - 1];
    for (std::size_t t = 0; t < size; ++t)
      row[t] = stationary(kernel, static_cast<double>(t) * step, static_cast<double>(nominal));
    const double offset = kernel.parameter * kernel.parameter;
    for (std::size_t i = 0; i < size; ++i) {
      double* out = k.data() + i * size;
      const double x = static_cast<double>(i) * step * step;
      for (std::size_t j = 0; j < size; ++j) {
        const double v = linear ? offset + x * static_cast<double>(j) : row[i > j ? i - j : j - i];
        out[j] = c == 0 ? v : product ? out[j] * v : out[j] + v;
      }
    }
  }
  return k;
}

}  // namespace subquad
