// Trainer: the loop over steps. Borrows everything, owns the optimiser's moments.
#pragma once

#include <functional>
#include <string>

#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "subquad/task/task.h"
#include "subquad/train/checkpoint.h"
#include "subquad/train/gradients.h"
#include "subquad/train/optimizer.h"

namespace subquad {

struct StepStats {
  std::int64_t step = 0, steps = 0, tokens = 0;
  double loss = 0, grad_norm = 0, learning_rate = 0, tokens_per_second = 0, seconds_left = 0;
};

struct TrainOutcome {
  std::int64_t steps = 0, tokens = 0;
  double seconds = 0;  // of this process
  double tokens_per_second = 0;
  double final_loss = 0;  // mean over the last tenth of the curve
  Json curve;             // [[tokens, loss], ...]; some points also have the validation
};

class Trainer {
 public:
  // `folder` holds log.jsonl and checkpoints/.
  Trainer(Engine& engine, const Model& model, ParameterStore& store, const Task& task,
          const TrainConfig& config, std::string folder);
  // Trains from the newest checkpoint to the end of the budget. Ctrl-C saves and throws
  // Error(interrupted). `validate`, if given, is called about `validations` times, evenly, the
  // last time at the end; its value is kept as the third number of a point of the curve. It must
  // not throw on Ctrl-C.
  TrainOutcome run(const std::function<void(const StepStats&)>& progress,
                   const std::function<double()>& validate = {}, std::int64_t validations = 16);

 private:
  struct Step {
    double loss, grad_norm;
    std::int64_t tokens;
  };
  Step step(std::int64_t index, double learning_rate);
  [[noreturn]] void explain_non_finite(std::int64_t index, const std::string& what);

  Engine& engine_;
  ParameterStore& store_;
  const Task& task_;
  TrainConfig config_;
  std::string folder_;
  Gradients gradients_;
  AdamW optimizer_;
  Checkpoints checkpoints_;
};

// Steps that the token budget pays for: at least one.
std::int64_t steps_of(const TrainConfig& config, const TaskSpec& spec, std::int64_t batch_size);

}  // namespace subquad
