// Engine: what every program needs once. Owns the kernel list, the threads and the buffers.
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

KernelTable all_kernels();  // the explicit list of ops and mixer cores, fastest first

struct Engine {
  explicit Engine(int threads = 1) : kernels(all_kernels()), threads(threads) {}

  KernelTable kernels;
  ThreadPool threads;
  StoragePool storage;

  Context context(ParameterStore& params, Tape* tape = nullptr) {
    return {.kernels = kernels,
            .params = params,
            .threads = threads,
            .storage = storage,
            .tape = tape,
            .training = tape != nullptr};
  }
};

}  // namespace subquad
