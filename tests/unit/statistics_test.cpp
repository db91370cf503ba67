// Statistics against published tables and worked examples, and their level and coverage against
// simulation.
#include "subquad/study/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "subquad/base/distributions.h"
#include "subquad/base/rng.h"
#include "subquad/study/hypothesis_tests.h"

namespace subquad {
namespace {

// Heights of crossed minus self-fertilised maize in eighths of an inch: Darwin 1876, as analysed in
// Fisher 1935, "The Design of Experiments".
const std::vector<double> kMaize = {49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48};
// Extra hours of sleep, second drug minus first: Student 1908.
const std::vector<double> kSleep = {1.2, 2.4, 1.3, 1.3, 0, 1.0, 1.8, 0.8, 4.6, 1.4};

// n differences whose negative ranks sum to `rank_sum`.
std::vector<double> with_rank_sum(int n, int rank_sum) {
  std::vector<double> d;
  for (int rank = n; rank > 0; --rank) {
    const bool negative = rank <= rank_sum;
    rank_sum -= negative ? rank : 0;
    d.push_back(negative ? -rank : rank);
  }
  EXPECT_EQ(rank_sum, 0);
  return d;
}

std::vector<double> normal_values(int n, std::uint64_t sample, double mean = 0) {
  std::vector<double> x;
  for (int i = 0; i < n; ++i)
    x.push_back(mean + Rng{7, 7}.normal(sample, static_cast<std::uint64_t>(i)));
  return x;
}

TEST(Statistics, StudentIntervalsMatchPublishedTables) {
  EXPECT_NEAR(t_quantile(0.975, 2), 4.303, 5e-4);
  EXPECT_NEAR(t_quantile(0.975, 5), 2.571, 5e-4);
  EXPECT_NEAR(t_quantile(0.95, 10), 1.812, 5e-4);
  const Interval i = t_interval(kSleep);
  EXPECT_NEAR(i.low, 0.7001, 5e-5);
  EXPECT_NEAR(i.high, 2.4599, 5e-5);
  EXPECT_NEAR(paired_t_p(kSleep), 0.00283, 5e-6);
  EXPECT_NEAR(paired_t_p(kMaize), 0.0497, 5e-5);
  EXPECT_EQ(paired_t_p({1}), 1);
  EXPECT_EQ(paired_t_p({2, 2, 2}), 0);
  EXPECT_EQ(median_of({3, 1, 2, 10}), 2.5);
  EXPECT_EQ(deviation_of({5}), 0);
}

TEST(Statistics, IntervalsOfSharesMatchPublishedTables) {
  // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29, by Wilson and exactly.
  struct Case {
    int successes, trials;
    Interval wilson, exact;
  };
  for (const Case& c : {Case{81, 263, {0.2553, 0.3662}, {0.2527, 0.3676}},
                        {15, 148, {0.0624, 0.1605}, {0.0578, 0.1617}},
                        {0, 20, {0.0, 0.1611}, {0.0, 0.1684}},
                        {1, 29, {0.0061, 0.1718}, {0.0009, 0.1776}}}) {
    const Interval w = wilson_interval(c.successes, c.trials),
                   e = clopper_pearson_interval(c.successes, c.trials);
    EXPECT_NEAR(w.low, c.wilson.low, 5e-5) << c.successes << " of " << c.trials;
    EXPECT_NEAR(w.high, c.wilson.high, 5e-5) << c.successes << " of " << c.trials;
    EXPECT_NEAR(e.low, c.exact.low, 5e-5) << c.successes << " of " << c.trials;
    EXPECT_NEAR(e.high, c.exact.high, 5e-5) << c.successes << " of " << c.trials;
  }
  EXPECT_EQ(clopper_pearson_interval(4, 4).high, 1);
  EXPECT_EQ(clopper_pearson_interval(0, 0).low, 0);
  EXPECT_EQ(clopper_pearson_interval(0, 0).high, 1);
}

TEST(Statistics, WilcoxonMatchesTheTableOfCriticalValues) {
  // Largest smaller rank sum significant at 5 % and 1 %, two-sided: Wilcoxon and Wilcox 1964.
  const std::pair<int, int> five[] = {{6, 0},   {7, 2},   {8, 3},   {9, 5},   {10, 8},
                                      {12, 13}, {15, 25}, {20, 52}, {25, 89}, {30, 137}},
                            one[] = {{8, 0}, {10, 3}, {12, 7}, {16, 19}, {20, 37}};
  for (const auto& [n, w] : five) {
    EXPECT_LE(wilcoxon_p(with_rank_sum(n, w)), 0.05) << n;
    EXPECT_GT(wilcoxon_p(with_rank_sum(n, w + 1)), 0.05) << n;
  }
  for (const auto& [n, w] : one) {
    EXPECT_LE(wilcoxon_p(with_rank_sum(n, w)), 0.01) << n;
    EXPECT_GT(wilcoxon_p(with_rank_sum(n, w + 1)), 0.01) << n;
  }
  EXPECT_GT(wilcoxon_p({1, 2, 3, 4, 5}), 0.05) << "five pairs cannot reach 5 %";
  EXPECT_NEAR(wilcoxon_p(kMaize), 0.04126, 5e-6);
  EXPECT_EQ(wilcoxon_p({0, 0}), 1);
  // Ties: of ±1 alone the rank sum is the number of positive signs, so the sign test.
  const std::vector<double> ones = {1, 1, -1, 1, 1, 1, 1, 0, -1, 1};
  EXPECT_NEAR(wilcoxon_p(ones), sign_test_p(ones), 1e-12);
  // Exact and normal meet where one takes over.
  const double exact = wilcoxon_p(with_rank_sum(200, 8300)),
               normal = wilcoxon_p(with_rank_sum(201, 8300 + 87));
  EXPECT_NEAR(exact, normal, 0.05 * exact);
}

TEST(Statistics, SignFlipsMatchFishersCount) {
  // Fisher 1935, section 21: 863 of 32768 in one tail.
  EXPECT_NEAR(sign_flip_p(kMaize), 2 * 863 / 32768.0, 1e-12);
  for (int n = 3; n <= 8; ++n)
    EXPECT_DOUBLE_EQ(sign_flip_p(std::vector<double>(static_cast<std::size_t>(n), 0.5)),
                     std::pow(2.0, 1 - n));
  EXPECT_EQ(sign_flip_p({}), 1);
  EXPECT_EQ(sign_flip_p({0, 0, 0}), 1);
  EXPECT_NEAR(sign_test_p(kMaize), 2 * (1 + 15 + 105) / 32768.0, 1e-12);
  // Above 16 pairs signs are drawn: of equal sizes only their number matters.
  std::vector<double> d(30, 1);
  for (std::size_t i = 0; i < 10; ++i) d[i] = -1;
  EXPECT_NEAR(sign_flip_p(d), sign_test_p(d), 0.04 * sign_test_p(d));
  const Interval drawn = sign_flip_interval(normal_values(30, 3, 5));
  EXPECT_LT(drawn.low, 5);
  EXPECT_GT(drawn.high, 5);
  EXPECT_LT(drawn.high - drawn.low, 1.2) << "about four standard errors of 0.18";
}

TEST(Statistics, SignFlipIntervalsInvertTheTest) {
  const Interval six = sign_flip_interval({3, 1, 2, 7, 5, 4});
  EXPECT_EQ(six.low, 1);
  EXPECT_EQ(six.high, 7);
  EXPECT_TRUE(std::isinf(sign_flip_interval({1, 2, 3, 4, 5}).high)) << "nothing can be rejected";
  EXPECT_TRUE(std::isinf(sign_flip_interval({}).low));
  const Interval i = sign_flip_interval(kMaize);
  const auto p_of_shift = [](double shift) {
    std::vector<double> moved;
    for (double d : kMaize) moved.push_back(d - shift);
    return sign_flip_p(moved);
  };
  EXPECT_LE(p_of_shift(i.low - 0.01), 0.05);
  EXPECT_GT(p_of_shift(i.low + 0.01), 0.05);
  EXPECT_GT(p_of_shift(i.high - 0.01), 0.05);
  EXPECT_LE(p_of_shift(i.high + 0.01), 0.05);
}

TEST(Statistics, FisherHolmAndImprovementMatchWorkedExamples) {
  EXPECT_NEAR(fisher_p(3, 4, 1, 4), 0.4857, 5e-5);       // the lady tasting tea
  EXPECT_NEAR(fisher_p(10, 13, 2, 17), 0.000537, 5e-7);  // criminal twins: Fisher 1935
  EXPECT_EQ(fisher_p(0, 5, 0, 5), 1);
  EXPECT_EQ(fisher_p(0, 0, 3, 5), 1);
  const std::vector<double> adjusted = holm({0.01, 0.04, 0.03, 0.005});
  const double wanted[] = {0.03, 0.06, 0.06, 0.02};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(adjusted[i], wanted[i], 1e-12);
  EXPECT_TRUE(holm({}).empty());
  EXPECT_NEAR(probability_of_improvement({3, 4, 5}, {1, 3, 3.5}), 7.5 / 9, 1e-12);
  EXPECT_EQ(probability_of_improvement({}, {1}), 0.5);
  EXPECT_NEAR(equivalence_p({0.1, -0.1, 0.1, -0.1}, 1), t_cdf(-1 / (0.2 / std::sqrt(12.0)), 3),
              1e-12);
  EXPECT_GT(equivalence_p(kSleep, 1), 0.5) << "the mean lies outside";
}

TEST(Statistics, PowerMatchesPublishedSampleSizes) {
  // Paired t test, 5 % two-sided, 80 % power (Cohen 1988 and later tables).
  const std::pair<double, int> pairs[] = {{3, 4}, {2, 5}, {1.5, 6}, {1, 10}, {0.75, 16}, {0.5, 34}};
  for (const auto& [effect, n] : pairs) EXPECT_EQ(pairs_needed(effect), n) << effect;
  for (const int n : {3, 6, 10, 40}) {
    const double least = minimal_detectable_difference(2, n);
    EXPECT_NEAR(paired_t_power(least / 2, n), 0.8, 1e-6) << n;
  }
  EXPECT_NEAR(paired_t_power(0, 6), 0.05, 1e-6);
  EXPECT_EQ(paired_t_power(1e6, 3), 1);
  EXPECT_TRUE(std::isinf(minimal_detectable_difference(1, 1)));
}

TEST(Statistics, BestOfManyIsBiasedAsPublished) {
  const std::pair<int, double> known[] = {{1, 0},       {2, 0.5642},  {3, 0.8463}, {5, 1.1630},
                                          {10, 1.5388}, {20, 1.8675}, {50, 2.2491}};
  for (const auto& [n, wanted] : known) EXPECT_NEAR(expected_normal_maximum(n), wanted, 5e-5) << n;
}

TEST(Statistics, IntervalsCoverAsTheyPromise) {
  int t = 0, exact = 0, flips = 0, ranks = 0;
  constexpr int kStudies = 4000;
  for (int study = 0; study < kStudies; ++study) {
    const auto x = normal_values(8, static_cast<std::uint64_t>(study), 0.3);
    const Interval a = t_interval(x), b = sign_flip_interval(x);
    t += a.low <= 0.3 && 0.3 <= a.high;
    exact += b.low <= 0.3 && 0.3 <= b.high;
    std::vector<double> null;
    for (double v : x) null.push_back(v - 0.3);
    flips += sign_flip_p(null) <= 0.05;
    ranks += wilcoxon_p(null) <= 0.05;
  }
  // 95 % and what is attainable with 256 sign patterns; three standard errors are 0.011.
  EXPECT_NEAR(t / double{kStudies}, 0.95, 0.011);
  EXPECT_NEAR(exact / double{kStudies}, 1 - 2 * 6 / 256.0, 0.011);
  EXPECT_NEAR(flips / double{kStudies}, 12 / 256.0, 0.011);
  EXPECT_LE(ranks / double{kStudies}, 0.05 + 0.011);
}

TEST(Statistics, SharesCoverWhereMeansDoNot) {
  int wilson = 0, exact = 0, t = 0;
  constexpr int kStudies = 4000, kSeeds = 8;
  for (int study = 0; study < kStudies; ++study) {  // four seeds of five solve the task
    std::vector<double> x;
    int solved = 0;
    for (std::uint64_t i = 0; i < kSeeds; ++i) {
      x.push_back(Rng{1, 1}.uniform(static_cast<std::uint64_t>(study), i) < 0.8 ? 1.0 : 0.0);
      solved += x.back() > 0.5;
    }
    const Interval w = wilson_interval(solved, kSeeds),
                   e = clopper_pearson_interval(solved, kSeeds), mean = t_interval(x);
    wilson += w.low <= 0.8 && 0.8 <= w.high;
    exact += e.low <= 0.8 && 0.8 <= e.high;
    t += mean.low <= 0.8 && 0.8 <= mean.high;
  }
  EXPECT_GE(wilson / double{kStudies}, 0.93);
  EXPECT_GE(exact / double{kStudies}, 0.95);
  EXPECT_LT(t / double{kStudies}, 0.9) << "this is why shares take the place of means";
}

TEST(Statistics, TwoGroupsAreFoundAndRarelyInvented) {
  const TwoGroups split = two_groups({0.51, 0.99, 0.50, 1.0, 0.995, 0.49});
  EXPECT_LT(split.p, kTwoGroupsLevel);
  EXPECT_NEAR(split.cut, 0.75, 0.01);
  EXPECT_LT(two_groups({0.5, 0.503, 0.498, 0.501, 0.502, 1.0}).p, kTwoGroupsLevel)
      << "one seed that left the others";
  EXPECT_EQ(two_groups({0, 0, 1}).p, 1) << "three values are always split";
  EXPECT_EQ(two_groups({2, 2, 2, 2, 2}).p, 1);
  int invented = 0;
  constexpr int kStudies = 400;
  for (int study = 0; study < kStudies; ++study)
    invented += two_groups(normal_values(6, static_cast<std::uint64_t>(study))).p < kTwoGroupsLevel;
  EXPECT_LE(invented, 12) << "1 % of 400 is 4";
}

}  // namespace
}  // namespace subquad
