// What the golden cases of the metrics do not hold: refusals, and intervals that are given.
#include "subquad/data/series/metrics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "subquad/base/error.h"

namespace subquad {
namespace {

const std::vector<double> kPast = {1, 2, 1, 2}, kActual = {3, 0}, kLow = {1, 1}, kHigh = {2, 2},
                          kHalf = {1.5, 1.5};

ForecastWindow window(const std::vector<double>& median) {
  return {.past = kPast, .actual = kActual, .quantiles = {median}};
}

TEST(SeriesMetrics, GivenIntervalsAreScored) {
  MetricSums sums({.levels = {0.5}});
  ForecastWindow w = window(kHalf);
  w.low95 = kLow;
  w.high95 = kHigh;
  sums.add(w);
  // Width 1, and a miss by 1 on either side, 40 times, over a scale of 1.
  EXPECT_DOUBLE_EQ(sums.values().msis, 41);
  MetricSums without({.levels = {0.5}});
  without.add(window(kHalf));
  EXPECT_TRUE(std::isnan(without.values().msis)) << "one level makes no interval";
}

TEST(SeriesMetrics, AWindowMayHaveItsOwnSeason) {
  MetricSums sums({.season = 1, .levels = {0.5}});
  ForecastWindow w = window(kHalf);
  w.season = 2;
  sums.add(w);
  EXPECT_TRUE(std::isnan(sums.values().mase)) << "the past repeats every second value";
  EXPECT_EQ(sums.counts().without_scale, 2);
}

TEST(SeriesMetrics, Refusals) {
  EXPECT_THROW(MetricSums({.levels = {0.1, 0.9}}), Error) << "no median";
  EXPECT_THROW(MetricSums({.levels = {0.5, 0.1}}), Error);
  EXPECT_THROW(MetricSums({.levels = {0.5, 1}}), Error);
  EXPECT_THROW(MetricSums({.season = 0, .levels = {0.5}}), Error);
  MetricSums sums({.levels = {0.5}});
  const std::vector<double> nan = {1, std::nan("")};
  EXPECT_THROW(sums.add(window(nan)), Error);
  EXPECT_THROW(sums.add(window(kPast)), Error) << "four steps for two labels";
  MetricSums fev({.convention = Convention::fev, .levels = {0.5}});
  fev.add(window(nan));
  EXPECT_TRUE(std::isnan(fev.values().mae)) << "fev lets it through, as NaN";
  EXPECT_THROW(convention_named("m4"), Error);
  EXPECT_THROW(crps_of_samples({}, 1), Error);
  EXPECT_THROW(geometric_mean_ratios({}, 0), Error);
  EXPECT_THROW(geometric_mean_ratios({{1, 2}}, 2), Error);
  EXPECT_THROW(mean_ranks({{1, 2}, {1}}), Error);
  EXPECT_EQ(crps_of_normal(1, 0, 3), 2);
}

}  // namespace
}  // namespace subquad
