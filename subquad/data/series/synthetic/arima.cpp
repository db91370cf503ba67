// Seasonal ARIMA(p,d,q)(P,D,Q)_m with random admissible parameters:
//   phi(B) Phi(B^m) (1 - B)^d (1 - B^m)^D y_t = c + theta(B) Theta(B^m) e_t
// Stationarity and invertibility hold by construction: coefficients come from partial autocorrelations
// in (-1, 1). Source: Barndorff-Nielsen and Schou 1973; Monahan 1984 (Biometrika 71).
#include <algorithm>
#include <cmath>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

struct Lag {
  std::size_t lag;
  double weight;
};

// a_1 .. a_k of 1 - a_1 B - ... - a_k B^k with roots outside the unit circle.
std::vector<double> admissible(Draws& d, std::int64_t order, double least, double most) {
  std::vector<double> a;
  for (std::int64_t k = 0; k < order; ++k) {
    const double partial = k == 0 ? d.uniform(least, most) : d.uniform(-0.8, 0.8);
    std::vector<double> next = a;
    for (std::size_t j = 0; j < a.size(); ++j) next[j] -= partial * a[a.size() - 1 - j];
    next.push_back(partial);
    a = std::move(next);
  }
  return a;
}

// Lags of 1 - (1 - sum a_i B^i)(1 - sum A_i B^{m i}).
std::vector<Lag> product(const std::vector<double>& a, const std::vector<double>& seasonal,
                         std::size_t m) {
  std::vector<Lag> lags;
  for (std::size_t i = 0; i < a.size(); ++i) lags.push_back({i + 1, a[i]});
  for (std::size_t j = 0; j < seasonal.size(); ++j) {
    const std::size_t at = m * (j + 1);
    lags.push_back({at, seasonal[j]});
    for (std::size_t i = 0; i < a.size(); ++i) lags.push_back({at + i + 1, -a[i] * seasonal[j]});
  }
  return lags;
}

void integrate(std::vector<double>& x, std::size_t lag) {
  for (std::size_t t = lag; t < x.size(); ++t) x[t] += x[t - lag];
}

}  // namespace

void arima_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  constexpr double kDifferences[] = {0.45, 0.45, 0.1};
  const std::size_t difference = d.weighted(kDifferences);
  const bool seasonal = d.chance(0.5);
  const auto m = static_cast<std::size_t>(seasonal ? draw_season(d, n / 3) : 1);
  const bool seasonal_difference = seasonal && d.chance(0.5);
  const auto ar = product(admissible(d, d.between(0, 3), -0.5, 0.98),
                          admissible(d, seasonal ? d.between(0, 1) : 0, 0, 0.95), m);
  const auto ma = product(admissible(d, d.between(0, 2), -0.8, 0.8),
                          admissible(d, seasonal ? d.between(0, 1) : 0, 0, 0.8), m);
  const double tail = d.chance(0.25) ? d.uniform(2.5, 8) : 0;
  std::size_t reach = 0;
  for (const Lag& l : ar) reach = std::max(reach, l.lag);
  for (const Lag& l : ma) reach = std::max(reach, l.lag);
  const std::size_t burn = std::min<std::size_t>(100 + 4 * reach, y.size() + 100);
  std::vector<double> e(burn + y.size()), x(e.size());
  const double drift =
      difference + (seasonal_difference ? 1 : 0) == 1 && d.chance(0.4) ? d.uniform(-0.1, 0.1) : 0;
  for (std::size_t t = 0; t < x.size(); ++t) {
    e[t] = tail > 0 ? d.student(tail) : d.normal();
    double value = e[t] + drift;
    for (const Lag& l : ar) value += l.lag <= t ? l.weight * x[t - l.lag] : 0;
    for (const Lag& l : ma) value -= l.lag <= t ? l.weight * e[t - l.lag] : 0;
    x[t] = value;
  }
  x.erase(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(burn));
  for (std::size_t k = 0; k < difference; ++k) integrate(x, 1);
  if (seasonal_difference) {
    const double start = d.log_uniform(0.5, 20);  // the season that the sums start from
    for (std::size_t t = 0; t < std::min(m, x.size()); ++t) x[t] += start * d.normal();
    integrate(x, m);
  }
  // One in four is the logarithm of the series.
  const bool log = d.chance(0.25);
  const Moments moments = moments_of(x);
  const double width = d.log_uniform(0.1, 0.8) / (moments.deviation > 0 ? moments.deviation : 1);
  for (std::size_t t = 0; t < y.size(); ++t)
    y[t] = log ? std::exp(width * (x[t] - moments.mean)) : x[t];
}

}  // namespace subquad
