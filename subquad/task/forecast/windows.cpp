#include "subquad/task/forecast/windows.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/base/rng.h"
#include "subquad/data/series/baseline.h"
#include "subquad/data/series/metrics.h"
#include "subquad/data/series/series.h"

namespace subquad {
namespace {

constexpr std::size_t kRows = 64;  // windows of a batch
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// Steps of the horizon that are scored apart.
struct Band {
  const char* name;
  std::int64_t first, last;
};
constexpr Band kBands[] = {{"steps_1_8", 0, 8}, {"steps_9_24", 8, 24}, {"steps_25_48", 24, 48}};

// Sums of the model and of the baseline over the same points.
struct Pair {
  MetricSums model, baseline;
  explicit Pair(const std::vector<double>& levels)
      : model({.convention = Convention::gluonts, .levels = levels}), baseline(model) {}

  double wql() const { return model.values().wql / baseline.values().wql; }
  double mase() const { return model.values().mase / baseline.values().mase; }
};

double geometric_mean(const std::vector<double>& x) {
  double sum = 0, count = 0;
  for (const double v : x) {
    if (!std::isfinite(v) || v <= 0) continue;
    sum += std::log(v);
    ++count;
  }
  return count > 0 ? std::exp(sum / count) : kMissing;
}

ForecastWindow part_of(std::span<const double> past, std::span<const double> actual,
                       const std::vector<std::vector<double>>& q, std::int64_t season,
                       std::int64_t first, std::int64_t last) {
  const auto at = static_cast<std::size_t>(first), count = static_cast<std::size_t>(last - first);
  ForecastWindow w{
      .past = past, .actual = actual.subspan(at, count), .quantiles = {}, .season = season};
  for (const auto& level : q) w.quantiles.push_back(std::span(level).subspan(at, count));
  return w;
}

}  // namespace

ForecastWindows::ForecastWindows(const std::string& folder, const PatchSpec& spec) : spec_(spec) {
  const std::string path = folder + "/datasets.json";
  const Json list = Json::read(path);
  Sha256 hash;
  std::size_t number = 0;
  for (const Json& j : list.as_array()) {
    try {
      const std::string freq = j.at("freq").as_string(), file = j.at("file").as_string();
      require(file.find('/') == std::string::npos, ErrorCode::format, "file \"", file,
              "\", wanted a name in the same folder");
      const Set set{.name = j.at("dataset").as_string(),
                    .season = j.at("season").as_int(),
                    .horizon = j.at("horizon").as_int(),
                    .windows = j.at("windows").as_int(),
                    .annual = freq.starts_with("Y") || freq.starts_with("A")};
      require(set.season >= 1 && set.horizon >= 1 && set.horizon <= spec.length * 64 &&
                  set.windows >= 1 && set.windows <= 1000,
              ErrorCode::format,
              "season, horizon and windows: wanted positive numbers, a horizon "
              "of at most 64 patches and at most 1000 windows");
      hash.update(std::as_bytes(std::span<const char>(read_file(folder + "/" + file))));
      std::vector<std::vector<double>> values;
      ReadSetup setup;
      setup.frequency = freq;
      for (TimeSeries& s : read_series(folder + "/" + file, setup).series)
        values.push_back(std::move(s.values));
      add_set(set, values);
      ++number;
    } catch (Error& e) {
      e.add_context(path + ": set " + std::to_string(number));
      throw;
    }
  }
  require(!windows_.empty(), ErrorCode::format, path, ": no set has a window");
  digest_ = "sha256:" + hash.finish();
  add_control();
  make_batches();
}

void ForecastWindows::add_set(const Set& set, const std::vector<std::vector<double>>& series) {
  for (const auto& values : series) {
    const auto length = static_cast<std::int64_t>(values.size());
    for (std::int64_t w = 0; w < set.windows; ++w) {
      const std::int64_t cut = length - (set.windows - w) * set.horizon;
      if (cut < 1) continue;
      Window window{sets_.size(),
                    {values.begin(), values.begin() + cut},
                    {values.begin() + cut, values.begin() + cut + set.horizon}};
      const auto finite = [](double x) { return std::isfinite(x); };
      if (std::any_of(window.past.begin(), window.past.end(), finite) &&
          std::any_of(window.actual.begin(), window.actual.end(), finite))
        windows_.push_back(std::move(window));
    }
  }
  sets_.push_back(set);
}

void ForecastWindows::add_control() {
  constexpr std::int64_t kWalks = 24, kLength = 560, kHorizon = 30;
  std::vector<std::vector<double>> walks;
  for (std::int64_t i = 0; i < kWalks; ++i) {
    const Rng rng{0, stream_id("forecast/control")};
    std::vector<double> x = {100};
    while (static_cast<std::int64_t>(x.size()) < kLength)
      x.push_back(x.back() + rng.normal(static_cast<std::uint64_t>(i), x.size()));
    walks.push_back(std::move(x));
  }
  add_set({.name = "random_walks", .season = 1, .horizon = kHorizon, .windows = 1, .control = true},
          walks);
}

std::int64_t ForecastWindows::tokens_of(const Window& w) const {
  return static_cast<std::int64_t>(context_of(spec_, w.past).size()) / spec_.length;
}

void ForecastWindows::make_batches() {
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::size_t>> shapes;
  for (std::size_t i = 0; i < windows_.size(); ++i)
    shapes[{tokens_of(windows_[i]), sets_[windows_[i].set].horizon}].push_back(i);
  for (const auto& [shape, members] : shapes) {
    for (std::size_t from = 0; from < members.size(); from += kRows)
      batches_.emplace_back(
          members.begin() + static_cast<std::ptrdiff_t>(from),
          members.begin() + static_cast<std::ptrdiff_t>(std::min(members.size(), from + kRows)));
  }
}

Batch ForecastWindows::batch(std::int64_t index) const {
  const auto& members = batches_.at(static_cast<std::size_t>(index));
  const Window& first = windows_[members[0]];
  const std::int64_t known = tokens_of(first), P = spec_.length, F = spec_.features(),
                     H = static_cast<std::int64_t>(first.actual.size()), hidden = (H - 1) / P,
                     T = known + hidden, B = static_cast<std::int64_t>(members.size());
  Batch out{Tensor::zeros({B, T, F}, DType::f32), Tensor({B, T, P}, DType::f32)};
  std::fill_n(out.targets.data<float>(), out.targets.numel(),
              std::numeric_limits<float>::quiet_NaN());
  std::vector<SeriesScale> scales(static_cast<std::size_t>(known));
  for (std::int64_t b = 0; b < B; ++b) {
    const Window& w = windows_[members[static_cast<std::size_t>(b)]];
    encode_patches(spec_, context_of(spec_, w.past), {},
                   {out.inputs.data<float>() + b * T * F, static_cast<std::size_t>(known * F)},
                   scales);
    float* y = out.targets.data<float>() + (b * T + known - 1) * P;
    for (std::int64_t h = 0; h < H; ++h) {
      const double actual = w.actual[static_cast<std::size_t>(h)];
      if (std::isfinite(actual))
        y[h] = static_cast<float>(encode_value(spec_, scales.back(), actual));
    }
  }
  return out;
}

std::vector<Metric> ForecastWindows::score(std::span<const Scored> scored) const {
  const std::int64_t P = spec_.length;
  std::vector<Pair> by_set(sets_.size(), Pair(spec_.levels));
  std::vector<std::vector<Pair>> by_band(std::size(kBands), by_set);
  double inside = 0, points = 0;
  for (std::size_t i = 0; i < scored.size(); ++i) {
    const auto& members = batches_.at(i);
    const Tensor& q = scored[i].quantiles;
    for (std::size_t b = 0; b < members.size(); ++b) {
      const Window& w = windows_[members[b]];
      const Set& set = sets_[w.set];
      const auto known = static_cast<std::size_t>(tokens_of(w));
      std::vector<float> tokens(known * static_cast<std::size_t>(spec_.features()));
      std::vector<SeriesScale> scales(known);
      encode_patches(spec_, context_of(spec_, w.past), {}, tokens, scales);
      const float* from = q.data<float>() + (static_cast<std::int64_t>(b) * q.shape()[1] +
                                             static_cast<std::int64_t>(known) - 1) *
                                                q.shape()[2];
      const auto levels = static_cast<std::int64_t>(spec_.levels.size());
      std::vector<std::vector<double>> own(spec_.levels.size());
      for (std::int64_t h = 0; h < set.horizon; ++h) {
        std::vector<double> step;
        for (std::int64_t l = 0; l < levels; ++l)
          step.push_back(
              decode_value(spec_, scales.back(), from[(h / P * levels + l) * P + h % P]));
        std::sort(step.begin(), step.end());
        for (std::size_t l = 0; l < own.size(); ++l) own[l].push_back(step[l]);
        const double y = w.actual[static_cast<std::size_t>(h)];
        if (!std::isfinite(y) || set.control) continue;
        inside += y >= step.front() && y <= step.back() ? 1 : 0;
        ++points;
      }
      const Forecast base =
          run_baseline(baseline_named(set.control ? "naive" : "seasonal_naive"), w.past,
                       {.season = set.season, .horizon = set.horizon, .levels = spec_.levels});
      const auto add = [&](Pair& pair, std::int64_t first, std::int64_t last) {
        pair.model.add(part_of(w.past, w.actual, own, set.season, first, last));
        pair.baseline.add(part_of(w.past, w.actual, base.quantiles, set.season, first, last));
      };
      add(by_set[w.set], 0, set.horizon);
      for (std::size_t k = 0; k < std::size(kBands); ++k) {
        if (kBands[k].first < set.horizon)
          add(by_band[k][w.set], kBands[k].first, std::min(kBands[k].last, set.horizon));
      }
    }
  }
  std::vector<Metric> out;
  const auto put = [&](const std::string& name, double value) {
    if (std::isfinite(value)) out.push_back({name, value, "", false});
  };
  // Of the sets that `wanted` picks.
  const auto means = [&](const std::string& suffix, auto&& wanted) {
    std::vector<double> wql, mase;
    for (std::size_t s = 0; s < sets_.size(); ++s) {
      if (sets_[s].control || !wanted(sets_[s])) continue;
      wql.push_back(by_set[s].wql());
      mase.push_back(by_set[s].mase());
    }
    put("wql_ratio" + suffix, geometric_mean(wql));
    put("mase_ratio" + suffix, geometric_mean(mase));
  };
  means("", [](const Set& s) { return !s.annual; });
  means("_all", [](const Set&) { return true; });
  means("_annual", [](const Set& s) { return s.annual; });
  for (std::size_t k = 0; k < std::size(kBands); ++k) {
    std::vector<double> wql;
    for (std::size_t s = 0; s < sets_.size(); ++s) {
      if (!sets_[s].control && !sets_[s].annual && sets_[s].horizon > kBands[k].first)
        wql.push_back(by_band[k][s].wql());
    }
    put(std::string("wql_ratio_") + kBands[k].name, geometric_mean(wql));
  }
  for (std::size_t s = 0; s < sets_.size(); ++s) {
    if (sets_[s].control) {
      put("control_wql_ratio", by_set[s].wql());
    } else {
      put("wql_ratio." + sets_[s].name, by_set[s].wql());
      put("mase_ratio." + sets_[s].name, by_set[s].mase());
    }
  }
  if (points > 0) out.push_back({"coverage80", inside / points, "", true});
  return out;
}

}  // namespace subquad
