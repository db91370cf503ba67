// The quiet phase: training and decode speed of every arm, arms interleaved over rounds, one
// thread, no worker running. A contention probe finds the rounds that other programs disturbed;
// those are repeated, and never mixed with the others.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/study/plan.h"

namespace subquad {

// What a measurement belongs to: another program or another machine needs a new one.
struct SpeedKey {
  std::string build;    // SHA-256 of the program
  std::string machine;  // in words
};

// Measured for this key, and in quiet. False for any other file, also one from before the key.
bool speed_is_current(const Json& speed, const SpeedKey& key);

// A state of one sequence as it is after `depth` positions, with room for 512 more: recurrent fields
// keep their size; caches are filled with random keys and values, which cost the same as real ones.
ModelState state_at(const Model& model, std::int64_t depth);

// Measures until `rounds` rounds were undisturbed, at most twice as many in all. Figures are
// medians over the undisturbed rounds; over all rounds, and "disturbed" set, if there was none.
// {"build", "machine", "task", "arms": {arm: {"train_tokens_per_second", "decode_us_64", ...,
//  "decode_crossover_tokens" (null: slower than attention at every context)}},
//  "other_sizes": {task: {"arms", "disturbed"}}, of entries of the same task with other models,
//  "rounds": [{"core_share", "probe_ms", "disturbed"}...], "disturbed": bool, "note"}
Json measure_speed(const StudyPlan& plan, const SpeedKey& key, int rounds = 3);

// Seconds per token of one training step (batch, forward, backward, optimiser) of each model, the
// fastest of a few; the models take turns. One thread.
std::vector<double> training_seconds_per_token(std::span<const ModelConfig> models,
                                               const std::function<Batch(int step)>& batches,
                                               Precision precision);

// match = "time": measures the arms of every task and sets plan.widths. Returns
// {task: {arm: time per token over that of the slowest arm}}.
Json choose_widths(StudyPlan& plan);

// Microseconds per training token of each arm on each task, from a few steps: for estimates and
// --budget.
Json calibrate(const StudyPlan& plan);

}  // namespace subquad
