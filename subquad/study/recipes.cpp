#include "subquad/study/recipes.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "subquad/model/model.h"

namespace subquad {
namespace {

constexpr double kSilent = -1;

// Where authors published several rates, the one of their formal-language or small-task runs is
// taken: those of billion-parameter language models are for other sizes.
constexpr PublishedRecipe kRecipes[] = {
    {"attention", 5e-4, 0, kSilent, kSilent, kSilent, 2e-3, kSilent,
     "MAD tasks, Poli et al. 2024 (arXiv 2403.17844): AdamW 5e-4, no decay, cosine to 1e-6"},
    {"xlstm", 1e-3, 0.1, 0.9, 0.99, 0.1, 1e-3, kSilent,
     "Beck et al. 2024 (arXiv 2405.04517), formal languages, and their repository's parity "
     "configuration: AdamW (0.9, 0.99) 1e-3, decay 0.1, 10 % warm-up, cosine to 1e-3 of the peak"},
    {"mamba2", 1e-3, 0.1, kSilent, kSilent, kSilent, 1e-3, kSilent,
     "Grazzi et al. 2025 (arXiv 2411.12537), released parity configurations for Mamba: AdamW 1e-3, "
     "decay 0.1, cosine to 1e-6; the Mamba-2 paper gives no recipe for formal languages"},
    {"gated_deltanet", 1e-3, 0.1, kSilent, kSilent, kSilent, 1e-3, kSilent,
     "Grazzi et al. 2025 (arXiv 2411.12537), released parity configurations for DeltaNet: AdamW "
     "1e-3, decay 0.1, cosine to 1e-6"},
};

std::string family_of(const std::string& kind) {
  const std::string base = kind.substr(0, kind.find('['));
  return base == "mlstm" || base == "slstm" ? "xlstm" : base;
}

}  // namespace

Json PublishedRecipe::to_json() const {
  Json j = Json::object();
  const auto add = [&](const char* key, double value) {
    if (value != kSilent) j[key] = value;
  };
  add("learning_rate", learning_rate);
  add("weight_decay", weight_decay);
  add("beta1", beta1);
  add("beta2", beta2);
  add("warmup_fraction", warmup_fraction);
  add("final_fraction", final_fraction);
  add("clip", clip);
  j["source"] = source;
  return j;
}

const PublishedRecipe& published_recipe(const std::string& arm, std::int64_t blocks) {
  std::set<std::string> families;
  for (const std::string& kind : arm_layers(arm, blocks)) families.insert(family_of(kind));
  for (const PublishedRecipe& r : kRecipes) {
    if (families.size() == 1 && *families.begin() == r.family) return r;
  }
  fail(ErrorCode::invalid_argument, "recipe R3: nobody published one recipe for the arm ", arm,
       "; use R1 or R2 for it, or leave it out");
}

void apply_recipe(const PublishedRecipe& recipe, std::int64_t steps, TrainConfig& config) {
  const auto set = [](double& to, double value) {
    if (value != kSilent) to = value;
  };
  set(config.learning_rate, recipe.learning_rate);
  set(config.weight_decay, recipe.weight_decay);
  set(config.beta1, recipe.beta1);
  set(config.beta2, recipe.beta2);
  set(config.final_fraction, recipe.final_fraction);
  set(config.clip, recipe.clip);
  config.schedule = "cosine";
  if (recipe.warmup_fraction != kSilent)
    config.warmup_steps = std::llround(recipe.warmup_fraction * static_cast<double>(steps));
}

}  // namespace subquad
