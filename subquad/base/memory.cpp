#include "subquad/base/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cstdlib>

#include "subquad/base/round.h"

namespace subquad {

void* allocate_memory(std::int64_t bytes) {
  constexpr std::int64_t kHugePage = 2 << 20;
  const std::int64_t unit = bytes >= 2 * kHugePage ? kHugePage : 64;
  const auto size = static_cast<std::size_t>(round_up(bytes, unit));
  void* p = std::aligned_alloc(static_cast<std::size_t>(unit), size);
  if (p != nullptr && unit == kHugePage) madvise(p, size, MADV_HUGEPAGE);  // a wish
  return p;
}

std::int64_t peak_memory_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace subquad
