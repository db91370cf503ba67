#include "subquad/mixer/common/linear_switches.h"

namespace subquad {

LinearSwitches read_linear_switches(OptionReader& options, const LinearSwitches& published) {
  LinearSwitches s = published;
  s.core.erase = options.get("erase", published.core.erase);
  // A bounded write is the default beside erase.
  s.core.exponential_input =
      options.get("exponential_input", published.core.exponential_input && !s.core.erase);
  s.core.normalizer = options.get("normalizer", published.core.normalizer);
  s.decay = options.get("decay", published.decay);
  s.tied_gates = options.get("tied_gates", published.tied_gates);
  require(!s.core.exponential_input || !s.core.erase, ErrorCode::invalid_argument, "mixer ",
          options.mixer(), ": got exponential_input and erase, wanted one of them ",
          "(an unbounded write would erase more than is stored, and the state diverges)");
  require(!s.core.exponential_input || !s.core.signed_decay, ErrorCode::invalid_argument, "mixer ",
          options.mixer(), ": got exponential_input with a signed decay, wanted one of them ",
          "(the stabiliser needs the logarithm of the decay)");
  require(s.decay || !s.core.signed_decay, ErrorCode::invalid_argument, "mixer ", options.mixer(),
          ": got a signed decay and no decay, wanted one of them");
  return s;
}

void add_linear_memory(StateSpec& spec, const LinearCoreOptions& core, std::int64_t heads,
                       std::int64_t dk, std::int64_t dv) {
  spec.push_back({"S", {heads, dk, dv}});
  if (core.normalizer) spec.push_back({"n", {heads, dk}});
  if (core.exponential_input) spec.push_back({"m", {heads}});
}

Var linear_core(Context& cx, const LinearCoreInputs& in, const Spans& spans,
                const LinearCoreOptions& core, State* state) {
  if (!state) return linear_core(cx, in, spans, core, static_cast<LinearCoreState*>(nullptr));
  LinearCoreState memory;
  memory.S = (*state)["S"];
  if (core.normalizer) memory.n = (*state)["n"];
  if (core.exponential_input) memory.m = (*state)["m"];
  const Var o = linear_core(cx, in, spans, core, &memory);
  (*state)["S"] = memory.S;
  if (core.normalizer) (*state)["n"] = memory.n;
  if (core.exponential_input) (*state)["m"] = memory.m;
  state->advance(in.v.shape()[1]);
  return o;
}

}  // namespace subquad
