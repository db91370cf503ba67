// Anomalies: what is planted is found, what is not planted is mostly left alone.
#include "subquad/data/series/anomalies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "subquad/base/error.h"
#include "subquad/base/rng.h"

namespace subquad {
namespace {

Forecaster by(const std::string& name, std::int64_t season) {
  return [&baseline = baseline_named(name), season](std::span<const double> past,
                                                    std::int64_t horizon,
                                                    const std::vector<double>& levels) {
    return run_baseline(baseline, past, {.season = season, .horizon = horizon, .levels = levels});
  };
}

std::vector<ScoredValue> scores_of(std::span<const double> values, const AnomalySetup& setup,
                                   const Forecaster& forecaster) {
  std::vector<ScoredValue> scored;
  score_anomalies(values, setup, forecaster, [&](const ScoredValue& s) { scored.push_back(s); });
  return scored;
}

std::vector<double> daily(std::size_t n, double noise) {
  const Rng rng{9, stream_id("daily")};
  std::vector<double> y;
  for (std::size_t t = 0; t < n; ++t)
    y.push_back(50 + 10 * std::sin(2 * std::numbers::pi * static_cast<double>(t) / 7) +
                noise * rng.normal(0, t));
  return y;
}

std::vector<std::int64_t> flagged(const std::vector<ScoredValue>& scored) {
  std::vector<std::int64_t> at;
  for (const ScoredValue& s : scored) {
    if (s.anomaly) at.push_back(s.index);
  }
  return at;
}

TEST(Anomalies, PlantedOutliersAreFoundAndDoNotEcho) {
  for (const BandMethod method : {BandMethod::robust, BandMethod::quantile}) {
    std::vector<double> y = daily(280, 1);
    y[100] += 15;
    y[200] -= 15;
    const auto scored =
        scores_of(y, {.level = 0.999, .season = 7, .method = method}, by("seasonal_naive", 7));
    const auto at = flagged(scored);
    EXPECT_TRUE(std::count(at.begin(), at.end(), 100)) << static_cast<int>(method);
    EXPECT_TRUE(std::count(at.begin(), at.end(), 200));
    EXPECT_FALSE(std::count(at.begin(), at.end(), 107))
        << "a season later it would be the forecast";
    EXPECT_FALSE(std::count(at.begin(), at.end(), 207));
    EXPECT_LE(at.size(), 6u);
    for (const ScoredValue& s : scored) {
      EXPECT_EQ(s.anomaly, s.value < s.low || s.value > s.high);
      EXPECT_LE(s.low, s.median);
      EXPECT_LE(s.median, s.high);
      EXPECT_EQ(s.score > 0, s.value > s.median);
    }
    EXPECT_EQ(scored.front().index, 2 * 7 + 8);
    EXPECT_EQ(scored.size(), 280u - 22);
  }
}

TEST(Anomalies, TheBandHoldsItsLevelOnNormalNoise) {
  std::vector<double> y = daily(1000, 1);
  const auto scored =
      scores_of(y, {.level = 0.9, .season = 7, .horizon = 1}, by("seasonal_window_average", 7));
  const double share =
      static_cast<double>(flagged(scored).size()) / static_cast<double>(scored.size());
  EXPECT_NEAR(share, 0.1, 0.035);
}

// A forecaster that is far too sure of itself: only the robust band sees that.
TEST(Anomalies, TheRobustBandMendsAWrongSpread) {
  const std::vector<double> y = daily(400, 1);
  const Forecaster sure = [](std::span<const double>, std::int64_t horizon,
                             const std::vector<double>& levels) {
    Forecast f;
    f.mean.assign(static_cast<std::size_t>(horizon), 50);
    for (const double level : levels) {
      auto& q = f.quantiles.emplace_back(f.mean);
      for (double& x : q) x += 0.01 * (level - 0.5);
    }
    return f;
  };
  const auto count = [&](BandMethod m) {
    return flagged(scores_of(y, {.level = 0.95, .method = m}, sure)).size();
  };
  EXPECT_GT(count(BandMethod::quantile), 350u);
  EXPECT_LT(count(BandMethod::robust), 60u);
}

TEST(Anomalies, ANewLevelIsAcceptedAfterPatience) {
  std::vector<double> y(100, 0);
  const Rng rng{2, 2};
  for (std::size_t t = 0; t < 100; ++t) y[t] = rng.normal(0, t) + (t >= 60 ? 40 : 0);
  const auto at = flagged(scores_of(y, {.level = 0.9999, .patience = 3}, by("naive", 1)));
  EXPECT_GE(at.size(), 3u);
  EXPECT_EQ(std::count_if(at.begin(), at.end(), [](auto i) { return i >= 60 && i < 63; }), 3);
  EXPECT_EQ(std::count_if(at.begin(), at.end(), [](auto i) { return i >= 66; }), 0);
}

TEST(Anomalies, ConstantsGapsAndShortSeries) {
  std::vector<double> y(60, 5);
  y[40] = 5.5;
  EXPECT_EQ(flagged(scores_of(y, {}, by("theta", 1))), std::vector<std::int64_t>{40});
  for (const double level : {0.0, 1e300, -1e-300}) {
    const std::vector<double> constant(30, level);
    for (const ScoredValue& s : scores_of(constant, {}, by("theta", 1))) {
      EXPECT_FALSE(s.anomaly) << level;
      EXPECT_TRUE(std::isfinite(s.low) && std::isfinite(s.high) && std::isfinite(s.score));
    }
  }
  std::vector<double> huge = daily(60, 1);
  for (std::size_t t = 0; t < huge.size(); ++t) huge[t] *= t % 2 ? 2.5e306 : -2.5e306;
  const auto extreme = scores_of(huge, {}, by("theta", 1));
  EXPECT_EQ(extreme.size(), 50u);
  for (const ScoredValue& s : extreme) {
    EXPECT_TRUE(std::isfinite(s.low) && std::isfinite(s.high) && std::isfinite(s.score));
    EXPECT_EQ(s.value, huge[static_cast<std::size_t>(s.index)]);
  }
  std::vector<double> gaps = daily(120, 1);
  for (std::size_t t = 50; t < 70; ++t) gaps[t] = std::numeric_limits<double>::quiet_NaN();
  for (const ScoredValue& s : scores_of(gaps, {.season = 7}, by("seasonal_naive", 7)))
    EXPECT_TRUE(s.index < 50 || s.index >= 70);
  for (const std::size_t n : {0U, 1U, 3U}) {
    EXPECT_TRUE(scores_of(std::vector<double>(n, 1), {}, by("naive", 1)).empty()) << n;
  }
  EXPECT_EQ(scores_of(std::vector<double>{1, 2, 3, 4}, {}, by("naive", 1)).size(), 1u);
  EXPECT_THROW(scores_of(y, {.level = 1}, by("naive", 1)), Error);
  EXPECT_THROW(scores_of(y, {.patience = 0}, by("naive", 1)), Error);
}

TEST(Anomalies, ManyValuesShareForecasts) {
  const std::vector<double> y = daily(30'000, 1);
  std::int64_t calls = 0;
  const Forecaster naive = by("naive", 1);
  const auto scored = scores_of(
      y, {}, [&](std::span<const double> past, std::int64_t h, const std::vector<double>& levels) {
        ++calls;
        EXPECT_LE(past.size(), 500u);
        return naive(past, h, levels);
      });
  EXPECT_EQ(scored.size(), 30'000u - 10);
  EXPECT_LE(calls, 2000);
}

}  // namespace
}  // namespace subquad
