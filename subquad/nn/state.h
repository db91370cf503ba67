// State: the recurrent memory (or key-value cache) of a batch of sequences, as a value.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "subquad/autograd/tape.h"

namespace subquad {

struct StateField {
  std::string name;
  Shape per_sequence;            // without the batch dimension; for a growing field without time
  bool grows_with_time = false;  // stored as (B, positions, per_sequence...)
};
using StateSpec = std::vector<StateField>;

// Bytes of one sequence after `positions` positions.
std::int64_t state_bytes(const StateSpec& spec, std::int64_t positions, DType dtype = DType::f32);

// With a tape, mixers replace a field's Var by a new one (gradients flow through both ends:
// truncated back-propagation through time); without a tape the same assignment simply drops the old
// value. A fresh state is all zeros with no positions seen. Copying a State shares its tensors, and
// mixers write only into tensors that nobody else holds (else they copy first): a copy is a fork.
class State {
 public:
  State() = default;
  State(const StateSpec& spec, std::int64_t batch, DType dtype);

  std::int64_t batch() const { return batch_; }
  Var& operator[](const std::string& field);
  const Var& operator[](const std::string& field) const;
  const std::map<std::string, Var>& fields() const { return fields_; }

  // Positions seen so far (all rows alike); the next token has this position.
  std::int64_t positions() const { return positions_; }
  void advance(std::int64_t tokens) { positions_ += tokens; }
  void set_positions(std::int64_t positions) { positions_ = positions; }

  State select(
      std::span<const std::int64_t> rows) const;  // fork, drop, re-order sequences (copies)
  void reset(std::int64_t row);                   // zero one sequence's recurrent fields
  void detach();                                  // forget tape nodes, keep values

 private:
  std::map<std::string, Var> fields_;
  std::int64_t batch_ = 0;
  std::int64_t positions_ = 0;
};

}  // namespace subquad
