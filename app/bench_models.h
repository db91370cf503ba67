// Whole mixers, training steps, prefill and decoding as workloads of `subquad bench`.
//   mixer/KIND/DIR/SHAPE     KIND mlstm slstm mamba2 gdn attention: (B,T,d) -> (B,T,d), d = H D
//   train/KIND/SIZE          forward, cross-entropy, backward and AdamW of a language model
//   study/ARM/TASK           the same of the default study's models, as it sizes and batches them
//   prefill/KIND/SIZE/b1p512                 a prompt of 512
//   decode/KIND/SIZE/b1|b8|b1dDEPTH          16 steps after 128, or after DEPTH
//   forecast/35m/bBcChH[n1]                  B series of C values, H steps ahead; n1: patch by patch
//   forecast/train/35m/bB, /150k/ARM         a training step on rows of 64 patches; of the study's
// Sizes and blocks are those of the published models, so that others can be timed on the same.
#pragma once

#include "app/bench_workloads.h"
#include "subquad/tensor/packed.h"

namespace subquad {

struct EngineSetup {
  int threads = 1;
  Precision precision = Precision::f32;  // of products with weights
  Packing weights = Packing::f32;        // of prefill and decode: how they are stored
};

std::vector<std::string> model_bench_names();
// Errors: invalid_argument if `name` is not one of these.
Workload model_workload(const std::string& name, const EngineSetup& setup);
// Those of forecasters, which are among the names above.
std::vector<std::string> forecast_bench_names();
Workload forecast_workload(const std::string& name, const EngineSetup& setup);

}  // namespace subquad
