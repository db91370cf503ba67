// The list of mixers. Adding one: its folder, and one line in all_mixers.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/mixer/mixer.h"

namespace subquad {

struct MixerSetup {
  std::int64_t d_model = 64;
  std::int64_t heads = 4;
  Json
      options;  // keys of the mixer's own config; an unknown key is an error that names the nearest
};

// Names of the options that set the size of a mixer's memory (Dk x Dv per head). An empty name:
// that side follows from the rest. Matching states solves them.
struct MemoryOptions {
  std::string key, value;
  bool of_width = false;  // the option is size * heads / d_model instead of the size
};

struct MixerEntry {
  std::string
      kind;  // "mlstm", "gated_deltanet"; also variants: "gated_deltanet[-1,1]", "mamba2[-1,1]"
  std::string summary;  // one line
  // Declares the mixer's parameters under the plan's current prefix.
  std::unique_ptr<Mixer> (*make)(const MixerSetup&, ParameterPlan&);
  MemoryOptions memory{};  // both empty: the memory has no size of its own, or grows
};

const std::vector<MixerEntry>& all_mixers();
std::unique_ptr<Mixer> make_mixer(const std::string& kind, const MixerSetup& setup,
                                  ParameterPlan& plan);

}  // namespace subquad
