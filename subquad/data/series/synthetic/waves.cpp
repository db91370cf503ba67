// One to three periodic waves (sine, sawtooth, triangle, square) with small modulation of amplitude and
// frequency, a small trend and noise.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {

void wave_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  const double noise = d.chance(0.7) ? d.log_uniform(0.005, 0.4) : 0;
  for (double& x : y) x = noise * d.normal();
  for (std::int64_t k = d.between(1, 3); k > 0; --k) {
    constexpr double kKinds[] = {3, 2, 1, 1};
    const std::size_t kind = d.weighted(kKinds);
    const double period = d.log_uniform(3, n / 2), amplitude = d.log_uniform(0.2, 1),
                 duty = d.uniform(0.1, 0.9), am = d.uniform(0, 0.3), fm = d.uniform(0, 0.05);
    Oscillator slow(2 * std::numbers::pi / d.log_uniform(period, 10 * n), d.uniform(0, 6));
    double turn = d.uniform();
    for (double& x : y) {
      const double modulation = slow.next();
      double wave = 0;
      switch (kind) {
        case 0: wave = std::sin(2 * std::numbers::pi * turn); break;
        case 1:
          wave = turn < duty ? 2 * turn / duty - 1 : 1 - 2 * (turn - duty) / (1 - duty);
          break;
        case 2: wave = 2 * turn - 1; break;
        default: wave = turn < duty ? 1 : -1; break;
      }
      x += amplitude * (1 + am * modulation) * wave;
      turn += (1 + fm * modulation) / period;
      turn -= std::floor(turn);
    }
  }
  const std::vector<double> trend = draw_trend(d, y.size());
  const double growth = d.chance(0.5) ? d.log_uniform(0.1, 2) : 0;
  for (std::size_t t = 0; t < y.size(); ++t) y[t] += growth * trend[t];
}

}  // namespace subquad
