// A study: arms x tasks x seeds under one budget, read from TOML. Unknown keys are errors that name
// the nearest.
#pragma once

#include <string>
#include <vector>

#include "subquad/model/sizing.h"
#include "subquad/train/run.h"

namespace subquad {

struct StudyTask {
  std::string name;             // of a task, or "TASK@LABEL": one task may be there several times
  std::int64_t tokens = 0;      // 0 = the task's own
  std::int64_t batch_size = 0;  // 0 = the task's own
  double learning_rate = 0;     // 0 = the study's, or else the task's own
  std::string data;
  std::vector<std::int64_t> lengths;
  Json extra;
  std::string recipe;           // "R1", "R2", "R3"; empty: that of [tuning]
  std::int64_t seeds = 0;       // the first so many of the study's; 0 = all
  std::int64_t d_model = 0;     // 0 = the study's
  std::int64_t parameters = 0;  // 0 = the study's
};

// How the learning rates of the arms are found, table [tuning]; see tuning.h. No table is R1.
struct TuningPlan {
  std::string recipe;                               // R1, R2 or R3; empty: no table
  std::vector<double> factors{0.25, 0.5, 1, 2, 4};  // of R2: times the rate that R1 would use
  double fraction = 0.5;                            // of the token budget of a run, for a trial
  std::int64_t seed = 1000;                         // of every trial; no run of the study has it

  bool stated() const { return !recipe.empty(); }
  Json to_json() const;
};

struct StudyPlan {
  std::string name, question, level = "look";
  std::vector<std::string> arms;
  std::vector<StudyTask> tasks;
  std::vector<std::int64_t> seeds;
  std::int64_t d_model = 64, blocks = 2, heads = 4, parameters = 0, state_bytes = 0;
  std::string match = "parameters", recipe = "default";
  Json mixer_options;
  Json protocol;                          // table [protocol], see protocol.h; null: none
  TrainConfig train{.learning_rate = 0};  // rate 0: each task's own
  bool recurrent = true, measure = true;
  TuningPlan tuning;
  Json data;  // digests of the data by task; null until identify_data

  // match = "time": {task: {arm: MLP width}}, as choose_sizes measured them. Part of the plan, so a
  // study continues with the widths it began with.
  Json widths;

  Json to_json() const;      // canonical
  std::string hash() const;  // SHA-256 of the canonical text
  // A study file of this very plan, budget and widths resolved: parsed, and its data identified, it
  // has the same hash.
  std::string to_toml() const;
};

// Kinds of mixers that the plan's arms are made of, without the n-gram.
std::vector<std::string> kinds_of(const StudyPlan& plan);
// Drops options of mixers that no arm has, so that they do not make equal studies differ: for a
// plan whose arms were replaced.
void drop_unused_options(StudyPlan& plan);

// Reads or generates the data of every task and puts its digests into the plan, and so into its
// hash: a study never mixes runs on different data, whatever the path says.
void identify_data(StudyPlan& plan);

StudyPlan read_plan(const std::string& path);
StudyPlan parse_plan(const std::string& text, const std::string& source);

// One run of the plan.
struct PlannedRun {
  std::string id;  // "parity-mlstm-s0"
  std::string arm, task;
  std::int64_t seed = 0;
  RunConfig config;
};

// All runs, seed-major: every arm and task of the first seed, then of the second. Recipes of the
// authors (R3) are in their configurations; rates that R2 tunes are not, see tuning.h.
std::vector<PlannedRun> planned_runs(const StudyPlan& plan);
// The recipe of a task: its own, else that of [tuning], else "R1".
std::string recipe_of(const StudyPlan& plan, const StudyTask& task);
// How the plan sizes its arms for a task.
SizingRequest sizing_request(const StudyPlan& plan, const StudyTask& task, const TaskSpec& spec);
// Sizes of the arms for one task. Errors: a match in time whose widths were not chosen yet.
std::vector<SizedArm> sized_arms(const StudyPlan& plan, const StudyTask& task);

}  // namespace subquad
