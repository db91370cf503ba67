// The quiet phase: decode cost of every arm at several depths, arms interleaved over rounds, one
// thread, nothing else running in this process; a contention probe marks rounds that other
// processes disturbed.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/study/plan.h"

namespace subquad {

// {"arms": {arm: {"decode_us_64": .., "decode_us_1024": .., ...}}, "rounds": n, "disturbed_rounds":
// n, "note": ".."}
Json measure_decode(const StudyPlan& plan, int rounds = 3);
// Microseconds per training token of each arm on each task, from a few steps: for estimates and
// --budget.
Json calibrate(const StudyPlan& plan);

}  // namespace subquad
