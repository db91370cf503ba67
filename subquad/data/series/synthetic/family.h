// The generators, one file each, and what they share. Each fills `y` with one series in units of its
// own; all numbers come from `draws` (and paths from `gaussian`), so equal draws give equal series.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "subquad/data/series/synthetic/draws.h"
#include "subquad/data/series/synthetic/gaussian_cache.h"

namespace subquad {

struct FamilyInput {
  Draws& draws;
  const GaussianSource& gaussian;
};
using FamilyFunction = void (*)(const FamilyInput&, std::span<double> y);

void kernel_synth_series(const FamilyInput& in, std::span<double> y);
void gaussian_process_series(const FamilyInput& in, std::span<double> y);
void seasonal_trend_series(const FamilyInput& in, std::span<double> y);
void calendar_series(const FamilyInput& in, std::span<double> y);
void regime_series(const FamilyInput& in, std::span<double> y);
void step_series(const FamilyInput& in, std::span<double> y);
void wave_series(const FamilyInput& in, std::span<double> y);
void spike_series(const FamilyInput& in, std::span<double> y);
void arima_series(const FamilyInput& in, std::span<double> y);
void ets_series(const FamilyInput& in, std::span<double> y);
void intermittent_series(const FamilyInput& in, std::span<double> y);
void causal_series(const FamilyInput& in, std::span<double> y);
void dynamics_series(const FamilyInput& in, std::span<double> y);
void rhythm_series(const FamilyInput& in, std::span<double> y);
void traffic_series(const FamilyInput& in, std::span<double> y);
void volatility_series(const FamilyInput& in, std::span<double> y);
void fractal_series(const FamilyInput& in, std::span<double> y);

// cos(phase + t frequency) for t = 0, 1, ... by rotation: a multiplication instead of a cosine.
class Oscillator {
 public:
  Oscillator(double frequency, double phase);
  double next();

 private:
  double c_, s_, step_c_, step_s_;
};

// A length of seasons as calendars have them (4, 7, 12, 24, 52, 168 ...) with probability 3/4, else
// log-uniform; from 3 to `most` (>= 3).
std::int64_t draw_season(Draws& draws, double most);

// One period of a seasonal pattern: mean 0, largest magnitude 1. Smooth: a few harmonics; else a
// number of its own for every position, or bumps and notches at some.
class SeasonShape {
 public:
  SeasonShape(Draws& draws, double period);
  double at(double t) const;  // t in steps, >= 0

 private:
  double period_, phase_;
  bool smooth_;
  std::vector<double> table_;
};

// A deterministic trend over n steps from 0 on, largest magnitude 1: none, linear, piecewise linear,
// saturating exponential, logistic, sinusoid or polynomial.
std::vector<double> draw_trend(Draws& draws, std::size_t n);

// Mean and standard deviation (population).
struct Moments {
  double mean, deviation;
};
Moments moments_of(std::span<const double> y);

}  // namespace subquad
