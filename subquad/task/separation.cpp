#include "subquad/task/separation.h"

#include <functional>
#include <unordered_set>

namespace subquad {
namespace {

// The bytes of each row's inputs up to its last scored position; rows that score nothing are none.
void for_sequences(const Batch& batch, const std::function<void(std::string)>& fn) {
  const std::int64_t columns = batch.inputs.shape()[1];
  for (std::int64_t r = 0; r < batch.inputs.shape()[0]; ++r) {
    const std::int32_t* in = batch.inputs.data<std::int32_t>() + r * columns;
    const std::int32_t* target = batch.targets.data<std::int32_t>() + r * columns;
    std::int64_t n = columns;
    while (n > 0 && target[n - 1] < 0) --n;
    if (n > 0)
      fn({reinterpret_cast<const char*>(in), static_cast<std::size_t>(n) * sizeof(std::int32_t)});
  }
}

}  // namespace

SeparationAudit audit_separation(const Task& task, Split split, std::int64_t steps) {
  require(split != Split::train && steps >= 0, ErrorCode::invalid_argument,
          "audit_separation: got ", split == Split::train ? "the training split" : "", " ", steps,
          " steps, wanted an evaluation split and 0 or more steps");
  SeparationAudit audit;
  std::unordered_set<std::string> held_out;
  for (const std::int64_t length : task.spec().lengths) {
    for (std::int64_t i = 0; i < task.eval_batches(split, length); ++i) {
      for_sequences(task.eval_batch(split, length, i),
                    [&](std::string s) { held_out.insert(std::move(s)); });
    }
  }
  audit.test_sequences = static_cast<std::int64_t>(held_out.size());
  for (std::int64_t step = 0; step < steps; ++step) {
    for_sequences(task.train_batch(step), [&](const std::string& s) {
      ++audit.train_sequences;
      audit.collisions += held_out.contains(s) ? 1 : 0;
    });
  }
  return audit;
}

}  // namespace subquad
