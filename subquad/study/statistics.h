// Small-sample statistics over seeds: location, spread, intervals, and whether seeds fall in two
// groups.
#pragma once

#include <vector>

namespace subquad {

double mean_of(const std::vector<double>& x);
double median_of(std::vector<double> x);
double deviation_of(const std::vector<double>& x);  // sample standard deviation; 0 below two values

struct Interval {
  double low, high;
};
// Student t interval of the mean at the given level; the point itself below two values.
Interval t_interval(const std::vector<double>& x, double level = 0.95);
// Wilson score interval of a share: `successes` of `trials`. Stays inside [0, 1] and is useful for
// three trials, where mean and standard deviation are not; [0, 1] without trials.
// Source: Wilson 1927; Brown, Cai and DasGupta 2001.
Interval wilson_interval(int successes, int trials, double level = 0.95);
// The exact interval of a share, from the tails of the binomial: covers at least `level`, and is
// wider than Wilson's. [0, 1] without trials. Source: Clopper and Pearson 1934.
Interval clopper_pearson_interval(int successes, int trials, double level = 0.95);

// Whether the values fall in two groups, as seeds do of which some solved a task: a mean with a
// deviation then describes no seed, and a share of seeds takes its place.
// p: probability that normal values of the same number are split as sharply, by the largest share of
// their variance that one cut explains (4999 normal samples, always the same ones). 1 for fewer
// than four values, which are always split sharply.
struct TwoGroups {
  double p = 1;
  double cut = 0;  // middle of the gap
};
TwoGroups two_groups(std::vector<double> x);
inline constexpr double kTwoGroupsLevel = 0.01;  // below it seeds are reported as two groups

// Expected largest of n standard normal values: what choosing the best of n equal variants adds, in
// standard deviations. 0 for n <= 1.
double expected_normal_maximum(int n);

}  // namespace subquad
