// What each task asks, and from which value a seed counts as having solved it.
#include <cmath>

#include "subquad/study/findings.h"
#include "subquad/task/task.h"

namespace subquad {
namespace {

const Question kQuestions[] = {
    {"parity", "parity", "tracking (parity of a bit string)", 0.99, true},
    {"s3", "S3", "tracking (products in S3)", 0.95, true},
    {"modular_addition", "modular addition", "tracking (sums in a cyclic group)", 0.95, true},
    {"cycle_navigation", "cycle navigation", "tracking (steps on a ring)", 0.95, true},
    {"a5", "A5", "tracking (products in A5)", 0.95, true},
    {"s5", "S5", "tracking (products in S5)", 0.95, true},
    {"modular_arithmetic", "modular arithmetic", "tracking (expressions modulo m)", 0.95, true},
    {"modular_arithmetic_brackets", "arithmetic with brackets",
     "tracking (expressions modulo m with brackets)", 0.95, true},
    {"even_pairs", "even pairs", "holding the first symbol", 0.95, true},
    {"anbn", "anbn", "counting (as many b as a, then stop)", 0.95, true},
    {"plurality", "plurality", "counting (most frequent of 16 symbols)", 0.95, true},
    {"anbncn", "anbncn", "counting (where the model stops, the worse of two counts)", 0.95, true},
    {"majority", "majority", "counting (the most frequent symbol)", 0.95, true},
    {"binary_majority", "binary majority", "counting (more ones than zeros)", 0.95, true},
    {"majority_count", "majority count", "counting (how often the most frequent symbol occurs)",
     0.95, true},
    {"selective_copying", "selective copying", "recall (symbols scattered among blanks)", 0.9,
     true},
    {"induction_heads", "induction heads", "recall (what followed last time)", 0.9, true},
    {"state_recall", "state recall", "recall of a bit at an address that swaps have moved", 0.9,
     true},
    {"mqar", "mqar", "recall (values by their keys, with filler between)", 0.9, true},
    {"code", "code", "code (bits per byte of unseen projects)", NAN, false},
    {"text", "text", "text (bits per byte of held-out text)", NAN, false},
    {"forecast", "forecast",
     "forecasting series never seen (WQL as a share of Seasonal Naive's; annual series apart)", NAN,
     false},
    {"tokens", "tokens", "the given token task", 0.95, true},
};

}  // namespace

const Question* question_of(const std::string& task) {
  const std::string kind = task_kind(task);
  for (const Question& q : kQuestions) {
    if (kind == q.task) return &q;
  }
  return nullptr;
}

}  // namespace subquad
