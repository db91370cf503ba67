#include "subquad/study/speed.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "subquad/base/interrupt.h"
#include "subquad/base/rng.h"
#include "subquad/model/engine.h"
#include "subquad/study/statistics.h"
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

struct Candidate {
  std::string arm;
  ParameterPlan plan;
  std::unique_ptr<Model> model;
  std::unique_ptr<ParameterStore> store;
};

// A state as it is after `depth` positions: recurrent fields keep their size; caches are filled
// with random keys and values, which cost the same as real ones.
ModelState state_at(const Model& model, std::int64_t depth) {
  ModelState state = model.new_state(1, DType::f32);
  for (std::size_t i = 0; i < state.size(); ++i) {
    for (const StateField& f : model.block_state_spec(i)) {
      if (!f.grows_with_time) continue;
      const Tensor cache({1, depth + 512, f.per_sequence[0], f.per_sequence[1]}, DType::f32);
      const Rng rng{1, stream_id(f.name)};
      for (std::int64_t j = 0; j < cache.numel(); ++j) {
        cache.data<float>()[j] =
            static_cast<float>(rng.uniform(0, static_cast<std::uint64_t>(j)) - 0.5);
      }
      state[i][f.name] = Var{cache};
    }
    state[i].set_positions(depth);
  }
  return state;
}

double decode_us(Engine& engine, const Candidate& c, std::int64_t depth) {
  Context cx = engine.context(*c.store);
  ModelState state = state_at(*c.model, depth);
  const Tensor id = Tensor::zeros({1, 1}, DType::i32);
  for (int i = 0; i < 3; ++i) c.model->logits(cx, id, {}, &state);
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || (times.size() < 200 && seconds_since(start) < 0.15)) {
    const auto one = Clock::now();
    c.model->logits(cx, id, {}, &state);
    times.push_back(seconds_since(one));
  }
  return 1e6 * median_of(times);
}

}  // namespace

Json measure_decode(const StudyPlan& plan, int rounds) {
  std::vector<std::unique_ptr<Candidate>> candidates;
  for (const SizedArm& s : sized_arms(plan, plan.tasks.front())) {
    auto c = std::make_unique<Candidate>();
    c->arm = s.arm;
    c->model = std::make_unique<Model>(s.config, c->plan);
    c->store = std::make_unique<ParameterStore>(c->plan, DType::f32, 0);
    candidates.push_back(std::move(c));
  }
  Engine engine(1);
  std::vector<std::vector<std::vector<double>>> times(
      candidates.size(), std::vector<std::vector<double>>(std::size(kDepths)));
  int disturbed = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = Clock::now();
    const double cpu = cpu_seconds();
    for (std::size_t d = 0; d < std::size(kDepths); ++d) {
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (interrupted())
          fail(ErrorCode::interrupted, "interrupted while measuring; the same command continues");
        times[i][d].push_back(decode_us(engine, *candidates[i], kDepths[d]));
      }
    }
    if ((cpu_seconds() - cpu) / seconds_since(start) < 0.95) ++disturbed;
  }
  Json out = Json::object();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    for (std::size_t d = 0; d < std::size(kDepths); ++d) {
      out["arms"][candidates[i]->arm]["decode_us_" + std::to_string(kDepths[d])] =
          median_of(times[i][d]);
    }
  }
  out["rounds"] = rounds;
  out["disturbed_rounds"] = disturbed;
  out["note"] = std::to_string(rounds) + " rounds, arms interleaved, batch 1, one thread, f32; " +
                std::to_string(disturbed) + " rounds had less than 95 % of a core to themselves" +
                (disturbed * 2 > rounds ? " - do not trust these times" : "");
  return out;
}

Json calibrate(const StudyPlan& plan) {
  Json out = Json::object();
  Engine engine(1);
  for (const StudyTask& t : plan.tasks) {
    const auto task = make_task(t.name, {.seed = 0,
                                         .total_steps = 1000,
                                         .batch_size = t.batch_size,
                                         .data = t.data,
                                         .extra = t.extra});
    for (const SizedArm& s : sized_arms(plan, t)) {
      ParameterPlan parameters;
      const Model model(s.config, parameters);
      ParameterStore store(parameters, DType::f32, 0);
      AdamW optimizer(parameters, DType::f32);
      std::vector<double> per_token;
      for (int step = 0; step < 4; ++step) {
        const auto start = Clock::now();
        const Batch batch = task->train_batch(900 + step);  // past a curriculum's beginning
        store.zero_grads();
        Tape tape;
        Context cx = engine.context(store, &tape);
        const Var loss = model.loss(cx, batch.inputs, batch.targets, {});
        tape.backward(cx, loss);
        optimizer.step(store, plan.train, 1e-4, 1);
        if (step > 0)
          per_token.push_back(1e6 * seconds_since(start) /
                              static_cast<double>(batch.inputs.numel()));
      }
      out[t.name][s.arm] = median_of(per_token);
    }
  }
  return out;
}

}  // namespace subquad
