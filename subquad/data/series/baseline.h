// Classical forecasters: what a trained model has to beat.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace subquad {

// What a forecaster sees. y has at least one value, none of them missing.
struct History {
  std::span<const double> y;
  std::int64_t season = 1;  // m
  std::int64_t horizon = 1;
};

// Normal at every step. deviation: that of the forecast error; all zero where one observation or a
// constant series leaves nothing to estimate it from.
struct NormalForecast {
  std::vector<double> mean, deviation;
  std::string fitted = {};  // "ETS(M,Ad,M)"
};

struct Forecast {
  std::vector<double> mean;
  std::vector<std::vector<double>> quantiles;  // [level][step], ascending in the level
  std::string fitted;                          // what was chosen, if there was a choice
  std::string fallback;                        // why Seasonal Naive was used instead; else empty
};

struct ForecastSetup {
  std::int64_t season = 1, horizon = 1;
  std::vector<double> levels;       // ascending, inside (0, 1)
  std::int64_t max_history = 5000;  // only the last so many values are looked at
  std::string fill = "last";        // missing values: last, linear or zero
};

// Many series at once, values with NaN = missing, behind guard rails of its own: a trained model.
// `seasons`: of every series, for its fallback; setup.season is not read. Not from several threads.
using ManyForecasts = std::function<std::vector<Forecast>(
    std::span<const std::span<const double>> series, std::span<const std::int64_t> seasons,
    const ForecastSetup& setup)>;

struct Baseline {
  const char* key;    // seasonal_naive
  const char* title;  // SeasonalNaive, the name in outputs
  const char* summary;
  NormalForecast (*run)(const History&);  // null: `many`, or the median of the ensemble's members
  const ManyForecasts* many = nullptr;
};

// In the order of reports.
std::span<const Baseline> all_baselines();
// By key or title. Errors: invalid_argument with the nearest key.
const Baseline& baseline_named(const std::string& name);

// Runs a baseline behind guard rails: missing values are filled; a series of one value or a constant
// one is forecast by itself; a failed fit, a number that is not finite, or a mean more than
// 10 (1 + h / T) ranges of the series away from it becomes Seasonal Naive's forecast and is said in
// `fallback`; the deviation is at most three times that of Naive or of the series, whichever is
// larger. Errors: invalid_argument if no value is observed or an option is out of range.
Forecast run_baseline(const Baseline& baseline, std::span<const double> values,
                      const ForecastSetup& setup);
// Values with the missing ones filled; leading ones are dropped.
std::vector<double> filled_values(std::span<const double> values, const std::string& fill);

// One function each; formulas are in its file. Deviations: "in-sample" means the root mean square
// of one-step errors.
NormalForecast naive(const History& h);
NormalForecast seasonal_naive(const History& h);
NormalForecast drift(const History& h);
NormalForecast historic_average(const History& h);
NormalForecast window_average(const History& h);           // of the last 8 values
NormalForecast seasonal_window_average(const History& h);  // of the last 2 of the same season
NormalForecast ses(const History& h);                      // least squares
NormalForecast seasonal_es(const History& h);
NormalForecast croston(const History& h);
NormalForecast croston_sba(const History& h);
NormalForecast tsb(const History& h);
NormalForecast holt(const History& h);
NormalForecast holt_winters(const History& h);
NormalForecast theta(const History& h);
NormalForecast dynamic_theta(const History& h);
NormalForecast auto_ets(const History& h);
NormalForecast auto_arima(const History& h);
// With given smoothing: level 1 = y_1, then a y + (1 - a) level.
NormalForecast ses_with(const History& h, double alpha);

}  // namespace subquad
