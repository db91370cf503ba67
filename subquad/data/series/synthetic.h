// Synthetic training series. A corpus is a recipe, a seed and a range of indices: nothing is stored,
// and every series is a pure function of (recipe, seed, index, length).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

class GaussianCache;  // data/series/synthetic/gaussian_cache.h

// A generator of one kind of series.
struct SeriesFamily {
  const char* name;  // kernel_synth
  const char* summary;
  bool gaussian;  // draws paths of Gaussian processes: slow without a cache
};
// In the order of the documentation; all that a recipe may name.
std::span<const SeriesFamily> all_series_families();

struct FamilyWeight {
  std::string family;
  double weight = 1;  // relative, > 0
  bool operator==(const FamilyWeight&) const = default;
};

// sum_i l_i z_i of k z-scored series, k ~ U{2..most}, l ~ Dirichlet(alpha, .., alpha).
// Source: TSMixup of Ansari et al. 2024 (arXiv 2403.07815), as z-scored by Auer et al. 2025
// (arXiv 2505.23719).
struct MixupRates {
  double probability = 0.25;
  std::int64_t most = 4;
  double alpha = 1.5;
  bool operator==(const MixupRates&) const = default;
};

// Probability of each change, applied in this order. The second to the fourth are those of Auer et
// al. 2025.
struct AugmentationRates {
  double time_flip = 0.05;
  double amplitude_modulation = 0.5;
  double censor = 0.5;
  double spikes = 0.05;
  double sign_flip = 0.2;
  double resample = 0.05;  // slower or faster sampling, then held or interpolated back
  double quantize = 0.05;  // 5 to 15 levels, or whole numbers
  double noise = 0.1;      // white, 0.1 to 10 % of the standard deviation
  double missing = 0.15;   // single points and blocks become NaN
  bool operator==(const AugmentationRates&) const = default;
};

// The finite set of Gaussian-process paths that families draw from: crops of any length up to
// `length`. A cache file holds exactly these numbers; without one they are computed when needed.
struct GaussianPaths {
  std::int64_t factors = 512;  // covariance matrices per family
  std::int64_t paths = 8;      // per matrix
  std::int64_t length = 2048;
  std::int64_t seed = 1;
  bool operator==(const GaussianPaths&) const = default;
};

struct SeriesRecipe {
  std::vector<FamilyWeight> families;  // what training draws from
  std::vector<std::string> held_out;   // what validation draws from, with equal weight
  MixupRates mixup = {};
  AugmentationRates augmentations = {};
  GaussianPaths gaussian = {};
  bool operator==(const SeriesRecipe&) const = default;
};

// Equal weights of every family but the held-out ones.
SeriesRecipe default_series_recipe();
Json to_json(const SeriesRecipe& recipe);
// Absent keys keep the default recipe's value. Errors: invalid_argument that names the key: unknown
// keys and families, numbers out of range, a family in both lists.
SeriesRecipe series_recipe_from(const Json& json);
// SHA-256 of the recipe and of the version of the generators: equal digests, equal series.
std::string digest_of(const SeriesRecipe& recipe);

// Draws the series of one recipe and seed. Immutable: any number of threads may share it.
class SeriesSynthesizer {
 public:
  // cache: of a recipe with the same GaussianPaths (else invalid_argument), or null: then the same
  // numbers come from a factorisation per draw (about 0.5 s at length 2048).
  SeriesSynthesizer(SeriesRecipe recipe, std::uint64_t seed,
                    std::shared_ptr<const GaussianCache> cache = nullptr);
  ~SeriesSynthesizer();

  const SeriesRecipe& recipe() const { return recipe_; }
  // Fills `to` with series `index` of training: family, mixup and augmentations. NaN: missing; at
  // least two values are observed.
  // Ranges:  16 <= to.size() <= recipe.gaussian.length; index >= 0
  // Errors:  invalid_argument outside these
  void training(std::int64_t index, std::span<float> to) const;
  // The same of validation: held-out families, with the same augmentations but no mixup.
  void validation(std::int64_t index, std::span<float> to) const;
  // A family as it is, without mixup and augmentations.
  void plain(std::string_view family, std::int64_t index, std::span<float> to) const;

 private:
  SeriesRecipe recipe_;
  std::uint64_t seed_;
  std::shared_ptr<const GaussianCache> cache_;
};

}  // namespace subquad
