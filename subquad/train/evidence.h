// What a fairness audit needs to know of a run beyond its results: which data it trained and was
// tested on, what its passes cost by count, at which precision it was scored.
#pragma once

#include <string>

#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "subquad/task/task.h"

namespace subquad {

// Every figure is a function of configuration and data, none of time. `batches`: of the training.
//   order_sha256   of the first, middle and last training batch: equal for runs of one data order
//   evaluator      {"version", "test_sha256": of all test batches of the task's own lengths}
//   collisions     {"shared": {length: test rows that were also trained on}, "train_rows"};
//                  generated tasks only
//   forward_macs   {"counted", "formula"}: multiply-adds per token of one test batch, as the leaf
//                  products counted them and as Model::cost says
//   non_embedding_parameters, model_bytes (f32), precision
Json run_evidence(Engine& engine, const Model& model, ParameterStore& store, const Task& task,
                  std::int64_t parameters, std::int64_t batches);

// Appends to test_access.jsonl of a run folder that the test split was opened: by whom, for which
// weights, and why.
void log_test_access(const std::string& folder, const std::string& by, const std::string& weights,
                     const std::string& reason);

}  // namespace subquad
