// Methods without training that a task names (Task::references), and its samples: computed once per
// study, kept in the ledger.
#pragma once

#include "subquad/study/ledger.h"
#include "subquad/study/plan.h"

namespace subquad {

// Computes and appends what the ledger does not hold yet, a record per method. Ctrl-C loses one
// method at most. Errors: interrupted.
void record_references(const StudyPlan& plan, Ledger& ledger, int threads);

// {task: {"methods": [{"name", "answers", "fallbacks", "metrics"}], "samples": [...]}}; null if no
// task of the plan has any. The same bits on every machine of a kind.
Json collect_references(const StudyPlan& plan, const std::vector<Json>& records);
// {task: {name: {"cpu_seconds"}}}; null if there are none.
Json reference_timings(const StudyPlan& plan, const std::vector<Json>& records);

}  // namespace subquad
