// A quiet level with spikes that return: at a regular distance, with jitter, in clusters, or at random;
// all up, all down, or both; sharp, V-shaped, decaying or flat-topped.
#include <algorithm>
#include <cmath>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

enum class Outline : std::uint8_t { sharp, triangle, decay, plateau };

struct Spike {
  Outline shape;
  double width;  // in steps, >= 1

  double at(double away) const {  // signed distance from its centre
    switch (shape) {
      case Outline::sharp: return std::abs(away) < 0.5 ? 1 : 0;
      case Outline::triangle: return std::max(0.0, 1 - std::abs(away) / width);
      case Outline::decay: return away < 0 ? 0 : std::exp(-away / width);
      case Outline::plateau: return std::abs(away) <= width / 2 ? 1 : 0;
    }
    return 0;
  }
  double reach() const { return shape == Outline::decay ? 8 * width : width + 1; }
};

void add_spike(const Spike& spike, double centre, double height, std::span<double> y) {
  const auto n = static_cast<double>(y.size());
  const double first = std::max(0.0, std::ceil(centre - spike.reach())),
               last = std::min(n - 1, centre + spike.reach());
  for (double t = first; t <= last; ++t)
    y[static_cast<std::size_t>(t)] += height * spike.at(t - centre);
}

}  // namespace

void spike_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  const double noise = d.log_uniform(0.005, 0.2), phi = d.chance(0.3) ? d.uniform(0.3, 0.99) : 0;
  double level = 0;
  for (double& x : y) x = level = phi * level + noise * d.normal();
  constexpr double kTimings[] = {4, 2, 2, 2};
  const std::size_t timing = d.weighted(kTimings);
  const double period =
      d.chance(0.5) ? static_cast<double>(draw_season(d, n / 2)) : d.log_uniform(5, n / 2);
  const Spike spike{static_cast<Outline>(d.below(4)), std::max(1.0, period * d.uniform(0.02, 0.3))};
  const double spread = d.chance(0.5) ? 0 : d.uniform(0.05, 0.6), jitter = d.uniform(0.02, 0.2);
  const std::size_t direction = d.below(5);  // 0, 1: up; 2, 3: down; 4: either
  for (double at = d.uniform(0, period); at < n;) {
    double height = std::exp(spread * d.normal());
    if (direction == 4 ? d.chance(0.5) : direction >= 2) height = -height;
    const double centre = timing == 1 ? at + jitter * period * d.normal() : std::round(at);
    add_spike(spike, centre, height, y);
    const bool together = timing == 2 && d.chance(0.6);
    at += timing == 3 ? period * (0.02 + d.exponential())
          : together  ? std::max(2.0, 0.1 * period)
                      : period;
  }
  const std::vector<double> trend = draw_trend(d, y.size());
  const double growth = d.chance(0.4) ? d.log_uniform(0.1, 2) : 0;
  for (std::size_t t = 0; t < y.size(); ++t) y[t] += growth * trend[t];
}

}  // namespace subquad
