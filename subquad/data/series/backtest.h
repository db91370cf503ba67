// Rolling evaluation of baselines: every window is forecast from what came before it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "subquad/base/thread_pool.h"
#include "subquad/data/series/baseline.h"
#include "subquad/data/series/metrics.h"
#include "subquad/data/series/series.h"

namespace subquad {

struct BacktestSetup {
  Convention convention = Convention::gluonts;
  std::int64_t horizon = 0;  // 0: default_horizon of the first series
  // 0: default_season of each series, daily ones weekly; in the scale of errors only under fev.
  std::int64_t season = 0;
  std::int64_t windows = 0;  // 0: ceil(0.1 L / h) within 1 and 20, L the shortest series
  std::int64_t step = 0;     // between windows; 0: the horizon
  std::int64_t max_history = 5000;
  std::string fill = "last";
  std::vector<const Baseline*> models;
  // Called once in a while with the number of series that are done; false stops with Error
  // (interrupted).
  std::function<bool(std::int64_t)> progress = {};
  // Called for every forecast, in the order series, window, model.
  std::function<void(const TimeSeries&, std::int64_t cut, const Baseline&, const Forecast&)>
      forecast = {};
};

// Levels of the forecasts: 0.025, 0.1, 0.2 ... 0.9, 0.975. WQL is over the nine in the middle, MSIS
// over the two outside.
std::span<const double> backtest_levels();

struct Score {
  MetricValues values;
  PointCounts counts;
  std::int64_t fallbacks = 0;  // windows forecast by Seasonal Naive instead
};
struct SeriesScores {
  std::string id;
  std::vector<Score> models;
};
struct BacktestResult {
  std::int64_t horizon, windows, step;
  std::int64_t left_out;     // windows without a value before them or a label inside
  std::vector<Score> total;  // by model
  std::vector<SeriesScores> series;
};

// Windows lie at the end: window w of W is cut at L - h - (W - 1 - w) step. Under gluonts a total is
// over all points; under fev the mean over windows of each window's value.
// Errors: invalid_argument if no window fits.
BacktestResult run_backtest(const std::vector<TimeSeries>& series, const BacktestSetup& setup,
                            ThreadPool& threads);

}  // namespace subquad
