// An Ornstein-Uhlenbeck process that switches between regimes by a Markov chain:
//   x_{t+1} = x_t + theta_r (m_r(t) - x_t) + s_r(t) e_t
// with trends and seasons on level and volatility, and level breaks with smooth transitions.
// Source: the idea of Moroshan et al. 2025 (TempoPFN, arXiv 2510.25502), appendix on SDE generators.
#include <algorithm>
#include <cmath>

#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

struct Regime {
  double reversion, level, volatility, leave;  // leave: probability a step
};

struct Break {
  double at, width, height;
};

}  // namespace

void regime_series(const FamilyInput& in, std::span<double> y) {
  Draws& d = in.draws;
  const auto n = static_cast<double>(y.size());
  std::vector<Regime> regimes;
  for (std::int64_t r = d.between(1, 3); r > 0; --r)
    regimes.push_back({d.log_uniform(0.005, 0.9), 3 * d.normal(), d.log_uniform(0.05, 1.5),
                       1 / d.log_uniform(10, n)});
  const std::vector<double> level = draw_trend(d, y.size()), spread = draw_trend(d, y.size());
  const double climb = d.log_uniform(0.3, 8), widening = d.uniform(0, 1);
  const double period = static_cast<double>(draw_season(d, n / 2));
  const SeasonShape shape(d, period), gusts(d, period);
  const double season = d.chance(0.6) ? d.log_uniform(0.1, 4) : 0,
               gust = d.chance(0.3) ? d.uniform(0.2, 0.9) : 0;
  std::vector<Break> breaks;
  for (std::int64_t k = d.chance(0.3) ? d.between(1, 3) : 0; k > 0; --k)
    breaks.push_back({d.uniform(0, n), d.log_uniform(0.3, n / 20 + 1), 4 * d.normal()});
  std::size_t r = d.below(regimes.size());
  double x = regimes[r].level;
  for (std::size_t t = 0; t < y.size(); ++t) {
    const auto time = static_cast<double>(t);
    const Regime& now = regimes[r];
    x += now.reversion * (now.level - x) +
         now.volatility * (1 + widening * spread[t]) * (1 + gust * gusts.at(time)) * d.normal();
    double shift = climb * level[t] + season * shape.at(time);
    for (const Break& b : breaks) shift += b.height / (1 + std::exp(-(time - b.at) / b.width));
    y[t] = x + shift;
    if (regimes.size() > 1 && d.chance(now.leave))
      r = (r + 1 + d.below(regimes.size() - 1)) % regimes.size();
  }
}

}  // namespace subquad
