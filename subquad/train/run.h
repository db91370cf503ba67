// A run: one folder with config.json in it, trained, evaluated and written up by one process.
#pragma once

#include <functional>
#include <string>

#include "subquad/io/json.h"
#include "subquad/model/model.h"
#include "subquad/train/optimizer.h"
#include "subquad/train/trainer.h"

namespace subquad {

// What config.json holds. Its canonical text, hashed, identifies the run.
struct RunConfig {
  std::string study, arm, task;
  std::uint64_t seed = 0;
  ModelConfig model;  // unused by the n-gram arm
  TrainConfig train;
  std::string data;  // folder or file for tasks that read one
  std::int64_t batch_size = 0;
  Json task_extra;
  std::vector<std::int64_t> lengths;  // empty: the task's own
  bool recurrent = true;              // evaluate one position at a time as well
  bool trial = false;  // of tuning: scored on validation only, the test split stays closed
  int threads = 1;

  Json to_json() const;
  static RunConfig from_json(const Json& json, const std::string& source);
  std::string sha256() const;
};

struct RunProgress {
  std::string phase;  // "train" or "evaluate"
  StepStats stats;
};

// Trains and evaluates the run in `folder`; writes progress.json while at it, then result.json (no
// times) and timings.json. A trial's result holds "validation_loss" (nats per scored position at the
// task's first length, null if it diverged: then "diverged" says how) and no test metric. Returns the result. A finished run is returned as it is.
Json execute_run(const std::string& folder,
                 const std::function<void(const RunProgress&)>& progress);

// A trained run, ready to use: rebuilds the model and loads its newest checkpoint.
struct TrainedRun {
  RunConfig config;
  ParameterPlan plan;
  std::unique_ptr<Model> model;
  std::unique_ptr<ParameterStore> store;
};
std::unique_ptr<TrainedRun> open_run(const std::string& folder);

}  // namespace subquad
