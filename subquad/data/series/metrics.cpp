#include "subquad/data/series/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "subquad/base/error.h"
#include "subquad/io/json.h"

namespace subquad {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kIntervalLow = 0.025, kIntervalHigh = 0.975;

// Mean of f(difference) over the pairs (t - m, t) that the convention keeps.
template <class F>
double seasonal_mean(std::span<const double> past, std::int64_t season, Convention convention,
                     F&& f) {
  const bool gluonts = convention == Convention::gluonts;
  const auto length = static_cast<std::int64_t>(past.size());
  if (gluonts && season > length) season = 1;
  double sum = 0;
  std::int64_t count = 0;
  for (std::int64_t t = season; t < length; ++t) {
    const double a = past[static_cast<std::size_t>(t)],
                 b = past[static_cast<std::size_t>(t - season)];
    const double d = a - b;
    if (gluonts ? !(std::isfinite(a) && std::isfinite(b)) : std::isnan(d)) continue;
    sum += f(d);
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : kNaN;
}

double plus(double x) { return x > 0 ? x : 0; }

}  // namespace

Convention convention_named(const std::string& name) {
  if (name == "gluonts") return Convention::gluonts;
  require(name == "fev", ErrorCode::invalid_argument, "convention \"", name,
          "\", wanted gluonts (GIFT-Eval, Chronos) or fev");
  return Convention::fev;
}

const char* name_of(Convention convention) {
  return convention == Convention::gluonts ? "gluonts" : "fev";
}

double seasonal_error(std::span<const double> past, std::int64_t season, Convention convention) {
  return seasonal_mean(past, season, convention, [](double d) { return std::abs(d); });
}

double seasonal_square_error(std::span<const double> past, std::int64_t season,
                             Convention convention) {
  return seasonal_mean(past, season, convention, [](double d) { return d * d; });
}

double quantile_at(double level, std::span<const double> levels, std::span<const double> values) {
  require(levels.size() >= 2 && values.size() == levels.size(), ErrorCode::invalid_argument,
          levels.size(), " levels and ", values.size(), " values, wanted at least two of each");
  constexpr double kOffset = 1e-8, kTail = 0.1;
  const auto log_ratio = [](double a, double b) {
    return std::log((a + kOffset) / (b + kOffset) + kOffset);
  };
  const std::size_t n = levels.size();
  const auto above = std::lower_bound(levels.begin(), levels.end(), level);
  const auto i = static_cast<std::size_t>(above - levels.begin());
  if (i < n && levels[i] == level) return values[i];
  if (level <= std::max(kTail, levels[0])) {
    const double slope = (values[1] - values[0]) / log_ratio(levels[1], levels[0]);
    return values[1] + slope * log_ratio(level, levels[1]);
  }
  if (level >= std::min(1 - kTail, levels[n - 1])) {
    const double slope =
        (values[n - 1] - values[n - 2]) / log_ratio(1 - levels[n - 2], 1 - levels[n - 1]);
    return values[n - 2] + slope * log_ratio(1 - levels[n - 2], 1 - level);
  }
  const double share = (level - levels[i - 1]) / (levels[i] - levels[i - 1]);
  return values[i - 1] + share * (values[i] - values[i - 1]);
}

double MetricSums::Mean::value() const {
  return count > 0 ? sum / static_cast<double>(count) : kNaN;
}

MetricSums::MetricSums(MetricSetup setup)
    : setup_(std::move(setup)),
      loss_(setup_.levels.size()),
      scaled_loss_(setup_.levels.size()),
      below_(setup_.levels.size()) {
  const auto& levels = setup_.levels;
  require(setup_.season >= 1, ErrorCode::invalid_argument, "season ", setup_.season,
          ", wanted at least 1");
  for (std::size_t i = 0; i < levels.size(); ++i) {
    require(levels[i] > 0 && levels[i] < 1 && (i == 0 || levels[i] > levels[i - 1]),
            ErrorCode::invalid_argument, "level ", levels[i],
            ", wanted ascending numbers between 0 and 1");
  }
  const auto half = std::find(levels.begin(), levels.end(), 0.5);
  require(half != levels.end(), ErrorCode::invalid_argument,
          "no level 0.5; MASE and sMAPE are those of the median");
  median_ = static_cast<std::size_t>(half - levels.begin());
}

void MetricSums::check(const ForecastWindow& w) const {
  const std::size_t steps = w.actual.size();
  require(w.quantiles.size() == setup_.levels.size(), ErrorCode::shape_mismatch, "a forecast of ",
          w.quantiles.size(), " quantiles, wanted ", setup_.levels.size());
  const auto fits = [&](std::span<const double> x, bool optional) {
    require(x.size() == steps || (optional && x.empty()), ErrorCode::shape_mismatch,
            "a forecast of ", x.size(), " steps for ", steps, " labels");
    if (setup_.convention == Convention::fev) return;
    for (std::size_t t = 0; t < x.size(); ++t) {
      require(!std::isnan(x[t]), ErrorCode::numeric, "the forecast is NaN at step ", t + 1);
    }
  };
  for (const auto& q : w.quantiles) fits(q, false);
  fits(w.mean, true);
  fits(w.low95, true);
  fits(w.high95, true);
}

// Adds a / b, leaving out what the convention does: numpy's masked division, or all that is not
// finite.
void MetricSums::add_ratio(Mean& mean, double a, double b) const {
  if (setup_.convention == Convention::gluonts &&
      std::abs(a) * std::numeric_limits<double>::min() >= std::abs(b))
    return;
  const double ratio = a / b;
  if (std::isfinite(ratio)) mean.add(ratio);
}

void MetricSums::add_point(double y, double median, double mean, double scale,
                           double square_scale) {
  const double e = std::abs(y - median), square = (y - median) * (y - median),
               square_of_mean = (y - mean) * (y - mean);
  absolute_.add(e);
  square_.add(square);
  square_mean_.add(square_of_mean);
  label_.add(std::abs(y));
  add_ratio(mape_, e, std::abs(y));
  add_ratio(smape_, 2 * e, std::abs(y) + std::abs(median));
  add_ratio(mase_, e, scale);
  add_ratio(rmsse_, square, square_scale);
  add_ratio(rmsse_mean_, square_of_mean, square_scale);
  counts_.without_scale += !(scale > 0);
  counts_.zero_labels += y == 0;
  counts_.zero_over_zero += y == 0 && median == 0;
}

void MetricSums::add(const ForecastWindow& w) {
  check(w);
  const bool gluonts = setup_.convention == Convention::gluonts;
  const std::int64_t season = w.season > 0 ? w.season : setup_.season;
  double scale = seasonal_error(w.past, season, setup_.convention),
         square_scale = seasonal_square_error(w.past, season, setup_.convention);
  if (scale < setup_.epsilon) scale = setup_.epsilon;
  if (square_scale < setup_.epsilon * setup_.epsilon)
    square_scale = setup_.epsilon * setup_.epsilon;
  std::vector<double> column(setup_.levels.size());
  for (std::size_t t = 0; t < w.actual.size(); ++t) {
    ++counts_.points;
    const double y = w.actual[t];
    if (gluonts ? !std::isfinite(y) : std::isnan(y)) {
      ++counts_.masked_labels;
      continue;
    }
    for (std::size_t i = 0; i < column.size(); ++i) {
      const double q = column[i] = w.quantiles[i][t];
      const double loss = 2 * std::abs((y - q) * ((y <= q ? 1.0 : 0.0) - setup_.levels[i]));
      loss_[i].add(loss);
      add_ratio(scaled_loss_[i], loss, scale);
      below_[i].add(y <= q ? 1 : 0);
    }
    inside_.add(column.front() <= y && y <= column.back() ? 1 : 0);
    add_point(y, column[median_], w.mean.empty() ? column[median_] : w.mean[t], scale,
              square_scale);
    if (column.size() < 2 && w.low95.empty()) continue;
    const double low =
        w.low95.empty() ? quantile_at(kIntervalLow, setup_.levels, column) : w.low95[t];
    const double high =
        w.high95.empty() ? quantile_at(kIntervalHigh, setup_.levels, column) : w.high95[t];
    constexpr double kMiss = 2 / 0.05;  // 2 / (1 - 0.95)
    add_ratio(msis_, high - low + kMiss * plus(low - y) + kMiss * plus(y - high), scale);
  }
}

MetricValues MetricSums::values() const {
  MetricValues v{};
  const double label = std::max(label_.value(), setup_.epsilon);
  v.mae = absolute_.value();
  v.mse = square_.value();
  v.rmse = std::sqrt(v.mse);
  v.nrmse = v.rmse / label;
  v.nd = v.mae / label;
  v.mse_mean = square_mean_.value();
  v.rmse_mean = std::sqrt(v.mse_mean);
  v.nrmse_mean = v.rmse_mean / label;
  v.mape = mape_.value();
  v.smape = smape_.value();
  v.mase = mase_.value();
  v.msis = msis_.value();
  v.rmsse = std::sqrt(rmsse_.value());
  v.rmsse_mean = std::sqrt(rmsse_mean_.value());
  v.inside = inside_.value();
  v.sum_absolute_label = label_.sum;
  const auto levels = static_cast<double>(setup_.levels.size());
  for (std::size_t i = 0; i < setup_.levels.size(); ++i) {
    v.wql_by_level.push_back(loss_[i].value() / label);
    v.coverage_by_level.push_back(below_[i].value());
    v.mql += loss_[i].value() / levels;
    v.sql += scaled_loss_[i].value() / levels;
    v.calibration += std::abs(v.coverage_by_level[i] - setup_.levels[i]) / levels;
  }
  v.wql = v.mql / label;
  return v;
}

double crps_of_samples(std::span<const double> samples, double y, bool fair) {
  require(!samples.empty(), ErrorCode::invalid_argument, "no samples");
  std::vector<double> x(samples.begin(), samples.end());
  std::sort(x.begin(), x.end());
  const auto n = static_cast<double>(x.size());
  double error = 0, spread = 0;  // spread: sum over pairs i < j of x_j - x_i
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += std::abs(x[i] - y);
    spread += (2 * static_cast<double>(i) + 1 - n) * x[i];
  }
  return error / n - spread / (fair ? n * (n - 1) : n * n);
}

double crps_of_normal(double mean, double deviation, double y) {
  if (deviation == 0) return std::abs(y - mean);
  const double z = (y - mean) / deviation;
  const double centre = std::erf(z / std::numbers::sqrt2);  // 2 Phi(z) - 1
  const double density = std::exp(-z * z / 2) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  return deviation * (z * centre + 2 * density - std::numbers::inv_sqrtpi);
}

}  // namespace subquad
