#include "subquad/study/statistics.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

namespace subquad {

double mean_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return x.empty() ? 0 : sum / static_cast<double>(x.size());
}

double median_of(std::vector<double> x) {
  if (x.empty()) return 0;
  std::sort(x.begin(), x.end());
  const std::size_t m = x.size() / 2;
  return x.size() % 2 ? x[m] : 0.5 * (x[m - 1] + x[m]);
}

double deviation_of(const std::vector<double>& x) {
  if (x.size() < 2) return 0;
  const double mean = mean_of(x);
  double square = 0;
  for (double v : x) square += (v - mean) * (v - mean);
  return std::sqrt(square / static_cast<double>(x.size() - 1));
}

double t_quantile(double probability, double degrees) {
  return boost::math::quantile(boost::math::students_t(degrees), probability);
}

Interval t_interval(const std::vector<double>& x, double level) {
  const double mean = mean_of(x);
  if (x.size() < 2) return {mean, mean};
  const auto n = static_cast<double>(x.size());
  const double half = t_quantile(0.5 + level / 2, n - 1) * deviation_of(x) / std::sqrt(n);
  return {mean - half, mean + half};
}

Interval wilson_interval(int successes, int trials, double level) {
  if (trials <= 0) return {0, 1};
  const double z = boost::math::quantile(boost::math::normal(), 0.5 + level / 2), n = trials,
               p = successes / n, z2 = z * z / n;
  const double centre = (p + z2 / 2) / (1 + z2),
               half = z / (1 + z2) * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  // At no or only successes the nearer limit is 0 or 1 exactly; do not show its rounding error.
  return {successes == 0 ? 0 : centre - half, successes == trials ? 1 : centre + half};
}

}  // namespace subquad
