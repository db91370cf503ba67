#include "subquad/study/speed.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>

#include "subquad/base/interrupt.h"
#include "subquad/model/engine.h"
#include "subquad/study/crossover.h"
#include "subquad/study/statistics.h"
#include "subquad/train/gradients.h"
#include "subquad/train/optimizer.h"

namespace subquad {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

double cpu_seconds() {
  struct rusage u {};
  getrusage(RUSAGE_SELF, &u);
  return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// One arm on one task, ready to train and to decode.
struct Candidate {
  std::string arm;
  ParameterPlan parameters;
  Model model;
  ParameterStore store;
  std::optional<Gradients> gradients;  // of the engine of the first step
  AdamW optimizer;

  explicit Candidate(const ModelConfig& config, std::string name = {})
      : arm(std::move(name)),
        model(config, parameters),
        store(parameters, DType::f32, 0),
        optimizer(parameters, DType::f32) {}
  explicit Candidate(const SizedArm& s) : Candidate(s.config, s.arm) {}

  // Seconds of one training step, its batch included.
  double train(Engine& engine, const Task& task, const TrainConfig& config, int step,
               std::int64_t* tokens) {
    const auto batches = [&](int i) { return task.train_batch(900 + i); };  // past a curriculum
    return train(engine, batches, config, step, tokens);
  }
  double train(Engine& engine, const std::function<Batch(int)>& batches, const TrainConfig& config,
               int step, std::int64_t* tokens) {
    const auto start = Clock::now();
    const Batch batch = batches(step);
    store.zero_grads();
    if (!gradients) gradients.emplace(engine, model, store);  // every caller has one engine
    gradients->add(batch);
    optimizer.step(engine.kernels, engine.threads, store, config, 1e-4, 1);
    *tokens = batch.positions();
    return seconds_since(start);
  }
};

std::unique_ptr<Task> task_to_measure(const StudyTask& t) {
  return make_task(t.name, {.seed = 0,
                            .total_steps = 1000,
                            .batch_size = t.batch_size,
                            .data = t.data,
                            .extra = t.extra});
}

double decode_us(Engine& engine, Candidate& c, std::int64_t depth) {
  Context cx = engine.context(c.store);
  ModelState state = state_at(c.model, depth);
  const ModelConfig& config = c.model.config();
  const Tensor id = config.forecasts() ? Tensor::zeros({1, 1, config.vocabulary}, DType::f32)
                                       : Tensor::zeros({1, 1}, DType::i32);
  for (int i = 0; i < 3; ++i) c.model.logits(cx, id, {}, &state);
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || (times.size() < 200 && seconds_since(start) < 0.1)) {
    const auto one = Clock::now();
    c.model.logits(cx, id, {}, &state);
    times.push_back(seconds_since(one));
  }
  return 1e6 * median_of(times);
}

// Milliseconds of a fixed piece of work: a chain of dependent multiply-adds, then a walk through
// more memory than a core's own cache holds. Slower than before: something else runs.
double probe_ms() {
  static const std::vector<float> block(std::size_t{1} << 21, 0.5F);
  const auto start = Clock::now();
  double chain = 1, sum = 0;
  for (int i = 0; i < 3000000; ++i) chain = chain * 0.999999 + 1e-7;
  for (int pass = 0; pass < 4; ++pass) {
    for (std::size_t i = 0; i < block.size(); i += 16) sum += static_cast<double>(block[i]);
  }
  volatile double keep = chain + sum;
  static_cast<void>(keep);
  return 1e3 * seconds_since(start);
}

constexpr double kWantedShare = 0.95, kSlowestProbe = 1.15;

struct Round {
  double core_share = 0, probe = 0;         // share of one core that we got; ms
  std::vector<double> train;                // seconds per token, by arm
  std::vector<std::vector<double>> decode;  // us, by arm and depth
  bool disturbed(double best_probe) const {
    return core_share < kWantedShare || probe > kSlowestProbe * best_probe;
  }
};

// Arms take turns, so that a drift of the machine meets all of them.
Round measure_round(Engine& engine, std::vector<std::unique_ptr<Candidate>>& arms, const Task& task,
                    const TrainConfig& config) {
  constexpr int kSteps = 4;  // the first is not counted
  const auto stop_if_asked = [] {
    if (interrupted())
      fail(ErrorCode::interrupted, "interrupted while measuring; the same command continues");
  };
  Round r;
  const auto start = Clock::now();
  const double cpu = cpu_seconds();
  const double before = probe_ms();
  std::vector<std::vector<double>> steps(arms.size());
  for (int step = 0; step < kSteps; ++step) {
    for (std::size_t i = 0; i < arms.size(); ++i) {
      stop_if_asked();
      std::int64_t tokens = 1;
      const double seconds = arms[i]->train(engine, task, config, step, &tokens);
      if (step > 0) steps[i].push_back(seconds / static_cast<double>(tokens));
    }
  }
  for (const auto& s : steps) r.train.push_back(median_of(s));
  r.decode.resize(arms.size());
  for (const std::int64_t depth : kDepths) {
    for (std::size_t i = 0; i < arms.size(); ++i) {
      stop_if_asked();
      r.decode[i].push_back(decode_us(engine, *arms[i], depth));
    }
  }
  r.probe = std::max(before, probe_ms());
  r.core_share = (cpu_seconds() - cpu) / seconds_since(start);
  return r;
}

// A real text where there is one: its batches are what a user would train on.
const StudyTask& typical_task(const StudyPlan& plan) {
  for (const StudyTask& t : plan.tasks) {
    if (is_byte_task(t.name)) return t;
  }
  return plan.tasks.front();
}

}  // namespace

ModelState state_at(const Model& model, std::int64_t depth) {
  ModelState state = model.new_state(1, DType::f32);
  for (std::size_t i = 0; i < state.size(); ++i) {
    for (const StateField& f : model.block_state_spec(i)) {
      if (!f.grows_with_time) continue;
      const Tensor cache({1, depth + 512, f.per_sequence[0], f.per_sequence[1]}, DType::f32);
      // Random keys and values cost what real ones do; a cheap generator is random enough.
      std::uint32_t random = 1;
      for (float& x : std::span(cache.data<float>(), static_cast<std::size_t>(cache.numel()))) {
        random = random * 1664525u + 1013904223u;
        x = static_cast<float>(random >> 8) * 0x1p-24F - 0.5F;
      }
      state[i][f.name] = Var{cache};
    }
    state[i].set_positions(depth);
  }
  return state;
}

bool speed_is_current(const Json& speed, const SpeedKey& key) {
  return speed.get("build", "") == key.build && speed.get("machine", "") == key.machine &&
         !speed.get("disturbed", true);
}

namespace {

// Decode time against context: from where on an arm is faster than attention.
void add_crossovers(Json& arms) {
  const auto decode = [](const Json& arm) {
    std::vector<double> out;
    for (const std::int64_t depth : kDepths)
      out.push_back(arm.at("decode_us_" + std::to_string(depth)).as_double());
    return out;
  };
  const Json* attention = arms.find("attention");
  if (!attention) return;
  const auto baseline = decode(*attention);
  Json out = Json::object();
  for (const auto& [name, arm] : arms.as_object()) {
    Json own = arm;
    if (name != "attention") own["decode_crossover_tokens"] = crossover_json(baseline, decode(arm));
    out[name] = std::move(own);
  }
  arms = std::move(out);
}

Json measure_task(const StudyPlan& plan, const StudyTask& chosen, const SpeedKey& key, int rounds) {
  const auto task = task_to_measure(chosen);
  std::vector<std::unique_ptr<Candidate>> arms;
  for (const SizedArm& s : sized_arms(plan, chosen)) arms.push_back(std::make_unique<Candidate>(s));
  Engine engine(1, precision_named(plan.train.precision));
  std::vector<Round> all;
  double best_probe = 0;
  const auto count_quiet = [&] {
    return std::count_if(all.begin(), all.end(),
                         [&](const Round& r) { return !r.disturbed(best_probe); });
  };
  while (count_quiet() < rounds && static_cast<int>(all.size()) < 2 * rounds) {
    all.push_back(measure_round(engine, arms, *task, plan.train));
    const double probe = all.back().probe;
    best_probe = all.size() == 1 ? probe : std::min(best_probe, probe);
  }
  const auto quiet = static_cast<std::size_t>(count_quiet());
  const bool disturbed = quiet == 0;
  const auto median = [&](auto&& value) {
    std::vector<double> x;
    for (const Round& r : all) {
      if (disturbed || !r.disturbed(best_probe)) x.push_back(value(r));
    }
    return median_of(x);
  };
  Json out = Json::object();
  out["build"] = key.build;
  out["machine"] = key.machine;
  out["task"] = chosen.name;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    Json& arm = out["arms"][arms[i]->arm];
    arm["train_tokens_per_second"] = 1 / median([&](const Round& r) { return r.train[i]; });
    for (std::size_t d = 0; d < std::size(kDepths); ++d) {
      arm["decode_us_" + std::to_string(kDepths[d])] =
          median([&](const Round& r) { return r.decode[i][d]; });
    }
  }
  add_crossovers(out["arms"]);
  for (const Round& r : all) {
    Json one = Json::object();
    one["core_share"] = r.core_share;
    one["probe_ms"] = r.probe;
    one["disturbed"] = r.disturbed(best_probe);
    out["rounds"].push_back(std::move(one));
  }
  out["disturbed"] = disturbed;
  const std::string total = std::to_string(all.size());
  out["note"] =
      "models and batches of the task " + chosen.name +
      ", one thread, f32, arms take turns; decoding with batch 1. " +
      (disturbed
           ? "All " + total +
                 " rounds were disturbed by other programs: times marked ~ are the median of "
                 "all and too long. The same command measures again."
           : "Median of " + std::to_string(quiet) + " quiet rounds of " + total +
                 " (a round counts if it had 95 % of a core and a fixed piece of work took at "
                 "most 15 % longer than at best).");
  return out;
}

}  // namespace

Json measure_speed(const StudyPlan& plan, const SpeedKey& key, int rounds) {
  const StudyTask& chosen = typical_task(plan);
  Json out = measure_task(plan, chosen, key, rounds);
  for (const StudyTask& t : plan.tasks) {
    if (task_kind(t.name) != task_kind(chosen.name) ||
        (t.d_model == chosen.d_model && t.parameters == chosen.parameters))
      continue;
    const Json other = measure_task(plan, t, key, rounds);
    out["other_sizes"][t.name]["arms"] = other.at("arms");
    out["other_sizes"][t.name]["disturbed"] = other.at("disturbed");
    if (other.at("disturbed").as_bool()) out["disturbed"] = true;
  }
  return out;
}

std::vector<double> training_seconds_per_token(std::span<const ModelConfig> models,
                                               const std::function<Batch(int step)>& batches,
                                               Precision precision) {
  constexpr int kSteps = 11;  // the first is not counted
  std::vector<std::unique_ptr<Candidate>> candidates;
  for (const ModelConfig& m : models) candidates.push_back(std::make_unique<Candidate>(m));
  std::vector<double> best(models.size(), 1e300);
  Engine engine(1, precision);
  for (int step = 0; step < kSteps; ++step) {
    for (std::size_t i = 0; i < models.size(); ++i) {
      if (interrupted()) fail(ErrorCode::interrupted, "interrupted while measuring");
      std::int64_t tokens = 1;
      const double seconds = candidates[i]->train(engine, batches, {}, step, &tokens);
      if (step > 0) best[i] = std::min(best[i], seconds / static_cast<double>(tokens));
    }
  }
  return best;
}

Json choose_widths(StudyPlan& plan) {
  Json relative = Json::object();
  std::vector<std::string> models;
  for (const std::string& arm : plan.arms) {
    if (arm != "ngram") models.push_back(arm);
  }
  plan.widths = Json::object();
  for (const StudyTask& t : plan.tasks) {
    const auto task = task_to_measure(t);
    SizingRequest r = sizing_request(plan, t, task->spec());
    r.measure = [&](std::span<const ModelConfig> configs) {
      return training_seconds_per_token(
          configs, [&](int step) { return task->train_batch(900 + step); },
          precision_named(plan.train.precision));
    };
    Json& widths = plan.widths[t.name] = Json::object();
    for (const SizedArm& s : size_arms(models, r)) {
      widths[s.arm] = s.config.mlp_hidden;
      relative[t.name][s.arm] = s.relative_time;
    }
  }
  return relative;
}

Json calibrate(const StudyPlan& plan) {
  Json out = Json::object();
  Engine engine(1, precision_named(plan.train.precision));
  for (const StudyTask& t : plan.tasks) {
    const auto task = task_to_measure(t);
    for (const SizedArm& s : sized_arms(plan, t)) {
      Candidate arm(s);
      std::vector<double> per_token;
      for (int step = 0; step < 4; ++step) {
        std::int64_t tokens = 1;
        const double seconds = arm.train(engine, *task, plan.train, step, &tokens);
        if (step > 0) per_token.push_back(1e6 * seconds / static_cast<double>(tokens));
      }
      out[t.name][s.arm] = median_of(per_token);
    }
  }
  return out;
}

}  // namespace subquad
