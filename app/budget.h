// --budget: equal tokens so that a study takes a given time.
#pragma once

#include <string>

#include "subquad/study/plan.h"

namespace subquad::app {

// "20m", "90s", "1h" as seconds. Errors: anything else, more than a year.
double duration(const std::string& text);

// Sets tokens so that the study takes `budget`; the same factor for every task keeps their
// proportions, evaluation is a fixed cost. A calibration is never twice the same, so its choice is
// kept in folder `out`, if `keep` says so: the same command then finds the same plan and continues
// it. Warns of a budget that leaves next to nothing of the study, or that not even the least study
// meets.
void fit_budget(StudyPlan& plan, const Json& calibration, const std::string& budget, int jobs,
                const std::string& out, bool keep);

}  // namespace subquad::app
