#include "subquad/data/series/ets.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "subquad/base/error.h"
#include "subquad/data/series/decomposition.h"
#include "subquad/data/series/least_squares.h"

namespace subquad {
namespace {

constexpr double kLow = 1e-4, kHigh = 0.9999, kDampLow = 0.8, kDampHigh = 0.98;

// Free numbers for the optimiser: smoothing and damping in a logistic scale, then l, b and m - 1
// seasonal states in units of `scale`.
struct Coordinates {
  EtsForm form;
  std::size_t m;
  double scale, season_scale;

  bool trended() const { return form.trend != 'N'; }
  bool seasonal() const { return form.season != 'N'; }
  std::size_t size() const {
    return 2 + (trended() ? 2u : 0u) + (form.damped ? 1u : 0u) + (seasonal() ? m : 0u);
  }

  std::vector<double> from(const EtsFit& f) const {
    std::vector<double> x = {unbounded(f.alpha, kLow, kHigh)};
    if (trended()) x.push_back(unbounded(f.beta, kLow, f.alpha));
    if (seasonal()) x.push_back(unbounded(f.gamma, kLow, std::max(1 - f.alpha, 2 * kLow)));
    if (form.damped) x.push_back(unbounded(f.phi, kDampLow, kDampHigh));
    x.push_back(f.level / scale);
    if (trended()) x.push_back(f.slope / scale);
    for (std::size_t i = 0; seasonal() && i + 1 < m; ++i) x.push_back(f.season[i] / season_scale);
    return x;
  }

  void to(const std::vector<double>& x, EtsFit& f) const {
    std::size_t at = 0;
    f.alpha = bounded(x[at++], kLow, kHigh);
    if (trended()) f.beta = bounded(x[at++], kLow, std::max(f.alpha, 2 * kLow));
    if (seasonal()) f.gamma = bounded(x[at++], kLow, std::max(1 - f.alpha, 2 * kLow));
    f.phi = form.damped ? bounded(x[at++], kDampLow, kDampHigh) : 1;
    f.level = x[at++] * scale;
    f.slope = trended() ? x[at++] * scale : 0;
    if (!seasonal()) return;
    double rest = form.season == 'M' ? static_cast<double>(m) : 0;
    f.season.resize(m);
    for (std::size_t i = 0; i + 1 < m; ++i) rest -= f.season[i] = x[at++] * season_scale;
    f.season[m - 1] = rest;
  }
};

// Runs the recursions; leaves the final states in `f`, the season rotated to the next step. e: the
// errors. Returns sum ln|f|, or NaN where a multiplicative form meets a forecast that is not
// positive.
double run_states(std::span<const double> y, EtsFit& f, std::vector<double>& e) {
  const EtsForm& form = f.form;
  const std::size_t m = std::max<std::size_t>(f.season.size(), 1);
  const bool relative = form.error == 'M';
  const double follow = form.trend == 'N' ? 0 : f.beta / f.alpha;
  double logs = 0;
  for (std::size_t t = 0, k = 0; t < y.size(); ++t, k = k + 1 == m ? 0 : k + 1) {
    const double q = f.level + f.phi * f.slope;
    double forecast = q, adjusted = y[t];
    if (form.season == 'A') {
      forecast = q + f.season[k];
      adjusted = y[t] - f.season[k];
    } else if (form.season == 'M') {
      if (!(f.season[k] > 0) || !(q > 0)) return std::numeric_limits<double>::quiet_NaN();
      forecast = q * f.season[k];
      adjusted = y[t] / f.season[k];
    }
    if (relative) {
      if (!(forecast > 0)) return std::numeric_limits<double>::quiet_NaN();
      logs += std::log(forecast);
    }
    e[t] = relative ? (y[t] - forecast) / forecast : y[t] - forecast;
    const double level = q + f.alpha * (adjusted - q), damped = f.phi * f.slope;
    f.slope = damped + follow * (level - f.level - damped);
    f.level = level;
    if (form.season == 'A') f.season[k] += f.gamma * (y[t] - q - f.season[k]);
    if (form.season == 'M') f.season[k] += f.gamma * (y[t] / q - f.season[k]);
  }
  if (m > 1)
    std::rotate(f.season.begin(), f.season.begin() + static_cast<std::ptrdiff_t>(y.size() % m),
                f.season.end());
  return logs;
}

// A line through the first values, without their season.
void initial_states(std::span<const double> y, EtsFit& f, std::size_t m) {
  std::vector<double> x(y.begin(), y.end());
  if (f.form.season != 'N') {
    const std::size_t seasons = std::min(y.size(), 3 * m);
    f.season = seasonal_figure(y.subspan(0, std::max(seasons, 2 * m)), static_cast<std::int64_t>(m),
                               f.form.season == 'M');
    for (double& s : f.season) s = f.form.season == 'M' ? std::max(s, 0.01) : s;
    for (std::size_t t = 0; t < x.size(); ++t)
      x[t] = f.form.season == 'M' ? x[t] / f.season[t % m] : x[t] - f.season[t % m];
  }
  const std::size_t count = std::min(x.size(), std::max<std::size_t>(10, 2 * m));
  const auto n = static_cast<double>(count);
  double mean = 0, slope = 0;
  for (std::size_t t = 0; t < count; ++t) mean += x[t] / n;
  for (std::size_t t = 0; t < count; ++t)
    slope += (static_cast<double>(t) - (n - 1) / 2) * (x[t] - mean) * 12 / (n * (n * n - 1));
  f.level = mean;
  if (f.form.trend == 'N') return;
  f.slope = slope;
  f.level = mean - slope * (n + 1) / 2;
  if (f.form.error == 'M' && !(f.level + f.slope > 0)) {
    f.level = x[0];
    f.slope = 0;
  }
}

bool can_fit(std::span<const double> y, std::int64_t season, const EtsForm& form,
             std::size_t parameters) {
  const std::size_t n = y.size();
  if (n < parameters + 4) return false;
  if (form.season != 'N' && (season < 2 || n < 2 * static_cast<std::size_t>(season))) return false;
  const bool positive = std::all_of(y.begin(), y.end(), [](double x) { return x > 0; });
  return positive || (form.error == 'A' && form.season != 'M');
}

}  // namespace

std::string EtsForm::text() const {
  return std::string("ETS(") + error + "," + trend + (damped ? "d" : "") + "," + season + ")";
}

std::optional<EtsFit> fit_ets(std::span<const double> y, std::int64_t season, const EtsForm& form) {
  const auto m = static_cast<std::size_t>(season);
  const double scale = std::sqrt(variance_of(y));
  if (!(scale > 0)) return {};
  const Coordinates c{form, m, scale, form.season == 'M' ? 1.0 : scale};
  if (!can_fit(y, season, form, c.size() + 1)) return {};
  EtsFit start{.form = form};
  initial_states(y, start, m);
  // Squares of e times the geometric mean of f: their minimum is that of the likelihood.
  const Residuals residuals = [&](const std::vector<double>& x, std::vector<double>& out) {
    EtsFit f{.form = form};
    c.to(x, f);
    const double logs = run_states(y, f, out);
    if (std::isnan(logs)) return false;
    const double factor = form.error == 'M' ? std::exp(logs / static_cast<double>(y.size())) : 1;
    for (double& e : out) e *= factor;
    return true;
  };
  LeastSquares best{{}, std::numeric_limits<double>::infinity()};
  constexpr struct {
    double alpha, beta, phi;
  } kStarts[] = {{0.03, 0.005, 0.93}, {0.1, 0.01, 0.95}, {0.5, 0.05, 0.9}, {0.9, 0.5, 0.97}};
  for (const auto& from : kStarts) {
    start.alpha = from.alpha;
    start.beta = from.beta;
    start.gamma = 0.1 * (1 - from.alpha);
    start.phi = from.phi;
    LeastSquares found = minimise_squares(residuals, c.from(start), y.size());
    if (found.sum < best.sum) best = std::move(found);
  }
  if (best.parameters.empty() || !(best.sum > 0)) return {};
  EtsFit fit{.form = form};
  c.to(best.parameters, fit);
  std::vector<double> e(y.size());
  const double logs = run_states(y, fit, e);
  double squares = 0;
  for (const double x : e) squares += x * x;
  const auto n = static_cast<double>(y.size()), k = static_cast<double>(c.size() + 1);
  fit.variance = squares / (n - k - 1);
  fit.log_likelihood = -(n * std::log(squares) + (form.error == 'M' ? 2 * logs : 0)) / 2;
  fit.aicc = 2 * k - 2 * fit.log_likelihood + 2 * k * (k + 1) / (n - k - 1);
  return std::isfinite(fit.aicc) ? std::optional(fit) : std::nullopt;
}

NormalForecast forecast_ets(const EtsFit& f, std::int64_t horizon) {
  const auto steps = static_cast<std::size_t>(horizon);
  const std::size_t m = std::max<std::size_t>(f.season.size(), 1);
  NormalForecast out{std::vector<double>(steps), std::vector<double>(steps), f.form.text()};
  // mu: without a multiplicative season. c_j: what an error j steps ago adds to it.
  std::vector<double> mu(steps), c(steps), theta(steps);
  double damping = 0, power = 1;
  const bool relative = f.form.error == 'M', multiplicative = f.form.season == 'M';
  for (std::size_t i = 0; i < steps; ++i) {
    damping += power *= f.phi;
    mu[i] = f.level + damping * f.slope + (f.form.season == 'A' ? f.season[i % m] : 0);
    c[i] = f.alpha + f.beta * damping + (f.form.season == 'A' && (i + 1) % m == 0 ? f.gamma : 0);
  }
  double errors = 1;  // 1 + sum of c_j^2 over j < i
  for (std::size_t i = 0; i < steps; ++i) {
    double variance = errors * f.variance;
    errors += c[i] * c[i];
    if (relative) {
      theta[i] = mu[i] * mu[i];
      for (std::size_t j = 0; j < i; ++j) theta[i] += f.variance * c[j] * c[j] * theta[i - 1 - j];
      double factor = 1 + f.variance;
      if (multiplicative)
        factor *= std::pow(1 + f.gamma * f.gamma * f.variance, static_cast<double>(i / m));
      variance = factor * theta[i] - mu[i] * mu[i];
    }
    const double season = multiplicative ? f.season[i % m] : 1;
    out.mean[i] = mu[i] * season;
    out.deviation[i] = std::sqrt(std::max(variance, 0.0)) * season;
  }
  return out;
}

std::optional<EtsFit> select_ets(std::span<const double> y, std::int64_t season) {
  std::optional<EtsFit> best;
  for (const char error : {'A', 'M'}) {
    for (const char kind : {'N', 'A', 'M'}) {
      if ((kind != 'N' && season < 2) || (error == 'A' && kind == 'M')) continue;
      for (const auto& [trend, damped] :
           {std::pair{'N', false}, std::pair{'A', false}, std::pair{'A', true}}) {
        auto fit = fit_ets(y, season, {error, trend, kind, damped});
        if (fit && (!best || fit->aicc < best->aicc)) best = std::move(fit);
      }
    }
  }
  return best;
}

namespace {

constexpr std::int64_t kLongestSeason = 24;

// Refuses, which becomes Seasonal Naive, where nothing can be fitted.
NormalForecast forecast_of(const std::optional<EtsFit>& fit, const History& h) {
  require(fit.has_value(), ErrorCode::numeric, "no form of exponential smoothing fits ", h.y.size(),
          " values");
  return forecast_ets(*fit, h.horizon);
}

// A season too long for states is taken out, forecast by its figure and put back.
template <class Fit>
NormalForecast without_season(const History& h, Fit&& fit) {
  const Deseasonalised d = deseasonalise(h.y, h.season);
  NormalForecast f = forecast_of(fit(d.y), h);
  reseasonalise(d, f.mean, f.deviation);
  if (!d.figure.empty()) f.fitted += d.multiplicative ? " x season" : " + season";
  return f;
}

}  // namespace

// Holt's linear trend: ETS(A,A,N).
NormalForecast holt(const History& h) {
  return forecast_of(fit_ets(h.y, 1, {'A', 'A', 'N', false}), h);
}

// Additive trend and season, ETS(A,A,A); without a season Holt's.
NormalForecast holt_winters(const History& h) {
  if (h.season < 2) return holt(h);
  if (h.season <= kLongestSeason)
    return forecast_of(fit_ets(h.y, h.season, {'A', 'A', 'A', false}), h);
  return without_season(h, [](const auto& y) { return fit_ets(y, 1, {'A', 'A', 'N', false}); });
}

NormalForecast auto_ets(const History& h) {
  if (h.season <= kLongestSeason) return forecast_of(select_ets(h.y, h.season), h);
  return without_season(h, [](const auto& y) { return select_ets(y, 1); });
}

}  // namespace subquad
