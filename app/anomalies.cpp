#include "subquad/data/series/anomalies.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <limits>
#include <optional>

#include "app/commands.h"
#include "app/forecast_model.h"
#include "app/options.h"
#include "app/series_options.h"
#include "subquad/base/error.h"
#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
#include "subquad/base/thread_pool.h"
#include "subquad/io/csv.h"
#include "subquad/io/json.h"
#include "subquad/study/forecast_page.h"

namespace subquad::app {
namespace {

constexpr std::size_t kPreviews = 10;
constexpr std::size_t kShown = 400;  // values in a picture

struct Job {
  const Baseline* model;
  SeriesOptions options;
  AnomalySetup setup;
  std::string level_name;  // "99"
  bool all = false, json = false, draw = false;
};

// Of one series: all counted, kept what is written or drawn.
struct Scores {
  std::vector<ScoredValue> rows;  // the anomalies, or everything
  std::deque<ScoredValue> last;   // of the picture
  std::int64_t scored = 0, found = 0, first = 0;
};

AnomalySetup setup_of(const TimeSeries& s, const Job& job) {
  AnomalySetup setup = job.setup;
  setup.season =
      job.options.season > 0 ? job.options.season : default_season(s.grid.frequency, true);
  return setup;
}

void add(Scores& scores, const ScoredValue& v, const Job& job) {
  if (scores.scored++ == 0) scores.first = v.index;
  scores.found += v.anomaly;
  if (v.anomaly || job.all) scores.rows.push_back(v);
  if (!job.draw) return;
  scores.last.push_back(v);
  if (scores.last.size() > kShown) scores.last.pop_front();
}

void require_not_stopped() {
  require(!interrupted(), ErrorCode::interrupted, "stopped; nothing was written");
}

Scores scores_of(const TimeSeries& s, const Job& job) {
  const AnomalySetup setup = setup_of(s, job);
  Scores scores;
  const auto forecaster = [&](std::span<const double> past, std::int64_t horizon,
                              const std::vector<double>& levels) {
    require_not_stopped();
    return run_baseline(*job.model, past,
                        {.season = setup.season,
                         .horizon = horizon,
                         .levels = levels,
                         .max_history = setup.history,
                         .fill = setup.fill});
  };
  score_anomalies(s.values, setup, forecaster, [&](const ScoredValue& v) { add(scores, v, job); });
  return scores;
}

// By a trained model: a forecast of every series at a time.
std::vector<Scores> scores_of(std::span<const TimeSeries> series, const Job& job) {
  std::vector<Scores> scores(series.size());
  std::vector<std::span<const double>> values;
  std::vector<AnomalySetup> setups;
  for (const TimeSeries& s : series) {
    values.emplace_back(s.values);
    setups.push_back(setup_of(s, job));
  }
  const ManyForecasts forecasts = [&](auto pasts, auto seasons, const ForecastSetup& setup) {
    require_not_stopped();
    return (*job.model->many)(pasts, seasons, setup);
  };
  score_anomalies(values, setups, forecasts,
                  [&](std::size_t i, const ScoredValue& v) { add(scores[i], v, job); });
  return scores;
}

const char* name_of(BandMethod method) {
  return method == BandMethod::robust ? "robust" : "quantile";
}

std::string csv_header(const Job& job) {
  const std::string title = job.model->title;
  return "unique_id,ds,y," + title + "," + title + "-lo-" + job.level_name + "," + title + "-hi-" +
         job.level_name + ",score,anomaly\n";
}

std::string csv_rows(const TimeSeries& s, const Scores& scores) {
  std::string text;
  const std::string id = csv_cell(s.id);
  for (const ScoredValue& v : scores.rows) {
    text += id + "," + s.stamp(v.index);
    for (const double x : {v.value, v.median, v.low, v.high, v.score}) text += "," + csv_number(x);
    text += v.anomaly ? ",1\n" : ",0\n";
  }
  return text;
}

std::string json_rows(const TimeSeries& s, const Scores& scores, const Job& job) {
  const std::string title = job.model->title;
  Json j = Json::object();
  j["unique_id"] = s.id;
  j["freq"] = name_of(s.grid.frequency);
  j["method"] = name_of(job.setup.method);
  j["scored"] = scores.scored;
  Json stamps = Json::array(), flags = Json::array();
  Json::Array columns[5];
  for (const ScoredValue& v : scores.rows) {
    stamps.push_back(s.stamp(v.index));
    flags.push_back(v.anomaly);
    const double numbers[] = {v.value, v.median, v.low, v.high, v.score};
    for (std::size_t i = 0; i < 5; ++i) columns[i].push_back(numbers[i]);
  }
  j["ds"] = std::move(stamps);
  j["y"] = std::move(columns[0]);
  j[title] = std::move(columns[1]);
  j[title + "-lo-" + job.level_name] = std::move(columns[2]);
  j[title + "-hi-" + job.level_name] = std::move(columns[3]);
  j["score"] = std::move(columns[4]);
  j["anomaly"] = std::move(flags);
  return j.dump();
}

// The last of the scored values, with the band that they were to lie in.
ForecastPicture picture_of(const TimeSeries& s, const Scores& scores, const Job& job) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const double tail = (1 - job.setup.level) / 2;
  const auto length = static_cast<std::int64_t>(s.values.size());
  const std::int64_t first = scores.scored > 0 ? scores.first : length;
  const std::int64_t cut = std::max(first, length - static_cast<std::int64_t>(kShown)),
                     from = std::max<std::int64_t>(0, cut - 40);
  const auto steps = static_cast<std::size_t>(length - cut);
  ForecastPicture p{.id = s.id,
                    .model = job.model->title,
                    .history = {s.values.begin() + from, s.values.begin() + cut},
                    .stamps = {},
                    .levels = {tail, 0.5, 1 - tail},
                    .mean = std::vector<double>(steps, kNaN),
                    .quantiles = std::vector(3, std::vector<double>(steps, kNaN)),
                    .actual = {s.values.begin() + cut, s.values.end()}};
  for (const ScoredValue& v : scores.last) {
    if (v.index < cut) continue;
    const auto at = static_cast<std::size_t>(v.index - cut);
    p.mean[at] = p.quantiles[1][at] = v.median;
    p.quantiles[0][at] = v.low;
    p.quantiles[2][at] = v.high;
    if (v.anomaly) p.marked.push_back(at);
  }
  p.note = std::to_string(scores.found) + " of " + std::to_string(scores.scored) +
           " values outside the " + job.level_name + " % band (" + name_of(job.setup.method) + ")";
  for (std::int64_t i = from; i < length; ++i) p.stamps.push_back(s.stamp(i));
  return p;
}

void preview(const TimeSeries& s, const Scores& scores) {
  constexpr std::size_t kPast = 60, kNamed = 3;
  std::vector<const ScoredValue*> found;
  for (const ScoredValue& v : scores.rows) {
    if (v.anomaly) found.push_back(&v);
  }
  std::string text;
  std::stable_sort(found.begin(), found.end(), [](const ScoredValue* a, const ScoredValue* b) {
    return std::abs(a->score) > std::abs(b->score);
  });
  for (std::size_t i = 0; i < std::min(kNamed, found.size()); ++i)
    text += (i ? ", " : ": ") + s.stamp(found[i]->index);
  const std::size_t past = std::min(kPast, s.values.size());
  std::fprintf(
      stderr, "%s %s %lld of %lld%s%s\n", name_column(s.id).c_str(),
      sparkline({s.values.end() - static_cast<std::ptrdiff_t>(past), s.values.end()}).c_str(),
      static_cast<long long>(scores.found), static_cast<long long>(scores.scored), text.c_str(),
      found.size() > kNamed ? " ..." : "");
}

void run_all(const std::vector<TimeSeries>& series, const Job& job, bool quiet, Output& out,
             const std::string& plot) {
  std::vector<ForecastPicture> pictures;
  ThreadPool threads(static_cast<int>(job.options.threads));
  Progress progress("anomalies");
  const auto all = static_cast<std::int64_t>(series.size());
  const bool together = job.model->many != nullptr;
  const std::int64_t block = together ? 64 : 16 * threads.threads();
  std::int64_t found = 0, scored = 0, short_ones = 0;
  out.write(job.json ? "[" : csv_header(job));
  for (std::int64_t from = 0; from < all; from += block) {
    const auto part = std::span(series).subspan(
        static_cast<std::size_t>(from), static_cast<std::size_t>(std::min(block, all - from)));
    std::vector<Scores> made(part.size());
    if (together) made = scores_of(part, job);
    threads.run(together ? 0 : std::ssize(part), [&](std::int64_t i, Scratch&) {
      const auto at = static_cast<std::size_t>(i);
      made[at] = scores_of(part[at], job);
    });
    for (std::size_t i = 0; i < made.size(); ++i) {
      const std::size_t number = static_cast<std::size_t>(from) + i;
      const TimeSeries& s = series[number];
      out.write(job.json ? (number ? ",\n" : "\n") + json_rows(s, made[i], job)
                         : csv_rows(s, made[i]));
      scored += made[i].scored;
      short_ones += made[i].scored == 0;
      found += made[i].found;
      if (!plot.empty() && pictures.size() < kPictures)
        pictures.push_back(picture_of(s, made[i], job));
      if (!quiet && number < kPreviews) preview(s, made[i]);
    }
    progress.show(from + static_cast<std::int64_t>(made.size()), all);
  }
  out.write(job.json ? "\n]\n" : "");
  if (!plot.empty()) write_plot(plot, "Anomalies", pictures, series.size());
  if (!quiet && series.size() > kPreviews)
    std::fprintf(stderr, "... and %zu more series\n", series.size() - kPreviews);
  std::fprintf(stderr, "%lld of %lld values lie outside the %s %% band (%s, %s)\n",
               static_cast<long long>(found), static_cast<long long>(scored),
               job.level_name.c_str(), job.model->title, name_of(job.setup.method));
  if (short_ones > 0)
    std::fprintf(stderr, "%lld series are too short to be scored\n",
                 static_cast<long long>(short_ones));
}

}  // namespace

int anomalies(Arguments arguments) {
  std::string data, name, method = "robust", format = "csv", out_path, plot;
  double level = 99;
  SeriesOptions series_options;
  series_options.max_history = 500;
  AnomalySetup setup;
  ModelOptions model_options;
  Job job{};
  bool quiet = false;
  Options options(
      "anomalies",
      "Find the values of a CSV file that lie outside what was forecast from the values "
      "before them.",
      "subquad anomalies sales.csv --level 99 --out anomalies.csv --plot anomalies.html");
  options.positional("data", data, "CSV file, - for standard input", true)
      .option("--baseline", name, "theta, or another of " + baseline_keys())
      .option("--level", level, "central band in percent", {50, 99.9999})
      .option("--method", method,
              "robust: the band is rescaled by the median error so far; quantile: the forecast's "
              "own quantiles")
      .option("--warm-up", setup.warm_up, "values that are not scored (0: two seasons and 8)",
              {0, std::int64_t{1} << 40})
      .option("--patience", setup.patience, "so many outliers in a row are a new level",
              {1, 1'000'000});
  model_options.add_to(options);
  series_options.add_to(options);
  options.option("--format", format, "csv or json")
      .flag("--all", job.all, "write every scored value, not only the anomalies")
      .option("--out", out_path, "file to write (default: standard output)")
      .option("--plot", plot, "also draw: FILE.svg for one series, FILE.html for many")
      .flag("--quiet", quiet, "no preview");
  if (!options.parse(arguments)) return 0;
  check_output(format, plot);
  check_writable(out_path);
  require(method == "robust" || method == "quantile", ErrorCode::invalid_argument, "--method ",
          method, ", wanted robust or quantile");
  require(name.empty() || model_options.folder.empty(), ErrorCode::invalid_argument, "--baseline ",
          name, " and --model: one of them forecasts; call twice to compare");
  std::optional<ForecastModel> model;
  if (!model_options.folder.empty()) model.emplace(model_options, series_options.threads);
  job.model = model ? &model->entry() : &baseline_named(name.empty() ? "theta" : name);
  job.json = format == "json";
  job.draw = !plot.empty();
  const SeriesFile file = series_options.read_file(data);
  setup.level = level / 100;
  setup.horizon = series_options.horizon;
  setup.history = series_options.max_history;
  setup.fill = series_options.fill;
  setup.method = method == "robust" ? BandMethod::robust : BandMethod::quantile;
  job.options = series_options;
  job.setup = setup;
  job.level_name = csv_number(level);
  check_pictures(plot, file.series.size());
  Output out(out_path);
  run_all(file.series, job, quiet, out, plot);
  out.finish();
  return 0;
}

}  // namespace subquad::app
