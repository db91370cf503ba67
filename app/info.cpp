#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/model/sizing.h"

namespace subquad::app {

int info(Arguments arguments) {
  std::vector<std::string> arms = {
      "attention", "mlstm",        "slstm",          "xlstm[1:1]",
      "mamba2",    "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"};
  std::int64_t d_model = 64, blocks = 2, heads = 4, vocabulary = 256, parameters = 0;
  std::string match = "parameters";
  Options options("info", "Sizes, training cost and state bytes of arms matched to one budget.",
                  "subquad info --arms attention,mlstm --d-model 256 --blocks 4");
  options.list("--arms", arms, "arms to size")
      .option("--d-model", d_model, "model width")
      .option("--blocks", blocks, "number of blocks")
      .option("--heads", heads, "heads per mixer")
      .option("--vocabulary", vocabulary, "input ids and classes")
      .option("--parameters", parameters,
              "budget (0: that of the largest arm with an MLP of its width)")
      .option("--match", match, "parameters, flops, time or state");
  if (!options.parse(arguments)) return 0;
  const auto sized = size_arms(arms, {.vocabulary = vocabulary,
                                      .classes = vocabulary,
                                      .d_model = d_model,
                                      .blocks = blocks,
                                      .heads = heads,
                                      .match = match_from(match),
                                      .parameters = parameters,
                                      .mixer_options = {}});
  std::printf("%-22s %11s %9s %14s %12s %12s %12s\n", "arm", "parameters", "MLP width",
              "train MAC/tok", "state @64", "state @1k", "state @64k");
  for (const SizedArm& s : sized) {
    std::printf("%-22s %11ld %9ld %14.0f %12ld %12ld %12ld\n", s.arm.c_str(),
                static_cast<long>(s.parameters), static_cast<long>(s.config.mlp_hidden),
                s.training_macs_per_token, static_cast<long>(s.state_bytes[0]),
                static_cast<long>(s.state_bytes[1]), static_cast<long>(s.state_bytes[3]));
  }
  return 0;
}

}  // namespace subquad::app
