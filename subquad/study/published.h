// Numbers and orderings that somebody published, beside those of a study.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/study/comparison.h"

namespace subquad {

struct PublishedNumbers {
  std::string source, setting;  // where it is published; how it was trained and scored
  std::map<std::string, std::map<std::string, double>> values;  // by kind of task and arm
  std::vector<Hypothesis> orderings;                            // "anbn: mlstm > mamba2"
};
// From TOML with source, setting, orderings and tables [values.TASK]. Errors name `path`: unknown
// keys, tasks or arms, an ordering that parse_hypothesis refuses, values that are no numbers.
PublishedNumbers parse_published(const std::string& text, const std::string& path);

// What a study says about one published ordering.
struct Replication {
  Comparison comparison;  // corrected over all orderings that the study can test
  // confirmed, refuted: at 5 % after Holm's correction; "confirmed alone", "refuted alone": only
  // without it; otherwise undecided.
  std::string verdict;
};
// Of all orderings whose task (under any label) and arms the study has, in order.
std::vector<Replication> replications(const Json& results, const PublishedNumbers& published);

}  // namespace subquad
