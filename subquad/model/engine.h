// Engine: what every program needs once. Owns the kernel list, the threads and the buffers.
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

KernelTable all_kernels();  // the explicit list of ops and mixer cores, fastest first

struct Engine {
  explicit Engine(int threads = 1, Precision precision = Precision::f32)
      : kernels(all_kernels()), threads(threads), precision(precision) {}

  KernelTable kernels;
  ThreadPool threads;
  StoragePool storage;
  Precision precision;  // of products with weights

  Context context(ParameterStore& params, Tape* tape = nullptr) {
    return {.kernels = kernels,
            .params = params,
            .threads = threads,
            .storage = storage,
            .tape = tape,
            .training = tape != nullptr,
            .precision = precision};
  }
};

}  // namespace subquad
