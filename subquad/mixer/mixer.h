// The extension point for sequence mixing.
#pragma once

#include <memory>

#include "subquad/autograd/tape.h"
#include "subquad/backend/segments.h"
#include "subquad/nn/state.h"

namespace subquad {

// Of one sequence of `tokens` positions, forward only.
struct Cost {
  double macs = 0;  // multiply-adds of projections, convolutions and the recurrent form of the core
  double executed_macs = 0;  // multiply-adds that the chunkwise schedule executes
};

class Mixer {
 public:
  virtual ~Mixer() = default;
  virtual StateSpec state_spec() const = 0;
  // x (B,T,D) -> (B,T,D). One text for training (tape, no state), prefill (state, T > 1) and
  // decoding (state, T = 1). A state is read, and replaced by the state after the last valid
  // position.
  virtual Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const = 0;
  virtual Cost cost(std::int64_t tokens) const = 0;
};

}  // namespace subquad
