#include "subquad/task/forecast/forecast.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <optional>

#include "subquad/base/digest.h"
#include "subquad/base/rng.h"
#include "subquad/data/series/synthetic.h"
#include "subquad/data/series/synthetic/gaussian_cache.h"
#include "subquad/task/forecast/samples.h"
#include "subquad/task/forecast/windows.h"
#include "subquad/task/options.h"

namespace subquad {
namespace {

constexpr std::int64_t kEvalRows = 256, kEvalBatch = 64;
constexpr std::int64_t kLongestBlock = 3;  // hidden patches in a row

// What the options of the task say.
struct Setup {
  PatchSpec patches;
  std::int64_t train_length = 32;  // tokens of a training row
  std::int64_t hidden_percent = 40;
  std::string cache;
  bool seasonal = false;
  Json recipe;
  std::vector<TaskOption> list;

  explicit Setup(const TaskOptions& options) {
    TaskOptionReader r("forecast", options.extra);
    patches.length = r.integer("patch", 16, 4, 256, "points of a patch");
    train_length = r.integer("train_length", 32, 4, 256, "patches of a training row");
    patches.encoding = r.choice("encoding", "anchored", {"anchored", "standard"},
                                "units of inputs and outputs: docs/forecasting.md") == "anchored"
                           ? PatchEncoding::anchored
                           : PatchEncoding::standard;
    hidden_percent = r.integer("hidden_percent", 40, 0, 90,
                               "largest share of patches that a row hides in blocks");
    cache = r.text("cache", "", "file of Gaussian-process paths, made by subquad series cache");
    seasonal = r.choice("mixture", "even", {"even", "seasonal"},
                        "weights of the families of series") == "seasonal";
    recipe = r.table("recipe", "families and augmentations in place of a mixture: docs/series.md");
    list = r.finish();
    patches.context = patches.length * train_length;
    patches.levels = nine_levels();
    patches.check();
  }
};

// Seasons weigh more than in the default recipe, and what hides them comes less often.
SeriesRecipe seasonal_recipe() {
  SeriesRecipe recipe = default_series_recipe();
  recipe.families = {{"kernel_synth", 2},
                     {"gaussian_process", 2},
                     {"seasonal_trend", 4},
                     {"calendar", 3},
                     {"ets", 2},
                     {"waves", 2},
                     {"arima", 1},
                     {"regimes", 1},
                     {"steps", 0.5},
                     {"spikes", 0.5},
                     {"intermittent", 0.7},
                     {"causal", 0.5},
                     {"dynamics", 0.7}};
  recipe.augmentations.amplitude_modulation = 0.15;
  recipe.augmentations.censor = 0.1;
  recipe.augmentations.sign_flip = 0.1;
  recipe.augmentations.missing = 0.1;
  return recipe;
}

// Without a cache there are no Gaussian processes, which would be all that a run computes.
SeriesRecipe recipe_of(const Setup& setup) {
  if (!setup.recipe.is_null()) return series_recipe_from(setup.recipe);
  SeriesRecipe recipe = setup.seasonal ? seasonal_recipe() : default_series_recipe();
  if (!setup.cache.empty()) return recipe;
  std::erase_if(recipe.families, [](const FamilyWeight& f) {
    const auto all = all_series_families();
    return std::any_of(all.begin(), all.end(),
                       [&](const SeriesFamily& s) { return s.gaussian && f.family == s.name; });
  });
  return recipe;
}

class ForecastTask final : public Task {
 public:
  ForecastTask(const TaskOptions& options, ForecastSources sources)
      : options_(options), setup_(options), sources_(std::move(sources)) {
    if (!options.data.empty()) windows_.emplace(options.data, setup_.patches);
  }

  TaskSpec spec() const override {
    const std::string name = windows_ ? "wql_ratio" : "pinball";
    return {
        .name = "forecast",
        .vocabulary = setup_.patches.features(),
        .classes = setup_.patches.outputs(),
        .train_length = setup_.train_length,
        .batch_size = 64,
        .lengths = {setup_.train_length},
        .chance = windows_ ? 1.0 : 0.0,  // Seasonal Naive
        .primary = name,
        .primary_length = setup_.train_length,
        .default_tokens = 3'000'000,
        .learning_rate = 2e-3,
        .patches = setup_.patches,
        .guide = {.input = "patches of a synthetic series with a mask of what is observed; "
                           "blocks of patches are hidden",
                  .scored = "every patch: nine quantiles of the next one, pinball loss in the "
                            "token's units. With --data: the windows of its datasets.json, "
                            "zero-shot, beside Seasonal Naive",
                  .source = "contiguous patch masking and the quantile head of Auer et al. 2025 "
                            "(arXiv 2505.23719)",
                  .separation = "training series are synthetic; validation draws from families "
                                "that training never sees, tests are real series",
                  .options = setup_.list}};
  }

  Batch train_batch(std::int64_t step) const override {
    const std::int64_t rows = options_.batch_size > 0 ? options_.batch_size : spec().batch_size;
    return batch_of(sources_.train, step * rows, rows,
                    {options_.seed, stream_id("forecast/train")});
  }

  std::int64_t eval_batches(Split split, std::int64_t length) const override {
    require(length == setup_.train_length, ErrorCode::invalid_argument, "task forecast at length ",
            length, ": wanted train_length, ", setup_.train_length,
            "; the horizons of its test windows are their own");
    return split == Split::test && windows_ ? windows_->batches() : kEvalRows / kEvalBatch;
  }

  Batch eval_batch(Split split, std::int64_t length, std::int64_t index) const override {
    require(index >= 0 && index < eval_batches(split, length), ErrorCode::invalid_argument,
            "task forecast has no evaluation batch ", index);
    if (split == Split::test && windows_) return windows_->batch(index);
    const std::int64_t first = (split == Split::test ? kEvalRows : 0) + index * kEvalBatch;
    return batch_of(sources_.validation, first, kEvalBatch, validation_rng());
  }

  std::vector<Metric> score(std::int64_t, std::span<const Scored> batches) const override {
    if (windows_ && are_windows(batches)) return windows_->score(batches);
    double sum = 0, count = 0;
    const std::int64_t P = setup_.patches.length,
                       Q = static_cast<std::int64_t>(setup_.patches.levels.size());
    for (const Scored& s : batches) {
      const auto y = s.batch.targets.host<float>(), q = s.quantiles.host<float>();
      for (std::size_t i = 0; i < y.size(); ++i) {
        if (std::isnan(y[i])) continue;
        const std::size_t row = i / static_cast<std::size_t>(P);
        for (std::int64_t l = 0; l < Q; ++l) {
          const double e = y[i] -
                           q[row * static_cast<std::size_t>(P * Q) +
                             static_cast<std::size_t>(l * P) + i % static_cast<std::size_t>(P)],
                       level = setup_.patches.levels[static_cast<std::size_t>(l)];
          sum += e >= 0 ? level * e : (level - 1) * e;
        }
        ++count;
      }
    }
    return {{"pinball", sum / std::max(count * static_cast<double>(Q), 1.0), "", false}};
  }

  // By their targets: split and shape do not tell them from rows of synthetic series.
  bool are_windows(std::span<const Scored> batches) const {
    if (std::ssize(batches) != windows_->batches()) return false;
    const Tensor targets = windows_->batch(0).targets, &given = batches[0].batch.targets;
    return given.shape() == targets.shape() &&
           std::memcmp(given.raw(), targets.raw(), static_cast<std::size_t>(targets.bytes())) == 0;
  }

  std::vector<std::string> references() const override {
    if (!windows_) return {};
    return {"naive", "seasonal_naive", "drift",    "holt_winters",
            "theta", "dynamic_theta",  "auto_ets", "auto_arima"};
  }
  Reference reference(const std::string& name, ThreadPool& threads) const override {
    return windows_->reference(name, threads);
  }

  // Windows of real series, and series of families that training never draws.
  Json samples() const override {
    Json out = windows_ ? windows_->samples() : Json::array();
    for (const SyntheticSample& s : synthetic_samples()) out.push_back(s.json);
    return out;
  }
  Json answers(Split split, std::span<const Scored> batches) const override {
    if (split == Split::test) return windows_ ? windows_->answers(batches) : Json();
    if (split != Split::validation || batches.empty()) return {};
    const PatchSpec& p = setup_.patches;
    const auto P = static_cast<std::size_t>(p.length), Q = p.levels.size();
    Json out = Json::object();
    for (const SyntheticSample& s : synthetic_samples()) {
      std::vector<std::vector<double>> quantiles(Q);
      std::vector<double> step(Q);
      for (std::size_t t = s.first; t < s.scales.size(); ++t) {
        const float* from =
            batches[0].quantiles.data<float>() + (s.row * s.scales.size() + t) * P * Q;
        for (std::size_t i = 0; i < P; ++i) {
          for (std::size_t l = 0; l < Q; ++l)
            step[l] = decode_value(p, s.scales[t], double{from[l * P + i]});
          std::sort(step.begin(), step.end());
          for (std::size_t l = 0; l < Q; ++l) quantiles[l].push_back(step[l]);
        }
      }
      out[s.json.at("name").as_string()] = answer_json(quantiles);
    }
    return out;
  }

  Json provenance() const override {
    Json j = sources_.provenance.is_null() ? Json::object() : sources_.provenance;
    const Batch b = eval_batch(Split::validation, setup_.train_length, 0);
    j["validation"] = "sha256:" + sha256(std::as_bytes(std::span(b.inputs.host<float>())));
    if (windows_) j["test"] = windows_->digest();
    return j;
  }

  std::string describe_sample(std::int64_t index) const override {
    const std::int64_t shown = setup_.patches.length;
    std::vector<float> values(static_cast<std::size_t>((setup_.train_length + 1) * shown));
    sources_.train(index, values);
    std::string out = "  the first patch of the series:";
    for (std::int64_t i = 0; i < shown; ++i) {
      const float v = values[static_cast<std::size_t>(i)];
      out += std::isnan(v) ? std::string(" -") : " " + Json(double{v}).dump();
    }
    return out + "\n";
  }

 private:
  static Rng validation_rng() { return {0, stream_id("forecast/validation")}; }

  // The end of a row of the first validation batch: its last tokens are hidden, so that several
  // patches are forecast at once.
  struct SyntheticSample {
    std::size_t row, first;  // first: the token whose output is the first forecast patch
    std::vector<SeriesScale> scales;
    Json json;
  };
  // The first rows whose last two tokens are hidden, then those with one or none, if everything
  // forecast is observed.
  std::vector<SyntheticSample> synthetic_samples() const {
    constexpr std::size_t kMost = 3, kHidden = 2;
    const PatchSpec& p = setup_.patches;
    const auto P = static_cast<std::size_t>(p.length),
               T = static_cast<std::size_t>(setup_.train_length);
    std::vector<float> tokens(T * static_cast<std::size_t>(p.features()));
    std::vector<SyntheticSample> by_hidden[kHidden + 1];
    for (std::size_t r = 0; r < std::size_t{kEvalBatch}; ++r) {
      Row row = row_of(sources_.validation, static_cast<std::int64_t>(r), validation_rng(), tokens);
      std::size_t hidden = 0;
      while (hidden < kHidden && row.mask[T - 1 - hidden] != 0) ++hidden;
      const std::size_t first = T - 1 - hidden, cut = (first + 1) * P;
      const auto finite = [](double x) { return std::isfinite(x); };
      const auto end = row.values.begin() + static_cast<std::ptrdiff_t>(cut);
      if (row.mask[first] != 0 || !std::all_of(end, row.values.end(), finite) ||
          std::none_of(row.values.begin(), end, finite))
        continue;
      for (std::size_t t = 0; t < first; ++t) {
        if (row.mask[t] != 0)
          std::fill_n(row.values.begin() + static_cast<std::ptrdiff_t>(t * P), P, NAN);
      }
      Json json = sample_json(
          "held-out series " + std::to_string(r), std::span(row.values).first(cut),
          std::span(row.values).subspan(cut), [](std::size_t i) { return std::to_string(i); },
          p.levels);
      json["synthetic"] = true;
      by_hidden[hidden].push_back({r, first, std::move(row.scales), std::move(json)});
    }
    std::vector<SyntheticSample> out;
    for (std::size_t hidden = kHidden + 1; hidden-- > 0;) {
      for (SyntheticSample& s : by_hidden[hidden]) {
        if (out.size() < kMost) out.push_back(std::move(s));
      }
    }
    return out;
  }

  // Which patches of a row are hidden: blocks of 1 to kLongestBlock, the first patch never.
  std::vector<std::uint8_t> hidden(const Rng& rng, std::uint64_t row) const {
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(setup_.train_length));
    std::uint64_t n = 1;  // 0 is the offset's
    const std::int64_t block = 1 + rng.below(kLongestBlock, row, n++);
    const double share = rng.uniform(row, n++) * static_cast<double>(setup_.hidden_percent) / 100;
    const std::int64_t phase = rng.below(block, row, n++);
    for (std::size_t t = 1; t < mask.size(); ++t) {
      const auto number = (static_cast<std::uint64_t>(t) + static_cast<std::uint64_t>(phase)) /
                          static_cast<std::uint64_t>(block);
      mask[t] = rng.uniform(row, n + number) < share ? 1 : 0;
    }
    return mask;
  }

  // A series as a row of a batch reads it.
  struct Row {
    std::vector<double> values;  // (T + 1) patches
    std::vector<std::uint8_t> mask;
    std::vector<SeriesScale> scales;  // of every token
  };
  Row row_of(const SeriesSource& source, std::int64_t index, const Rng& rng,
             std::span<float> tokens) const {
    const PatchSpec& p = setup_.patches;
    const auto T = static_cast<std::size_t>(setup_.train_length);
    std::vector<float> drawn((T + 1) * static_cast<std::size_t>(p.length));
    source(index, drawn);
    const auto row = static_cast<std::uint64_t>(index);
    Row out{{drawn.begin(), drawn.end()}, hidden(rng, row), std::vector<SeriesScale>(T)};
    // Contexts end with a patch, so their first one is seldom whole.
    const auto offset = static_cast<std::size_t>(rng.below(p.length, row, 0));
    std::fill_n(out.values.begin(), offset, NAN);
    encode_patches(p, std::span(out.values).first(T * static_cast<std::size_t>(p.length)), out.mask,
                   tokens, out.scales);
    return out;
  }

  void fill_row(const SeriesSource& source, std::int64_t index, const Rng& rng, float* tokens,
                float* targets) const {
    const PatchSpec& p = setup_.patches;
    const auto P = static_cast<std::size_t>(p.length), F = static_cast<std::size_t>(p.features()),
               T = static_cast<std::size_t>(setup_.train_length);
    const Row row = row_of(source, index, rng, {tokens, T * F});
    bool seen = false;
    for (std::size_t t = 0; t < T; ++t) {
      for (std::size_t i = 0; i < P && row.mask[t] == 0; ++i)
        seen = seen || std::isfinite(row.values[t * P + i]);
      for (std::size_t i = 0; i < P; ++i) {
        const double y = row.values[(t + 1) * P + i];
        targets[t * P + i] =
            seen && std::isfinite(y) ? static_cast<float>(encode_value(p, row.scales[t], y)) : NAN;
      }
    }
  }

  Batch batch_of(const SeriesSource& source, std::int64_t first, std::int64_t rows,
                 const Rng& rng) const {
    const PatchSpec& p = setup_.patches;
    const std::int64_t T = setup_.train_length;
    Batch b{Tensor({rows, T, p.features()}, DType::f32), Tensor({rows, T, p.length}, DType::f32)};
    const auto fill = [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t r = from; r < to; ++r)
        fill_row(source, first + r, rng, b.inputs.data<float>() + r * T * p.features(),
                 b.targets.data<float>() + r * T * p.length);
    };
    // Rows are pure functions of their numbers, so who fills them does not matter.
    auto half = std::async(std::launch::async, fill, 0, rows / 2);
    fill(rows / 2, rows);
    half.get();
    return b;
  }

  TaskOptions options_;
  Setup setup_;
  ForecastSources sources_;
  std::optional<ForecastWindows> windows_;
};

}  // namespace

std::unique_ptr<Task> make_forecast_of(const TaskOptions& options, ForecastSources sources) {
  return std::make_unique<ForecastTask>(options, std::move(sources));
}

std::unique_ptr<Task> make_forecast(const std::string&, const TaskOptions& options) {
  const Setup setup(options);
  const auto cache =
      setup.cache.empty() ? nullptr : std::make_shared<const GaussianCache>(setup.cache);
  SeriesRecipe recipe = recipe_of(setup);
  // A recipe that says nothing of the paths takes those of the cache.
  if (cache && !setup.recipe.contains("gaussian")) recipe.gaussian = cache->spec();
  const std::int64_t length = (setup.train_length + 1) * setup.patches.length;
  require(length <= recipe.gaussian.length, ErrorCode::invalid_argument, "task forecast: rows of ",
          length, " points ((train_length + 1) patches), series have at most ",
          recipe.gaussian.length, cache ? " in " + setup.cache : std::string(),
          "; wanted a smaller train_length or patch", cache ? ", or a cache of longer paths" : "");
  const auto series = std::make_shared<const SeriesSynthesizer>(recipe, options.seed, cache);
  // Validation is the same for every seed.
  const auto held_out = std::make_shared<const SeriesSynthesizer>(recipe, 0, cache);
  Json provenance = Json::object();
  provenance["train"] = "recipe " + digest_of(recipe);
  return make_forecast_of(
      options, {[series](std::int64_t i, std::span<float> to) { series->training(i, to); },
                [held_out](std::int64_t i, std::span<float> to) { held_out->validation(i, to); },
                provenance});
}

}  // namespace subquad
