#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "app/actions.h"
#include "app/options.h"
#include "app/series_options.h"
#include "subquad/base/interrupt.h"
#include "subquad/data/series/synthetic.h"
#include "subquad/data/series/synthetic/gaussian_cache.h"
#include "subquad/io/csv.h"
#include "subquad/study/forecast_page.h"

namespace subquad::app {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A recipe file and a cache, as several actions take them.
struct Source {
  std::string recipe_path, cache_path;
  std::int64_t seed = 1, length = 512;

  void add_to(Options& options) {
    options.option("--recipe", recipe_path, "JSON file of a recipe (default: the built-in one)")
        .option("--cache", cache_path, "cache of Gaussian paths; its sizes replace the recipe's")
        .option("--seed", seed, "seed of the corpus", kSeeds)
        .option("--length", length, "values in a series", {16, 8192});
  }
  SeriesSynthesizer open() const {
    SeriesRecipe recipe =
        recipe_path.empty() ? default_series_recipe() : series_recipe_from(Json::read(recipe_path));
    std::shared_ptr<const GaussianCache> cache;
    if (!cache_path.empty()) {
      cache = std::make_shared<const GaussianCache>(cache_path);
      recipe.gaussian = cache->spec();
    }
    return {std::move(recipe), static_cast<std::uint64_t>(seed), std::move(cache)};
  }
};

void draw(const SeriesSynthesizer& from, const std::string& family, std::int64_t index,
          std::span<float> to) {
  if (family == "training") return from.training(index, to);
  if (family == "validation") return from.validation(index, to);
  from.plain(family, index, to);
}

int list(Arguments arguments) {
  Options options("series list", "The families of synthetic series.", "subquad series list");
  if (!options.parse(arguments)) return 0;
  const SeriesRecipe recipe = default_series_recipe();
  for (const SeriesFamily& f : all_series_families()) {
    const bool held_out =
        std::find(recipe.held_out.begin(), recipe.held_out.end(), f.name) != recipe.held_out.end();
    std::printf("%-17s %s%s%s\n", f.name, f.summary, f.gaussian ? " (cached)" : "",
                held_out ? " (held out: validation)" : "");
  }
  return 0;
}

int recipe(Arguments arguments) {
  std::string path;
  Options options("series recipe",
                  "Prints a recipe, complete with its default values, and its digest.",
                  "subquad series recipe > recipe.json");
  options.option("--recipe", path, "JSON file (default: the built-in recipe)");
  if (!options.parse(arguments)) return 0;
  const SeriesRecipe r =
      path.empty() ? default_series_recipe() : series_recipe_from(Json::read(path));
  std::printf("%s\n", to_json(r).dump(2).c_str());
  std::fprintf(stderr, "digest %s\n", digest_of(r).c_str());
  return 0;
}

int show(Arguments arguments) {
  std::string family, out_path;
  Source source;
  std::int64_t first = 0, count = 8;
  bool csv = false;
  Options options("series show",
                  "Samples of a family, or of training or validation as a recipe draws them.",
                  "subquad series show seasonal_trend --count 4");
  options.positional("family", family, "a family (see series list), training or validation", true)
      .option("--first", first, "index of the first series", kSeeds)
      .option("--count", count, "how many", {1, 1'000'000})
      .flag("--csv", csv, "unique_id,ds,y instead of sparklines; readable by forecast and backtest")
      .option("--out", out_path, "file to write (default: standard output)");
  source.add_to(options);
  if (!options.parse(arguments)) return 0;
  const SeriesSynthesizer from = source.open();
  Output out(out_path);
  std::vector<float> y(static_cast<std::size_t>(source.length));
  if (csv) out.write("unique_id,ds,y\n");
  for (std::int64_t index = first; index < first + count; ++index) {
    draw(from, family, index, y);
    const std::string id = family + "-" + std::to_string(index);
    if (!csv) {
      constexpr std::size_t kWidth = 100;  // of so many values the first
      const std::vector<double> shown(
          y.begin(), y.begin() + static_cast<std::ptrdiff_t>(std::min(y.size(), kWidth)));
      out.write(id + "\t" + sparkline(shown) + "\n");
      continue;
    }
    std::string text;
    for (std::size_t t = 0; t < y.size(); ++t) {
      text += id + "," + std::to_string(t) + ",";
      if (!std::isnan(y[t])) text += csv_number(static_cast<double>(y[t]));
      text += "\n";
    }
    out.write(text);
    require(!interrupted(), ErrorCode::interrupted, "stopped");
  }
  out.finish();
  return 0;
}

int cache(Arguments arguments) {
  std::string path = "series.safetensors";
  Options options("series cache",
                  "Computes the Gaussian paths of a recipe once, for all trainings with the same "
                  "numbers. The same numbers give the same bytes, on any number of threads.",
                  "subquad series cache --out paths.safetensors --factors 512");
  GaussianPaths spec;
  std::int64_t threads = 1;
  options.option("--out", path, "file to write")
      .option("--factors", spec.factors, "covariance matrices per family", {1, 1 << 24})
      .option("--paths", spec.paths, "paths per matrix", {8, 1024})
      .option("--length", spec.length, "steps of a path", {16, 8192})
      .option("--seed", spec.seed, "seed", kSeeds)
      .option("--threads", threads, "threads", kThreads);
  if (!options.parse(arguments)) return 0;
  const auto start = std::chrono::steady_clock::now();
  ThreadPool pool(static_cast<int>(threads));
  Progress progress("series cache", "matrices");
  const std::string sha = build_gaussian_cache(path, spec, pool, [&](std::int64_t done) {
    progress.show(done, 2 * spec.factors);
    return !interrupted();
  });
  const double seconds = seconds_since(start);
  const std::int64_t paths = 2 * spec.factors * spec.paths;
  std::printf("%s: %lld paths of %lld steps, %.1f MB, made in %.1f s (%.1f paths/s)\n",
              path.c_str(), static_cast<long long>(paths), static_cast<long long>(spec.length),
              4e-6 * static_cast<double>(paths * spec.length), seconds,
              static_cast<double>(paths) / seconds);
  std::printf("recipe %s\ndata   %s\n", digest_of(spec).c_str(), sha.c_str());
  return 0;
}

int bench(Arguments arguments) {
  Source source;
  double seconds = 0.3, patches = 1500;
  Options options("series bench",
                  "Speed of every family on one core, and the share of a core that feeding a "
                  "training takes.",
                  "subquad series bench --cache paths.safetensors --length 2048");
  options.option("--seconds", seconds, "time per family", {0.01, 60})
      .option("--patches", patches, "patches of 32 values that training eats a second", {1, 1e9});
  source.length = 2048;
  source.add_to(options);
  if (!options.parse(arguments)) return 0;
  const SeriesSynthesizer from = source.open();
  std::vector<std::string> names;
  for (const SeriesFamily& f : all_series_families()) {
    if (!f.gaussian || !source.cache_path.empty()) names.emplace_back(f.name);
  }
  if (!source.cache_path.empty()) names.insert(names.end(), {"training", "validation"});
  std::printf("%-17s %10s %14s %16s\n", "family", "series/s", "values/s", "share of a core");
  std::vector<float> y(static_cast<std::size_t>(source.length));
  for (const std::string& name : names) {
    const auto start = std::chrono::steady_clock::now();
    std::int64_t done = 0;
    do {
      draw(from, name, done++, y);
    } while (seconds_since(start) < seconds);
    const double rate = static_cast<double>(done) / seconds_since(start),
                 values = rate * static_cast<double>(source.length);
    std::printf("%-17s %10.0f %14.3g %14.2f %%\n", name.c_str(), rate, values,
                100 * 32 * patches / values);
  }
  return 0;
}

constexpr Action kActions[] = {
    {"list", "the families", list},
    {"show", "samples of a family, as sparklines or CSV", show},
    {"recipe", "a recipe with all its numbers, and its digest", recipe},
    {"cache", "compute the paths of Gaussian processes once", cache},
    {"bench", "series a second, by family", bench},
};

}  // namespace

int series(Arguments arguments) {
  return run_action("series", "Synthetic series for training (docs/series.md).", kActions,
                    arguments);
}

}  // namespace subquad::app
