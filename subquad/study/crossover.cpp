#include "subquad/study/crossover.h"

#include <cmath>

namespace subquad {

double crossover_tokens(std::span<const double> baseline, std::span<const double> own) {
  constexpr std::size_t kCount = std::size(kDepths);
  require(baseline.size() == kCount && own.size() == kCount, ErrorCode::invalid_argument, "got ",
          baseline.size(), " and ", own.size(), " costs, wanted ", kCount);
  if (!(own[kCount - 1] < baseline[kCount - 1])) return INFINITY;
  for (std::size_t i = kCount - 1; i > 0; --i) {
    const double gap = baseline[i - 1] - own[i - 1];
    if (gap > 0) continue;
    const double after = baseline[i] - own[i];
    const auto from = static_cast<double>(kDepths[i - 1]), to = static_cast<double>(kDepths[i]);
    return from + (to - from) * -gap / (after - gap);
  }
  return static_cast<double>(kDepths[0]);
}

Json crossover_json(std::span<const double> baseline, std::span<const double> own) {
  const double at = crossover_tokens(baseline, own);
  return std::isinf(at) ? Json() : Json(std::round(at));
}

}  // namespace subquad
