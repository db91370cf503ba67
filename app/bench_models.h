// Whole mixers, training steps, prefill and decoding as workloads of `subquad bench`.
//   mixer/KIND/DIR/SHAPE     KIND mlstm slstm mamba2 gdn attention: (B,T,d) -> (B,T,d), d = H D
//   train/KIND/SIZE          forward, cross-entropy, backward and AdamW of a language model
//   study/ARM/TASK           the same of the default study's models, as it sizes and batches them
//   prefill/KIND/SIZE/b1p512                 a prompt of 512
//   decode/KIND/SIZE/b1|b8|b1dDEPTH          16 steps after 128, or after DEPTH
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

}  // namespace subquad
