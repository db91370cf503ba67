// Memory for tensors and scratch.
#pragma once

#include <cstdint>

namespace subquad {

// `bytes` (at least 1) of uninitialised memory, 64-byte aligned, to be freed with std::free(); null
// if there is none. From 4 MiB on it lies on 2 MiB pages where the system has them: reading large
// weights is up to a quarter faster.
void* allocate_memory(std::int64_t bytes);

// Largest resident memory of this process so far, mapped files included.
std::int64_t peak_memory_bytes();

}  // namespace subquad
