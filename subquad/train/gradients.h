// The gradients of batches.
#pragma once

#include <memory>
#include <vector>

#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "subquad/task/task.h"

namespace subquad {

// A large batch of a small model goes through it in slices of whole sequences that stay in a
// second-level cache. Up to kGroups groups of slices have their own gradients, added up in order at
// the end, and a thread walks whole groups: it meets the others once a batch, not once an op.
// Slices and groups depend on shapes only, so results have the same bits for any number of threads.
// Everything else is one slice, whose ops share the engine's threads.
// Borrows its arguments.
class Gradients {
 public:
  Gradients(Engine& engine, const Model& model, ParameterStore& store);
  ~Gradients();
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;

  // Adds the gradients of the mean loss (Model::loss) over what is scored in `batch` to those in
  // the store; returns that mean. check_finite: as in Context.
  double add(const Batch& batch, bool check_finite = false);

 private:
  struct Group;  // gradients, buffers and kernels' scratch of one group
  double add_groups(const Batch& batch, std::int64_t slice, bool check_finite);

  static constexpr std::int64_t kGroups = 8;
  static constexpr std::int64_t kSliceBytes = 256 << 10;  // of an activation (tokens, d_model)
  static constexpr std::int64_t kSmallModel = 1 << 20;    // parameters: 4 MiB a group

  Engine& engine_;
  const Model& model_;
  ParameterStore& store_;
  std::vector<std::unique_ptr<Group>> groups_;  // made when they are needed
};

}  // namespace subquad
