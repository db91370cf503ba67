// Distribution functions that statistics need; the only file that reads Boost.Math.
#pragma once

#include <cstdint>

namespace subquad {

// Quantiles x with P(X <= x) = probability, 0 < probability < 1.
double normal_quantile(double probability);
double t_quantile(double probability, double degrees);  // Student's t, degrees > 0
// Beta(a, b), a and b > 0.
double beta_quantile(double probability, double a, double b);

// P(T <= t).
double normal_cdf(double z);
double t_cdf(double t, double degrees);
double noncentral_t_cdf(double t, double degrees, double noncentrality);
// P(X = k) of k successes in `drawn` draws without replacement from `total` with `successes`.
double hypergeometric_pmf(int k, int successes, int drawn, int total);
// P(X <= k) of k successes in n trials of one half each.
double fair_binomial_cdf(std::int64_t k, std::int64_t n);

}  // namespace subquad
