// Baselines behind their guard rails, decomposition, least squares.
#include "subquad/base/distributions.h"
#include "subquad/data/series/baseline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "subquad/base/error.h"
#include "subquad/base/rng.h"
#include "subquad/data/series/backtest.h"
#include "subquad/data/series/decomposition.h"
#include "subquad/data/series/ets.h"
#include "subquad/data/series/least_squares.h"

namespace subquad {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<double> monthly(std::int64_t years, double noise) {
  const Rng rng{3, stream_id("monthly")};
  std::vector<double> y;
  for (std::int64_t t = 0; t < 12 * years; ++t) {
    const auto month = static_cast<double>(t);
    y.push_back(100 + 0.5 * month + 20 * std::sin(2 * std::numbers::pi * month / 12) +
                noise * rng.normal(0, static_cast<std::uint64_t>(t)));
  }
  return y;
}

ForecastSetup setup_of(std::int64_t season, std::int64_t horizon) {
  return {.season = season, .horizon = horizon, .levels = {0.025, 0.1, 0.5, 0.9, 0.975}};
}

// Nothing a forecast may be: a wrong size, not finite, quantiles that cross.
void expect_sound(const Forecast& f, const ForecastSetup& setup, const std::string& what) {
  ASSERT_EQ(static_cast<std::int64_t>(f.mean.size()), setup.horizon) << what;
  ASSERT_EQ(f.quantiles.size(), setup.levels.size()) << what;
  for (std::size_t i = 0; i < f.mean.size(); ++i) {
    EXPECT_TRUE(std::isfinite(f.mean[i])) << what;
    for (std::size_t q = 0; q < f.quantiles.size(); ++q) {
      EXPECT_TRUE(std::isfinite(f.quantiles[q][i])) << what;
      if (q == 0) continue;
      EXPECT_LE(f.quantiles[q - 1][i], f.quantiles[q][i]) << what;
    }
  }
}

TEST(Baselines, EveryOneSurvivesEverySeries) {
  const Rng rng{1, 1};
  std::vector<double> noise, counts, growth, huge, tiny;
  for (std::uint64_t t = 0; t < 60; ++t) {
    noise.push_back(rng.normal(0, t));
    counts.push_back(rng.uniform(1, t) < 0.8 ? 0 : std::floor(5 * rng.uniform(2, t)) + 1);
    growth.push_back(std::exp(0.3 * static_cast<double>(t)));
    huge.push_back(1e300 * rng.normal(3, t));
    tiny.push_back(1e3 + 1e-9 * rng.normal(4, t));
  }
  const std::pair<const char*, std::vector<double>> cases[] = {
      {"one value", {5}},
      {"two values", {5, 6}},
      {"three", {1, 5, 2}},
      {"four", {1, 5, 2, 8}},
      {"constant", std::vector<double>(40, 7.5)},
      {"zeros", std::vector<double>(40, 0.0)},
      {"noise", noise},
      {"counts", counts},
      {"exponential", growth},
      {"huge", huge},
      {"nearly constant", tiny},
      {"gaps", {kNaN, 1, kNaN, kNaN, 4, 2, kNaN}},
      {"a step", {0, 0, 0, 0, 0, 0, 0, 0, 1e6, 1e6, 1e6, 1e6, 1e6}},
      {"seasonal", monthly(4, 1)}};
  for (const auto& [name, y] : cases) {
    for (const Baseline& b : all_baselines()) {
      for (const std::int64_t season : {1, 4, 12, 48, 1000}) {
        // Longer seasons take their time; one of 12 is fitted below.
        if (season > 4 && (b.run == auto_arima || !b.run)) continue;
        const ForecastSetup s = setup_of(season, 30);
        const std::string what =
            std::string(b.key) + " on " + name + ", season " + std::to_string(season);
        expect_sound(run_baseline(b, y, s), s, what);
      }
    }
  }
}

TEST(Baselines, AConstantSeriesIsKnown) {
  for (const Baseline& b : all_baselines()) {
    const Forecast f = run_baseline(b, std::vector<double>(50, 7.5), setup_of(12, 3));
    for (const auto& q : f.quantiles) EXPECT_EQ(q, std::vector<double>(3, 7.5)) << b.key;
  }
}

TEST(Baselines, SeasonAndTrendAreFound) {
  const std::vector<double> y = monthly(9, 1), past(y.begin(), y.end() - 12);
  for (const char* key :
       {"holt_winters", "theta", "dynamic_theta", "auto_ets", "auto_arima", "ensemble"}) {
    const Forecast f = run_baseline(baseline_named(key), past, setup_of(12, 12));
    double worst = 0;
    for (std::size_t i = 0; i < 12; ++i) worst = std::max(worst, std::abs(f.mean[i] - y[96 + i]));
    EXPECT_LT(worst, 12) << key << ": the season swings by 40";
    EXPECT_TRUE(f.fallback.empty()) << key << ": " << f.fallback;
    for (std::size_t i = 0; i < 12; ++i)
      EXPECT_LT(f.quantiles[4][i] - f.quantiles[0][i], 30) << key;
  }
}

TEST(Baselines, LongSeasonsAreTakenOutFirst) {
  std::vector<double> y;
  for (int t = 0; t < 480; ++t)
    y.push_back(50 + 10 * std::sin(2 * std::numbers::pi * t / 48) +
                Rng{1, 2}.normal(0, static_cast<std::uint64_t>(t)));
  for (const char* name : {"auto_ets", "holt_winters"}) {
    const Forecast f = run_baseline(baseline_named(name), y, setup_of(48, 48));
    EXPECT_NE(f.fitted.find("season"), std::string::npos) << f.fitted;
    EXPECT_NEAR(f.mean[11], 60, 2.5) << name;
    EXPECT_NEAR(f.mean[35], 40, 2.5) << name;
  }
}

TEST(Baselines, UnitsChangeNothing) {
  const std::vector<double> y = monthly(4, 3);
  for (const char* name : {"naive", "auto_ets", "theta"}) {
    const Forecast want = run_baseline(baseline_named(name), y, setup_of(12, 6));
    for (const double unit : {0x1p-600, 0x1p600}) {
      std::vector<double> moved = y;
      for (double& x : moved) x *= unit;
      const Forecast got = run_baseline(baseline_named(name), moved, setup_of(12, 6));
      EXPECT_TRUE(got.fallback.empty()) << name << " " << got.fallback;
      for (std::size_t q = 0; q < 5; ++q)
        EXPECT_NEAR(got.quantiles[q][5] / unit, want.quantiles[q][5], 0.05) << name;
    }
  }
}

TEST(Baselines, IntervalsCoverWhatTheySay) {
  // Random walks: 80 % of the truths lie in the 80 % interval of Naive, at every step.
  const ForecastSetup s = setup_of(1, 8);
  int inside = 0, all = 0;
  for (std::uint64_t k = 0; k < 400; ++k) {
    std::vector<double> y = {0};
    for (std::uint64_t t = 1; t < 108; ++t) y.push_back(y.back() + Rng{9, k}.normal(0, t));
    const Forecast f =
        run_baseline(baseline_named("naive"), std::vector<double>(y.begin(), y.begin() + 100), s);
    for (std::size_t i = 0; i < 8; ++i, ++all)
      inside += y[100 + i] > f.quantiles[1][i] && y[100 + i] < f.quantiles[3][i];
  }
  EXPECT_NEAR(static_cast<double>(inside) / all, 0.8, 0.03);
}

TEST(Baselines, FailuresAreSaid) {
  const Forecast f =
      run_baseline(baseline_named("auto_ets"), std::vector<double>{1, 5, 2}, setup_of(1, 2));
  EXPECT_NE(f.fallback.find("no form of exponential smoothing fits 3 values"), std::string::npos)
      << f.fallback;
  EXPECT_EQ(f.mean, (std::vector<double>{2, 2}));
  EXPECT_THROW(run_baseline(baseline_named("naive"), std::vector<double>{kNaN}, setup_of(1, 2)),
               Error);
  EXPECT_THROW(run_baseline(baseline_named("naive"), std::vector<double>{1}, setup_of(0, 2)),
               Error);
  EXPECT_THROW(baseline_named("prophet"), Error);
  try {
    baseline_named("seasonal_naiv");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean \"seasonal_naive\""), std::string::npos)
        << e.what();
  }
}

TEST(Baselines, OnlyTheEndOfALongSeriesIsLookedAt) {
  std::vector<double> y(3000, 1000), end(500);
  for (std::size_t t = 0; t < 500; ++t) end[t] = y[2500 + t] = std::sin(static_cast<double>(t));
  ForecastSetup s = setup_of(1, 3);
  s.max_history = 500;
  EXPECT_EQ(run_baseline(baseline_named("average"), y, s).quantiles,
            run_baseline(baseline_named("average"), end, s).quantiles);
}

TEST(Baselines, MissingValuesAreFilled) {
  const std::vector<double> y = {kNaN, 1, kNaN, kNaN, 4, kNaN};
  EXPECT_EQ(filled_values(y, "last"), (std::vector<double>{1, 1, 1, 4, 4}));
  EXPECT_EQ(filled_values(y, "linear"), (std::vector<double>{1, 2, 3, 4, 4}));
  EXPECT_EQ(filled_values(y, "zero"), (std::vector<double>{1, 0, 0, 4, 0}));
  EXPECT_THROW(filled_values(y, "mean"), Error);
}

TEST(Baselines, NormalQuantile) {
  EXPECT_EQ(normal_quantile(0.5), 0);
  for (const double p : {1e-12, 1e-6, 0.01, 0.1, 0.3, 0.7, 0.975, 1 - 1e-9}) {
    const double x = normal_quantile(p);
    EXPECT_NEAR(std::erfc(-x / std::numbers::sqrt2) / 2 / p, 1, 1e-13) << p;
  }
  EXPECT_DOUBLE_EQ(normal_quantile(0.975), 1.959963984540054);
  EXPECT_THROW(normal_quantile(0), Error);
}

TEST(Decomposition, FindsTheFigure) {
  const std::vector<double> y = monthly(6, 0);
  const std::vector<double> figure = seasonal_figure(y, 12, false);
  for (std::size_t i = 0; i < 12; ++i)
    EXPECT_NEAR(figure[i], 20 * std::sin(2 * std::numbers::pi * static_cast<double>(i) / 12), 0.01);
  EXPECT_TRUE(is_seasonal(y, 12));
  std::vector<double> noise;
  for (std::uint64_t t = 0; t < 72; ++t) noise.push_back(Rng{5, 5}.normal(0, t));
  EXPECT_FALSE(is_seasonal(noise, 12));
  EXPECT_FALSE(is_seasonal(std::vector<double>(72, 1.0), 12));
  // Adjusted and put back, the next season continues the figure.
  const Deseasonalised d = deseasonalise(std::span(y).first(70), 12);
  ASSERT_EQ(d.figure.size(), 12u);
  EXPECT_TRUE(d.multiplicative);
  EXPECT_GT(d.figure[70 % 12 == 10 ? 5 : 0], 1) << "the tenth month is low, five later is high";
}

TEST(LeastSquaresSearch, FindsAMinimumThatIsKnown) {
  // Rosenbrock: residuals 10 (y - x^2) and 1 - x, minimum 0 at (1, 1).
  const LeastSquares found = minimise_squares(
      [](const std::vector<double>& p, std::vector<double>& r) {
        r[0] = 10 * (p[1] - p[0] * p[0]);
        r[1] = 1 - p[0];
        return true;
      },
      {-1.2, 1}, 2);
  EXPECT_LT(found.sum, 1e-12);
  EXPECT_NEAR(found.parameters[0], 1, 1e-6);
  EXPECT_NEAR(found.parameters[1], 1, 1e-6);
  EXPECT_TRUE(std::isinf(minimise_squares([](const auto&, auto&) { return false; }, {0.0}, 1).sum));
  EXPECT_NEAR(bounded(unbounded(0.3, 0.1, 0.9), 0.1, 0.9), 0.3, 1e-12);
}

TEST(Backtest, WindowsLieAtTheEndAndKnowNothingOfTheirLabels) {
  TimeSeries s{"a", {{Frequency::Kind::integer, 1, false}, 1}, {}, {}};
  for (int t = 0; t < 40; ++t) s.values.push_back(t);
  std::vector<std::int64_t> cuts;
  BacktestSetup setup{.horizon = 4, .windows = 3, .step = 2, .models = {&baseline_named("naive")}};
  setup.forecast = [&](const TimeSeries&, std::int64_t cut, const Baseline&, const Forecast& f) {
    cuts.push_back(cut);
    EXPECT_EQ(f.mean, std::vector<double>(4, static_cast<double>(cut - 1)));
  };
  ThreadPool threads(2);
  const BacktestResult r = run_backtest({s}, setup, threads);
  EXPECT_EQ(cuts, (std::vector<std::int64_t>{32, 34, 36}));
  // Naive is off by 1, 2, 3, 4; the scale is 1.
  EXPECT_DOUBLE_EQ(r.total[0].values.mase, 2.5);
  EXPECT_DOUBLE_EQ(r.series[0].models[0].values.mase, 2.5);
  EXPECT_EQ(r.total[0].counts.points, 12);
  s.values.resize(5);
  EXPECT_EQ(run_backtest({s}, setup, threads).left_out, 2) << "cuts at -3 and -1";
  s.values.resize(4);
  EXPECT_THROW(run_backtest({s}, setup, threads), Error);
}

TEST(Backtest, FevAveragesWindowsAndGluontsPoints) {
  // Window 1 has one label, window 2 has two.
  TimeSeries s{"a", {{Frequency::Kind::integer, 1, false}, 1}, {}, {0, 1, 0, 1, 0, 4, kNaN, 4, 5}};
  BacktestSetup setup{.horizon = 2, .windows = 2, .models = {&baseline_named("naive")}};
  ThreadPool threads(1);
  const double points = run_backtest({s}, setup, threads).total[0].values.mae;
  EXPECT_DOUBLE_EQ(points, (4 + 0 + 1) / 3.0);
  setup.convention = Convention::fev;
  EXPECT_DOUBLE_EQ(run_backtest({s}, setup, threads).total[0].values.mae, (4 + 0.5) / 2);
}

// Methods forecast days by weeks under both conventions; the scale of errors is the convention's.
TEST(Backtest, TheSeasonOfDaysIsAWeek) {
  TimeSeries s{"a", {frequency_named("D"), 0}, {StampKind::date, {}}, {}};
  for (int t = 0; t < 70; ++t) s.values.push_back(t % 7 * t % 7 + (t % 7 == 3 ? 5 : 0) + t / 35);
  BacktestSetup setup{.horizon = 7, .windows = 1, .models = {&baseline_named("seasonal_naive")}};
  ThreadPool threads(1);
  for (const Convention c : {Convention::gluonts, Convention::fev}) {
    setup.convention = c;
    const Score score = run_backtest({s}, setup, threads).total[0];
    EXPECT_EQ(score.values.mae, 0);
    EXPECT_EQ(score.values.inside, 1) << "values on the border of a band count";
  }
}

TEST(Backtest, TheSameForAnyNumberOfThreads) {
  std::vector<TimeSeries> series;
  for (std::uint64_t k = 0; k < 20; ++k) {
    series.push_back({std::to_string(k),
                      {frequency_named("MS"), 0},
                      {StampKind::date, {}},
                      monthly(5, 1 + static_cast<double>(k))});
  }
  BacktestSetup setup{.horizon = 6,
                      .windows = 2,
                      .models = {&baseline_named("theta"), &baseline_named("seasonal_naive")}};
  ThreadPool one(1), three(3);
  EXPECT_EQ(run_backtest(series, setup, one).total[0].values.wql,
            run_backtest(series, setup, three).total[0].values.wql);
}

}  // namespace
}  // namespace subquad
