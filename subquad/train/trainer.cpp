#include "subquad/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"

namespace subquad {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kCurvePoints = 64;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::int64_t steps_of(const TrainConfig& config, const TaskSpec& spec, std::int64_t batch_size) {
  const std::int64_t rows = batch_size > 0 ? batch_size : spec.batch_size;
  return std::max<std::int64_t>(1, config.tokens / (rows * spec.train_length * config.accumulate));
}

Trainer::Trainer(Engine& engine, const Model& model, ParameterStore& store, const Task& task,
                 const TrainConfig& config, std::string folder)
    : engine_(engine),
      store_(store),
      task_(task),
      config_(config),
      folder_(std::move(folder)),
      gradients_(engine, model, store),
      optimizer_(store.plan(), store.dtype()),
      checkpoints_(folder_ + "/checkpoints") {
  require(engine.precision == precision_named(config.precision), ErrorCode::invalid_argument,
          "the engine's precision is not train.precision = \"", config.precision, "\"");
}

Trainer::Step Trainer::step(std::int64_t index, double learning_rate) {
  store_.zero_grads();
  Step s{0, 0, 0};
  for (std::int64_t micro = 0; micro < config_.accumulate; ++micro) {
    const Batch batch = task_.train_batch(index * config_.accumulate + micro);
    s.loss += gradients_.add(batch);
    s.tokens += batch.positions();
  }
  s.loss /= static_cast<double>(config_.accumulate);
  const double norm = flat_norm(store_.flat_grads()) / static_cast<double>(config_.accumulate);
  s.grad_norm = norm;
  if (!std::isfinite(s.loss)) explain_non_finite(index, "the loss");
  if (!std::isfinite(norm)) explain_non_finite(index, "the gradient");
  optimizer_.step(engine_.kernels, engine_.threads, store_, config_, learning_rate,
                  clip_factor(norm, config_.clip) / static_cast<double>(config_.accumulate));
  return s;
}

void Trainer::explain_non_finite(std::int64_t index, const std::string& what) {
  // No weight has changed yet: run the same step again with every op's output scanned.
  std::string place;
  try {
    store_.zero_grads();
    for (std::int64_t micro = 0; micro < config_.accumulate; ++micro) {
      const Batch batch = task_.train_batch(index * config_.accumulate + micro);
      gradients_.add(batch, true);
    }
    std::int32_t i = 0;
    for (const ParamInfo& p : store_.plan().all()) {
      if (!std::isfinite(flat_norm(store_.grad(ParamId{i++})))) place += " " + p.name;
    }
    if (!place.empty()) place = "gradients of" + place;
  } catch (const Error& e) {
    place = e.what();
  }
  fail(ErrorCode::numeric, what, " is not finite at step ", index, ": ",
       place.empty() ? "the same step is finite when repeated" : place,
       ". Weights are those of the last good step; try a lower learning rate");
}

TrainOutcome Trainer::run(const std::function<void(const StepStats&)>& progress,
                          const std::function<double()>& validate, std::int64_t validations) {
  const TaskSpec spec = task_.spec();
  const Batch first = task_.train_batch(0);
  const std::int64_t rows = first.inputs.shape()[0];
  const std::int64_t steps = steps_of(config_, spec, rows);
  const std::int64_t every = std::max<std::int64_t>(1, steps / kCurvePoints);
  const std::int64_t per_validation =
      std::max<std::int64_t>(1, kCurvePoints / std::max<std::int64_t>(1, validations));
  TrainState state;
  if (const auto loaded = checkpoints_.load(store_, optimizer_)) state = *loaded;
  const auto start = Clock::now();
  auto saved_at = start;
  const std::int64_t first_step = state.step, first_tokens = state.tokens;
  while (state.step < steps) {
    const double rate = learning_rate_at(config_, state.step, steps);
    const Step s = step(state.step, rate);
    ++state.step;
    state.tokens += s.tokens;
    state.loss_sum += s.loss;
    ++state.loss_count;
    const bool last = state.step == steps;
    if (state.step % every == 0 || last) {
      const double mean = state.loss_sum / static_cast<double>(state.loss_count);
      Json point = Json::Array{state.tokens, mean};
      const auto number = static_cast<std::int64_t>(state.log.size()) + 1;
      if (validate && (number % per_validation == 0 || last)) point.push_back(validate());
      state.log.push_back(std::move(point));
      state.loss_sum = 0;
      state.loss_count = 0;
      const double elapsed = seconds_since(start);
      const double done = static_cast<double>(state.step - first_step);
      if (progress) {
        progress({.step = state.step,
                  .steps = steps,
                  .tokens = state.tokens,
                  .loss = mean,
                  .grad_norm = s.grad_norm,
                  .learning_rate = rate,
                  .tokens_per_second =
                      static_cast<double>(state.tokens - first_tokens) / std::max(elapsed, 1e-9),
                  .seconds_left = elapsed / done * static_cast<double>(steps - state.step)});
      }
    }
    const bool stop = interrupted() && !last;
    const bool due = config_.checkpoint_steps > 0
                         ? state.step % config_.checkpoint_steps == 0
                         : seconds_since(saved_at) >= config_.checkpoint_seconds;
    if (stop || due || last) {
      checkpoints_.save(store_, optimizer_, state);
      saved_at = Clock::now();
    }
    if (stop)
      fail(ErrorCode::interrupted, "interrupted at step ", state.step, " of ", steps,
           "; the same command continues");
  }
  // The log is written at once at the end and from the checkpointed curve, so it is the same with
  // and without interruptions.
  std::string lines;
  for (const Json& point : state.log.as_array()) {
    Json line = Json::object();
    line["tokens"] = point[0];
    line["loss"] = point[1];
    if (point.size() > 2) line["validation"] = point[2];
    lines += line.dump() + "\n";
  }
  write_file_atomically(folder_ + "/log.jsonl", lines);
  TrainOutcome outcome{
      .steps = steps, .tokens = state.tokens, .seconds = seconds_since(start), .curve = state.log};
  outcome.tokens_per_second =
      static_cast<double>(state.tokens - first_tokens) / std::max(outcome.seconds, 1e-9);
  const std::size_t tail = std::max<std::size_t>(1, state.log.size() / 10);
  for (std::size_t i = state.log.size() - tail; i < state.log.size(); ++i) {
    outcome.final_loss += state.log[i][1].as_double() / static_cast<double>(tail);
  }
  return outcome;
}

}  // namespace subquad
