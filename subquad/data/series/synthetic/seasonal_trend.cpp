// Trend, one to three seasons whose strength may drift, and autocorrelated noise; added or multiplied.
//   additive        y = T + sum_k a_k(t) S_k(t) + e
//   multiplicative  y = exp(T) prod_k (1 + a_k(t) S_k(t)) (1 + e)
// Source: the idea of Dooley et al. 2023 (ForecastPFN, arXiv 2311.01933), section 3.
#include <algorithm>
#include <cmath>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

struct Season {
  SeasonShape shape;
  double amplitude, drift;  // drift: standard deviation of a step of the log amplitude
};

std::vector<Season> draw_seasons(Draws& draws, double n, double most) {
  constexpr double kCounts[] = {0.1, 0.55, 0.25, 0.1};
  std::vector<Season> seasons;
  for (std::size_t k = draws.weighted(kCounts); k > 0; --k) {
    double period = static_cast<double>(draw_season(draws, n / 2));
    if (draws.chance(0.15)) period *= draws.uniform(0.97, 1.03);  // weeks in a year, tides
    const double drift = draws.chance(0.3) ? draws.log_uniform(0.1, 1) / std::sqrt(n) : 0;
    SeasonShape shape(draws, period);
    seasons.push_back({std::move(shape), draws.log_uniform(0.05, most), drift});
  }
  return seasons;
}

}  // namespace

void seasonal_trend_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  const bool multiplicative = d.chance(0.5);
  const std::vector<double> trend = draw_trend(d, y.size());
  const double growth = multiplicative ? d.log_uniform(0.05, 2.3) : d.log_uniform(0.1, 5);
  std::vector<Season> seasons = draw_seasons(d, n, multiplicative ? 0.9 : 3);
  const double noise = d.log_uniform(0.005, multiplicative ? 0.3 : 1),
               phi = d.chance(0.4) ? d.uniform(0, 0.95) : 0,
               innovation = noise * std::sqrt(1 - phi * phi);
  const bool heavy = d.chance(0.2);
  double error = noise * d.normal();
  for (std::size_t t = 0; t < y.size(); ++t) {
    double season = multiplicative ? 1 : 0;
    for (Season& s : seasons) {
      const double value = s.amplitude * s.shape.at(static_cast<double>(t));
      season = multiplicative ? season * (1 + value) : season + value;
      if (s.drift > 0)
        s.amplitude =
            std::min(s.amplitude * std::exp(s.drift * d.normal()), multiplicative ? 0.95 : 10);
    }
    y[t] = multiplicative ? std::exp(growth * trend[t]) * season * std::max(0.0, 1 + error)
                          : growth * trend[t] + season + error;
    error = phi * error + innovation * (heavy ? d.student(4) : d.normal());
  }
}

}  // namespace subquad
