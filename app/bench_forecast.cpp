// Forecasters as workloads. The 35.3M model is TiRex's: 12 sLSTM blocks of width 512, patches of 32,
// contexts that count as 2048 points (Auer et al. 2025, arXiv 2505.23719); weights are random.
#include <algorithm>
#include <cmath>

#include "app/bench_models.h"
#include "subquad/base/rng.h"
#include "subquad/model/engine.h"
#include "subquad/model/forecaster.h"
#include "subquad/model/sizing.h"
#include "subquad/train/gradients.h"
#include "subquad/train/optimizer.h"

namespace subquad {
namespace {

struct Call {
  const char* name;
  std::int64_t series, context, horizon, patches_per_pass;
};
constexpr Call kCalls[] = {{"b1c512h64n1", 1, 512, 64, 1},  {"b1c512h64", 1, 512, 64, 0},
                           {"b1c2048h32", 1, 2048, 32, 0},  {"b32c512h64n1", 32, 512, 64, 1},
                           {"b32c512h64", 32, 512, 64, 0},  {"b32c2048h64n1", 32, 2048, 64, 1},
                           {"b32c2048h32", 32, 2048, 32, 0}};
constexpr std::int64_t kTrainRows[] = {1, 8}, kTrainTokens = 64;
constexpr const char* kArms[] = {"attention",  "slstm",  "mlstm",
                                 "xlstm[3:1]", "mamba2", "gated_deltanet"};

ModelConfig reference_model() {
  ModelConfig c;
  c.patches = {.length = 32,
               .context = 2048,
               .padded = true,
               .encoding = PatchEncoding::standard,
               .levels = nine_levels()};
  c.vocabulary = c.patches.features();
  c.classes = c.patches.outputs();
  c.d_model = 512;
  c.heads = 4;
  c.mlp_hidden = 1408;
  c.patch_hidden = 2048;
  c.layers.assign(12, "slstm");
  c.mixer_options["slstm"] = Json::Object{{"gates", "headwise"},
                                          {"input_bias", true},
                                          {"norm_plus_one", true},
                                          {"output_projection", false}};
  return c;
}

// The models of the study `forecast`.
ModelConfig study_model(const std::string& arm, const TaskSpec& spec) {
  const std::vector<std::string> arms(std::begin(kArms), std::end(kArms));
  const auto sized = size_arms(arms, {.vocabulary = spec.vocabulary,
                                      .classes = spec.classes,
                                      .d_model = 48,
                                      .blocks = 4,
                                      .parameters = 150'000,
                                      .train_length = spec.train_length,
                                      .mixer_options = {},
                                      .patches = spec.patches});
  return std::find_if(sized.begin(), sized.end(), [&](const SizedArm& s) { return s.arm == arm; })
      ->config;
}

struct ForecastBench {
  ForecastBench(const ModelConfig& config, const EngineSetup& setup)
      : engine(setup.threads, setup.precision), model(config, plan), store(plan, DType::f32, 1) {}
  ParameterPlan plan;
  Engine engine;
  Model model;
  ParameterStore store;
};

Workload call_workload(const Call& call, const EngineSetup& setup) {
  struct CallBench : ForecastBench {
    explicit CallBench(const EngineSetup& setup)
        : ForecastBench(reference_model(), setup), forecaster(engine, model, store) {}
    Forecaster forecaster;
    std::vector<std::vector<double>> series;
  };
  const auto b = std::make_shared<CallBench>(setup);
  const Rng rng{3, 4};
  for (std::int64_t s = 0; s < call.series; ++s) {
    std::vector<double>& y = b->series.emplace_back();
    for (std::int64_t t = 0; t < call.context; ++t)
      y.push_back(std::sin(0.26 * static_cast<double>(t)) +
                  0.3 * rng.normal(static_cast<std::uint64_t>(s), static_cast<std::uint64_t>(t)));
  }
  const PatchSpec& p = b->model.config().patches;
  const std::int64_t known = call.context / p.length,
                     ahead = (call.horizon + p.length - 1) / p.length,
                     pass = call.patches_per_pass > 0 ? call.patches_per_pass : ahead;
  Workload w;
  w.engine = {b, &b->engine};
  w.variant = "forecast";
  for (std::int64_t done = 0; done < ahead; done += pass) {
    const std::int64_t most = p.context / p.length;
    const std::int64_t tokens = std::min(known + done, most) + std::min(pass, ahead - done) - 1;
    w.tokens += call.series * tokens;
    w.useful_flop += 2 * static_cast<double>(call.series) * b->model.cost(tokens).macs;
  }
  w.parameters = b->plan.parameter_count();
  w.run = [b, call] {
    const std::vector<std::span<const double>> series(b->series.begin(), b->series.end());
    b->forecaster.forecast(series,
                           {.horizon = call.horizon, .patches_per_pass = call.patches_per_pass});
  };
  return w;
}

Workload training_workload(const ModelConfig& config, Batch batch, const EngineSetup& setup) {
  struct TrainBench : ForecastBench {
    TrainBench(const ModelConfig& config, const EngineSetup& setup)
        : ForecastBench(config, setup),
          gradients(engine, model, store),
          optimizer(plan, DType::f32) {}
    Gradients gradients;
    AdamW optimizer;
    Batch batch;
  };
  const auto b = std::make_shared<TrainBench>(config, setup);
  b->batch = std::move(batch);
  Workload w;
  w.engine = {b, &b->engine};
  w.variant = "training step";
  w.tokens = b->batch.positions();
  w.parameters = b->plan.parameter_count();
  const std::int64_t rows = b->batch.inputs.shape()[0], length = b->batch.inputs.shape()[1];
  w.useful_flop = 6 * static_cast<double>(rows) * b->model.cost(length).macs;
  w.run = [b] {
    b->store.zero_grads();
    b->gradients.add(b->batch);
    const TrainConfig train{.learning_rate = 1e-4};
    b->optimizer.step(b->engine.kernels, b->engine.threads, b->store, train, train.learning_rate,
                      clip_factor(flat_norm(b->store.flat_grads()), train.clip));
  };
  return w;
}

Batch random_patches(const PatchSpec& p, std::int64_t rows) {
  Batch b{Tensor({rows, kTrainTokens, p.features()}, DType::f32),
          Tensor({rows, kTrainTokens, p.length}, DType::f32)};
  const Rng rng{3, 5};
  std::uint64_t stream = 0;
  for (const Tensor& t : {b.inputs, b.targets}) {
    std::uint64_t i = 0;
    for (float& v : t.host<float>()) v = static_cast<float>(rng.normal(stream, i++));
    ++stream;
  }
  return b;
}

}  // namespace

std::vector<std::string> forecast_bench_names() {
  std::vector<std::string> names;
  for (const Call& c : kCalls) names.push_back(std::string("forecast/35m/") + c.name);
  for (const std::int64_t rows : kTrainRows)
    names.push_back("forecast/train/35m/b" + std::to_string(rows));
  for (const char* arm : kArms) names.push_back(std::string("forecast/train/150k/") + arm);
  return names;
}

Workload forecast_workload(const std::string& name, const EngineSetup& setup) {
  const std::string last = name.substr(name.rfind('/') + 1);
  if (name.starts_with("forecast/train/150k/")) {
    const auto task = make_task("forecast", {});
    return training_workload(study_model(last, task->spec()), task->train_batch(0), setup);
  }
  if (name.starts_with("forecast/train/")) {
    const ModelConfig config = reference_model();
    return training_workload(config, random_patches(config.patches, std::stoll(last.substr(1))),
                             setup);
  }
  const auto call = std::find_if(std::begin(kCalls), std::end(kCalls),
                                 [&](const Call& c) { return last == c.name; });
  return call_workload(*call, setup);
}

}  // namespace subquad
