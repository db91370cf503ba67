#include "app/bench_models.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "subquad/base/rng.h"
#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "subquad/model/sizing.h"
#include "subquad/quant/pack.h"
#include "subquad/study/speed.h"
#include "subquad/task/code/code.h"
#include "subquad/train/gradients.h"
#include "subquad/train/optimizer.h"

namespace subquad {
namespace {

constexpr const char* kKinds[] = {"mlstm", "slstm", "mamba2", "gdn", "attention"};
constexpr std::int64_t kDecodeSteps = 16, kDecodePrompt = 128, kPrefillTokens = 512;
constexpr std::int64_t kBenchDepths[] = {64, 1024, 16384, 65536};

struct Size {
  const char* name;
  std::int64_t d, layers, heads, vocabulary, state, mlp;
};
constexpr Size kSizes[] = {{"d64", 64, 4, 4, 64, 64, 192},
                           {"d256", 256, 6, 4, 8192, 64, 704},
                           {"d512", 512, 8, 4, 8192, 128, 1408},
                           {"25m", 384, 10, 6, 16384, 128, 1024},
                           {"100m", 768, 12, 12, 16384, 128, 2048}};

struct TrainSize {
  const char *name, *size;
  std::int64_t B, T;
};
constexpr TrainSize kTrainSizes[] = {
    {"d64b64t128", "d64", 64, 128},     {"d64b256t128", "d64", 256, 128},
    {"d256b8t512", "d256", 8, 512},     {"d256b16t1024", "d256", 16, 1024},
    {"d256b1t16384", "d256", 1, 16384}, {"d512b4t1024", "d512", 4, 1024}};

const Size& size_named(const std::string& name) {
  return *std::find_if(std::begin(kSizes), std::end(kSizes),
                       [&](const Size& s) { return s.name == name; });
}

std::int64_t round_up_64(double x) { return static_cast<std::int64_t>(std::ceil(x / 64)) * 64; }

// The blocks as published: xLSTM 7B (half-width keys, SwiGLU 8/3), sLSTM (conv 4, headwise gates,
// GLU 4/3), Mamba-2 (twice the layers, no MLP), Gated DeltaNet and Llama (SwiGLU 8/3).
ModelConfig model_config(const std::string& kind, const Size& s, bool generation) {
  const auto d = static_cast<double>(s.d);
  ModelConfig c;
  c.vocabulary = c.classes = s.vocabulary;
  c.d_model = s.d;
  c.heads = s.heads;
  c.mlp_hidden = s.mlp;
  c.tied = generation && kind != "mlstm";
  c.layers.assign(static_cast<std::size_t>(s.layers), kind == "gdn" ? "gated_deltanet" : kind);
  Json o = Json::object();
  if (kind == "mlstm") {
    c.heads = 4;
    c.mlp_hidden = round_up_64(2.667 * d);
    o["mlstm"] = Json::Object{{"qk_factor", 0.5}, {"conv", 0}, {"gate_soft_cap", 15.0}};
  } else if (kind == "slstm") {
    c.mlp_hidden = round_up_64(1.3 * d);
    o["slstm"] = Json::Object{{"conv", 4}, {"gates", "headwise"}, {"output_projection", false}};
  } else if (kind == "mamba2") {
    c.layers.assign(static_cast<std::size_t>(2 * s.layers), kind);
    c.mlp_hidden = 0;
    o["mamba2"] = Json::Object{{"head_dim", s.d >= 128 ? 64 : 32}, {"state", s.state}};
  } else if (kind == "gdn" && generation) {
    c.layers.back() = "attention";  // the peers' models end with one
    o["attention"] = Json::Object{{"qk_norm", true}, {"output_gate", true}};
  }
  c.mixer_options = o;
  return c;
}

Json mixer_options(const std::string& kind, const BenchShape& s) {
  if (kind == "mlstm") return Json::Object{{"conv", 0}, {"gate_soft_cap", 15.0}};
  if (kind == "slstm") {
    return Json::Object{{"conv", 4}, {"gates", "headwise"}, {"output_projection", false}};
  }
  if (kind == "mamba2") return Json::Object{{"head_dim", s.D}, {"state", s.D}};
  return Json::object();
}

Tensor random_ids(std::int64_t B, std::int64_t T, std::int64_t vocabulary) {
  Tensor ids({B, T}, DType::i32);
  const Rng rng{3, 1};
  std::uint64_t i = 0;
  for (std::int32_t& id : ids.host<std::int32_t>()) {
    id = static_cast<std::int32_t>(rng.uniform(0, i++) * static_cast<double>(vocabulary));
  }
  return ids;
}

Tensor random_floats(const Shape& shape) {
  Tensor x(shape, DType::f32);
  const Rng rng{3, 2};
  std::uint64_t i = 0;
  for (float& v : x.host<float>()) v = static_cast<float>(rng.normal(0, i++));
  return x;
}

struct Bench {
  ParameterPlan plan;
  std::unique_ptr<ParameterStore> store;
  Engine engine;
  explicit Bench(const EngineSetup& setup) : engine(setup.threads, setup.precision) {}
};

Workload mixer_workload(const std::string& kind, bool backward, const BenchShape& s,
                        const EngineSetup& setup) {
  struct MixerBench : Bench {
    using Bench::Bench;
    std::unique_ptr<Mixer> mixer;
    Tensor x, dy;
  };
  const auto b = std::make_shared<MixerBench>(setup);
  const std::int64_t d = s.H * s.D;
  b->mixer = make_mixer(kind == "gdn" ? "gated_deltanet" : kind,
                        {.d_model = d, .heads = s.H, .options = mixer_options(kind, s)}, b->plan);
  b->store = std::make_unique<ParameterStore>(b->plan, DType::f32, 1);
  b->x = random_floats({s.B, s.T, d});
  b->dy = random_floats({s.B, s.T, d});
  Workload w;
  w.engine = {b, &b->engine};
  w.variant = "whole mixer";
  w.tokens = s.B * s.T;
  w.parameters = b->plan.parameter_count();
  w.useful_flop = 2 * static_cast<double>(s.B) * b->mixer->cost(s.T).macs * (backward ? 3 : 1);
  w.run = [b, backward] {
    if (!backward) {
      Context cx = b->engine.context(*b->store);
      b->mixer->forward(cx, {b->x}, {}, nullptr);
      return;
    }
    b->store->zero_grads();
    Tape tape;
    Context cx = b->engine.context(*b->store, &tape);
    const Var y = b->mixer->forward(cx, tape.leaf(b->x), {}, nullptr);
    tape.add_grad(cx, y, b->dy.clone(&b->engine.storage));
    tape.backward(cx);
  };
  return w;
}

// A model whose weights are stored as the setup says.
struct ModelBench : Bench {
  ModelBench(const ModelConfig& config, const EngineSetup& setup)
      : Bench(setup), model(config, plan) {
    store = std::make_unique<ParameterStore>(plan, DType::f32, 1);
    if (setup.weights != Packing::f32) *store = packed_store(*store, setup.weights, engine.threads);
  }
  Model model;
};

Workload step_workload(const ModelConfig& config, std::int64_t B, std::int64_t T,
                       const EngineSetup& setup) {
  struct TrainBench : ModelBench {
    TrainBench(const ModelConfig& config, const EngineSetup& setup)
        : ModelBench(config, setup),
          gradients(engine, model, *store),
          optimizer(plan, DType::f32) {}
    Gradients gradients;
    AdamW optimizer;
    Tensor ids, targets;
  };
  const auto b = std::make_shared<TrainBench>(config, setup);
  b->ids = random_ids(B, T, config.vocabulary);
  b->targets = b->ids.clone();
  Workload w;
  w.engine = {b, &b->engine};
  w.variant = "training step";
  w.tokens = B * T;
  w.parameters = b->plan.parameter_count();
  w.useful_flop = 6 * static_cast<double>(B) * b->model.cost(T).macs;
  w.run = [b] {
    b->store->zero_grads();
    b->gradients.add({b->ids, b->targets});
    const TrainConfig train{.learning_rate = 1e-4};
    b->optimizer.step(b->engine.kernels, b->engine.threads, *b->store, train, train.learning_rate,
                      clip_factor(flat_norm(b->store->flat_grads()), train.clip));
  };
  return w;
}

Workload train_workload(const std::string& kind, const TrainSize& t, const EngineSetup& setup) {
  return step_workload(model_config(kind, size_named(t.size), false), t.B, t.T, setup);
}

// The models and batches of the default study, as its tasks say.
constexpr const char* kStudyArms[] = {"attention",           "mlstm",  "slstm",
                                      "xlstm[1:1]",          "mamba2", "gated_deltanet",
                                      "gated_deltanet[-1,1]"};
constexpr const char* kStudyTasks[] = {"parity", "anbn", "mqar", "code"};

Workload study_workload(const std::string& arm, const std::string& task, const EngineSetup& setup) {
  const TaskSpec spec = task == "code" ? byte_task_spec(task) : make_task(task, {})->spec();
  std::vector<std::string> arms(std::begin(kStudyArms), std::end(kStudyArms));
  const auto sized = size_arms(arms, {.vocabulary = spec.vocabulary,
                                      .classes = spec.classes,
                                      .train_length = spec.train_length,
                                      .mixer_options = {}});
  const auto it = std::find(arms.begin(), arms.end(), arm);
  return step_workload(sized[static_cast<std::size_t>(it - arms.begin())].config, spec.batch_size,
                       spec.train_length, setup);
}

std::int32_t largest(const Tensor& logits, std::int64_t row, std::int64_t classes) {
  const float* x = logits.data<float>() + row * classes;
  return static_cast<std::int32_t>(std::max_element(x, x + classes) - x);
}

Workload prefill_workload(const std::string& kind, const std::string& size,
                          const EngineSetup& setup) {
  const ModelConfig config = model_config(kind, size_named(size), true);
  const auto b = std::make_shared<ModelBench>(config, setup);
  const Tensor ids = random_ids(1, kPrefillTokens, config.vocabulary);
  Workload w;
  w.engine = {b, &b->engine};
  w.variant = std::string("prefill ").append(name_of(setup.weights));
  w.tokens = kPrefillTokens;
  w.parameters = b->plan.parameter_count();
  w.useful_flop = 2 * (b->model.cost(kPrefillTokens).macs -
                       static_cast<double>((kPrefillTokens - 1) * config.classes * config.d_model));
  w.run = [b, ids, config] {
    Context cx = b->engine.context(*b->store);
    ModelState state = b->model.new_state(1, DType::f32);
    largest(b->model.last_logits(cx, ids, state).value, 0, config.classes);
  };
  return w;
}

// depth > 0: one sequence behind so many positions; 0: behind a prompt.
Workload decode_workload(const std::string& kind, const std::string& size, std::int64_t batch,
                         std::int64_t depth, const EngineSetup& setup) {
  struct DecodeBench : ModelBench {
    using ModelBench::ModelBench;
    ModelState state;
    Tensor next;
  };
  const ModelConfig config = model_config(kind, size_named(size), true);
  const auto b = std::make_shared<DecodeBench>(config, setup);
  b->next = Tensor::zeros({batch, 1}, DType::i32);
  b->state = b->model.new_state(batch, DType::f32);
  if (depth > 0) {
    b->state = state_at(b->model, depth);
  } else {
    Context cx = b->engine.context(*b->store);
    b->model.features(cx, random_ids(batch, kDecodePrompt, config.vocabulary), {}, &b->state);
  }
  Workload w;
  w.engine = {b, &b->engine};
  w.variant = std::string("decode ").append(name_of(setup.weights));
  w.tokens = kDecodeSteps * batch;
  w.parameters = b->plan.parameter_count();
  w.useful_flop = 2 * static_cast<double>(batch * kDecodeSteps) * b->model.cost(1).macs;
  // Every weight is read once a step (of the embedding only one row), and the state; what does not
  // grow with depth is written, too.
  const double embedding = static_cast<double>(b->store->bytes()) *
                           static_cast<double>(config.vocabulary * config.d_model) /
                           static_cast<double>(b->plan.parameter_count());
  w.useful_bytes =
      kDecodeSteps *
      (static_cast<double>(b->store->bytes()) - (config.tied ? 0 : embedding) +
       static_cast<double>(batch * (b->model.state_bytes(depth > 0 ? depth : kDecodePrompt) +
                                    b->model.state_bytes(1))));
  w.run = [b, batch, config, depth] {
    Context cx = b->engine.context(*b->store);
    // Every repetition starts at the same position: in a fork of the state, or, because a fork of a
    // deep cache is a copy, by going back in it.
    ModelState fork = depth > 0 ? ModelState{} : b->state;
    ModelState& state = depth > 0 ? b->state : fork;
    for (State& s : b->state) {
      if (depth > 0) s.set_positions(depth);
    }
    Tensor next = b->next;
    for (std::int64_t i = 0; i < kDecodeSteps; ++i) {
      const Var y = b->model.logits(cx, next, {}, &state);
      next = Tensor({batch, 1}, DType::i32);
      for (std::int64_t r = 0; r < batch; ++r) {
        next.data<std::int32_t>()[r] = largest(y.value, r, config.classes);
      }
    }
  };
  return w;
}

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  std::istringstream in(name);
  for (std::string part; std::getline(in, part, '/');) parts.push_back(part);
  return parts;
}

}  // namespace

std::vector<std::string> model_bench_names() {
  std::vector<std::string> names;
  for (const BenchShape& s : bench_shapes()) {
    for (const std::string kind : kKinds) {
      for (const char* direction : {"/fwd/", "/fwdbwd/"}) {
        names.push_back("mixer/" + kind + direction + s.name);
      }
    }
  }
  for (const TrainSize& t : kTrainSizes) {
    for (const std::string kind : kKinds) names.push_back("train/" + kind + "/" + t.name);
  }
  for (const std::string task : kStudyTasks) {
    for (const std::string arm : kStudyArms) names.push_back("study/" + arm + "/" + task);
  }
  for (const std::string size : {"d64", "25m", "100m"}) {  // d64: what a step costs besides reading
    for (const std::string kind : {"mlstm", "mamba2", "gdn", "attention"}) {
      names.push_back("prefill/" + kind + "/" + size + "/b1p512");
      names.push_back("decode/" + kind + "/" + size + "/b1");
      names.push_back("decode/" + kind + "/" + size + "/b8");
      for (const std::int64_t depth : kBenchDepths)
        names.push_back("decode/" + kind + "/" + size + "/b1d" + std::to_string(depth));
    }
  }
  for (std::string& name : forecast_bench_names()) names.push_back(std::move(name));
  return names;
}

Workload model_workload(const std::string& name, const EngineSetup& setup) {
  const std::vector<std::string> names = model_bench_names();
  require(std::find(names.begin(), names.end(), name) != names.end(), ErrorCode::invalid_argument,
          "no workload is named \"", name, "\"");
  const std::vector<std::string> p = parts_of(name);
  if (p[0] == "mixer") {
    const auto shape = std::find_if(bench_shapes().begin(), bench_shapes().end(),
                                    [&](const BenchShape& s) { return s.name == p[3]; });
    return mixer_workload(p[1], p[2] == "fwdbwd", *shape, setup);
  }
  if (p[0] == "train") {
    const auto size = std::find_if(std::begin(kTrainSizes), std::end(kTrainSizes),
                                   [&](const TrainSize& t) { return t.name == p[2]; });
    return train_workload(p[1], *size, setup);
  }
  if (p[0] == "forecast") return forecast_workload(name, setup);
  if (p[0] == "study") return study_workload(p[1], p[2], setup);
  if (p[0] == "prefill") return prefill_workload(p[1], p[2], setup);
  const std::int64_t depth = p[3].starts_with("b1d") ? std::stoll(p[3].substr(3)) : 0;
  return decode_workload(p[1], p[2], p[3] == "b8" ? 8 : 1, depth, setup);
}

}  // namespace subquad
