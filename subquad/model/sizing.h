// Equal budgets: finds each arm's MLP width so that the arms match in one measure, and reports all
// four.
#pragma once

#include <string>
#include <vector>

#include "subquad/model/model.h"

namespace subquad {

enum class Match : std::uint8_t { parameters, flops, time, state };
Match match_from(const std::string& name);  // unknown name: error with the nearest

struct SizingRequest {
  std::int64_t vocabulary = 256, classes = 256;
  std::int64_t d_model = 64, blocks = 2, heads = 4;
  Match match = Match::parameters;
  std::int64_t parameters = 0;      // target; 0 = see size_arms
  std::int64_t train_length = 128;  // for multiply-adds per token
  std::string recipe = "default";   // "uniform": every linear arm gets the same conv-4
  Json mixer_options;               // overrides by mixer kind
  // Measured seconds per token of a config, for match = time (the caller measures; may be empty).
  double (*seconds_per_token)(const ModelConfig&) = nullptr;
};

struct SizedArm {
  std::string arm;
  ModelConfig config;
  std::int64_t parameters = 0;
  double training_macs_per_token =
      0;  // forward and backward: three times the forward multiply-adds
  std::vector<std::int64_t> state_bytes;  // at kDepths
};
inline constexpr std::int64_t kDepths[] = {64, 1024, 16384, 65536};

// d_model is kept and the MLP width solved in steps of 2. The target is that of the arm with the
// most mixer parameters when its MLP is d_model wide, unless `parameters` gives one. Within 1 %
// or an error.
std::vector<SizedArm> size_arms(const std::vector<std::string>& arms, const SizingRequest& request);

}  // namespace subquad
