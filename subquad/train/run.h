// A run: one folder with config.json in it, trained, evaluated and written up by one process.
#pragma once

#include <functional>
#include <string>

#include "subquad/io/json.h"
#include "subquad/model/model.h"
#include "subquad/train/optimizer.h"
#include "subquad/train/trainer.h"

namespace subquad {

// The published model that a run continues: a copy of its folder is RUN/init.
struct InitialModel {
  std::string weights_sha256;   // empty: the run starts from its seed
  bool tokenizer = false;       // with its tokenizer.json; else ids are bytes
  std::int32_t separator = -1;  // TaskOptions::separator
  explicit operator bool() const { return !weights_sha256.empty(); }
};

// What config.json holds. Its canonical text, hashed, identifies the run.
struct RunConfig {
  std::string study, arm, task;
  std::uint64_t seed = 0;
  ModelConfig model;  // unused by the n-gram arm
  TrainConfig train;
  InitialModel init;
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

// The task of a run, as its training sees it.
std::unique_ptr<Task> task_of(const RunConfig& config, const std::string& folder);

// The folder of the published model that the run in `folder` continues.
std::string initial_model_folder(const std::string& folder);
// Sets init, model and arm (the family's name) of a run that continues a published model.
// Errors: those of open_pretrained; invalid_argument if the ids of the task do not fit the model.
void continue_published(const std::string& published, RunConfig& config);
// Copies it (configuration, tokenizer, weights) to where the run in `folder` finds it; a copy that is
// there already is kept. Errors: io, out_of_space.
void copy_initial_model(const std::string& published, const std::string& folder);
// Its weights. Errors: format if they are not those that `config` names.
void load_initial(const RunConfig& config, const std::string& folder, ParameterStore& store);

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
