// Exponential smoothing as a generator: error additive or multiplicative, trend none, additive or
// damped, season none, additive or multiplicative, with parameters in the usual region
// 0 < beta < alpha < 1, 0 < gamma < 1 - alpha.
// Source: Hyndman, Koehler, Ord and Snyder 2008, "Forecasting with Exponential Smoothing", table 2.2.
#include <algorithm>
#include <cmath>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {

void ets_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  const bool multiplicative_error = d.chance(0.5);
  constexpr double kThirds[] = {0.4, 0.3, 0.3}, kSeasons[] = {0.3, 0.35, 0.35};
  const std::size_t trend = d.weighted(kThirds), season = d.weighted(kSeasons);
  const double phi = trend == 2 ? d.uniform(0.8, 0.995) : 1;
  const double alpha = d.chance(0.5) ? d.uniform(0, 1) : d.log_uniform(0.005, 1),
               beta = trend ? alpha * d.log_uniform(0.001, 0.5) : 0,
               gamma = season ? (1 - alpha) * d.log_uniform(0.001, 0.9) : 0;
  const double sigma = d.log_uniform(0.002, 0.15);
  double level = 1, slope = trend ? d.normal() * d.log_uniform(0.03, 2) / n : 0;
  const auto m = static_cast<std::size_t>(season ? draw_season(d, n / 2) : 1);
  const SeasonShape shape(d, static_cast<double>(std::max<std::size_t>(m, 2)));
  const double amplitude = d.log_uniform(0.02, 0.8);
  std::vector<double> s(m, season == 2 ? 1.0 : 0.0);
  for (std::size_t i = 0; season && i < m; ++i)
    s[i] += amplitude * shape.at(static_cast<double>(i));
  // A multiplicative form needs a positive level; a walk that falls to it rests there.
  const bool positive = multiplicative_error || season == 2;
  constexpr double kLeast = 0.02;
  for (std::size_t t = 0; t < y.size(); ++t) {
    double& now = s[t % m];
    const double base = level + phi * slope;
    const double mean = season == 2 ? base * now : base + now;
    const double error = std::max(-0.95, sigma * d.normal()) * (multiplicative_error ? mean : 1);
    y[t] = mean + error;
    const double by_level = season == 2 ? error / std::max(0.05, now) : error;
    level = base + alpha * by_level;
    slope = phi * slope + beta * by_level;
    if (season) now += gamma * (season == 2 ? error / std::max(kLeast, std::abs(base)) : error);
    if (season == 2) now = std::clamp(now, 0.0, 5.0);
    if (positive && level < kLeast) {
      level = kLeast;
      slope = std::max(slope, 0.0);
    }
  }
}

}  // namespace subquad
