// What a plan makes equal, in words.
#pragma once

#include "subquad/study/plan.h"

namespace subquad::app {

// The four measures of every arm, whichever one the plan matches.
void print_sizes(const StudyPlan& plan, const Json& calibration);
// What the plan makes equal, and how nearly, for the first task.
void print_equal(const StudyPlan& plan);

}  // namespace subquad::app
