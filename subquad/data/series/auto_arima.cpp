// The order of an ARIMA model.
#include <algorithm>
#include <array>
#include <cmath>

#include "subquad/base/error.h"
#include "subquad/data/series/arima.h"
#include "subquad/data/series/decomposition.h"

namespace subquad {
namespace {

using Numbers = std::vector<double>;

bool is_constant(const Numbers& x) {
  return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
}

// KPSS statistic for a level with floor(3 sqrt(T) / 13) lags of the Bartlett window; 5 %: 0.463.
// Source: Kwiatkowski, Phillips, Schmidt and Shin 1992.
bool level_rejected(const Numbers& x) {
  const auto n = static_cast<double>(x.size());
  double mean = 0, partial = 0, squares = 0, sums = 0;
  for (const double v : x) mean += v / n;
  for (const double v : x) {
    partial += v - mean;
    sums += partial * partial;
    squares += (v - mean) * (v - mean);
  }
  const auto lags = static_cast<std::size_t>(3 * std::sqrt(n) / 13);
  double variance = squares / n;
  for (std::size_t k = 1; k <= lags; ++k) {
    double covariance = 0;
    for (std::size_t t = k; t < x.size(); ++t) covariance += (x[t] - mean) * (x[t - k] - mean);
    variance += 2 * (1 - static_cast<double>(k) / static_cast<double>(lags + 1)) * covariance / n;
  }
  constexpr double kFivePercent = 0.463;
  return sums / (n * n * variance) > kFivePercent;
}

// 1 - var(rest) / var(season + rest), the trend a centred moving average.
double season_strength(std::span<const double> y, std::int64_t season) {
  const auto m = static_cast<std::size_t>(season), half = m / 2;
  const Numbers figure = seasonal_figure(y, season, false);
  Numbers rest, detrended;
  for (std::size_t t = half; t + half < y.size(); ++t) {
    detrended.push_back(y[t] - centred_average(y, t, m));
    rest.push_back(detrended.back() - figure[t % m]);
  }
  const double all = variance_of(detrended);
  return all > 0 ? std::max(0.0, 1 - variance_of(rest) / all) : 0;
}

class Search {
 public:
  Search(std::span<const double> y, const ArimaOrder& base) : y_(y), base_(base) {}

  std::optional<ArimaFit> run() {
    const bool may_have_constant = base_.d + base_.D <= 1;
    const std::int64_t s = base_.m > 1 ? 1 : 0;
    for (const auto& [p, q, P, Q] :
         {std::array<std::int64_t, 4>{2, 2, s, s}, {0, 0, 0, 0}, {1, 0, s, 0}, {0, 1, 0, s}})
      attempt(p, q, P, Q, may_have_constant);
    if (may_have_constant) attempt(0, 0, 0, 0, false);
    while (best_ && improve(may_have_constant)) {
    }
    return best_;
  }

 private:
  // The first neighbour that is better, in the order of the source.
  bool improve(bool may_have_constant) {
    const ArimaOrder o = best_->order;
    static constexpr std::int64_t kMoves[][4] = {
        {0, 0, -1, 0},  {0, 0, 0, -1}, {0, 0, 1, 0},  {0, 0, 0, 1},  {0, 0, -1, -1}, {0, 0, -1, 1},
        {0, 0, 1, -1},  {0, 0, 1, 1},  {-1, 0, 0, 0}, {0, -1, 0, 0}, {1, 0, 0, 0},   {0, 1, 0, 0},
        {-1, -1, 0, 0}, {-1, 1, 0, 0}, {1, -1, 0, 0}, {1, 1, 0, 0}};
    for (const auto& move : kMoves) {
      if (attempt(o.p + move[0], o.q + move[1], o.P + move[2], o.Q + move[3], o.constant))
        return true;
    }
    return may_have_constant && attempt(o.p, o.q, o.P, o.Q, !o.constant);
  }

  bool attempt(std::int64_t p, std::int64_t q, std::int64_t P, std::int64_t Q, bool constant) {
    constexpr std::int64_t kMost = 5, kMostSeasonal = 2, kMostInAll = 5;
    constexpr std::size_t kModels = 94;
    if (std::min({p, q, P, Q}) < 0 || std::max(p, q) > kMost || std::max(P, Q) > kMostSeasonal ||
        p + q + P + Q > std::max<std::int64_t>(kMostInAll, 4 + (base_.m > 1 ? 2 : 0)) ||
        (base_.m == 1 && P + Q > 0) || tried_.size() >= kModels)
      return false;
    ArimaOrder o = base_;
    o.p = p;
    o.q = q;
    o.P = P;
    o.Q = Q;
    o.constant = constant;
    if (std::find(tried_.begin(), tried_.end(), o) != tried_.end()) return false;
    tried_.push_back(o);
    auto fit = fit_arima(y_, o);
    if (!fit || (best_ && fit->aicc >= best_->aicc)) return false;
    best_ = std::move(fit);
    return true;
  }

  std::span<const double> y_;
  ArimaOrder base_;
  std::vector<ArimaOrder> tried_;
  std::optional<ArimaFit> best_;
};

}  // namespace

std::optional<ArimaFit> select_arima(std::span<const double> y, std::int64_t season) {
  ArimaOrder o{.m = std::max<std::int64_t>(season, 1)};
  if (o.m > 1 && static_cast<std::int64_t>(y.size()) < 3 * o.m) o.m = 1;
  constexpr double kStrong = 0.64;
  if (o.m > 1 && season_strength(y, o.m) > kStrong) o.D = 1;
  Numbers x(y.begin(), y.end());
  if (o.D == 1) difference(x, static_cast<std::size_t>(o.m));
  while (o.d < 2 && x.size() > 3 && !is_constant(x) && level_rejected(x)) {
    ++o.d;
    difference(x, 1);
  }
  return Search(y, o).run();
}

// For its cost: the last 1000 values, and seasons above 12 are taken out by decomposition.
NormalForecast auto_arima(const History& h) {
  constexpr std::int64_t kLongestSeason = 12;
  constexpr std::size_t kLongest = 1000;
  const std::span<const double> y = h.y.last(std::min(h.y.size(), kLongest));
  const bool take_out = h.season > kLongestSeason;
  const Deseasonalised d =
      take_out ? deseasonalise(y, h.season) : Deseasonalised{{y.begin(), y.end()}, {}, false};
  const auto fit = select_arima(d.y, take_out ? 1 : h.season);
  require(fit.has_value(), ErrorCode::numeric, "no ARIMA model fits ", h.y.size(), " values");
  NormalForecast f = forecast_arima(*fit, d.y, h.horizon);
  reseasonalise(d, f.mean, f.deviation);
  if (!d.figure.empty()) f.fitted += d.multiplicative ? " x season" : " + season";
  return f;
}

}  // namespace subquad
