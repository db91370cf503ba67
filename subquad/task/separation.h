// Audit: no sample of an evaluation split occurs in training.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

// Sequences are compared as a causal model sees them: the inputs up to the last scored position,
// without the padding behind it.
struct SeparationAudit {
  std::int64_t test_sequences = 0;   // different ones of the split, over all lengths of the spec
  std::int64_t train_sequences = 0;  // rows of training batches that were checked
  std::int64_t collisions = 0;       // of them, how many are also in the split
};

// Compares all rows of `split` at every length of the task with those of the first `steps` training
// batches. Cost: generates them all; memory: the rows of the split.
// Errors: invalid_argument if the split is Split::train or steps is negative.
SeparationAudit audit_separation(const Task& task, Split split, std::int64_t steps);

}  // namespace subquad
