// Equal tuning (recipe R2): every arm tries the same factors of the shared learning rate on the same
// budget, and the rate with the least validation loss in distribution is the one it is compared
// with. If the best rate of any arm lies at an edge of the grid, all arms of that task try two more
// beyond it, once. The test split stays closed.
//
// R1 is one recipe for all arms; R3 that of each family's authors (recipes.h).
#pragma once

#include <vector>

#include "subquad/study/plan.h"

namespace subquad {

// The first grid: for every task of recipe R2, every arm at every factor. One seed, `fraction` of a
// run's tokens, schedule and all: id "parity-mlstm-lr0.001".
std::vector<PlannedRun> first_trials(const StudyPlan& plan);
// The rates beyond an edge at which some arm's best trial of the first grid lies. `records`: of the
// ledger. Tasks whose first grid is not complete are left out.
std::vector<PlannedRun> extension_trials(const StudyPlan& plan, const std::vector<Json>& records);

// Null if every task has recipe R1 and no table [tuning] says so. Otherwise
//   recipe    the study's, or "R2" where a task has it
//   recipes   {task: recipe}
//   grid      {"factors", "fraction", "seed", "centres": {task: rate}, "selection"}, of R2
//   trials    [{"id", "task", "arm", "values": {"learning_rate"}, "tokens", "seed", "macs", "loss"
//             (nats per scored validation position; null: diverged), "extension"}]
//   chosen    {task: {arm: {"learning_rate", "loss", "at_edge", "after_extension"}}}; a task is
//             missing until its trials are complete
//   published {task: {arm: recipe with its source}}, of R3
Json collect_tuning(const StudyPlan& plan, const std::vector<Json>& records);
// Whether every task of recipe R2 has its rates.
bool tuning_complete(const StudyPlan& plan, const Json& tuning);
// Gives runs of tasks of recipe R2 the chosen rates.
void apply_tuning(std::vector<PlannedRun>& runs, const Json& tuning);

// For every comparison of a task that the study holds under several recipes and otherwise alike:
// {"parity: mlstm > slstm": {"R1": mean difference, "R2": ..., "R3": ...}}, paired by seed, positive
// where the first arm is better. Declared hypotheses, else the two best arms under R2.
Json headline_by_recipe(const Json& results);

}  // namespace subquad
