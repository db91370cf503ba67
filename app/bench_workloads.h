// The mixer cores as closures that can be timed; used by bench_cores.cpp only.
#pragma once

#include <functional>

#include "subquad/backend/kernel_table.h"

namespace subquad {

struct BenchShape {
  std::string name;
  std::int64_t B, T, H, D;
};

const std::vector<BenchShape>& bench_shapes();

struct Workload {
  std::string variant;        // which implementation runs
  double useful_flop = 0;     // per repetition
  std::function<void()> run;  // one repetition; owns its buffers
};

// Empty `run` if the table holds no implementation of this mixer.
// Useful FLOP per token and head, C the chunk length in use, D the head size (of keys and values):
//   mlstm, ssd  forward C/2 * 2 (Dk + Dv) + 4 Dk Dv     backward C/2 * 2 (3 Dk + 2 Dv) + 10 Dk Dv
//               (ssd: the Dk parts of the pairs once per group, as q kᵀ is shared)
//   gdn         forward C/2 * 4 (Dk + Dv) + 6 Dk Dv     backward C/2 * 2 (7 Dk + 6 Dv) + 18 Dk Dv
//   slstm       forward 8 D²                            backward 16 D²
//   attention   forward 2 T D (causal half)             backward 2.5 times that
Workload linear_workload(const std::string& mixer, const BenchShape& shape, bool backward,
                         const KernelTable& kernels, ThreadPool& threads);
Workload slstm_workload(const BenchShape& shape, bool backward, const KernelTable& kernels,
                        ThreadPool& threads);
Workload attention_workload(const BenchShape& shape, bool backward, const KernelTable& kernels,
                            ThreadPool& threads);

}  // namespace subquad
