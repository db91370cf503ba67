// Two arms of a study side by side: interval, number of pairs, tests and power, from its results
// alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/study/statistics.h"

namespace subquad {

// A directional hypothesis, "parity: slstm > mlstm" (slstm is better), or one of equivalence,
// "code: mlstm = mamba2".
struct Hypothesis {
  std::string task, first, second;
  bool equivalence = false;
};
// Errors: text that is not of this form.
Hypothesis parse_hypothesis(const std::string& text);
// Those of a plan's protocol, in order.
std::vector<Hypothesis> hypotheses_of(const Json& plan);

struct Comparison {
  std::string task, first, second;
  bool declared = false;  // a hypothesis of the protocol; everything else is exploratory

  // Seeds solved the task or did not: shares are compared, never means.
  bool shares = false;
  double cut = 0;  // goodness from which a seed counts
  int solved_first = 0, seeds_first = 0, solved_second = 0, seeds_second = 0;

  // Otherwise: first minus second, paired by seed (equal data in equal order), positive where first
  // is better.
  std::vector<double> differences;
  Interval t{}, exact{};  // 95 %: Student's t; inverted sign flips
  double wilcoxon_p = 1;
  double margin = 0, equivalence_p = 1;  // margin 0: none was declared

  double p = 1;              // Fisher's for shares, sign flips for differences
  double p_holm = 1;         // over the declared hypotheses, or over the exploratory comparisons
  int family = 1;            // comparisons that Holm's correction covers
  double improvement = 0.5;  // P(first better than second)
  double detectable = 0;     // difference found with 80 % power; of shares, in seeds (0: none)
  std::string verdict;       // better, worse, equivalent, undecided, too few seeds

  Json to_json() const;
};

// The declared hypotheses; then, for every task without one, its two best arms by median.
std::vector<Comparison> comparisons(const Json& results);
// These pairs, as exploratory comparisons that are corrected together.
std::vector<Comparison> compare_pairs(const Json& results, const std::vector<Hypothesis>& pairs);
// The smallest corrected p that sign flips of so many pairs can give: it decides how many seeds a
// study needs.
double smallest_p_holm(int pairs, int family);
// "slstm is ahead of mlstm by 0.03 [0.01, 0.05] (6 pairs, t; ...)".
std::string sentence(const Comparison& c);

// Goodness of the primary metric by seed: larger is better (see goodness in findings.h). The n-gram
// is counted once and stands for every seed.
std::map<std::int64_t, double> goodness_by_seed(const Json& results, const std::string& task,
                                                const std::string& arm);
// Probability that an arm lies on the front of quality against `cost` by arm: no other arm is at
// least as good for at most as much. Seeds are drawn anew 2000 times, the same for all arms. Arms
// without a known cost are left out. Empty below two common seeds.
std::map<std::string, double> front_probabilities(const Json& results, const std::string& task,
                                                  const std::map<std::string, double>& cost);
// Against state bytes after 16384 positions.
std::map<std::string, double> front_probabilities(const Json& results, const std::string& task);

}  // namespace subquad
