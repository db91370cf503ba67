// From which context on something that grows more slowly than attention costs less.
#pragma once

#include <span>

#include "subquad/io/json.h"
#include "subquad/model/sizing.h"

namespace subquad {

// `baseline` and `own` are costs at kDepths, taken as linear in between (attention's are).
// The least context from which `own` stays below: kDepths' first if it always does, infinity if it
// does not at the deepest.
double crossover_tokens(std::span<const double> baseline, std::span<const double> own);
// The same as JSON: null for infinity.
Json crossover_json(std::span<const double> baseline, std::span<const double> own);

}  // namespace subquad
