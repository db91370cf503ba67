// Evaluator: a task's lengths, chunkwise and recurrent, and how far the two agree.
#pragma once

#include <vector>

#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "subquad/task/task.h"

namespace subquad {

struct EvaluationSetup {
  std::vector<std::int64_t> lengths;  // empty: the task's own
  Split split = Split::test;
  bool recurrent = true;                     // also one position at a time
  bool interruptible = true;                 // Ctrl-C throws Error(interrupted)
  std::int64_t recurrent_positions = 16384;  // row-positions per length that are run recurrently
};

struct LengthResult {
  std::int64_t length = 0;
  std::vector<Metric> metrics;  // chunkwise
  double loss = 0;  // mean over the scored positions, nats; of patches the primary metric
  double agreement =
      -1;  // share of scored positions with the same arg-max in both modes, of patches of outputs
           // that differ by at most 1e-3; -1: not run
  std::int64_t first_difference = -1;  // earliest position of any row where they differ; -1: none
  Json answers;                        // of the task's samples; null: none
};

std::vector<LengthResult> evaluate(Engine& engine, const Model& model, ParameterStore& store,
                                   const Task& task, const EvaluationSetup& setup);

}  // namespace subquad
