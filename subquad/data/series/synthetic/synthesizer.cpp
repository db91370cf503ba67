// From an index to a series.
#include <algorithm>
#include <array>
#include <cmath>

#include "subquad/base/error.h"
#include "subquad/data/series/synthetic/augment.h"
#include "subquad/data/series/synthetic/list.h"

namespace subquad {
namespace {

constexpr FamilyEntry kFamilies[] = {
    {{"kernel_synth", "Gaussian process, 1 to 5 kernels of KernelSynth's bank", true},
     kernel_synth_series,
     false},
    {{"gaussian_process", "Gaussian process with continuous periods and scales", true},
     gaussian_process_series,
     false},
    {{"seasonal_trend", "trend, 0 to 3 seasons, autocorrelated noise", false},
     seasonal_trend_series,
     false},
    {{"calendar", "civil dates: hours, weekdays, months, events", false}, calendar_series, false},
    {{"regimes", "mean reversion that switches between regimes", false}, regime_series, false},
    {{"steps", "levels, ramps, jumps and oscillations end to end", false}, step_series, false},
    {{"waves", "sines, sawteeth and squares, slightly modulated", false}, wave_series, false},
    {{"spikes", "a quiet level with returning spikes", false}, spike_series, false},
    {{"arima", "seasonal ARIMA with admissible parameters", false}, arima_series, false},
    {{"ets", "exponential smoothing models as generators", false}, ets_series, false},
    {{"intermittent", "counts with many zeros, outbreaks", false}, intermittent_series, false},
    {{"causal", "one variable of a structural causal model", false}, causal_series, false},
    {{"dynamics", "chaotic and physical systems, tides", false}, dynamics_series, false},
    {{"rhythm", "pulse trains of varying interval", false}, rhythm_series, true},
    {{"traffic", "packets of heavy-tailed sources", false}, traffic_series, true},
    {{"volatility", "prices with stochastic volatility", false}, volatility_series, true},
    {{"fractal", "fractional Brownian motion", false}, fractal_series, true},
};
constexpr std::size_t kCount = std::size(kFamilies);

constexpr std::array<SeriesFamily, kCount> names() {
  std::array<SeriesFamily, kCount> out{};
  for (std::size_t i = 0; i < kCount; ++i) out[i] = kFamilies[i].family;
  return out;
}
constexpr std::array<SeriesFamily, kCount> kNames = names();

const FamilyEntry& family_named(std::string_view name) {
  const auto at = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                               [&](const FamilyEntry& f) { return name == f.family.name; });
  if (at != std::end(kFamilies)) return *at;
  std::string all;
  for (const FamilyEntry& f : kFamilies)
    all += (all.empty() ? "" : ", ") + std::string(f.family.name);
  fail(ErrorCode::invalid_argument, "unknown family of series \"", name,
       "\"; there are training, validation, ", all);
}

bool usable(std::span<const double> y) {
  constexpr double kLargest = 1e15;  // far inside the range of f32, squares included
  return std::all_of(y.begin(), y.end(), [](double x) { return std::abs(x) <= kLargest; });
}

// A diverged simulation is drawn again. Which family it is stays.
void fill(const FamilyEntry& family, const FamilyInput& in, std::span<double> y) {
  constexpr int kAttempts = 64;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    family.fill(in, y);
    if (usable(y)) return;
  }
  fail(ErrorCode::internal, "family ", family.family.name, " gave ", kAttempts,
       " series in a row that are not finite");
}

void check_request(const SeriesRecipe& recipe, std::int64_t index, std::span<float> to) {
  const auto length = static_cast<std::int64_t>(to.size());
  require(length >= 16 && length <= recipe.gaussian.length && index >= 0,
          ErrorCode::invalid_argument, "series ", index, " of length ", length,
          ", wanted an index from 0 and a length from 16 to gaussian.length = ",
          recipe.gaussian.length);
}

}  // namespace

std::span<const SeriesFamily> all_series_families() { return kNames; }
std::span<const FamilyEntry> family_list() { return kFamilies; }

SeriesSynthesizer::SeriesSynthesizer(SeriesRecipe recipe, std::uint64_t seed,
                                     std::shared_ptr<const GaussianCache> cache)
    : recipe_(std::move(recipe)), seed_(seed), cache_(std::move(cache)) {
  check_series_recipe(recipe_);
  require(!cache_ || cache_->spec() == recipe_.gaussian, ErrorCode::invalid_argument,
          "the cache holds other Gaussian paths than the recipe names (",
          cache_ ? cache_->spec().factors : 0, " factors of length ",
          cache_ ? cache_->spec().length : 0, ", wanted ", recipe_.gaussian.factors, " of length ",
          recipe_.gaussian.length, ", or another seed); make it with subquad series cache");
}

SeriesSynthesizer::~SeriesSynthesizer() = default;

void SeriesSynthesizer::training(std::int64_t index, std::span<float> to) const {
  check_request(recipe_, index, to);
  Draws draws(seed_, stream_id("series/training"), static_cast<std::uint64_t>(index));
  const GaussianSource gaussian{recipe_.gaussian, cache_.get()};
  std::vector<double> weights;
  for (const FamilyWeight& f : recipe_.families) weights.push_back(f.weight);
  const auto one = [&] {
    std::vector<double> y(to.size());
    fill(family_named(recipe_.families[draws.weighted(weights)].family), {draws, gaussian}, y);
    return y;
  };
  std::vector<double> y;
  if (draws.chance(recipe_.mixup.probability)) {
    std::vector<std::vector<double>> members(
        static_cast<std::size_t>(draws.between(2, recipe_.mixup.most)));
    for (auto& m : members) m = one();
    y = mix(members, draws.dirichlet(members.size(), recipe_.mixup.alpha), MixScaling::z_score);
  } else {
    y = one();
  }
  augment(draws, recipe_.augmentations, y);
  std::copy(y.begin(), y.end(), to.begin());
}

void SeriesSynthesizer::validation(std::int64_t index, std::span<float> to) const {
  check_request(recipe_, index, to);
  require(!recipe_.held_out.empty(), ErrorCode::invalid_argument,
          "the recipe holds no family out: there is nothing to validate on");
  Draws draws(seed_, stream_id("series/validation"), static_cast<std::uint64_t>(index));
  std::vector<double> y(to.size());
  fill(family_named(recipe_.held_out[draws.below(recipe_.held_out.size())]),
       {draws, {recipe_.gaussian, cache_.get()}}, y);
  augment(draws, recipe_.augmentations, y);
  std::copy(y.begin(), y.end(), to.begin());
}

void SeriesSynthesizer::plain(std::string_view family, std::int64_t index,
                              std::span<float> to) const {
  check_request(recipe_, index, to);
  Draws draws(seed_, stream_id(family), static_cast<std::uint64_t>(index));
  std::vector<double> y(to.size());
  fill(family_named(family), {draws, {recipe_.gaussian, cache_.get()}}, y);
  std::copy(y.begin(), y.end(), to.begin());
}

}  // namespace subquad
