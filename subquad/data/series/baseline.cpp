// The list of baselines and the guard rails around them.
#include "subquad/data/series/baseline.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "subquad/base/distributions.h"
#include "subquad/base/error.h"
#include "subquad/data/series/decomposition.h"
#include "subquad/io/json.h"

namespace subquad {
namespace {

// Beyond these squares overflow or vanish: such series are scaled.
constexpr double kLargest = 1e100, kSmallest = 1e-100;

constexpr Baseline kBaselines[] = {
    {"naive", "Naive", "the last value", naive},
    {"seasonal_naive", "SeasonalNaive", "the last season", seasonal_naive},
    {"drift", "Drift", "the line through the first and the last value", drift},
    {"average", "HistoricAverage", "the mean of all values", historic_average},
    {"window_average", "WindowAverage", "the mean of the last 8 values", window_average},
    {"seasonal_window_average", "SeasonalWindowAverage", "the mean of the last 2 seasons",
     seasonal_window_average},
    {"ses", "SES", "exponential smoothing of the level", ses},
    {"seasonal_es", "SeasonalES", "exponential smoothing (0.3) of every season position",
     seasonal_es},
    {"holt", "Holt", "level and trend, ETS(A,A,N)", holt},
    {"holt_winters", "HoltWinters", "level, trend and additive season, ETS(A,A,A)", holt_winters},
    {"theta", "Theta", "smoothing plus half the linear trend", theta},
    {"dynamic_theta", "DynamicTheta", "Theta with a trend that is updated and weighted",
     dynamic_theta},
    {"auto_ets", "AutoETS", "of 15 forms of exponential smoothing the one with the best AICc",
     auto_ets},
    {"auto_arima", "AutoARIMA", "seasonal ARIMA, its order by a stepwise search for the best AICc",
     auto_arima},
    {"croston", "Croston", "size over interval of intermittent demand", croston},
    {"croston_sba", "CrostonSBA", "Croston without its bias", croston_sba},
    {"tsb", "TSB", "size times probability of intermittent demand", tsb},
    {"ensemble", "MedianEnsemble", "the median of AutoETS, AutoARIMA and DynamicTheta", nullptr},
};
constexpr const char* kMembers[] = {"auto_ets", "auto_arima", "dynamic_theta"};

// What a forecast may not be; empty if it is fine.
std::string fault_of(const NormalForecast& f, const History& h, double low, double high) {
  const double range = high - low;
  for (std::size_t i = 0; i < f.mean.size(); ++i) {
    if (!std::isfinite(f.mean[i]) || !std::isfinite(f.deviation[i])) return "it was not finite";
    const double reach =
        10 * range * (1 + static_cast<double>(i + 1) / static_cast<double>(h.y.size()));
    if (f.mean[i] < low - reach || f.mean[i] > high + reach)
      return "it left the range of the series";
  }
  return {};
}

NormalForecast guarded(const Baseline& baseline, const History& h, std::string& fallback) {
  const auto [low, high] = std::minmax_element(h.y.begin(), h.y.end());
  if (*low == *high) {  // nothing to fit, and no spread to see
    NormalForecast f = naive(h);
    f.fitted = h.y.size() == 1 ? "one value" : "constant";
    return f;
  }
  NormalForecast f;
  try {
    f = baseline.run(h);
    fallback = fault_of(f, h, *low, *high);
  } catch (const Error& e) {
    fallback = e.what();
  }
  if (!fallback.empty()) f = seasonal_naive(h);
  const double cap = std::sqrt(variance_of(h.y));
  const NormalForecast last = naive(h);
  for (std::size_t i = 0; i < f.deviation.size(); ++i)
    f.deviation[i] = std::min(f.deviation[i], 3 * std::max(cap, last.deviation[i]));
  return f;
}

Forecast with_quantiles(const NormalForecast& n, const std::vector<double>& levels) {
  Forecast f{n.mean, {}, n.fitted, {}};
  for (const double level : levels) {
    const double z = normal_quantile(level);
    std::vector<double>& q = f.quantiles.emplace_back(n.mean);
    for (std::size_t i = 0; i < q.size(); ++i) q[i] += z * n.deviation[i];
  }
  return f;
}

double middle_of(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  const std::size_t half = x.size() / 2;
  return x.size() % 2 == 1 ? x[half] : (x[half - 1] + x[half]) / 2;
}

// Step by step and level by level: medians of ascending numbers ascend.
Forecast median_of(const std::vector<Forecast>& members) {
  Forecast f = members[0];
  const auto middle = [&](auto&& number) {
    std::vector<double> x;
    for (const Forecast& m : members) x.push_back(number(m));
    return middle_of(std::move(x));
  };
  for (std::size_t i = 0; i < f.mean.size(); ++i) {
    f.mean[i] = middle([&](const Forecast& m) { return m.mean[i]; });
    for (std::size_t q = 0; q < f.quantiles.size(); ++q)
      f.quantiles[q][i] = middle([&](const Forecast& m) { return m.quantiles[q][i]; });
  }
  return f;
}

Forecast forecast_clean(const Baseline& baseline, const History& h,
                        const std::vector<double>& levels) {
  if (baseline.run) {
    std::string fallback;
    Forecast f = with_quantiles(guarded(baseline, h, fallback), levels);
    f.fallback = std::move(fallback);
    return f;
  }
  std::vector<Forecast> members;
  std::string fitted, fallback;
  for (const char* key : kMembers) {
    std::string why;
    const NormalForecast n = guarded(baseline_named(key), h, why);
    if (!n.fitted.empty()) fitted = n.fitted;
    if (why.empty()) {
      members.push_back(with_quantiles(n, levels));
    } else {
      fallback = std::move(why);
    }
  }
  const bool failed = members.empty();
  if (failed) members.push_back(with_quantiles(seasonal_naive(h), levels));
  Forecast f = median_of(members);
  f.fitted = std::move(fitted);
  if (failed) f.fallback = std::move(fallback);
  return f;
}

}  // namespace

std::span<const Baseline> all_baselines() { return kBaselines; }

const Baseline& baseline_named(const std::string& name) {
  std::vector<std::string> keys;
  for (const Baseline& b : kBaselines) {
    if (name == b.key || name == b.title) return b;
    keys.emplace_back(b.key);
  }
  const std::string near = nearest_key(name, keys);
  std::string all;
  for (const std::string& k : keys) all += (all.empty() ? "" : ", ") + k;
  fail(ErrorCode::invalid_argument, "unknown baseline \"", name, "\"",
       near.empty() ? "; there are " + all : "; did you mean \"" + near + "\"?");
}

std::vector<double> filled_values(std::span<const double> values, const std::string& fill) {
  require(fill == "last" || fill == "linear" || fill == "zero", ErrorCode::invalid_argument,
          "--fill ", fill, ", wanted last, linear or zero");
  std::vector<double> y;
  for (std::size_t t = 0; t < values.size(); ++t) {
    if (std::isfinite(values[t])) {
      y.push_back(values[t]);
    } else if (!y.empty()) {
      std::size_t next = t;
      while (next < values.size() && !std::isfinite(values[next])) ++next;
      const double from = y.back(), steps = static_cast<double>(next - t + 1);
      const bool line = fill == "linear" && next < values.size();
      const double rise = line ? (values[next] - from) / steps : 0;
      for (double k = 1; t < next; ++t, ++k) y.push_back(fill == "zero" ? 0 : from + k * rise);
      --t;
    }
  }
  return y;
}

Forecast run_baseline(const Baseline& baseline, std::span<const double> values,
                      const ForecastSetup& setup) {
  require(setup.horizon >= 1 && setup.season >= 1 && setup.max_history >= 1,
          ErrorCode::invalid_argument, "horizon ", setup.horizon, ", season ", setup.season,
          ", history ", setup.max_history, ", wanted 1 or more");
  // Only what counts is filled, from the last observation before it.
  std::size_t first =
      values.size() - std::min(values.size(), static_cast<std::size_t>(setup.max_history));
  while (first > 0 && !std::isfinite(values[first])) --first;
  std::vector<double> y = filled_values(values.subspan(first), setup.fill);
  require(!y.empty(), ErrorCode::invalid_argument, "the series has no observation");
  const auto length = static_cast<std::int64_t>(y.size());
  if (length > setup.max_history) y.erase(y.begin(), y.begin() + (length - setup.max_history));
  double largest = 0;
  for (const double x : y) largest = std::max(largest, std::abs(x));
  const bool scaled = largest > kLargest || (largest > 0 && largest < kSmallest);
  for (double& x : y) x /= scaled ? largest : 1;
  Forecast f = forecast_clean(baseline, {y, setup.season, setup.horizon}, setup.levels);
  if (!scaled) return f;
  const auto grow = [&](std::vector<double>& numbers) {
    constexpr double kMost = std::numeric_limits<double>::max();
    for (double& x : numbers) x = std::clamp(x * largest, -kMost, kMost);
  };
  grow(f.mean);
  for (auto& q : f.quantiles) grow(q);
  return f;
}

}  // namespace subquad
