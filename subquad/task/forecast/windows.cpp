#include "subquad/task/forecast/windows.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
#include "subquad/base/rng.h"
#include "subquad/data/series/baseline.h"
#include "subquad/data/series/metrics.h"
#include "subquad/task/forecast/samples.h"

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

// Of the windows from `first` on.
std::size_t last_of_first_series(const std::vector<TestWindow>& windows, std::size_t first) {
  std::size_t last = first;
  while (last + 1 < windows.size() && windows[last + 1].id == windows[first].id) ++last;
  return last;
}

double cpu_seconds_of_this_thread() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
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

// Scores by set, and by set and band of the horizon.
class Totals {
 public:
  Totals(const std::vector<SeriesSet>& sets, const std::vector<double>& levels)
      : sets_(sets),
        levels_(levels),
        by_set_(sets.size(), Pair(levels)),
        by_band_(std::size(kBands), by_set_) {}

  void add(const TestWindow& w, const std::vector<std::vector<double>>& quantiles) {
    const SeriesSet& set = sets_[w.set];
    const Forecast base =
        run_baseline(baseline_named(set.control ? "naive" : "seasonal_naive"), w.past,
                     {.season = set.season, .horizon = set.horizon, .levels = levels_});
    const auto into = [&](Pair& pair, std::int64_t first, std::int64_t last) {
      pair.model.add(part_of(w.past, w.actual, quantiles, set.season, first, last));
      pair.baseline.add(part_of(w.past, w.actual, base.quantiles, set.season, first, last));
    };
    into(by_set_[w.set], 0, set.horizon);
    for (std::size_t k = 0; k < std::size(kBands); ++k) {
      if (kBands[k].first < set.horizon)
        into(by_band_[k][w.set], kBands[k].first, std::min(kBands[k].last, set.horizon));
    }
    for (std::size_t h = 0; h < w.actual.size() && !set.control; ++h) {
      if (!std::isfinite(w.actual[h])) continue;
      ++points_;
      inside_ += w.actual[h] >= quantiles.front()[h] && w.actual[h] <= quantiles.back()[h] ? 1 : 0;
    }
  }

  std::vector<Metric> metrics() const {
    std::vector<Metric> out;
    const auto put = [&](const std::string& name, double value) {
      if (std::isfinite(value)) out.push_back({name, value, "", false});
    };
    const auto mean = [&](const std::vector<Pair>& of, double (Pair::*ratio)() const,
                          auto&& wanted) {
      std::vector<double> x;
      for (std::size_t s = 0; s < sets_.size(); ++s) {
        if (!sets_[s].control && wanted(sets_[s])) x.push_back((of[s].*ratio)());
      }
      return geometric_mean(x);
    };
    const auto put_both = [&](const std::string& suffix, auto&& wanted) {
      put("wql_ratio" + suffix, mean(by_set_, &Pair::wql, wanted));
      put("mase_ratio" + suffix, mean(by_set_, &Pair::mase, wanted));
    };
    const auto within_a_year = [](const SeriesSet& s) { return !s.annual; };
    put_both("", within_a_year);
    put_both("_all", [](const SeriesSet&) { return true; });
    put_both("_annual", [](const SeriesSet& s) { return s.annual; });
    for (std::size_t k = 0; k < std::size(kBands); ++k) {
      put(std::string("wql_ratio_") + kBands[k].name, mean(by_band_[k], &Pair::wql, within_a_year));
    }
    for (std::size_t s = 0; s < sets_.size(); ++s) {
      if (sets_[s].control) {
        put("control_wql_ratio", by_set_[s].wql());
      } else {
        put("wql_ratio." + sets_[s].name, by_set_[s].wql());
        put("mase_ratio." + sets_[s].name, by_set_[s].mase());
      }
    }
    if (points_ > 0) out.push_back({"coverage80", inside_ / points_, "", true});
    return out;
  }

 private:
  const std::vector<SeriesSet>& sets_;
  const std::vector<double>& levels_;
  std::vector<Pair> by_set_;
  std::vector<std::vector<Pair>> by_band_;
  double inside_ = 0, points_ = 0;
};

}  // namespace

ForecastWindows::ForecastWindows(const std::string& folder, const PatchSpec& spec) : spec_(spec) {
  const std::string path = folder + "/datasets.json";
  const Json list = Json::read(path);
  Sha256 hash;
  std::set<std::string> frequencies;  // that have a sample
  std::size_t number = 0;
  for (const Json& j : list.as_array()) {
    try {
      const std::string freq = j.at("freq").as_string(), file = j.at("file").as_string();
      require(file.find('/') == std::string::npos, ErrorCode::format, "file \"", file,
              "\", wanted a name in the same folder");
      const SeriesSet set{.name = j.at("dataset").as_string(),
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
      ReadSetup setup;
      setup.frequency = freq;
      const std::size_t first = windows_.size();
      add_set(set, read_series(folder + "/" + file, setup).series);
      if (windows_.size() > first && frequencies.insert(freq).second)
        samples_.push_back(last_of_first_series(windows_, first));
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

void ForecastWindows::add_set(const SeriesSet& set, std::span<const TimeSeries> series) {
  for (const TimeSeries& s : series) {
    const std::vector<double>& values = s.values;
    const auto length = static_cast<std::int64_t>(values.size());
    for (std::int64_t w = 0; w < set.windows; ++w) {
      const std::int64_t cut = length - (set.windows - w) * set.horizon;
      if (cut < 1) continue;
      TestWindow window{sets_.size(),
                        {values.begin(), values.begin() + cut},
                        {values.begin() + cut, values.begin() + cut + set.horizon},
                        s.id,
                        s.grid,
                        s.style};
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
  std::vector<TimeSeries> walks;
  for (std::int64_t i = 0; i < kWalks; ++i) {
    const Rng rng{0, stream_id("forecast/control")};
    std::vector<double> x = {100};
    while (static_cast<std::int64_t>(x.size()) < kLength)
      x.push_back(x.back() + rng.normal(static_cast<std::uint64_t>(i), x.size()));
    walks.push_back({"walk " + std::to_string(i), {}, {}, std::move(x)});
  }
  samples_.push_back(windows_.size());
  add_set({.name = "random_walks", .season = 1, .horizon = kHorizon, .windows = 1, .control = true},
          walks);
}

std::int64_t ForecastWindows::tokens_of(const TestWindow& w) const {
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
  const TestWindow& first = windows_[members[0]];
  const std::int64_t known = tokens_of(first), P = spec_.length, F = spec_.features(),
                     H = static_cast<std::int64_t>(first.actual.size()), hidden = (H - 1) / P,
                     T = known + hidden, B = static_cast<std::int64_t>(members.size());
  Batch out{Tensor::zeros({B, T, F}, DType::f32), Tensor({B, T, P}, DType::f32)};
  std::fill_n(out.targets.data<float>(), out.targets.numel(),
              std::numeric_limits<float>::quiet_NaN());
  std::vector<SeriesScale> scales(static_cast<std::size_t>(known));
  for (std::int64_t b = 0; b < B; ++b) {
    const TestWindow& w = windows_[members[static_cast<std::size_t>(b)]];
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

std::vector<std::vector<double>> ForecastWindows::decoded(const TestWindow& w,
                                                          const Tensor& outputs,
                                                          std::int64_t row) const {
  const std::int64_t P = spec_.length, known = tokens_of(w),
                     levels = static_cast<std::int64_t>(spec_.levels.size());
  std::vector<float> tokens(static_cast<std::size_t>(known * spec_.features()));
  std::vector<SeriesScale> scales(static_cast<std::size_t>(known));
  encode_patches(spec_, context_of(spec_, w.past), {}, tokens, scales);
  const float* from =
      outputs.data<float>() + (row * outputs.shape()[1] + known - 1) * outputs.shape()[2];
  std::vector<std::vector<double>> out(spec_.levels.size());
  std::vector<double> step(out.size());
  for (std::int64_t h = 0; h < static_cast<std::int64_t>(w.actual.size()); ++h) {
    for (std::int64_t l = 0; l < levels; ++l) {
      step[static_cast<std::size_t>(l)] =
          decode_value(spec_, scales.back(), from[(h / P * levels + l) * P + h % P]);
    }
    std::sort(step.begin(), step.end());
    for (std::size_t l = 0; l < out.size(); ++l) out[l].push_back(step[l]);
  }
  return out;
}

std::vector<Metric> ForecastWindows::score(std::span<const Scored> scored) const {
  Totals totals(sets_, spec_.levels);
  for (std::size_t i = 0; i < scored.size(); ++i) {
    const auto& members = batches_.at(i);
    for (std::size_t b = 0; b < members.size(); ++b) {
      const TestWindow& w = windows_[members[b]];
      totals.add(w, decoded(w, scored[i].quantiles, static_cast<std::int64_t>(b)));
    }
  }
  return totals.metrics();
}

Reference ForecastWindows::reference(const std::string& baseline, ThreadPool& threads) const {
  const Baseline& method = baseline_named(baseline);
  std::vector<Forecast> made(windows_.size());
  std::vector<double> seconds(windows_.size());
  threads.run(static_cast<std::int64_t>(made.size()), [&](std::int64_t i, Scratch&) {
    require(!interrupted(), ErrorCode::interrupted, "stopped; the same command continues");
    const auto at = static_cast<std::size_t>(i);
    const TestWindow& w = windows_[at];
    const SeriesSet& set = sets_[w.set];
    const double start = cpu_seconds_of_this_thread();
    made[at] = run_baseline(method, w.past,
                            {.season = set.season, .horizon = set.horizon, .levels = spec_.levels});
    seconds[at] = cpu_seconds_of_this_thread() - start;
  });
  Totals totals(sets_, spec_.levels);
  Reference out{.name = method.title};
  for (std::size_t i = 0; i < made.size(); ++i) {
    totals.add(windows_[i], made[i].quantiles);
    ++out.answers;
    out.fallbacks += made[i].fallback.empty() ? 0 : 1;
    out.cpu_seconds += seconds[i];
  }
  out.metrics = totals.metrics();
  return out;
}

std::string ForecastWindows::name_of(const TestWindow& w) const {
  return sets_[w.set].name + ": " + w.id;
}

Json ForecastWindows::samples() const {
  Json out = Json::array();
  for (const std::size_t i : samples_) {
    const TestWindow& w = windows_[i];
    const TimeSeries series{w.id, w.grid, w.style, {}};
    Json sample = sample_json(
        name_of(w), w.past, w.actual,
        [&](std::size_t at) { return series.stamp(static_cast<std::int64_t>(at)); }, spec_.levels);
    sample["synthetic"] = sets_[w.set].control;
    out.push_back(std::move(sample));
  }
  return out;
}

Json ForecastWindows::answers(std::span<const Scored> scored) const {
  Json out = Json::object();
  for (std::size_t i = 0; i < scored.size(); ++i) {
    const auto& members = batches_.at(i);
    for (std::size_t b = 0; b < members.size(); ++b) {
      if (std::find(samples_.begin(), samples_.end(), members[b]) == samples_.end()) continue;
      const TestWindow& w = windows_[members[b]];
      out[name_of(w)] = answer_json(decoded(w, scored[i].quantiles, static_cast<std::int64_t>(b)));
    }
  }
  return out;
}

}  // namespace subquad
