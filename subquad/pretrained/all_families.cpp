#include "subquad/pretrained/family.h"

namespace subquad {
namespace {

// Known by name, and what each would need.
constexpr std::pair<const char*, const char*> kRefused[] = {
    {"kda", "the names of KDA in flash-linear-attention, whose gate has a bias"},
    {"mamba", "the selective scan of Mamba-1"},
    {"falcon_h1", "attention and Mamba-2 side by side in one layer"},
    {"olmo_hybrid", "norms behind the attention layers"},
    {"qwen3_moe", "experts"},
    {"qwen3_5_moe", "experts"},
};

std::string supported() {
  std::string list;
  for (const Family* f : all_families()) list += (list.empty() ? "" : ", ") + std::string(f->name);
  return list;
}

}  // namespace

const std::vector<const Family*>& all_families() {
  static const std::vector<const Family*> families = {
      &kLlama,      &kQwen3,        &kMamba2,           &kMamba2StateSpaces,
      &kXlstmLarge, &kXlstmNeurips, &kGatedDeltaNetFla, &kQwen3Next,
      &kQwen35,     &kGpt2,         &kGraniteHybrid,    &kKimiLinear,
      &kTirex,      &kSubquad,
  };
  return families;
}

const Family& family_of(const PublishedConfig& config) {
  for (const Family* f : all_families()) {
    if (f->claims(config)) return *f;
  }
  const std::string type = config.word("model_type", "");
  for (const auto& [name, need] : kRefused) {
    config.check(type != name, "model_type \"", type, "\" is not supported: it needs ", need,
                 "; supported are ", supported());
  }
  fail(ErrorCode::unsupported, config.source(), ": ",
       type.empty() ? "no model_type, and no layout that is known without one"
                    : "model_type \"" + type + "\" is not supported",
       "; supported are ", supported());
}

}  // namespace subquad
