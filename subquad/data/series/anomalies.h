// Values outside what was forecast from the values before them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "subquad/data/series/baseline.h"

namespace subquad {

// Forecasts of a past without missing values; levels ascend.
using PastForecast = std::function<Forecast(std::span<const double> past, std::int64_t horizon,
                                            const std::vector<double>& levels)>;

enum class BandMethod : std::uint8_t {
  robust,    // the forecast's spread, rescaled by the median error of the last scored values
  quantile,  // the forecast's quantiles as they are
};

struct AnomalySetup {
  double level = 0.99;      // of the central band, in [0.5, 1)
  std::int64_t season = 1;  // of the warm-up, and of levels that one position of it takes
  // Steps a forecast; 0: one, or as many up to 24 as keep a series at 2000 forecasts.
  std::int64_t horizon = 0;
  // Values that only teach; 0: two seasons and 8, at most half the series.
  std::int64_t warm_up = 0;
  std::int64_t history = 500;  // values before it that a forecast sees
  std::int64_t patience = 3;   // so many outliers in a row on one side are a new level
  BandMethod method = BandMethod::robust;
  std::string fill = "last";  // of missing values, for one series at a time
};

struct ScoredValue {
  std::int64_t index;
  double value, median, low, high;  // low, high: the band
  // (value - median) / (q0.9 - q0.1), the two quantiles those of the method's band.
  double score;
  bool anomaly;  // value < low or value > high
};

// Rolling forecasts over the whole series; `sink` gets the scored values in their order. An outlier
// is replaced by its median in the past of later forecasts, so that it does not deceive them, until
// `patience` of them in a row lie on one side: these are put back, for they are a new level.
//   robust: s = (q0.9 - q0.1) / (z_0.9 - z_0.1) of the forecast;  u = |value - median| / s of the last
//     200 scored values, outliers included;  k = median(u) / z_0.75 from eight values on, else 1;
//     band = median -+ z k s with z the normal quantile of (1 + level) / 2.
// A forecast without spread (a constant past) gets s = 1e-6 |median|: any change is an anomaly.
// Missing values are not scored.
// Source: the robust z-score of Iglewicz and Hoaglin 1993, section 3, on forecast errors.
// Errors: invalid_argument for numbers out of range. A series of fewer than 4 values gives nothing.
void score_anomalies(std::span<const double> values, const AnomalySetup& setup,
                     const PastForecast& forecast,
                     const std::function<void(const ScoredValue&)>& sink);
// The same of many series by a trained model, which sees missing values as they are and forecasts one
// step of the rolling of all series in one call. `sink` gets the number of the series, too; a series
// scores the same in any company if its forecasts are the same. Borrows series and setups.
void score_anomalies(std::span<const std::span<const double>> series,
                     std::span<const AnomalySetup> setups, const ManyForecasts& forecasts,
                     const std::function<void(std::size_t, const ScoredValue&)>& sink);

}  // namespace subquad
