// The list of families: a new one is a line here and a function in family.h.
#pragma once

#include "subquad/data/series/synthetic.h"
#include "subquad/data/series/synthetic/family.h"

namespace subquad {

struct FamilyEntry {
  SeriesFamily family;
  FamilyFunction fill;
  bool held_out;  // in the default recipe
};
std::span<const FamilyEntry> family_list();
// Errors: invalid_argument, with the key.
void check_series_recipe(const SeriesRecipe& recipe);

}  // namespace subquad
