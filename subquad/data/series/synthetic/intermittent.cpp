// Counts with many zeros: demand with intervals, zero-inflated and seasonal Poisson, over-dispersed
// counts, autocorrelated counts, outbreaks.
#include <algorithm>
#include <cmath>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

// Demand of a drawn size after a drawn interval; both means may drift (obsolescence). Source: Croston
// 1972.
void demand(Draws& d, std::span<double> y) {
  const double interval = d.log_uniform(1.2, 20), size = d.log_uniform(1, 50),
               spread = d.uniform(0, 1);
  const bool regular = d.chance(0.3);
  const double fade = d.chance(0.2) ? d.uniform(0.5, 4) / static_cast<double>(y.size()) : 0;
  double wait = d.uniform(0, interval);
  for (std::size_t t = 0; t < y.size(); ++t) {
    y[t] = 0;
    if (--wait > 0) continue;
    y[t] = 1 + static_cast<double>(d.poisson(std::max(0.0, size - 1) *
                                             std::exp(spread * d.normal() - spread * spread / 2)));
    const double mean = interval * std::exp(fade * static_cast<double>(t));
    wait = regular ? mean : 1 + std::floor(std::max(0.0, mean - 1) * d.exponential());
  }
}

// Poisson or negative binomial of a seasonal rate, with probability `zero` of a structural zero.
void seasonal_counts(Draws& d, std::span<double> y) {
  const auto n = static_cast<double>(y.size());
  const SeasonShape shape(d, static_cast<double>(draw_season(d, n / 2)));
  const double rate = d.log_uniform(0.05, 30), amplitude = d.uniform(0, 2.5),
               zero = d.chance(0.5) ? d.uniform(0.1, 0.8) : 0,
               dispersion = d.chance(0.5) ? d.log_uniform(0.3, 10) : 0;
  const std::vector<double> trend = draw_trend(d, y.size());
  const double growth = d.uniform(0, 1.5);
  for (std::size_t t = 0; t < y.size(); ++t) {
    double mean = rate * std::exp(amplitude * shape.at(static_cast<double>(t)) + growth * trend[t]);
    if (dispersion > 0) mean *= d.gamma(dispersion) / dispersion;
    y[t] = d.chance(zero) ? 0 : static_cast<double>(d.poisson(std::min(mean, 1e6)));
  }
}

// x_t = (survivors of x_{t-1}, each with probability a) + Poisson. Source: Al-Osh and Alzaid 1987.
void surviving_counts(Draws& d, std::span<double> y) {
  const double stay = d.uniform(0.2, 0.95), mean = d.log_uniform(0.1, 20);
  std::int64_t now = d.poisson(mean);
  for (double& x : y) {
    std::int64_t left = 0;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(now, 200); ++i) left += d.chance(stay);
    now = left + d.poisson(mean * (1 - stay));
    x = static_cast<double>(now);
  }
}

// Cases infect Poisson(R_t) others over the next steps; R_t follows a season; a few are imported.
void outbreaks(Draws& d, std::span<double> y) {
  const auto n = static_cast<double>(y.size());
  const SeasonShape shape(d, static_cast<double>(draw_season(d, n / 2)));
  const double import = d.log_uniform(0.02, 1), reproduction = d.uniform(0.3, 0.95),
               amplitude = d.uniform(0.2, 1), memory = d.uniform(0.2, 0.9);
  double pressure = 0;
  for (std::size_t t = 0; t < y.size(); ++t) {
    const double r = reproduction * (1 + amplitude * shape.at(static_cast<double>(t)));
    const double cases =
        static_cast<double>(d.poisson(std::min(import + r * (1 - memory) * pressure, 5e4)));
    pressure = memory * pressure + cases;
    y[t] = cases;
  }
}

}  // namespace

void intermittent_series(const FamilyInput& in, std::span<double> y) {
  constexpr double kWeights[] = {4, 4, 1, 1};
  switch (in.draws.weighted(kWeights)) {
    case 0: return demand(in.draws, y);
    case 1: return seasonal_counts(in.draws, y);
    case 2: return surviving_counts(in.draws, y);
    default: return outbreaks(in.draws, y);
  }
}

}  // namespace subquad
