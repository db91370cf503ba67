// Zero-shot forecasting: training on series that are made here, tests on real ones.
#pragma once

#include <functional>
#include <span>

#include "subquad/task/task.h"

namespace subquad {

// Series `index` of a stream: fills every value, NaN = missing. A pure function of the index, called
// from any thread.
using SeriesSource = std::function<void(std::int64_t index, std::span<float>)>;

// Where the task's series come from.
struct ForecastSources {
  SeriesSource train, validation;
  Json provenance = {};  // what the ledger keeps of them
};

std::unique_ptr<Task> make_forecast(const std::string& name, const TaskOptions& options);
// The same on other series.
std::unique_ptr<Task> make_forecast_of(const TaskOptions& options, ForecastSources sources);

}  // namespace subquad
