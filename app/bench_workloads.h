// The mixer cores as closures that can be timed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace subquad {

struct Engine;

struct BenchShape {
  std::string name;
  std::int64_t B, T, H, D;
};

const std::vector<BenchShape>& bench_shapes();

struct Workload {
  std::string variant;      // which implementation runs
  std::int64_t tokens = 0;  // per repetition
  std::int64_t parameters = 0;
  double useful_flop = 0;          // per repetition
  double useful_bytes = 0;         // per repetition that must come from memory; 0: not the limit
  std::function<void()> run;       // one repetition; owns its buffers
  std::shared_ptr<Engine> engine;  // that runs it: for profiles and counters
};

// core/MIXER/DIR/SHAPE: the gated recurrence alone. MIXER mlstm slstm ssd gdn attention; DIR fwd,
// or fwdbwd with the gradients of all inputs; SHAPE b8t512h4d64 ... Useful FLOP per token and head,
// C the chunk length in use, D the head size (of keys and values):
//   mlstm, ssd  forward C/2 * 2 (Dk + Dv) + 4 Dk Dv     backward C/2 * 2 (3 Dk + 2 Dv) + 10 Dk Dv
//               (ssd: the Dk parts of the pairs once per group, as q kᵀ is shared)
//   gdn         forward C/2 * 4 (Dk + Dv) + 6 Dk Dv     backward C/2 * 2 (7 Dk + 6 Dv) + 18 Dk Dv
//   slstm       forward 8 D²                            backward 16 D²
//   attention   forward 2 T D (causal half)             backward 2.5 times that
std::vector<std::string> core_bench_names();
// Errors: invalid_argument if `name` is not one of these.
Workload core_workload(const std::string& name, int threads);

}  // namespace subquad
