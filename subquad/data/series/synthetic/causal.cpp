// One variable of a random structural causal model: a graph of up to eight nodes, roots that are smooth
// Gaussian processes (random Fourier features) with a mean, inner nodes an activation of a linear mix
// of up to three lagged parents.
// Source: the idea of Xie et al. 2025 (CauKer, arXiv 2508.02879); Rahimi and Recht 2007.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

std::vector<double> root(Draws& d, std::size_t n) {
  std::vector<double> x(n);
  const double time = static_cast<double>(n);
  const bool periodic = d.chance(0.6);
  const double period = static_cast<double>(draw_season(d, time / 2)),
               scale = d.log_uniform(3, time);
  constexpr int kFeatures = 12;
  for (int k = 1; k <= kFeatures; ++k) {
    // Periodic: harmonics of one period; else the spectrum of a squared exponential.
    const double frequency =
        periodic ? 2 * std::numbers::pi * ((k + 2) / 3) / period : d.normal() / scale;
    const double amplitude = d.normal() / (periodic ? (k + 2) / 3 : 1);
    if (std::abs(frequency) > std::numbers::pi) continue;
    Oscillator wave(frequency, d.uniform(0, 2 * std::numbers::pi));
    for (double& v : x) v += amplitude * wave.next();
  }
  const std::vector<double> trend = draw_trend(d, n);
  const double growth = 3 * d.normal();
  for (std::size_t t = 0; t < n; ++t) x[t] += growth * trend[t];
  const bool anomalous = d.chance(0.15);
  for (std::size_t t = 0; anomalous && t < n; ++t) x[t] += d.chance(0.01) ? 5 * d.normal() : 0;
  return x;
}

double activate(std::size_t kind, double x) {
  switch (kind) {
    case 0: return x;
    case 1: return std::max(0.0, x);
    case 2: return 1 / (1 + std::exp(-x));
    case 3: return std::sin(x);
    case 4: return x - 2 * std::floor(x / 2);
    case 5: return x > 0 ? x : 0.1 * x;
    default: return std::tanh(x);
  }
}

void standardize(std::vector<double>& x) {
  const Moments m = moments_of(x);
  for (double& v : x) v = (v - m.mean) / (m.deviation > 1e-12 ? m.deviation : 1);
}

}  // namespace

void causal_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const std::size_t n = y.size(), nodes = 2 + d.below(7),
                    roots = 1 + d.below(std::min<std::size_t>(3, nodes - 1));
  std::vector<std::vector<double>> value;
  for (std::size_t node = 0; node < nodes; ++node) {
    if (node < roots) {
      value.push_back(root(d, n));
      standardize(value.back());
      continue;
    }
    std::vector<double> x(n, d.normal());
    const double noise = d.chance(0.6) ? d.log_uniform(0.01, 0.4) : 0;
    for (std::size_t parent = 1 + d.below(3); parent > 0; --parent) {
      const std::vector<double>& from = value[d.below(node)];
      const double weight = 1.5 * d.normal();
      const std::size_t lag = d.chance(0.4) ? d.below(std::min<std::size_t>(n, 48)) : 0;
      for (std::size_t t = 0; t < n; ++t) x[t] += weight * from[t < lag ? 0 : t - lag];
    }
    const std::size_t kind = d.below(7);
    for (double& v : x) v = activate(kind, v) + noise * d.normal();
    standardize(x);
    value.push_back(std::move(x));
  }
  std::copy(value.back().begin(), value.back().end(), y.begin());
}

}  // namespace subquad
