// A trained forecaster of `forecast`, `backtest` and `anomalies`, from --model.
#pragma once

#include <memory>
#include <string>

#include "app/options.h"
#include "subquad/data/series/baseline.h"

namespace subquad::app {

struct ModelOptions {
  std::string folder, precision = "f32";
  std::int64_t patches_per_pass = 0;

  void add_to(Options& options);
};

// The folder of the forecaster that was built or installed with the program; empty if there is none.
std::string shipped_forecaster();

// Opens a run of the task forecast or a published folder (config.json and model.safetensors).
class ForecastModel {
 public:
  // Errors: those of the files; invalid_argument for a model of token ids.
  ForecastModel(const ModelOptions& options, std::int64_t threads);
  ~ForecastModel();
  ForecastModel(const ForecastModel&) = delete;
  ForecastModel& operator=(const ForecastModel&) = delete;

  // The model as one more forecaster, titled Model; lives as long as this.
  const Baseline& entry() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace subquad::app
