// Forecasters of every mixer: what must not change a forecast, and files.
#include "subquad/model/forecaster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "subquad/pretrained/export.h"
#include "subquad/pretrained/pretrained.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

constexpr std::int64_t kPatch = 4;
const std::vector<std::vector<std::string>> kArms = {
    {"slstm", "slstm"},
    {"mlstm", "mlstm"},
    {"mlstm", "slstm"},
    {"mamba2", "mamba2"},
    {"gated_deltanet", "gated_deltanet"},
    {"attention", "attention"},
};

ModelConfig config_of(const std::vector<std::string>& layers, PatchEncoding encoding) {
  ModelConfig c;
  c.patches = {.length = kPatch, .context = 64, .encoding = encoding, .levels = nine_levels()};
  c.vocabulary = c.patches.features();
  c.classes = c.patches.outputs();
  c.d_model = 16;
  c.heads = 2;
  c.mlp_hidden = 24;
  c.layers = layers;
  return c;
}

std::vector<std::span<const double>> views(const std::vector<std::vector<double>>& series) {
  return {series.begin(), series.end()};
}

struct Bench {
  ParameterPlan plan;
  Model model;
  ParameterStore store;
  Engine engine;
  Forecaster forecaster;

  explicit Bench(const std::vector<std::string>& layers,
                 PatchEncoding encoding = PatchEncoding::anchored, int threads = 1)
      : model(config_of(layers, encoding), plan),
        store(plan, DType::f32, 5),
        engine(threads),
        forecaster(engine, model, store) {}

  QuantileForecast one(const std::vector<double>& x, std::int64_t horizon = 11) {
    return all({x}, {.horizon = horizon})[0];
  }
  std::vector<QuantileForecast> all(const std::vector<std::vector<double>>& series,
                                    const RolloutSetup& setup) {
    return forecaster.forecast(views(series), setup);
  }
};

std::vector<double> wave(std::size_t length, double period, double level = 0) {
  std::vector<double> x;
  for (std::size_t t = 0; t < length; ++t)
    x.push_back(level + std::round(64 * std::sin(2 * M_PI * static_cast<double>(t) / period)) / 16);
  return x;
}

double range_of(const std::vector<double>& x) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  return *high - *low;
}

TEST(Forecaster, SameBitsInAnyCompany) {
  const std::vector<std::vector<double>> series = {
      wave(60, 7), wave(61, 9), wave(3, 2), wave(60, 5), wave(200, 12), wave(1, 2), {}};
  for (const auto& arm : kArms) {
    Bench alone(arm), together(arm, PatchEncoding::anchored, 2);
    const auto all = together.all(series, {.horizon = 11});
    for (std::size_t i = 0; i < series.size(); ++i)
      EXPECT_EQ(all[i], alone.one(series[i])) << arm[0] << " " << i;
  }
}

TEST(Forecaster, FollowsScaleAndShift) {
  for (const PatchEncoding encoding : {PatchEncoding::anchored, PatchEncoding::standard}) {
    for (const auto& arm : kArms) {
      Bench bench(arm, encoding);
      const std::vector<double> x = wave(50, 7);
      std::vector<double> moved;
      for (const double v : x) moved.push_back(1024 * v + 4096);  // exact
      const auto a = bench.one(x), b = bench.one(moved);
      for (std::size_t q = 0; q < a.size(); ++q) {
        for (std::size_t h = 0; h < a[q].size(); ++h)
          EXPECT_NEAR((b[q][h] - 4096) / 1024, a[q][h], 1e-4 * range_of(x)) << arm[0];
      }
    }
  }
}

// One pass with its kept state against the whole row of tokens at once, beyond a call's tokens.
TEST(Forecaster, RolloutIsTheModelOverAllTokens) {
  constexpr std::int64_t kHorizon = 290;
  const std::vector<double> x = wave(50, 7);
  for (const auto& arm : kArms) {
    Bench bench(arm);
    const PatchSpec& p = bench.forecaster.patches();
    const auto context = context_of(p, x);
    const std::int64_t known = static_cast<std::int64_t>(context.size()) / kPatch,
                       all = known + (kHorizon - 1) / kPatch;
    const Tensor tokens = Tensor::zeros({1, all, p.features()}, DType::f32);
    std::vector<SeriesScale> scales(static_cast<std::size_t>(known));
    encode_patches(p, context, {},
                   {tokens.data<float>(), static_cast<std::size_t>(known * p.features())}, scales);
    Context cx = bench.engine.context(bench.store);
    const Tensor out = bench.model.logits(cx, tokens, {}, nullptr).value;
    const auto got = bench.all({x}, {.horizon = kHorizon, .sorted = false})[0];
    for (std::int64_t h = 0; h < kHorizon; ++h) {
      for (std::size_t q = 0; q < got.size(); ++q) {
        const std::int64_t at = ((known - 1 + h / kPatch) * p.outputs()) +
                                static_cast<std::int64_t>(q) * kPatch + h % kPatch;
        const double want = decode_value(p, scales.back(), out.data<float>()[at]);
        ASSERT_NEAR(got[q][static_cast<std::size_t>(h)], want, 2e-3 * std::max(1.0, std::abs(want)))
            << arm[0] << " step " << h;
      }
    }
  }
}

TEST(Forecaster, AnyInputGivesAscendingFiniteQuantiles) {
  const double nan = NAN, inf = HUGE_VAL;
  const std::vector<std::vector<double>> series = {
      {},
      {nan, nan, nan},
      {inf, -inf},
      {5},
      std::vector<double>(40, 0.1),
      {1e308, -1e308, 1e308, 3},
      {1e-320, 3e-320, 2e-320},
      {1000.001, 999.999, 1000, 1000.001},
      {nan, 1, nan, 2, inf, 3, nan},
      {0, 0, 0, 0, 7, 0, 0, 0},
  };
  for (const PatchEncoding encoding : {PatchEncoding::anchored, PatchEncoding::standard}) {
    for (const auto& arm : kArms) {
      Bench bench(arm, encoding);
      for (const auto& f : bench.all(series, {.horizon = 9, .patches_per_pass = 1})) {
        ASSERT_EQ(f.size(), 9U);
        for (std::size_t h = 0; h < 9; ++h) {
          for (std::size_t q = 0; q < 9; ++q) {
            ASSERT_TRUE(std::isfinite(f[q][h]));
            ASSERT_TRUE(q == 0 || f[q - 1][h] <= f[q][h]);
          }
        }
      }
    }
  }
}

// Missing and infinite are the same, and what lies before the first observation is not there.
TEST(Forecaster, MissingValues) {
  Bench bench({"mlstm", "slstm"});
  std::vector<double> holes = wave(40, 7), infinite = holes;
  holes[10] = NAN;
  infinite[10] = HUGE_VAL;
  EXPECT_EQ(bench.one(holes), bench.one(infinite));
  EXPECT_NE(bench.one(holes), bench.one(wave(40, 7)));
  std::vector<double> late(9, NAN);
  late.insert(late.end(), holes.begin(), holes.end());
  EXPECT_EQ(bench.one(holes), bench.one(late));
  EXPECT_THROW(bench.one(holes, 0), Error);
}

TEST(Forecaster, GuardRails) {
  Bench bench({"mlstm"});
  const std::vector<std::vector<double>> series = {std::vector<double>(20, 3.5), wave(60, 7)};
  const std::vector<std::int64_t> seasons = {1, 7};
  const std::vector<double> levels = {0.025, 0.1, 0.5, 0.85, 0.975};
  const auto f =
      guarded_forecasts(bench.forecaster, views(series), seasons, {.horizon = 6, .levels = levels});
  for (const auto& level : f[0].quantiles) EXPECT_EQ(level, std::vector<double>(6, 3.5));
  const auto own = bench.one(series[1], 6);
  EXPECT_EQ(f[1].mean, own[4]);
  EXPECT_EQ(f[1].quantiles[1], own[0]);
  for (std::size_t h = 0; h < 6; ++h) {
    for (std::size_t q = 1; q < levels.size(); ++q)
      EXPECT_LE(f[1].quantiles[q - 1][h], f[1].quantiles[q][h]);
  }
  // Weights that explode: the forecast is Seasonal Naive's, and says so.
  std::int32_t index = 0;
  for (const ParamInfo& p : bench.plan.all()) {
    const ParamId id{index++};
    if (p.name != "head.output.bias") continue;
    for (float& x : bench.store.value(id).host<float>()) x = 30;
  }
  const auto bad =
      guarded_forecasts(bench.forecaster, views(series), seasons, {.horizon = 6, .levels = levels});
  EXPECT_FALSE(bad[1].fallback.empty());
  EXPECT_EQ(bad[1].mean[0], series[1][53]);
}

TEST(Forecaster, AContextWithoutAValueIsNoForecast) {
  Bench bench({"mlstm"});
  const PatchSpec& p = bench.model.config().patches;
  std::vector<double> y = wave(60, 7, 500);
  std::vector<std::vector<double>> series = {y, y};
  series[1].insert(series[1].end(), static_cast<std::size_t>(p.context), NAN);
  const std::vector<std::int64_t> seasons = {7, 7};
  const auto of = [&](std::int64_t horizon, std::int64_t patches_per_pass) {
    return guarded_forecasts(bench.forecaster, views(series), seasons,
                             {.horizon = horizon, .levels = {0.1, 0.5, 0.9}}, patches_per_pass);
  };
  const auto near = of(6, 0);
  EXPECT_TRUE(near[0].fallback.empty()) << near[0].fallback;
  EXPECT_FALSE(near[1].fallback.empty()) << "all that it sees is missing";
  EXPECT_GT(near[1].mean[0], 400);
  // A context that moves on is empty in the end.
  EXPECT_TRUE(of(p.context, 1)[0].fallback.empty());
  EXPECT_FALSE(of(p.context + p.length + 1, 1)[0].fallback.empty());
  EXPECT_TRUE(of(p.context + p.length + 1, 0)[0].fallback.empty());
}

TEST(Forecaster, ConfigurationRoundTripAndRefusals) {
  const ModelConfig c = config_of({"mlstm"}, PatchEncoding::anchored);
  const ModelConfig again = ModelConfig::from_json(c.to_json());
  EXPECT_EQ(again.patches, c.patches);
  EXPECT_EQ(again.to_json(), c.to_json());
  ParameterPlan plan;
  ModelConfig wrong = c;
  wrong.classes = 5;
  EXPECT_THROW(Model(wrong, plan), Error);
  wrong = c;
  wrong.patches.levels = {0.1, 0.9};
  EXPECT_THROW(Model(wrong, plan), Error);
  Json json = c.to_json();
  json["patches"]["lenght"] = 4;
  try {
    ModelConfig::from_json(json);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean \"length\""), std::string::npos) << e.what();
  }
}

TEST(Forecaster, WrittenAndReadBack) {
  Bench bench({"mlstm", "slstm"});
  const std::vector<double> x = wave(50, 7);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const std::string folder = temporary_path("forecaster");
    std::filesystem::remove_all(folder);
    EXPECT_EQ(export_model(bench.model, bench.store, folder, "", {.dtype = dtype}), "subquad");
    EXPECT_EQ(Json::read(folder + "/config.json").at("weights").as_string(), name_of(dtype));
    const auto p = open_pretrained(folder);
    ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
    p->load(store);
    Forecaster back(bench.engine, *p->model, store);
    const std::span<const double> view(x);
    const auto got = back.forecast({&view, 1}, {.horizon = 11})[0], want = bench.one(x);
    if (dtype == DType::f32) {
      EXPECT_EQ(got, want);
    } else {
      EXPECT_NE(got, want);
      EXPECT_NEAR(got[4][0], want[4][0], 0.1 * range_of(x));
      EXPECT_LT(std::filesystem::file_size(folder + "/model.safetensors"),
                bench.plan.parameter_count() * 2 + 8192);
    }
    std::filesystem::remove_all(folder);
  }
}

TEST(Patches, Scales) {
  const SeriesScale constant = scale_of(std::vector<double>(17, 0.1));
  EXPECT_EQ(constant.location, 0.1);
  EXPECT_EQ(constant.deviation, 0.1 + 1e-5);
  const SeriesScale none = scale_of(std::vector<double>{NAN, HUGE_VAL});
  EXPECT_EQ(none.location, 0);
  EXPECT_EQ(none.deviation, 1);
  const SeriesScale huge = scale_of(std::vector<double>{1e308, -1e308});
  EXPECT_EQ(huge.location, 0);
  EXPECT_TRUE(std::isfinite(huge.deviation) && std::isfinite(huge.step));
  const SeriesScale tiny = scale_of(std::vector<double>{1e-300, 3e-300});
  EXPECT_NEAR(tiny.deviation / 1e-300, 1, 1e-12);
  EXPECT_NEAR(tiny.step / 2e-300, 1, 1e-12);
  const SeriesScale near = scale_of(std::vector<double>{1000.001, 999.999, 1000.001, 999.999});
  EXPECT_NEAR(near.deviation, 1e-3, 1e-9);
  EXPECT_NEAR(near.step, 2e-3, 1e-9);
}

// A token sees nothing behind it, whichever values come, and decode is the inverse of encode.
TEST(Patches, AnchoredTokensAreCausalAndInvertible) {
  const PatchSpec p = config_of({"mlstm"}, PatchEncoding::anchored).patches;
  std::vector<double> x = wave(24, 7, 100), changed = x;
  for (std::size_t i = 12; i < x.size(); ++i) changed[i] = x[i] * 1.5 - 3;
  std::vector<float> a(6 * static_cast<std::size_t>(p.features())), b = a;
  std::vector<SeriesScale> sa(6), sb(6);
  encode_patches(p, x, {}, a, sa);
  encode_patches(p, changed, {}, b, sb);
  const auto half = static_cast<std::ptrdiff_t>(a.size() / 2);
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + half, b.begin()));
  EXPECT_FALSE(std::equal(a.begin() + half, a.end(), b.begin() + half));
  EXPECT_EQ(sa[2].anchor, x[11]);
  // A hidden patch changes neither scale nor anchor, and is the token of missing values.
  const std::vector<std::uint8_t> hidden = {0, 0, 1, 0, 0, 0};
  encode_patches(p, x, hidden, b, sb);
  EXPECT_EQ(sb[2].anchor, x[7]);
  EXPECT_EQ(sb[2].step, sb[1].step);
  for (std::int64_t i = 0; i < p.features(); ++i)
    EXPECT_EQ(b[static_cast<std::size_t>(2 * p.features() + i)], 0);
  for (const PatchEncoding encoding : {PatchEncoding::anchored, PatchEncoding::standard}) {
    PatchSpec spec = p;
    spec.encoding = encoding;
    for (const double y : {-1e9, -3.0, 0.0, 99.5, 1e12})
      EXPECT_NEAR(decode_value(spec, sa[5], encode_value(spec, sa[5], y)), y,
                  1e-9 * (1 + std::abs(y)));
  }
}

}  // namespace
}  // namespace subquad
