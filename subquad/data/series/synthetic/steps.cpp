// Sub-series joined end to end: stable, gradual change, jump and return, oscillation, random walk.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {

void step_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  const double noise = d.chance(0.7) ? d.log_uniform(0.005, 0.3) : 0;
  const bool return_home = d.chance(0.5), repeat = d.chance(0.3);
  const double length = d.log_uniform(5, n / 2);
  const std::int64_t levels = d.between(2, 5);
  std::vector<double> heights;
  for (std::int64_t i = 0; i < levels; ++i) heights.push_back(3 * d.normal());
  double level = heights[0];
  std::size_t next = 0;
  for (std::size_t t = 0; t < y.size();) {
    const double drawn = repeat ? length : length * (0.5 + d.exponential());
    const auto steps = std::clamp(static_cast<std::size_t>(drawn), std::size_t{1}, y.size() - t);
    const std::size_t kind = repeat ? 0 : d.below(6);
    const double goal = return_home ? heights[next++ % heights.size()] : level + 2 * d.normal(),
                 turns = d.log_uniform(1, 12), height = d.normal();
    const double from = level;
    double walk = 0;
    for (std::size_t i = 0; i < steps; ++i, ++t) {
      const double x = static_cast<double>(i) / static_cast<double>(steps);
      switch (kind) {
        case 0: level = goal; break;                      // a jump, then stable
        case 1: level = from + (goal - from) * x; break;  // gradual
        case 2: level = from + height * 4 * (0.5 - std::abs(x - 0.5)); break;  // up and back
        case 3: level = from + height * std::sin(2 * std::numbers::pi * turns * x); break;
        case 4: level = from + (walk += 0.2 * d.normal()); break;
        default: level = from; break;
      }
      y[t] = level + noise * d.normal();
    }
  }
}

}  // namespace subquad
