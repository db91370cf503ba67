// Equal budgets: finds each arm's free sizes so that the arms match in one measure, and reports all
// four (parameters, training multiply-adds, time, state).
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "subquad/model/model.h"

namespace subquad {

enum class Match : std::uint8_t { parameters, flops, time, state };
Match match_from(const std::string& name);  // unknown name: error with the nearest

// Seconds per token of a training step of each model; only their ratios are used, so the models
// should take turns while they are measured.
using MeasureTimes = std::function<std::vector<double>(std::span<const ModelConfig>)>;

struct SizingRequest {
  std::int64_t vocabulary = 256, classes = 256;
  std::int64_t d_model = 64, blocks = 2, heads = 4;
  Match match = Match::parameters;
  std::int64_t parameters = 0;      // target of parameters and state; 0 = see size_arms
  std::int64_t state_bytes = 0;     // target of state, per sequence; 0 = see size_arms
  std::int64_t train_length = 128;  // for multiply-adds per token
  std::string recipe = "default";   // "uniform": every linear arm gets the same conv-4
  Json mixer_options;               // overrides by mixer kind
  PatchSpec patches = {};           // of forecasters
  MeasureTimes measure{};           // for time
  // MLP widths of an earlier match in time, by arm: used as they are, nothing is measured.
  std::map<std::string, std::int64_t> widths{};
};

struct SizedArm {
  std::string arm;
  ModelConfig config;
  std::int64_t parameters = 0;
  // Forward and backward: three times the forward multiply-adds.
  double training_macs_per_token = 0;
  std::vector<std::int64_t> state_bytes;  // at kDepths
  double relative_time = 0;  // match in time: time per token over that of the slowest arm
  std::string note{};        // why this arm is matched in less than was asked
};
inline constexpr std::int64_t kDepths[] = {64, 1024, 16384, 65536};

// What is solved, for each measure, and how near the arms come or an error that names the arm and
// the nearest value it reaches:
//   parameters  MLP width, in steps of 2; within 1 %. The target is that of the arm with the most
//               parameters when its MLP is d_model wide, unless `parameters` gives one. If that is
//               more than MLPs of 4 d_model reach, d_model grows first, for all arms alike, in
//               steps of 16 heads.
//   flops       MLP width; within 1 %. Target as above, in training multiply-adds per token.
//   time        MLP width; within 3 % as measured. The target is the slowest arm with an MLP of
//               d_model.
//   state       key and value sizes of the mixers, proportions kept as far as possible, so that the
//               state of one sequence agrees within 5 %; then the MLP width for parameters. The
//               target is `state_bytes`; else that of an arm whose state is fixed (sLSTM); else the
//               largest. Attention's state grows: it is matched in parameters only, and noted.
std::vector<SizedArm> size_arms(const std::vector<std::string>& arms, const SizingRequest& request);

}  // namespace subquad
