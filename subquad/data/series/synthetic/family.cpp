#include "subquad/data/series/synthetic/family.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace subquad {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

void normalize(std::vector<double>& x, bool center) {
  const double mean = center ? moments_of(x).mean : 0;
  double largest = 0;
  for (double& v : x) largest = std::max(largest, std::abs(v -= mean));
  // Less is the rounding of a constant.
  for (double& v : x) v /= largest > 1e-9 ? largest : 1;
}

std::vector<double> harmonics(Draws& draws, std::size_t size) {
  std::vector<double> table(size);
  const std::int64_t count = draws.between(1, 6);
  for (std::int64_t k = 1; k <= count; ++k) {
    const double amplitude = draws.normal() / static_cast<double>(k);
    Oscillator wave(kTurn * static_cast<double>(k) / static_cast<double>(size),
                    draws.uniform(0, kTurn));
    for (double& x : table) x += amplitude * wave.next();
  }
  return table;
}

std::vector<double> bumps(Draws& draws, std::size_t size) {
  std::vector<double> table(size);
  const std::int64_t count = draws.between(1, 3);
  for (std::int64_t k = 0; k < count; ++k) {
    const std::size_t at = draws.below(size),
                      width = 1 + draws.below(std::max<std::size_t>(1, size / 3));
    const double height = draws.chance(0.5) ? 1 : draws.normal();
    for (std::size_t i = 0; i < width; ++i) table[(at + i) % size] += height;
  }
  return table;
}

}  // namespace

Oscillator::Oscillator(double frequency, double phase)
    : c_(std::cos(phase)),
      s_(std::sin(phase)),
      step_c_(std::cos(frequency)),
      step_s_(std::sin(frequency)) {}

double Oscillator::next() {
  const double value = c_;
  c_ = value * step_c_ - s_ * step_s_;
  s_ = s_ * step_c_ + value * step_s_;
  return value;
}

std::int64_t draw_season(Draws& draws, double most) {
  constexpr double kSeasons[] = {4, 5, 6, 7, 12, 24, 48, 52, 96, 144, 168, 288, 336, 365};
  constexpr double kWeights[] = {1.5, 0.5, 0.5, 2, 3, 3, 1, 1, 0.7, 0.3, 1, 0.3, 0.3, 1};
  if (draws.chance(0.75)) {
    for (int attempt = 0; attempt < 4; ++attempt) {
      const double m = kSeasons[draws.weighted(kWeights)];
      if (m <= most) return static_cast<std::int64_t>(m);
    }
  }
  return std::llround(draws.log_uniform(3, std::max(3.0, most)));
}

SeasonShape::SeasonShape(Draws& draws, double period)
    : period_(period), phase_(draws.uniform(0, period)), smooth_(draws.chance(0.6)) {
  if (smooth_) {
    table_ = harmonics(draws, 64);
  } else {
    const auto size = static_cast<std::size_t>(std::max(2.0, std::round(period)));
    if (draws.chance(0.5)) {
      table_ = bumps(draws, size);
    } else {
      table_.resize(size);
      for (double& x : table_) x = draws.normal();
    }
  }
  normalize(table_, true);
}

double SeasonShape::at(double t) const {
  const double turns = (t + phase_) / period_;
  const auto size = static_cast<double>(table_.size());
  const double place = (turns - std::floor(turns)) * size;
  const auto low = std::min(static_cast<std::size_t>(place), table_.size() - 1);
  if (!smooth_) return table_[low];
  const double part = place - static_cast<double>(low);
  return (1 - part) * table_[low] + part * table_[(low + 1) % table_.size()];
}

std::vector<double> draw_trend(Draws& draws, std::size_t n) {
  constexpr double kWeights[] = {0.3, 0.15, 0.15, 0.15, 0.1, 0.1, 0.05};
  const std::size_t kind = draws.weighted(kWeights);
  std::vector<double> trend(n);
  if (kind == 0) return trend;
  const double rate = draws.uniform(1, 8), middle = draws.uniform(0, 1),
               turns = draws.uniform(0.3, 3), a = draws.normal(), b = draws.normal(),
               c = draws.normal();
  const double width = draws.uniform(0.02, 0.3);
  double slope = draws.normal(), value = 0;
  const double change = static_cast<double>(draws.between(1, 6)) / static_cast<double>(n);
  for (std::size_t t = 0; t < n; ++t) {
    const double x = static_cast<double>(t) / static_cast<double>(n);
    switch (kind) {
      case 1: trend[t] = x; break;
      case 2:
        trend[t] = value;
        value += slope;
        if (draws.chance(change)) slope = draws.normal();
        break;
      case 3: trend[t] = 1 - std::exp(-rate * x); break;
      case 4: trend[t] = 1 / (1 + std::exp(-(x - middle) / width)); break;
      case 5: trend[t] = std::sin(kTurn * (turns * x + middle)); break;
      default: trend[t] = x * (a + x * (b + x * c)); break;
    }
  }
  normalize(trend, false);
  if (draws.chance(0.4)) {
    for (double& x : trend) x = -x;
  }
  return trend;
}

Moments moments_of(std::span<const double> y) {
  double mean = 0, squares = 0;
  for (const double x : y) mean += x;
  mean /= static_cast<double>(y.size());
  for (const double x : y) squares += (x - mean) * (x - mean);
  return {mean, std::sqrt(squares / static_cast<double>(y.size()))};
}

}  // namespace subquad
