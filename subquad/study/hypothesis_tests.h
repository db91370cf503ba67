// Tests over seeds. Differences are paired: both arms saw the same data in the same order. Exact
// where the sample is small enough to count every case.
#pragma once

#include <vector>

#include "subquad/study/statistics.h"

namespace subquad {

// Probability, if every difference were as likely with the other sign, of a mean at least as far
// from 0. Exact (all 2^n signs) up to n = 16; above that from 2^16 - 1 drawn signs and the observed
// ones, which keeps the level. 1 without values. The smallest value is 2^(1-n): from six pairs on it
// can be below 0.05.
double sign_flip_p(const std::vector<double>& differences);
// The shifts that this test does not reject: order statistics of the means of all non-empty
// subsets (drawn ones above n = 16). Infinite limits where no shift can be rejected: at level 0.95
// below six values. Source: Hartigan 1969, "Using subsample values as typical values".
Interval sign_flip_interval(const std::vector<double>& differences, double level = 0.95);

// Two-sided, exact, zeros dropped.
double sign_test_p(const std::vector<double>& differences);
// Two-sided signed-rank test, zeros dropped, ties get the mean of their ranks. Exact, ties included,
// up to 200 differences (sums of doubled ranks are counted); above that normal with the variance
// corrected for ties. Source: Wilcoxon 1945.
double wilcoxon_p(const std::vector<double>& differences);
// Two-sided t test of mean 0; 0 for equal differences other than 0, 1 below two values.
double paired_t_p(const std::vector<double>& differences);
// Two one-sided t tests: p of "the mean lies outside (-margin, margin)"; small: the arms are
// equivalent. 1 below two values. Source: Schuirmann 1987.
double equivalence_p(const std::vector<double>& differences, double margin);

// Two-sided exact test of equal shares: a of n against b of m. Source: Fisher 1935.
double fisher_p(int a, int n, int b, int m);

// Holm's adjusted p values, in the order given: compare each with the level of the whole family.
std::vector<double> holm(const std::vector<double>& p);

// P(a value of `a` is larger than one of `b`) + P(equal) / 2, over all pairs: Mann and Whitney's U
// over n m. 0.5 if one is empty.
double probability_of_improvement(const std::vector<double>& a, const std::vector<double>& b);

// Power of the two-sided paired t test at level alpha for a true mean of `effect` standard
// deviations of the difference. Needs n >= 2, else 0.
double paired_t_power(double effect, int n, double alpha = 0.05);
// The smallest effect found with this power, in the units of `deviation`; infinite below two pairs.
double minimal_detectable_difference(double deviation, int n, double power = 0.8,
                                     double alpha = 0.05);
// Pairs needed, at most 10000.
int pairs_needed(double effect, double power = 0.8, double alpha = 0.05);

}  // namespace subquad
