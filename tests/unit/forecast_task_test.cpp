// The task forecast: what its batches are, what its scores mean, and that training works.
#include "subquad/task/forecast/forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/data/series/baseline.h"
#include "subquad/model/sizing.h"
#include "subquad/task/forecast/windows.h"
#include "subquad/train/evaluator.h"
#include "subquad/train/trainer.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

const char* kSmall = R"({"patch": 8, "train_length": 6})";

// Sines of periods 4 to 12 around a level.
ForecastSources sines(std::uint64_t seed) {
  const auto source = [](std::uint64_t stream) {
    return [stream](std::int64_t index, std::span<float> to) {
      const Rng rng{stream, 1};
      const auto i = static_cast<std::uint64_t>(index);
      const double period = 4 + 8 * rng.uniform(i, 0), phase = 7 * rng.uniform(i, 1),
                   level = rng.normal(i, 2);
      for (std::size_t t = 0; t < to.size(); ++t)
        to[t] = static_cast<float>(level +
                                   std::sin(phase + 2 * M_PI * static_cast<double>(t) / period));
    };
  };
  return {source(seed), source(1000), Json::object()};
}

std::unique_ptr<Task> small_task(std::uint64_t seed, const std::string& data = "") {
  return make_forecast_of(
      {.seed = seed, .batch_size = 16, .data = data, .extra = Json::parse(kSmall, "test")},
      sines(seed));
}

// NaN equals NaN.
bool same(const Batch& a, const Batch& b) {
  return a.inputs.shape() == b.inputs.shape() &&
         std::memcmp(a.inputs.raw(), b.inputs.raw(), static_cast<std::size_t>(a.inputs.bytes())) ==
             0 &&
         std::memcmp(a.targets.raw(), b.targets.raw(),
                     static_cast<std::size_t>(a.targets.bytes())) == 0;
}

TEST(ForecastTask, BatchesAreAFunctionOfSeedAndStep) {
  const auto a = small_task(3), b = small_task(3), other = small_task(4);
  const Batch fifth = a->train_batch(5);
  a->train_batch(6);
  EXPECT_TRUE(same(fifth, b->train_batch(5)));
  EXPECT_TRUE(same(fifth, a->train_batch(5)));
  EXPECT_FALSE(same(fifth, a->train_batch(6)));
  EXPECT_FALSE(same(fifth, other->train_batch(5)));
  EXPECT_TRUE(
      same(a->eval_batch(Split::validation, 6, 0), other->eval_batch(Split::validation, 6, 0)));
  EXPECT_FALSE(same(a->eval_batch(Split::validation, 6, 0), a->eval_batch(Split::test, 6, 0)));
  EXPECT_EQ(a->provenance(), other->provenance());
}

TEST(ForecastTask, PatchesAreHiddenAndStayTargets) {
  const auto task = small_task(3);
  const TaskSpec spec = task->spec();
  const std::int64_t P = spec.patches.length, F = spec.vocabulary, T = spec.train_length;
  std::int64_t hidden = 0, all = 0;
  for (std::int64_t step = 0; step < 8; ++step) {
    const Batch b = task->train_batch(step);
    for (std::int64_t r = 0; r < b.inputs.shape()[0]; ++r) {
      for (std::int64_t t = 0; t < T; ++t) {
        const float* token = b.inputs.data<float>() + (r * T + t) * F;
        const float* target = b.targets.data<float>() + (r * T + t) * P;
        double shown = 0;
        for (std::int64_t i = 0; i < P; ++i) {
          shown += token[2 * P + i];
          EXPECT_FALSE(std::isnan(target[i]));  // these series miss nothing
        }
        hidden += shown == 0 ? 1 : 0;
        if (t == 0) EXPECT_GT(shown, 0);
        ++all;
      }
    }
  }
  EXPECT_GT(hidden, all / 20);
  EXPECT_LT(hidden, all / 3);
}

TEST(ForecastTask, WrongOptions) {
  EXPECT_THROW(make_task("forecast", {.extra = Json::parse(R"({"pach": 8})", "t")}), Error);
  EXPECT_THROW(make_task("forecast", {.extra = Json::parse(R"({"patch": 256})", "t")}), Error);
  EXPECT_THROW(make_task("forecast", {.data = "/nonexistent", .extra = {}}), Error);
}

// Two sets, one annual: 3 series of period 4 with noise, and a short one.
std::string write_sets() {
  const std::string folder = temporary_path("sets");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::string quarters = "unique_id,ds,y\n", years = quarters;
  const Rng rng{1, 9};
  for (std::uint64_t s = 0; s < 3; ++s) {
    for (int t = 0; t < 80; ++t) {
      const double y =
          10 + 3 * std::cos(t * M_PI / 2) + rng.normal(s, static_cast<std::uint64_t>(t));
      quarters += "q" + std::to_string(s) + "," + std::to_string(1990 + t / 4) + "-" +
                  (t % 4 == 3 ? "10" : "0" + std::to_string(1 + t % 4 * 3)) + "-01," +
                  (t == 30 ? "" : std::to_string(y)) + "\n";
    }
  }
  for (int t = 0; t < 30; ++t)
    years += "y," + std::to_string(1980 + t) + "-01-01," + std::to_string(t * t % 17) + "\n";
  write_file_atomically(folder + "/q.csv", quarters);
  write_file_atomically(folder + "/y.csv", years);
  write_file_atomically(folder + "/datasets.json", R"([
    {"dataset": "q", "file": "q.csv", "freq": "QS", "season": 4, "horizon": 10, "windows": 2},
    {"dataset": "y", "file": "y.csv", "freq": "YS", "season": 1, "horizon": 6, "windows": 1}])");
  return folder;
}

double metric(const std::vector<Metric>& all, const std::string& name) {
  for (const Metric& m : all) {
    if (m.name == name) return m.value;
  }
  ADD_FAILURE() << "no metric " << name;
  return NAN;
}

// Outputs of the truth score 0, and those of the last value 1 against Naive where the season is 1.
TEST(ForecastTask, ScoresOfRealWindows) {
  const std::string folder = write_sets();
  const auto task = small_task(3, folder);
  const TaskSpec spec = task->spec();
  EXPECT_EQ(spec.primary, "wql_ratio");
  const std::int64_t P = spec.patches.length, Q = spec.classes / P;
  std::vector<Scored> truth, last;
  std::int64_t windows = 0, labels = 0;
  for (std::int64_t i = 0; i < task->eval_batches(Split::test, spec.train_length); ++i) {
    const Batch b = task->eval_batch(Split::test, spec.train_length, i);
    const std::int64_t B = b.inputs.shape()[0], T = b.inputs.shape()[1];
    windows += B;
    Tensor q = Tensor::zeros({B, T, Q * P}, DType::f32);
    last.push_back({b, {}, {}, q.clone()});
    for (std::int64_t j = 0; j < B * T * P; ++j) {
      const float y = b.targets.data<float>()[j];
      if (std::isnan(y)) continue;
      ++labels;
      for (std::int64_t l = 0; l < Q; ++l) q.data<float>()[(j / P * Q + l) * P + j % P] = y;
    }
    truth.push_back({b, {}, {}, q});
  }
  EXPECT_EQ(windows, 3 * 2 + 1 + 24);
  EXPECT_EQ(labels, 60 + 6 + 24 * 30);
  const auto perfect = task->score(spec.train_length, truth),
             naive = task->score(spec.train_length, last);
  EXPECT_LT(metric(perfect, "wql_ratio"), 1e-5);
  EXPECT_LT(metric(perfect, "mase_ratio_all"), 1e-5);
  EXPECT_NEAR(metric(naive, "mase_ratio.y"), 1, 1e-6);
  EXPECT_NEAR(metric(naive, "mase_ratio_annual"), 1, 1e-6);
  EXPECT_GT(metric(naive, "mase_ratio.q"), 1.2);       // the season is lost
  EXPECT_GT(metric(naive, "control_wql_ratio"), 1.1);  // a point has no spread
  std::filesystem::remove_all(folder);
}

// As many batches of the same shape are no windows: what was observed says which is which.
TEST(ForecastTask, ValidationIsNeverScoredAsWindows) {
  const std::string folder = temporary_path("many_sets");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::string text = "unique_id,ds,y\n";
  for (int s = 0; s < 130; ++s) {
    for (int t = 0; t < 80; ++t)
      text += "s" + std::to_string(s) + "," + std::to_string(t) + "," +
              std::to_string((s + t * t) % 13) + "\n";
  }
  write_file_atomically(folder + "/m.csv", text);
  write_file_atomically(folder + "/datasets.json", R"([
    {"dataset": "m", "file": "m.csv", "freq": "1", "season": 1, "horizon": 8, "windows": 1}])");
  const auto task = small_task(3, folder);
  const TaskSpec spec = task->spec();
  const std::int64_t T = spec.train_length;
  ASSERT_EQ(task->eval_batches(Split::validation, T), task->eval_batches(Split::test, T));
  ASSERT_EQ(task->eval_batch(Split::validation, T, 0).inputs.shape(),
            task->eval_batch(Split::test, T, 0).inputs.shape());
  const auto scored = [&](Split split) {
    std::vector<Scored> all;
    for (std::int64_t i = 0; i < task->eval_batches(split, T); ++i) {
      const Batch b = task->eval_batch(split, T, i);
      all.push_back(
          {b,
           {},
           {},
           Tensor::zeros({b.inputs.shape()[0], b.inputs.shape()[1], spec.classes}, DType::f32)});
    }
    return task->score(T, all);
  };
  EXPECT_EQ(scored(Split::validation)[0].name, "pinball");
  EXPECT_EQ(scored(Split::test)[0].name, "wql_ratio");
  std::filesystem::remove_all(folder);
}

// Classical methods meet the windows that arms meet: a method without spread scores what its values
// score as outputs of a model.
TEST(ForecastTask, ReferencesAreScoredOnTheSameWindows) {
  const std::string folder = write_sets();
  const auto task = small_task(3, folder);
  ThreadPool one(1), two(2);
  EXPECT_TRUE(small_task(3)->references().empty()) << "nothing real to forecast";
  for (const std::string& name : task->references()) {
    const Reference a = task->reference(name, two);
    EXPECT_EQ(a.answers, 3 * 2 + 1 + 24) << name;
    if (name != "theta" && name != "naive") continue;
    const Reference b = task->reference(name, one);
    ASSERT_EQ(a.metrics.size(), b.metrics.size());
    for (std::size_t i = 0; i < a.metrics.size(); ++i)
      EXPECT_EQ(a.metrics[i].value, b.metrics[i].value) << name << " " << a.metrics[i].name;
  }
  const Reference seasonal = task->reference("seasonal_naive", one),
                  naive = task->reference("naive", one);
  EXPECT_EQ(seasonal.name, "SeasonalNaive");
  for (const Metric& m : seasonal.metrics) {
    if (m.name != "coverage80") EXPECT_EQ(m.value, 1) << m.name;
  }
  EXPECT_EQ(metric(naive.metrics, "control_wql_ratio"), 1);
  EXPECT_GT(metric(naive.metrics, "mase_ratio.q"), 1.2) << "the season is lost";
  // Outputs of 0 are the last value, Naive's median.
  const TaskSpec spec = task->spec();
  std::vector<Scored> last;
  for (std::int64_t i = 0; i < task->eval_batches(Split::test, spec.train_length); ++i) {
    const Batch b = task->eval_batch(Split::test, spec.train_length, i);
    last.push_back(
        {b,
         {},
         {},
         Tensor::zeros({b.inputs.shape()[0], b.inputs.shape()[1], spec.classes}, DType::f32)});
  }
  const auto scored = task->score(spec.train_length, last);
  for (const char* name : {"mase_ratio", "mase_ratio_all", "mase_ratio.q", "mase_ratio.y"})
    EXPECT_NEAR(metric(naive.metrics, name), metric(scored, name), 1e-6) << name;
  std::filesystem::remove_all(folder);
}

// What a model that outputs the truth answers to a sample is what the sample says came.
TEST(ForecastTask, SamplesAndAnswersBelongTogether) {
  const std::string folder = write_sets();
  const auto task = small_task(3, folder), other = small_task(4, folder);
  const TaskSpec spec = task->spec();
  const std::int64_t P = spec.patches.length, Q = spec.classes / P;
  const Json samples = task->samples();
  EXPECT_EQ(samples, other->samples()) << "the same for every seed";
  std::size_t synthetic = 0, answered = 0;
  for (const Split split : {Split::test, Split::validation}) {
    std::vector<Scored> truth;
    for (std::int64_t i = 0; i < task->eval_batches(split, spec.train_length); ++i) {
      const Batch b = task->eval_batch(split, spec.train_length, i);
      const std::int64_t positions = b.inputs.shape()[0] * b.inputs.shape()[1];
      Tensor q = Tensor::zeros({b.inputs.shape()[0], b.inputs.shape()[1], Q * P}, DType::f32);
      for (std::int64_t j = 0; j < positions * P; ++j) {
        for (std::int64_t l = 0; l < Q; ++l)
          q.data<float>()[(j / P * Q + l) * P + j % P] = b.targets.data<float>()[j];
      }
      truth.push_back({b, {}, {}, q});
    }
    const Json answers = task->answers(split, truth);
    for (const Json& s : samples.as_array()) {
      const Json* answer = answers.find(s.at("name").as_string());
      if (!answer) continue;
      ++answered;
      ASSERT_EQ(answer->size(), static_cast<std::size_t>(Q));
      const Json& actual = s.at("actual");
      EXPECT_EQ(s.at("stamps").size(), s.at("history").size() + actual.size());
      ASSERT_EQ((*answer)[0].size(), actual.size());
      for (std::size_t h = 0; h < actual.size(); ++h) {
        if (actual[h].is_null()) continue;
        const double y = actual[h].as_double();
        EXPECT_NEAR((*answer)[4][h].as_double(), y, 1e-4 * std::max(1.0, std::abs(y)))
            << s.at("name").as_string() << " step " << h;
      }
    }
  }
  for (const Json& s : samples.as_array()) synthetic += s.get("synthetic", false) ? 1 : 0;
  EXPECT_EQ(samples.size(), 2u + 1 + 3) << "two frequencies, a walk, three held-out series";
  EXPECT_EQ(synthetic, 4u);
  EXPECT_EQ(answered, samples.size());
  EXPECT_EQ(samples[0].at("name").as_string(), "q: q0");
  EXPECT_EQ(samples[0].at("stamps")[samples[0].at("stamps").size() - 1].as_string(), "2009-10-01");
  std::filesystem::remove_all(folder);
}

// Learns sines it has not seen far below the last value, through Trainer and Evaluator, in both
// modes of execution.
TEST(ForecastTask, TrainsAndEvaluates) {
  const auto task = small_task(3);
  const TaskSpec spec = task->spec();
  const ModelConfig config = size_arms({"xlstm[1:1]"}, {.vocabulary = spec.vocabulary,
                                                        .classes = spec.classes,
                                                        .d_model = 32,
                                                        .train_length = spec.train_length,
                                                        .mixer_options = {},
                                                        .patches = spec.patches})[0]
                                 .config;
  ParameterPlan plan;
  const Model model(config, plan);
  ParameterStore store(plan, DType::f32, 1);
  Engine engine(2);
  const EvaluationSetup setup{.split = Split::validation};
  std::vector<Scored> naive;  // outputs of 0: the last value
  for (std::int64_t i = 0; i < task->eval_batches(Split::validation, spec.train_length); ++i) {
    const Batch b = task->eval_batch(Split::validation, spec.train_length, i);
    naive.push_back(
        {b,
         {},
         {},
         Tensor::zeros({b.inputs.shape()[0], b.inputs.shape()[1], spec.classes}, DType::f32)});
  }
  const double last_value = task->score(spec.train_length, naive)[0].value;
  const std::string folder = temporary_path("forecast-run");
  std::filesystem::create_directories(folder);
  TrainConfig c;
  c.tokens = 250 * 16 * spec.train_length;
  c.warmup_steps = 10;
  c.learning_rate = 4e-3;
  Trainer(engine, model, store, *task, c, folder).run(nullptr);
  const LengthResult after = evaluate(engine, model, store, *task, setup)[0];
  EXPECT_LT(after.metrics[0].value, 0.5 * last_value);
  EXPECT_GT(after.agreement, 0.999);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace subquad
