#include "subquad/data/series/synthetic/draws.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace subquad {

std::uint64_t Draws::bits() {
  if (left_ == 0) {
    words_ = rng_.words(index_, element_++);
    left_ = 2;
  }
  const auto at = static_cast<std::size_t>(4 - 2 * left_--);
  return (std::uint64_t{words_[at + 1]} << 32) | words_[at];
}

double Draws::uniform() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }

double Draws::log_uniform(double low, double high) {
  return low * std::exp(std::log(high / low) * uniform());
}

std::size_t Draws::below(std::size_t n) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::size_t>((static_cast<Wide>(bits()) * n) >> 64);
}

std::int64_t Draws::between(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(below(static_cast<std::size_t>(high - low + 1)));
}

std::size_t Draws::weighted(std::span<const double> weights) {
  double at = uniform() * std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i + 1 < weights.size(); ++i) {
    at -= weights[i];
    if (at < 0) return i;
  }
  return weights.size() - 1;
}

double Draws::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double u = (static_cast<double>(bits() >> 11) + 0.5) * 0x1.0p-53;  // in (0, 1)
  const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

double Draws::exponential() { return -std::log1p(-uniform()); }

double Draws::gamma(double shape) {
  if (shape < 1) return gamma(shape + 1) * std::pow(1 - uniform(), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1 - uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

std::int64_t Draws::poisson(double mean) {
  if (mean <= 0) return 0;
  if (mean > 30) return std::max<std::int64_t>(0, std::llround(mean + std::sqrt(mean) * normal()));
  const double least = std::exp(-mean);
  std::int64_t count = -1;
  for (double product = 1; product > least; ++count) product *= 1 - uniform();
  return count;
}

double Draws::student(double degrees) {
  const double t = normal() / std::sqrt(2 * gamma(degrees / 2) / degrees);
  return degrees > 2 ? t * std::sqrt((degrees - 2) / degrees) : t;
}

std::vector<double> Draws::dirichlet(std::size_t count, double alpha) {
  std::vector<double> weights(count);
  for (double& w : weights) w = gamma(alpha);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= sum;
  return weights;
}

}  // namespace subquad
