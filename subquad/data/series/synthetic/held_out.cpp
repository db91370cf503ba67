// Families that the default recipe keeps for validation: mechanisms that no training family shares.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {

// A pulse train as hearts and machines make it: a wave form of bumps, whose beat-to-beat interval varies
// (breathing, drift, noise), on a wandering base line.
void rhythm_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  struct Bump {
    double at, width, height;
  };
  std::vector<Bump> bumps;
  for (std::int64_t k = d.between(2, 5); k > 0; --k)
    bumps.push_back({d.uniform(0.1, 0.9), d.log_uniform(0.01, 0.1), d.normal()});
  const double period = d.log_uniform(8, n / 4), breathing = d.uniform(0, 0.15),
               jitter = d.log_uniform(0.002, 0.08), noise = d.log_uniform(0.005, 0.15);
  Oscillator breath(2 * std::numbers::pi / (period * d.uniform(3, 8)), d.uniform(0, 6.3));
  double phase = d.uniform(), length = period, base = 0, strength = 1;
  for (double& x : y) {
    double value = 0;
    for (const Bump& b : bumps) {
      const double away = (phase - b.at) / b.width;
      value += b.height * std::exp(-away * away / 2);
    }
    base = 0.995 * base + 0.02 * d.normal();
    x = strength * value + base + noise * d.normal();
    const double wave = breath.next();
    phase += 1 / length;
    if (phase >= 1) {
      phase -= std::floor(phase);
      length = std::max(4.0, period * (1 + breathing * wave + jitter * d.normal()));
      strength = std::exp(jitter * d.normal());
    }
  }
}

// Packets of sources that are on for heavy-tailed times, under a daily wave, cut at a capacity.
// Source: Willinger et al. 1997 (IEEE/ACM Transactions on Networking 5).
void traffic_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  const std::int64_t sources = d.between(5, 40);
  const double tail = d.uniform(1.1, 1.9), on = d.log_uniform(1, 20), off = d.log_uniform(2, 60),
               rate = d.log_uniform(1, 100);
  std::fill(y.begin(), y.end(), 0.0);
  for (std::int64_t s = 0; s < sources; ++s) {
    bool active = d.chance(0.5);
    double until = (active ? on : off) * d.exponential();
    for (double t = 0; t < n; ++t) {
      if (t >= until) {
        active = !active;
        until = t + std::min(n, (active ? on : off) * std::pow(1 - d.uniform(), -1 / tail));
      }
      if (active) y[static_cast<std::size_t>(t)] += rate;
    }
  }
  const SeasonShape day(d, static_cast<double>(draw_season(d, n / 2)));
  const double amplitude = d.uniform(0, 0.8),
               capacity = d.chance(0.3) ? rate * static_cast<double>(sources) * d.uniform(0.3, 0.7)
                                        : HUGE_VAL;
  for (std::size_t t = 0; t < y.size(); ++t) {
    const double mean = y[t] * (1 + amplitude * day.at(static_cast<double>(t)));
    y[t] = std::min(capacity, static_cast<double>(d.poisson(std::min(mean, 1e6))));
  }
}

// Log prices with stochastic volatility, jumps and a leverage effect; or their squared returns.
// Source: Taylor 1986, "Modelling Financial Time Series".
void volatility_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const double persistence = d.uniform(0.9, 0.995), shock = d.uniform(0.05, 0.3),
               leverage = d.uniform(-0.7, 0), scale = d.log_uniform(0.002, 0.03),
               drift = scale * d.uniform(-0.03, 0.06),
               jumps = d.chance(0.3) ? d.log_uniform(0.001, 0.02) : 0;
  const bool activity = d.chance(0.25);
  double log_volatility = 0, price = 0;
  for (double& x : y) {
    const double e = d.normal(), other = std::sqrt(1 - leverage * leverage) * d.normal();
    double move = drift + scale * std::exp(log_volatility / 2) * e;
    if (jumps > 0 && d.chance(jumps)) move += 5 * scale * d.normal();
    log_volatility =
        std::clamp(persistence * log_volatility + shock * (leverage * e + other), -8.0, 8.0);
    price = std::clamp(price + move, -20.0, 20.0);
    x = activity ? std::abs(move) / scale : std::exp(price);
  }
}

// Fractional Brownian motion by midpoint displacement over several scales, with log-periodic accents.
// Source: Mandelbrot and Van Ness 1968; Saupe 1988 (random midpoint displacement).
void fractal_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  std::size_t size = 1;
  while (size + 1 < y.size()) size *= 2;
  const double hurst = d.uniform(0.15, 0.9);
  std::vector<double> x(size + 1);
  x[size] = d.normal();
  double spread = std::sqrt(1 - std::exp2(2 * hurst - 2));
  for (std::size_t step = size; step > 1; step /= 2) {
    spread *= std::exp2(-hurst);
    const double accent = d.chance(0.2) ? d.uniform(1, 3) : 1;
    for (std::size_t at = step / 2; at < size; at += step)
      x[at] = (x[at - step / 2] + x[at + step / 2]) / 2 + accent * spread * d.normal();
  }
  const std::size_t start = d.below(x.size() - y.size() + 1);
  std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(start), y.size(), y.begin());
}

}  // namespace subquad
