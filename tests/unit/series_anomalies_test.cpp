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

PastForecast by(const std::string& name, std::int64_t season) {
  return [&baseline = baseline_named(name), season](std::span<const double> past,
                                                    std::int64_t horizon,
                                                    const std::vector<double>& levels) {
    return run_baseline(baseline, past, {.season = season, .horizon = horizon, .levels = levels});
  };
}

std::vector<ScoredValue> scores_of(std::span<const double> values, const AnomalySetup& setup,
                                   const PastForecast& forecaster) {
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
  const PastForecast sure = [](std::span<const double>, std::int64_t horizon,
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
  const PastForecast naive = by("naive", 1);
  const auto scored = scores_of(
      y, {}, [&](std::span<const double> past, std::int64_t h, const std::vector<double>& levels) {
        ++calls;
        EXPECT_LE(past.size(), 500u);
        return naive(past, h, levels);
      });
  EXPECT_EQ(scored.size(), 30'000u - 10);
  EXPECT_LE(calls, 2000);
}

// Series of different lengths, one with outliers, one of huge values, one too short: each scores in
// company what it scores alone.
// Sundays change: no three outliers follow each other, but three of their kind do.
TEST(Anomalies, APositionOfTheSeasonMayTakeANewLevel) {
  const Rng rng{5, 5};
  std::vector<double> y;
  for (std::uint64_t t = 0; t < 280; ++t)
    y.push_back(100 + (t % 7 == 6 ? (t < 140 ? -20 : 100) : 0) + 3 * rng.normal(0, t));
  const auto at = flagged(scores_of(y, {.season = 7}, by("seasonal_naive", 7)));
  const auto late = std::count_if(at.begin(), at.end(), [](std::int64_t i) { return i >= 175; });
  const auto changed =
      std::count_if(at.begin(), at.end(), [](std::int64_t i) { return i >= 140 && i % 7 == 6; });
  EXPECT_GE(changed, 3);
  EXPECT_LE(changed, 5);
  EXPECT_LE(late, 6) << "of 105, by chance";
}

TEST(Anomalies, ManySeriesTogetherScoreAsAlone) {
  std::vector<std::vector<double>> series = {daily(90, 1), daily(41, 0.5), daily(60, 1), {1, 2, 3}};
  series[0][50] += 40;
  for (double& x : series[2]) x *= 1e200;
  std::vector<std::span<const double>> spans(series.begin(), series.end());
  const AnomalySetup setup{.season = 7, .horizon = 2, .history = 30};
  const std::vector<AnomalySetup> setups(series.size(), setup);
  std::size_t most = 0;
  const ManyForecasts many = [&](std::span<const std::span<const double>> pasts,
                                 std::span<const std::int64_t> seasons, const ForecastSetup& s) {
    most = std::max(most, pasts.size());
    std::vector<Forecast> out;
    for (std::size_t i = 0; i < pasts.size(); ++i) {
      EXPECT_LE(pasts[i].size(), 30u);
      EXPECT_EQ(seasons[i], 7);
      ForecastSetup own = s;
      own.season = seasons[i];
      out.push_back(run_baseline(baseline_named("seasonal_naive"), pasts[i], own));
    }
    return out;
  };
  std::vector<std::vector<ScoredValue>> together(series.size());
  score_anomalies(spans, setups, many,
                  [&](std::size_t i, const ScoredValue& v) { together[i].push_back(v); });
  EXPECT_EQ(most, 3u) << "in one call";
  EXPECT_TRUE(together[3].empty());
  for (std::size_t i = 0; i < series.size(); ++i) {
    const auto alone = scores_of(series[i], setup, by("seasonal_naive", 7));
    ASSERT_EQ(together[i].size(), alone.size());
    for (std::size_t k = 0; k < alone.size(); ++k) {
      EXPECT_EQ(together[i][k].index, alone[k].index);
      EXPECT_EQ(together[i][k].score, alone[k].score);
      EXPECT_EQ(together[i][k].high, alone[k].high);
      EXPECT_EQ(together[i][k].anomaly, alone[k].anomaly);
    }
  }
  const auto at = flagged(together[0]);
  EXPECT_TRUE(std::count(at.begin(), at.end(), 50));
}

TEST(Anomalies, AModelSeesMissingValues) {
  std::vector<double> y = daily(40, 1);
  y[20] = std::nan("");
  std::int64_t missing = 0;
  const ManyForecasts many = [&](std::span<const std::span<const double>> pasts, auto,
                                 const ForecastSetup& s) {
    std::vector<Forecast> out;
    for (const auto& past : pasts) {
      missing += std::count_if(past.begin(), past.end(), [](double x) { return std::isnan(x); });
      out.push_back(run_baseline(baseline_named("naive"), past, s));
    }
    return out;
  };
  const std::vector<std::span<const double>> series = {y};
  const std::vector<AnomalySetup> setups = {{.warm_up = 10}};
  std::int64_t scored = 0;
  score_anomalies(series, setups, many, [&](std::size_t, const ScoredValue&) { ++scored; });
  EXPECT_EQ(missing, 40 - 21);
  EXPECT_EQ(scored, 40 - 10 - 1);
}

}  // namespace
}  // namespace subquad
