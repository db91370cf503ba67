// Runs a plan: one single-threaded worker process per core, seed-major, resumable. The parent alone
// writes the ledger; a worker writes its own run folder only.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "subquad/study/plan.h"

namespace subquad {

struct RunnerSetup {
  std::string program;  // understands `train --run FOLDER --quiet --parent PID`
  std::string folder;   // of the study
  int jobs = 1;
  bool terminal = false;  // rewrite one line; otherwise print lines
  Json manifest;          // of this build and machine, kept with every run
  // Ledgers of the same plan from elsewhere, each a whole chain: what they hold as done is done.
  std::vector<std::string> shards;
  Json protocol;                     // frozen, see protocol.h; null: none
  std::function<void()> after_seed;  // results have been rewritten
};

// Runs what the ledger does not hold yet. Returns the number of runs that failed. Throws
// Error(interrupted) after stopping the workers on Ctrl-C, Error(out_of_space) if the disk is full:
// the same command continues in both cases.
int run_study(const StudyPlan& plan, const RunnerSetup& setup);

// Ids of the runs that the ledger of a study folder holds as done; empty without a ledger.
std::set<std::string> finished_runs(const std::string& folder);

// Everything finished so far, in the plan's order: {"study", "plan_sha256", "plan", "tasks",
// "runs", "failed", "references" (if a task has any), "findings"}. No wall-clock time in it: equal
// plans give equal bytes.
Json collect_results(const StudyPlan& plan, const std::string& folder);
// The times apart: {"runs": {id: timings}, "trials": {id: timings}, "references": ...}.
Json collect_timings(const StudyPlan& plan, const std::string& folder);
std::string results_csv(const Json& results);

}  // namespace subquad
