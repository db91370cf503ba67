// How long a study will take, from a calibration of a few steps.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "subquad/study/plan.h"

namespace subquad::app {

// What a study trains: the trials of its first grid, then its runs at the shared rates. An extension
// of a grid comes on top: two fifths of its task's trials for every edge, with five rates.
std::vector<PlannedRun> all_runs(const StudyPlan& plan);
// Training, evaluation in both modes, and start of `runs`; `calibration`: see calibrate() in speed.h.
double estimate_seconds(const std::vector<PlannedRun>& runs, const Json& calibration, int jobs);
// "45 s", "12 min", "3.1 h".
std::string duration_words(double seconds);
// Of what is left to do, and of the first seed, after which there is a table.
void print_estimate(const StudyPlan& plan, const std::set<std::string>& done,
                    const Json& calibration, int jobs);

}  // namespace subquad::app
