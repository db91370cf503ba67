// Quantile forecasts of any number of series by a model over patches (ModelConfig::patches).
#pragma once

#include <span>
#include <vector>

#include "subquad/data/series/baseline.h"
#include "subquad/model/engine.h"
#include "subquad/model/model.h"

namespace subquad {

struct RolloutSetup {
  std::int64_t horizon = 1;
  // Patches that one pass forecasts; 0: all that the horizon needs. After a pass the context moves
  // on by so many missing values and is scaled anew: no forecast is ever fed back.
  std::int64_t patches_per_pass = 0;
  bool sorted = true;  // quantiles that cross are sorted, step by step
};

// [level][step]
using QuantileForecast = std::vector<std::vector<double>>;

// Borrows its arguments. A pass reads the tokens of a context into recurrent state and goes on with
// tokens of missing values, whose outputs are the patches behind the next one: the cost of a patch
// is one token, and memory does not grow with the horizon (but for attention). Where contexts count
// as padded, the state behind the padding, which depends on the model alone, is computed once.
class Forecaster {
 public:
  // Errors: invalid_argument if the model is of token ids.
  Forecaster(Engine& engine, const Model& model, ParameterStore& store);

  const PatchSpec& patches() const { return model_.config().patches; }
  // series: NaN or infinite = missing; empty and all missing ones are forecast as 0 +- 1. Every
  // series' result has the same bits in any company and in any order.
  // Errors: invalid_argument for a horizon outside 1 .. 2^20.
  std::vector<QuantileForecast> forecast(std::span<const std::span<const double>> series,
                                         const RolloutSetup& setup);

 private:
  struct Row;
  void pass(std::vector<Row>& rows, std::span<const std::size_t> batch, std::int64_t patches);
  ModelState start(std::int64_t batch, std::int64_t skipped);

  Engine& engine_;
  const Model& model_;
  ParameterStore& store_;
  std::vector<ModelState> padding_;  // [n]: after n + 1 tokens of missing values, one row
};

// The same as `subquad forecast` and `subquad backtest` show it: the mean is the median, levels that
// the model does not have come from quantile_at(), quantiles ascend. A constant series is forecast
// by itself; a forecast more than 10 (1 + h / T) ranges of the series away from it, or from a context
// without any value in it, becomes Seasonal Naive's and is said in `fallback`. setup.fill is not used: missing values are the model's to see.
std::vector<Forecast> guarded_forecasts(Forecaster& forecaster,
                                        std::span<const std::span<const double>> series,
                                        std::span<const std::int64_t> seasons,
                                        const ForecastSetup& setup,
                                        std::int64_t patches_per_pass = 0);

}  // namespace subquad
