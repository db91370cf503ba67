// The short answer to each question of a study: one or two sentences with effect and interval,
// whether it is decided, and what would change it. verdict() in findings.h says all of it.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

struct ShortVerdict {
  std::string question;                  // "tracking (parity of a bit string)"
  std::string condition;                 // "tested at 1024 tokens, 32 times the training length"
  std::string answer;                    // who solves it, or who is best
  std::vector<std::string> comparisons;  // one sentence each, with interval
  std::string
      decision;        // of the comparisons: decided, undecided, equivalent, too few seeds, no data
  std::string change;  // what would change the answer; may be empty
};
ShortVerdict short_verdict(const Json& results, const std::string& task);

}  // namespace subquad
