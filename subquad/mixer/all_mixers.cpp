#include "subquad/mixer/all_mixers.h"

#include "subquad/mixer/attention/attention.h"
#include "subquad/mixer/attention/latent_attention.h"
#include "subquad/mixer/gated_deltanet/gated_deltanet.h"
#include "subquad/mixer/mamba2/mamba2.h"
#include "subquad/mixer/mlstm/mlstm.h"
#include "subquad/mixer/mlstm_block/mlstm_block.h"
#include "subquad/mixer/slstm/slstm.h"

namespace subquad {

const std::vector<MixerEntry>& all_mixers() {
  static const std::vector<MixerEntry> mixers = {
      {"attention", "causal softmax attention, the quadratic baseline", make_attention},
      {"latent_attention", "softmax attention on one small vector a position",
       make_latent_attention},
      {"mlstm",
       "matrix memory, exponential input gate, normaliser (xLSTM[1:0])",
       make_mlstm,
       {"qk_factor", "v_factor", true}},
      {"mlstm_block", "mLSTM inside an up-projection, a block without MLP", make_mlstm_block},
      {"slstm", "scalar memories, exponential gating, recurrent output (xLSTM[0:1])", make_slstm},
      {"mamba2", "state-space duality, tied gates", make_mamba2, {"state", ""}},
      {"mamba2[-1,1]", "Mamba-2 with transitions in (-1,1)", make_mamba2_negative, {"state", ""}},
      {"gated_deltanet",
       "gated delta rule, write in (0,1)",
       make_gated_deltanet,
       {"head_dim", "value_dim"}},
      {"gated_deltanet[-1,1]",
       "gated delta rule, write in (0,2)",
       make_gated_deltanet_negative,
       {"head_dim", "value_dim"}},
      {"kda", "gated delta rule with a decay per key channel", make_kda, {"head_dim", "value_dim"}},
  };
  return mixers;
}

std::unique_ptr<Mixer> make_mixer(const std::string& kind, const MixerSetup& setup,
                                  ParameterPlan& plan) {
  std::vector<std::string> kinds;
  for (const MixerEntry& entry : all_mixers()) {
    if (entry.kind == kind) return entry.make(setup, plan);
    kinds.push_back(entry.kind);
  }
  const std::string near = nearest_key(kind, kinds);
  std::string list;
  for (const std::string& k : kinds) list += " " + k;
  fail(ErrorCode::invalid_argument, "unknown mixer \"", kind, "\"; ",
       near.empty() ? "known:" + list : "did you mean \"" + near + "\"?");
}

}  // namespace subquad
