// Small-sample statistics over seeds.
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
// Quantile of Student's t with n degrees of freedom.
double t_quantile(double probability, double degrees);

}  // namespace subquad
