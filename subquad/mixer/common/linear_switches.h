// The terms of the shared recurrence as options of every mixer built on it: studies toggle them to
// ask which one makes a model win. One set of names, defaults per mixer.
//   decay               the state fades by a_t; off: a_t = 1
//   exponential_input   w_t = exp(x_t), stabilised; off: the mixer's bounded write
//   tied_gates          writing and forgetting are one gate; what is tied, each mixer says
//   normalizer          the read-out is divided by max(|n_t . q_t|, floor)
//   erase               what the memory already returns for k_t is subtracted first (delta rule)
#pragma once

#include "subquad/mixer/common/linear_core.h"
#include "subquad/mixer/common/option_reader.h"
#include "subquad/nn/state.h"

namespace subquad {

struct LinearSwitches {
  LinearCoreOptions core;
  bool decay = true;
  bool tied_gates = false;
};

// The published switches of a mixer, changed by its options. `scale` and `eps` stay as they are.
// Errors: exponential_input with erase (more is erased than was stored: diverges) or with
// signed_decay (its stabiliser needs the logarithm of the decay).
LinearSwitches read_linear_switches(OptionReader& options, const LinearSwitches& published);

// The fields S (H,Dk,Dv), n (H,Dk), m (H) that these switches need.
void add_linear_memory(StateSpec& spec, const LinearCoreOptions& core, std::int64_t heads,
                       std::int64_t dk, std::int64_t dv);

// linear_core over a mixer's state (may be null), which is read, replaced and advanced.
Var linear_core(Context& cx, const LinearCoreInputs& in, const Spans& spans,
                const LinearCoreOptions& core, State* state);

}  // namespace subquad
