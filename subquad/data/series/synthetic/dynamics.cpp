// Chaotic and physical systems, integrated by the classical Runge-Kutta method and observed with noise:
// Lorenz, Roessler, Van der Pol, forced Duffing, damped driven pendulum, Lotka-Volterra,
// FitzHugh-Nagumo, seasonal SIR; the logistic map, Mackey-Glass (delay), tides (incommensurate sines),
// a thermostat, logistic growth.
// Source: Strogatz 2015, "Nonlinear Dynamics and Chaos"; Mackey and Glass 1977 (Science 197).
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

using State = std::array<double, 3>;

// `span`: time that a turn takes, roughly; `step`: the largest stable step.
template <class Rate>
void integrate(Draws& d, std::span<double> y, State s, double span, double step, std::size_t shown,
               Rate&& rate) {
  const double sample = span / d.log_uniform(6, 80);
  const auto parts = static_cast<int>(std::ceil(sample / step));
  const double h = sample / parts;
  double time = 0;
  const auto axpy = [](const State& a, double f, const State& b) {
    return State{a[0] + f * b[0], a[1] + f * b[1], a[2] + f * b[2]};
  };
  const auto advance = [&] {
    const State k1 = rate(time, s), k2 = rate(time + h / 2, axpy(s, h / 2, k1)),
                k3 = rate(time + h / 2, axpy(s, h / 2, k2)), k4 = rate(time + h, axpy(s, h, k3));
    for (std::size_t i = 0; i < 3; ++i) s[i] += h / 6 * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]);
    time += h;
  };
  for (int i = 0; i < 100 * parts; ++i) advance();  // onto the attractor
  for (double& x : y) {
    x = s[shown];
    for (int i = 0; i < parts; ++i) advance();
  }
}

void flow(Draws& d, std::span<double> y, std::size_t kind) {
  const State start{d.uniform(0.5, 1.5), d.uniform(0.5, 1.5), d.uniform(0.5, 1.5)};
  const double a = d.uniform(0, 1), b = d.uniform(0, 1), c = d.uniform(0, 1);
  switch (kind) {
    case 0: {  // Lorenz
      const double rho = 24 + 12 * a, sigma = 8 + 4 * b, beta = 2.2 + c;
      return integrate(d, y, start, 0.75, 0.02, d.below(3), [=](double, const State& s) -> State {
        return {sigma * (s[1] - s[0]), s[0] * (rho - s[2]) - s[1], s[0] * s[1] - beta * s[2]};
      });
    }
    case 1: {  // Roessler
      const double p = 0.15 + 0.07 * a, q = 0.2, r = 4 + 3 * c;
      return integrate(d, y, start, 6, 0.1, d.below(3), [=](double, const State& s) -> State {
        return {-s[1] - s[2], s[0] + p * s[1], q + s[2] * (s[0] - r)};
      });
    }
    case 2: {  // Van der Pol
      const double mu = 0.2 + 5 * a;
      return integrate(d, y, start, 6 + mu, 0.05, d.below(2), [=](double, const State& s) -> State {
        return {s[1], mu * (1 - s[0] * s[0]) * s[1] - s[0], 0};
      });
    }
    case 3: {  // Duffing
      const double force = 0.2 + 0.3 * a, damping = 0.15 + 0.2 * b, omega = 0.8 + 0.6 * c;
      return integrate(d, y, start, 6, 0.1, d.below(2), [=](double t, const State& s) -> State {
        return {s[1], s[0] - s[0] * s[0] * s[0] - damping * s[1] + force * std::cos(omega * t), 0};
      });
    }
    case 4: {  // pendulum; the sine of its angle is bounded when it turns over
      const double drive = 1.6 * a, damping = 0.1 + 0.4 * b, omega = 0.4 + 0.6 * c;
      integrate(d, y, start, 7, 0.1, 0, [=](double t, const State& s) -> State {
        return {s[1], -std::sin(s[0]) - damping * s[1] + drive * std::cos(omega * t), 0};
      });
      for (double& x : y) x = std::sin(x);
      return;
    }
    case 5: {  // Lotka-Volterra
      const double prey = 0.6 + 0.8 * a, eat = 0.6 + 0.8 * b, die = 0.6 + 0.8 * c;
      return integrate(d, y, start, 7, 0.05, d.below(2), [=](double, const State& s) -> State {
        return {s[0] * (prey - eat * s[1]), s[1] * (eat * s[0] - die), 0};
      });
    }
    case 6: {  // FitzHugh-Nagumo
      const double current = 0.35 + 0.9 * a, e = 0.05 + 0.05 * b;
      return integrate(d, y, start, 35, 0.2, d.below(2), [=](double, const State& s) -> State {
        return {s[0] - s[0] * s[0] * s[0] / 3 - s[1] + current, e * (s[0] + 0.7 - 0.8 * s[1]), 0};
      });
    }
    default: {  // SIR with births and a seasonal contact rate; time in weeks
      const double contact = 1.5 + 2 * a, recover = 0.5 + 0.4 * b, birth = 0.002 + 0.01 * c;
      return integrate(d, y, {0.3, 0.01, 0}, 52, 0.5, 1, [=](double t, const State& s) -> State {
        const double rate = contact * (1 + 0.2 * std::cos(2 * std::numbers::pi * t / 52));
        const double infected = rate * s[0] * s[1];
        return {birth * (1 - s[0]) - infected, infected - (recover + birth) * s[1] + 1e-6, 0};
      });
    }
  }
}

void logistic_map(Draws& d, std::span<double> y) {
  const double r = d.uniform(3.4, 4);
  double x = d.uniform(0.1, 0.9);
  for (double& v : y) v = x = r * x * (1 - x);
}

void mackey_glass(Draws& d, std::span<double> y) {
  const auto delay = static_cast<std::size_t>(d.between(12, 40));
  const auto parts = static_cast<std::size_t>(d.between(1, 6));
  std::vector<double> ring(delay, 1.2);
  double x = d.uniform(0.5, 1.3);
  for (std::size_t t = 0; t < (y.size() + 100) * parts; ++t) {
    const double then = ring[t % delay], power = std::pow(then, 10);
    ring[t % delay] = x;
    x += 0.2 * then / (1 + power) - 0.1 * x;
    if (t >= 100 * parts && t % parts == 0) y[t / parts - 100] = x;
  }
}

void tides(Draws& d, std::span<double> y) {
  constexpr double kHours[] = {12.4206, 12, 12.6583, 23.9345, 25.8193, 24.0659, 11.9672, 6.2103};
  constexpr double kSizes[] = {1, 0.46, 0.19, 0.58, 0.41, 0.19, 0.13, 0.05};
  const double hours = d.one_of({0.25, 0.5, 1.0});
  std::fill(y.begin(), y.end(), 0.0);
  for (std::size_t k = 0; k < std::size(kHours); ++k) {
    const double size = kSizes[k] * std::exp(0.7 * d.normal());
    Oscillator wave(2 * std::numbers::pi * hours / kHours[k], d.uniform(0, 6.3));
    for (double& x : y) x += size * wave.next();
  }
}

// A room that loses heat to a daily wave outside; the heater has hysteresis.
void thermostat(Draws& d, std::span<double> y) {
  const double loss = d.log_uniform(0.005, 0.1), power = loss * d.uniform(15, 40),
               band = d.uniform(0.3, 2), goal = d.uniform(18, 22), outside = d.uniform(-5, 15);
  Oscillator day(2 * std::numbers::pi / d.one_of({24.0, 48.0, 96.0, 144.0}), d.uniform(0, 6.3));
  const bool power_shown = d.chance(0.2);
  double x = goal;
  bool on = false;
  for (double& v : y) {
    on = x < goal - band / 2 || (on && x < goal + band / 2);
    x += loss * (outside + 6 * day.next() - x) + (on ? power : 0);
    v = power_shown ? (on ? 1 : 0) : x;
  }
}

void growth(Draws& d, std::span<double> y) {
  const auto n = static_cast<double>(y.size());
  const double rate = d.log_uniform(4, 60) / n, noise = d.log_uniform(0.002, 0.1);
  double x = d.log_uniform(1e-4, 0.3);
  for (double& v : y) {
    v = x;
    x = std::clamp(x + rate * x * (1 - x) * (1 + 3 * noise * d.normal()), 1e-9, 2.0);
  }
}

}  // namespace

void dynamics_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  constexpr std::size_t kFlows = 8;
  const std::size_t kind = d.below(kFlows + 5);
  if (kind < kFlows) {
    flow(d, y, kind);
  } else {
    constexpr void (*kOthers[])(Draws&, std::span<double>) = {logistic_map, mackey_glass, tides,
                                                              thermostat, growth};
    kOthers[kind - kFlows](d, y);
  }
  if (d.chance(0.4)) return;
  const double noise = d.log_uniform(0.005, 0.3) * moments_of(y).deviation;
  for (double& x : y) x += noise * d.normal();
}

}  // namespace subquad
