// The recipes that authors of a family of mixers published for tasks of this kind (R3).
#pragma once

#include <string>

#include "subquad/io/json.h"
#include "subquad/train/optimizer.h"

namespace subquad {

struct PublishedRecipe {
  const char* family;  // as in the key of an arm
  // -1: the source is silent, and the value of R1 stays.
  double learning_rate, weight_decay, beta1, beta2;
  double warmup_fraction;  // of the steps
  double final_fraction;   // of the peak, at the end of a cosine
  double clip;             // 0 = off
  const char* source;

  Json to_json() const;
};

// Errors: an arm of several families, for which nobody published one recipe.
const PublishedRecipe& published_recipe(const std::string& arm, std::int64_t blocks);
// Sets what the recipe says of rate, decay, moments, warm-up and clipping, and a cosine; budget,
// batch and data stay.
void apply_recipe(const PublishedRecipe& recipe, std::int64_t steps, TrainConfig& config);

}  // namespace subquad
