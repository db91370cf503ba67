// Synthetic series: reproducible, finite, of the kind that their names say.
#include "subquad/data/series/synthetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <set>

#include "subquad/base/digest.h"
#include "subquad/base/error.h"
#include "subquad/base/file.h"
#include "subquad/data/series/synthetic/family.h"
#include "subquad/data/series/synthetic/gaussian_cache.h"
#include "subquad/data/series/synthetic/kernels.h"

namespace subquad {
namespace {

using Values = std::vector<float>;

// Small enough that Gaussian paths need no cache.
SeriesRecipe small_recipe(std::int64_t length = 96) {
  SeriesRecipe r = default_series_recipe();
  r.gaussian = {.factors = 6, .paths = 8, .length = length, .seed = 3};
  return r;
}

Values plain(const SeriesSynthesizer& from, const std::string& family, std::int64_t index,
             std::size_t length) {
  Values y(length);
  from.plain(family, index, y);
  return y;
}

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::string message_of(auto&& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(SeriesSynthetic, EveryFamilyIsFiniteAndVaries) {
  const SeriesSynthesizer from(small_recipe(), 7);
  for (const SeriesFamily& f : all_series_families()) {
    std::int64_t constant = 0;
    std::set<std::string> distinct;
    for (std::int64_t i = 0; i < 60; ++i) {
      const Values y = plain(from, f.name, i, 64);  // crops of Gaussian paths
      for (const float x : y) ASSERT_TRUE(std::isfinite(x)) << f.name << " " << i;
      constant += *std::max_element(y.begin(), y.end()) == *std::min_element(y.begin(), y.end());
      distinct.insert(sha256(std::as_bytes(std::span(y))));
    }
    EXPECT_LE(constant, 15) << f.name;
    EXPECT_GE(distinct.size(), 45u) << f.name;
  }
}

TEST(SeriesSynthetic, ASeriesIsAPureFunctionOfRecipeSeedIndexAndLength) {
  const SeriesSynthesizer one(small_recipe(), 7), again(small_recipe(), 7),
      other(small_recipe(), 8);
  Values a(64), b(64), c(64);
  std::int64_t differ = 0;
  for (std::int64_t i = 39; i >= 0; --i) {  // in another order
    one.training(39 - i, a);
    again.training(i, a);
    one.training(i, b);
    other.training(i, c);
    EXPECT_TRUE(same_bits(a, b)) << i;
    differ += !same_bits(a, c);
    one.validation(i, a);
    again.validation(i, b);
    EXPECT_TRUE(same_bits(a, b)) << i;
  }
  EXPECT_GE(differ, 38);
}

TEST(SeriesSynthetic, ThreadsShareASynthesizer) {
  const SeriesSynthesizer from(small_recipe(), 7);
  std::vector<Values> alone(40, Values(64)), together = alone;
  for (std::size_t i = 0; i < alone.size(); ++i)
    from.training(static_cast<std::int64_t>(i), alone[i]);
  ThreadPool threads(3);
  threads.run(40, [&](std::int64_t i, Scratch&) {
    from.training(i, together[static_cast<std::size_t>(i)]);
  });
  for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same_bits(alone[i], together[i])) << i;
}

TEST(SeriesSynthetic, TrainingSeriesObserveAtLeastTwoValues) {
  SeriesRecipe recipe = small_recipe();
  recipe.augmentations.missing = 1;
  recipe.augmentations.quantize = 0.5;
  const SeriesSynthesizer from(recipe, 1);
  Values y(64);
  std::int64_t missing = 0;
  for (std::int64_t i = 0; i < 300; ++i) {
    i % 2 ? from.training(i, y) : from.validation(i, y);
    const auto observed = std::count_if(y.begin(), y.end(), [](float x) { return !std::isnan(x); });
    EXPECT_GE(observed, 2) << i;
    missing += observed < 64;
    for (const float x : y) EXPECT_FALSE(std::isinf(x));
  }
  EXPECT_GT(missing, 200);
}

// Validation must not see a training family, and training no held-out one: with single families and no
// changes the draws are those families'.
TEST(SeriesSynthetic, HeldOutFamiliesAreKeptApart) {
  SeriesRecipe recipe = small_recipe();
  recipe.families = {{"intermittent", 1}};
  recipe.held_out = {"fractal"};
  recipe.mixup.probability = 0;
  recipe.augmentations = {0, 0, 0, 0, 0, 0, 0, 0, 0};
  const SeriesSynthesizer from(recipe, 5);
  Values y(64);
  for (std::int64_t i = 0; i < 30; ++i) {
    from.training(i, y);
    for (const float x : y) EXPECT_TRUE(x >= 0 && x == std::round(x)) << "counts";
    from.validation(i, y);
    EXPECT_TRUE(std::any_of(y.begin(), y.end(), [](float x) { return x != std::round(x); }));
  }
  const SeriesRecipe standard = default_series_recipe();
  EXPECT_EQ(standard.families.size() + standard.held_out.size(), all_series_families().size());
  EXPECT_GE(standard.held_out.size(), 3u);
}

TEST(SeriesSynthetic, FamiliesAreWhatTheirNamesSay) {
  const SeriesSynthesizer from(small_recipe(512), 11);
  std::int64_t zeros = 0, values = 0, spiky = 0, unit_roots = 0, trends = 0;
  for (std::int64_t i = 0; i < 100; ++i) {
    for (const float x : plain(from, "intermittent", i, 512)) {
      EXPECT_TRUE(x >= 0 && x == std::round(x));
      zeros += x == 0;
      ++values;
    }
    const Values spikes = plain(from, "spikes", i, 512);
    std::vector<double> moves;
    for (std::size_t t = 1; t < 512; ++t)
      moves.push_back(
          std::abs(static_cast<double>(spikes[t]) - static_cast<double>(spikes[t - 1])));
    std::sort(moves.begin(), moves.end());
    spiky += moves.back() > 8 * moves[moves.size() / 2];
    for (const float x : plain(from, "calendar", i, 512)) EXPECT_GE(x, 0);
    const auto correlation = [](const Values& y) {
      const std::vector<double> x(y.begin(), y.end());
      const Moments m = moments_of(x);
      double sum = 0;
      for (std::size_t t = 1; t < x.size(); ++t) sum += (x[t] - m.mean) * (x[t - 1] - m.mean);
      return sum / (512 * m.deviation * m.deviation);
    };
    unit_roots += correlation(plain(from, "arima", i, 512)) > 0.97;
    trends += correlation(plain(from, "fractal", i, 512)) > 0.8;
  }
  EXPECT_GT(zeros, values / 4);
  EXPECT_LT(zeros, values * 9 / 10);
  EXPECT_GT(spiky, 60);
  EXPECT_GT(unit_roots, 20) << "half of them are integrated";
  EXPECT_LT(unit_roots, 80);
  EXPECT_GT(trends, 60) << "fractional Brownian motion is persistent in its levels";
}

TEST(SeriesSynthetic, DistributionsHaveTheirMoments) {
  Draws d(3, 4, 5);
  constexpr int kCount = 20000;
  const auto moments = [&](auto&& draw) {
    std::vector<double> x(kCount);
    for (double& v : x) v = draw();
    return moments_of(x);
  };
  const auto expect = [&](Moments m, double mean, double deviation, const char* what) {
    EXPECT_NEAR(m.mean, mean, 5 * deviation / std::sqrt(kCount)) << what;
    EXPECT_NEAR(m.deviation, deviation, 0.06 * deviation) << what;
  };
  expect(moments([&] { return d.normal(); }), 0, 1, "normal");
  expect(moments([&] { return d.exponential(); }), 1, 1, "exponential");
  expect(moments([&] { return d.gamma(2.5); }), 2.5, std::sqrt(2.5), "gamma");
  expect(moments([&] { return d.gamma(0.4); }), 0.4, std::sqrt(0.4), "gamma below 1");
  expect(moments([&] { return static_cast<double>(d.poisson(3)); }), 3, std::sqrt(3.0), "poisson");
  expect(moments([&] { return static_cast<double>(d.poisson(300)); }), 300, std::sqrt(300.0),
         "poisson of a large mean");
  expect(moments([&] { return d.student(12); }), 0, 1, "student");
  expect(moments([&] { return static_cast<double>(d.between(-2, 2)); }), 0, std::sqrt(2.0),
         "between");
  expect(moments([&] { return std::log(d.log_uniform(1, 10)); }), std::log(10.0) / 2,
         std::log(10.0) / std::sqrt(12.0), "log-uniform");
  expect(moments([&] { return d.dirichlet(4, 1.5)[2]; }), 0.25, std::sqrt(0.25 * 0.75 / 7),
         "dirichlet");
}

TEST(SeriesSynthetic, OscillatorIsACosine) {
  Oscillator wave(0.37, 1.2);
  for (int t = 0; t < 4000; ++t) EXPECT_NEAR(wave.next(), std::cos(1.2 + 0.37 * t), 1e-10) << t;
}

TEST(SeriesSynthetic, ContinuousKernelsAreCovariances) {
  // t = 1/4 and 3/4 on five points; values from the formulas by hand.
  const auto value = [](Kernel k, std::size_t distance) {
    return covariance({{k}, {}}, 5, 5)[distance];
  };
  EXPECT_NEAR(value({Kernel::Kind::piecewise_polynomial, 0.5}, 1), 0.125 * 2.5, 1e-15);
  EXPECT_EQ(value({Kernel::Kind::piecewise_polynomial, 0.5}, 3), 0);
  EXPECT_NEAR(value({Kernel::Kind::matern, 0.25}, 1),
              (1 + std::sqrt(3.0)) * std::exp(-std::sqrt(3.0)), 1e-15);
  for (std::uint64_t i = 0; i < 40; ++i) {
    Draws draws(5, 6, i);
    constexpr std::int64_t kLength = 80;
    const CompositeKernel composite = draw_continuous_kernel(draws, kLength);
    EXPECT_EQ(composite.product.size() + 1, composite.kernels.size());
    for (const Kernel& k : composite.kernels) {
      if (k.kind == Kernel::Kind::periodic) {
        EXPECT_GE(k.parameter, 3);
        EXPECT_LE(k.parameter, kLength / 2);
      }
    }
    std::vector<double> k = covariance(composite, kLength, kLength), z(kLength);
    for (std::size_t a = 0; a < 80; ++a)
      for (std::size_t b = 0; b < 80; ++b)
        EXPECT_NEAR(k[a * 80 + b], k[b * 80 + a], 1e-12 * std::abs(k[a * 80 + b]) + 1e-300);
    for (double& x : z) x = draws.normal();
    EXPECT_NO_THROW(gaussian_paths(k, kLength, z)) << "sums and products of covariances are one";
  }
  std::vector<double> indefinite = {1, 3, 3, 1};
  EXPECT_EQ(message_of([&] {
              gaussian_paths(indefinite, 2, std::vector<double>{1, 1});
            }).find("a covariance matrix of 2 rows has no Cholesky factor"),
            0u);
}

TEST(SeriesSynthetic, RecipesAreJson) {
  SeriesRecipe recipe = default_series_recipe();
  EXPECT_EQ(series_recipe_from(to_json(recipe)), recipe);
  EXPECT_EQ(series_recipe_from(Json::object()), recipe);
  const std::string digest = digest_of(recipe);
  EXPECT_EQ(digest.size(), 64u);
  recipe.augmentations.censor = 0.25;
  EXPECT_NE(digest_of(recipe), digest);
  EXPECT_EQ(series_recipe_from(Json::parse(to_json(recipe).dump(), "text")), recipe);
  const auto error = [](const char* json) {
    return message_of([&] { series_recipe_from(Json::parse(json, "text")); });
  };
  EXPECT_NE(error(R"({"familys": {}})").find("did you mean \"families\""), std::string::npos);
  EXPECT_NE(error(R"({"families": {"arma": 1}})").find("did you mean \"arima\""),
            std::string::npos);
  EXPECT_NE(error(R"({"families": {"rhythm": 1}})").find("held out and in training"),
            std::string::npos);
  EXPECT_NE(error(R"({"families": {}})").find("no families"), std::string::npos);
  EXPECT_NE(error(R"({"families": {"waves": -1}})").find("families.waves -1"), std::string::npos);
  EXPECT_NE(
      error(R"({"augmentations": {"censor": 2}})").find("augmentations.censor 2, wanted 0 to 1"),
      std::string::npos);
  EXPECT_NE(error(R"({"gaussian": {"length": 100000}})").find("gaussian.length"),
            std::string::npos);
}

TEST(SeriesSynthetic, RequestsOutOfRange) {
  const SeriesSynthesizer from(small_recipe(), 1);
  Values small(15), large(97), fine(16);
  for (Values* y : {&small, &large})
    EXPECT_NE(message_of([&] { from.training(0, *y); }).find("from 16 to gaussian.length = 96"),
              std::string::npos);
  EXPECT_NE(message_of([&] { from.training(-1, fine); }).find("series -1"), std::string::npos);
  EXPECT_NE(message_of([&] { from.plain("wave", 0, fine); }).find("unknown family"),
            std::string::npos);
}

class SeriesCache : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "/subquad-series-cache-" +
            testing::UnitTest::GetInstance()->current_test_info()->name() + ".safetensors";
  }
  void TearDown() override { std::filesystem::remove(path_); }
  void build(const GaussianPaths& spec, int threads = 1) {
    ThreadPool pool(threads);
    build_gaussian_cache(path_, spec, pool, [](std::int64_t) { return true; });
  }
  std::string path_;
};

TEST_F(SeriesCache, ChangesSpeedAndNoBit) {
  const SeriesRecipe recipe = small_recipe(64);
  build(recipe.gaussian);
  const auto cache = std::make_shared<const GaussianCache>(path_);
  const SeriesSynthesizer with(recipe, 7, cache), without(recipe, 7);
  Values a(48), b(48);
  for (std::int64_t i = 0; i < 60; ++i) {
    with.plain(i % 2 ? "kernel_synth" : "gaussian_process", i, a);
    without.plain(i % 2 ? "kernel_synth" : "gaussian_process", i, b);
    EXPECT_TRUE(same_bits(a, b)) << i;
    with.training(i, a);
    without.training(i, b);
    EXPECT_TRUE(same_bits(a, b)) << i;
  }
  SeriesRecipe other = recipe;
  other.gaussian.seed = 4;
  EXPECT_NE(message_of([&] { SeriesSynthesizer(other, 7, cache); }).find("subquad series cache"),
            std::string::npos);
}

TEST_F(SeriesCache, HasTheSameBytesForAnyNumberOfThreads) {
  const GaussianPaths spec = small_recipe(40).gaussian;
  build(spec);
  const std::string one = read_file(path_);
  build(spec, 3);
  EXPECT_EQ(sha256(one), sha256(read_file(path_)));
}

TEST_F(SeriesCache, RefusesWhatIsDamagedOrForeign) {
  build(small_recipe(40).gaussian);
  const std::string good = read_file(path_);
  const auto error = [&](const std::string& content) {
    write_file_atomically(path_, content);
    return message_of([&] { GaussianCache cache(path_); });
  };
  std::string bad = good;
  bad.back() ^= 1;
  EXPECT_NE(error(bad).find("damaged"), std::string::npos);
  EXPECT_NE(error(good.substr(0, good.size() - 4)).find("truncated"), std::string::npos);
  bad = good;
  bad.replace(bad.find("\\\"seed\\\":3"), 10, "\\\"seed\\\":4");
  EXPECT_NE(error(bad).find("digest"), std::string::npos);
  bad = good;
  bad.replace(bad.find("\"version\":\"1\""), 13, "\"version\":\"7\"");
  EXPECT_NE(error(bad).find("version 7"), std::string::npos);
  EXPECT_NE(error("{}").find("too short"), std::string::npos);
  EXPECT_EQ(error(good), "no error");
}

TEST_F(SeriesCache, AnInterruptedBuildLeavesNothing) {
  ThreadPool pool(1);
  EXPECT_THROW(build_gaussian_cache(path_, small_recipe(40).gaussian, pool,
                                    [](std::int64_t) { return false; }),
               Error);
  EXPECT_FALSE(std::filesystem::exists(path_));
  for (const auto& entry : std::filesystem::directory_iterator(testing::TempDir()))
    EXPECT_EQ(entry.path().string().find(path_), std::string::npos) << entry.path();
}

}  // namespace
}  // namespace subquad
