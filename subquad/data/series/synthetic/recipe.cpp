// Recipes: what there is, as JSON and back, and their digest.
#include <algorithm>
#include <cmath>

#include "subquad/base/digest.h"
#include "subquad/base/error.h"
#include "subquad/data/series/synthetic.h"
#include "subquad/data/series/synthetic/gaussian_cache.h"
#include "subquad/data/series/synthetic/list.h"

namespace subquad {
namespace {

constexpr std::int64_t kVersion = 1;  // of the generators: raised when a series changes
constexpr double kMostWeight = 1e6;

const Json& member(const Json& json, const char* key) {
  static const Json absent = Json::object();
  const Json* found = json.find(key);
  return found ? *found : absent;
}

void check_keys(const Json& json, const std::string& where, const std::vector<std::string>& known) {
  for (const auto& [key, value] : json.as_object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_key(key, known);
    fail(ErrorCode::invalid_argument, "recipe: unknown key ", where, key,
         near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
}

void check_family(const std::string& name) {
  std::vector<std::string> names;
  for (const SeriesFamily& f : all_series_families()) names.emplace_back(f.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const std::string near = nearest_key(name, names);
  std::string all;
  for (const std::string& n : names) all += (all.empty() ? "" : ", ") + n;
  fail(ErrorCode::invalid_argument, "unknown family of series \"", name, "\"",
       near.empty() ? "; there are " + all : "; did you mean \"" + near + "\"?");
}

template <class Visit>
void each_rate(Visit&& visit) {
  visit("time_flip", &AugmentationRates::time_flip);
  visit("amplitude_modulation", &AugmentationRates::amplitude_modulation);
  visit("censor", &AugmentationRates::censor);
  visit("spikes", &AugmentationRates::spikes);
  visit("sign_flip", &AugmentationRates::sign_flip);
  visit("resample", &AugmentationRates::resample);
  visit("quantize", &AugmentationRates::quantize);
  visit("noise", &AugmentationRates::noise);
  visit("missing", &AugmentationRates::missing);
}

void check_range(const std::string& key, double value, double low, double high) {
  require(value >= low && value <= high, ErrorCode::invalid_argument, "recipe: ", key, " ", value,
          ", wanted ", low, " to ", high);
}

}  // namespace

SeriesRecipe default_series_recipe() {
  SeriesRecipe r;
  for (const FamilyEntry& f : family_list()) {
    if (f.held_out) {
      r.held_out.emplace_back(f.family.name);
    } else {
      r.families.push_back({f.family.name, 1});
    }
  }
  return r;
}

Json to_json(const SeriesRecipe& r) {
  Json j = Json::object();
  j["families"] = Json::object();
  for (const FamilyWeight& f : r.families) j["families"][f.family] = f.weight;
  j["held_out"] = Json::array();
  for (const std::string& f : r.held_out) j["held_out"].push_back(f);
  j["mixup"]["probability"] = r.mixup.probability;
  j["mixup"]["most"] = r.mixup.most;
  j["mixup"]["alpha"] = r.mixup.alpha;
  each_rate([&](const char* key, double AugmentationRates::*rate) {
    j["augmentations"][key] = r.augmentations.*rate;
  });
  j["gaussian"]["factors"] = r.gaussian.factors;
  j["gaussian"]["paths"] = r.gaussian.paths;
  j["gaussian"]["length"] = r.gaussian.length;
  j["gaussian"]["seed"] = r.gaussian.seed;
  return j;
}

SeriesRecipe series_recipe_from(const Json& json) {
  check_keys(json, "", {"families", "held_out", "mixup", "augmentations", "gaussian"});
  SeriesRecipe r = default_series_recipe();
  if (const Json* families = json.find("families")) {
    r.families.clear();
    for (const auto& [name, weight] : families->as_object())
      r.families.push_back({name, weight.as_double()});
  }
  if (const Json* held_out = json.find("held_out")) {
    r.held_out.clear();
    for (const Json& name : held_out->as_array()) r.held_out.push_back(name.as_string());
  }
  const Json& mixup = member(json, "mixup");
  check_keys(mixup, "mixup.", {"probability", "most", "alpha"});
  r.mixup.probability = mixup.get("probability", r.mixup.probability);
  r.mixup.most = mixup.get("most", r.mixup.most);
  r.mixup.alpha = mixup.get("alpha", r.mixup.alpha);
  const Json& rates = member(json, "augmentations");
  std::vector<std::string> keys;
  each_rate([&](const char* key, double AugmentationRates::*rate) {
    keys.emplace_back(key);
    r.augmentations.*rate = rates.get(key, r.augmentations.*rate);
  });
  check_keys(rates, "augmentations.", keys);
  const Json& gaussian = member(json, "gaussian");
  check_keys(gaussian, "gaussian.", {"factors", "paths", "length", "seed"});
  r.gaussian.factors = gaussian.get("factors", r.gaussian.factors);
  r.gaussian.paths = gaussian.get("paths", r.gaussian.paths);
  r.gaussian.length = gaussian.get("length", r.gaussian.length);
  r.gaussian.seed = gaussian.get("seed", r.gaussian.seed);
  check_series_recipe(r);
  return r;
}

void check_series_recipe(const SeriesRecipe& r) {
  require(!r.families.empty(), ErrorCode::invalid_argument, "recipe: no families");
  for (std::size_t i = 0; i < r.families.size(); ++i) {
    const auto& [family, weight] = r.families[i];
    check_family(family);
    check_range("families." + family, weight, 1e-6, kMostWeight);
    for (std::size_t j = 0; j < i; ++j)
      require(r.families[j].family != family, ErrorCode::invalid_argument, "recipe: family ",
              family, " is named twice");
  }
  for (const std::string& name : r.held_out) {
    check_family(name);
    for (const FamilyWeight& f : r.families)
      require(f.family != name, ErrorCode::invalid_argument, "recipe: family ", name,
              " is held out and in training");
  }
  check_range("mixup.probability", r.mixup.probability, 0, 1);
  check_range("mixup.most", static_cast<double>(r.mixup.most), 2, 16);
  check_range("mixup.alpha", r.mixup.alpha, 0.01, 100);
  each_rate([&](const char* key, double AugmentationRates::*rate) {
    check_range(std::string("augmentations.").append(key), r.augmentations.*rate, 0, 1);
  });
  check_gaussian_paths(r.gaussian);
}

std::string digest_of(const SeriesRecipe& recipe) {
  return sha256("subquad series " + std::to_string(kVersion) + " " + digest_of(recipe.gaussian) +
                " " + to_json(recipe).dump());
}

}  // namespace subquad
