#include "subquad/backend/instructions.h"

#include <hwy/highway.h>

#include <utility>

#include "subquad/base/error.h"

namespace subquad {
namespace {

constexpr std::pair<const char*, std::int64_t> kSets[] = {
    {"sse4", HWY_SSE4}, {"avx2", HWY_AVX2}, {"avx512", HWY_AVX3}};

std::int64_t of_processor() {
  static const std::int64_t targets = hwy::SupportedTargets();  // before anything is restricted
  return targets;
}

bool restricted = false;

}  // namespace

bool widest_instructions_allowed() { return !restricted; }

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const auto& [name, target] : kSets) {
    if ((of_processor() & target) != 0) names.emplace_back(name);
  }
  require(!names.empty(), ErrorCode::unsupported,
          "this processor has none of sse4, avx2 and avx512; at least SSE4.2 is needed");
  return names;
}

void use_instruction_set(std::string_view name) {
  std::string known;
  for (const std::string& set : instruction_sets()) known += " " + set;
  for (const auto& [set, target] : kSets) {
    if (set != name || (of_processor() & target) == 0) continue;
    restricted = name != instruction_sets().back();
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    return;
  }
  fail(ErrorCode::invalid_argument, "instruction set \"", name, "\", wanted one of:", known);
}

}  // namespace subquad
