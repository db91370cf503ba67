// What this machine can do, measured in the same run: the yardsticks of `subquad bench`.
#pragma once

#include "subquad/base/thread_pool.h"

namespace subquad {

// Best of several short runs of independent f32 multiply-adds in the widest registers.
// Units: FLOP per second of one thread, two per multiply-add. Takes about 20 ms.
double measure_fma_peak();
// The same through the dense product of all layers (1024 x 512 x 512 in cache), one thread.
double measure_gemm_peak();
// Reading 256 MiB once, split over the threads. Units: bytes per second. Takes about 0.1 s.
double measure_read_bandwidth(ThreadPool& threads);

}  // namespace subquad
