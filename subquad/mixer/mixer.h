// The extension point for sequence mixing.
#pragma once

#include <memory>

#include "subquad/autograd/tape.h"
#include "subquad/backend/segments.h"
#include "subquad/nn/state.h"

namespace subquad {

// Of one sequence of `tokens` positions, forward only. A multiply-add is a multiplication together
// with the addition that follows it, if one does. Projections, short convolutions (every tap, also
// on the zeros before the start) and the core count; row work around them (norms, gates,
// activations, rotary positions, skips, softmax) does not, nor do exponentials, divisions and lone
// additions. Law L8 counts both numbers while the mixer runs.
struct Cost {
  double macs = 0;           // with the literal recurrence as core
  double executed_macs = 0;  // as the fast f32 schedule runs it on this machine
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
