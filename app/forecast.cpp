#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

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

double number_in(const char* option, const std::string& text, double low, double high) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size() && value >= low && value <= high,
          ErrorCode::invalid_argument, option, ": got \"", text, "\", wanted a number from ", low,
          " to ", high);
  return value;
}

// A column of the output: the point forecast, or a quantile under one of Nixtla's two names.
struct Column {
  std::string suffix;  // "", "-q-10", "-lo-80"
  std::size_t level;   // index; of the point forecast: none
};

struct Columns {
  std::vector<double> levels;  // ascending, once each
  std::vector<Column> columns;

  Columns(const std::vector<std::string>& quantiles, const std::vector<std::string>& central) {
    std::vector<std::pair<std::string, double>> wanted;
    for (const std::string& text : quantiles) {
      const double q = number_in("--quantiles", text, 1e-6, 1 - 1e-6);
      wanted.emplace_back("-q-" + csv_number(std::round(q * 1e8) / 1e6), q);
    }
    std::vector<double> shares;
    for (const std::string& text : central)
      shares.push_back(number_in("--level", text, 1e-4, 99.9999));
    std::sort(shares.begin(), shares.end());
    for (auto s = shares.rbegin(); s != shares.rend(); ++s)
      wanted.emplace_back("-lo-" + csv_number(*s), tail(*s));
    for (const double s : shares) wanted.emplace_back("-hi-" + csv_number(s), 1 - tail(s));
    for (const auto& [suffix, level] : wanted) levels.push_back(level);
    std::sort(levels.begin(), levels.end());
    levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
    for (const auto& [suffix, level] : wanted) {
      const auto at = std::lower_bound(levels.begin(), levels.end(), level) - levels.begin();
      columns.push_back({suffix, static_cast<std::size_t>(at)});
    }
  }

  // 80 is 0.1, exactly the double that --quantiles 0.1 gives.
  static double tail(double share) { return std::round((100 - share) * 5e9) / 1e12; }
};

struct Limits {
  double low = -HUGE_VAL, high = HUGE_VAL;
  void apply(std::vector<double>& x) const {
    for (double& v : x) v = std::clamp(v, low, high);
  }
};

struct Job {
  std::vector<const Baseline*> models;
  Columns columns;
  SeriesOptions options;
  Limits limits;
  std::int64_t horizon = 0;
};

ForecastSetup setup_of(const TimeSeries& s, const Job& job) {
  return {.season =
              job.options.season > 0 ? job.options.season : default_season(s.grid.frequency, true),
          .horizon = job.horizon,
          .levels = job.columns.levels,
          .max_history = job.options.max_history,
          .fill = job.options.fill};
}

// By series and model.
std::vector<std::vector<Forecast>> forecasts_of(std::span<const TimeSeries> block, const Job& job,
                                                ThreadPool& threads) {
  std::vector<std::vector<Forecast>> made(block.size(), std::vector<Forecast>(job.models.size()));
  threads.run(static_cast<std::int64_t>(block.size()), [&](std::int64_t i, Scratch&) {
    const auto at = static_cast<std::size_t>(i);
    for (std::size_t m = 0; m < job.models.size() && !interrupted(); ++m) {
      if (!job.models[m]->many)
        made[at][m] = run_baseline(*job.models[m], block[at].values, setup_of(block[at], job));
    }
  });
  require(!interrupted(), ErrorCode::interrupted, "stopped");
  for (std::size_t m = 0; m < job.models.size(); ++m) {
    if (!job.models[m]->many) continue;
    std::vector<std::span<const double>> values;
    std::vector<std::int64_t> seasons;
    for (const TimeSeries& s : block) {
      values.emplace_back(s.values);
      seasons.push_back(setup_of(s, job).season);
    }
    std::vector<Forecast> all = (*job.models[m]->many)(values, seasons, setup_of(block[0], job));
    for (std::size_t i = 0; i < block.size(); ++i) made[i][m] = std::move(all.at(i));
  }
  for (auto& row : made) {
    for (Forecast& f : row) {
      job.limits.apply(f.mean);
      for (auto& q : f.quantiles) job.limits.apply(q);
    }
  }
  return made;
}

std::string csv_header(const Job& job) {
  std::string line = "unique_id,ds";
  for (const Baseline* m : job.models) {
    line += "," + std::string(m->title);
    for (const Column& c : job.columns.columns) line += "," + std::string(m->title) + c.suffix;
  }
  return line + "\n";
}

std::string csv_rows(const TimeSeries& s, const std::vector<Forecast>& forecasts, const Job& job) {
  const std::string id = csv_cell(s.id);
  std::string text;
  for (std::int64_t i = 0; i < job.horizon; ++i) {
    const auto step = static_cast<std::size_t>(i);
    text += id + "," + s.stamp(static_cast<std::int64_t>(s.values.size()) + i);
    for (const Forecast& f : forecasts) {
      text += "," + csv_number(f.mean[step]);
      for (const Column& c : job.columns.columns)
        text += "," + csv_number(f.quantiles[c.level][step]);
    }
    text += "\n";
  }
  return text;
}

Json numbers(const std::vector<double>& x) { return Json(Json::Array(x.begin(), x.end())); }

std::string json_rows(const TimeSeries& s, const std::vector<Forecast>& forecasts, const Job& job) {
  Json j = Json::object();
  j["unique_id"] = s.id;
  j["freq"] = name_of(s.grid.frequency);
  Json stamps = Json::array();
  for (std::int64_t i = 0; i < job.horizon; ++i)
    stamps.push_back(s.stamp(static_cast<std::int64_t>(s.values.size()) + i));
  j["ds"] = std::move(stamps);
  for (std::size_t m = 0; m < job.models.size(); ++m) {
    const std::string title = job.models[m]->title;
    j[title] = numbers(forecasts[m].mean);
    for (const Column& c : job.columns.columns)
      j[title + c.suffix] = numbers(forecasts[m].quantiles[c.level]);
    if (!forecasts[m].fitted.empty()) j[title + "-fitted"] = forecasts[m].fitted;
    if (!forecasts[m].fallback.empty()) j[title + "-fallback"] = forecasts[m].fallback;
  }
  return j.dump();
}

void preview(const TimeSeries& s, const Forecast& f) {
  constexpr std::size_t kPast = 40, kFuture = 24;
  const std::size_t past = std::min(kPast, s.values.size());
  std::vector<double> all(s.values.end() - static_cast<std::ptrdiff_t>(past), s.values.end());
  const std::size_t future = std::min(kFuture, f.mean.size());
  all.insert(all.end(), f.mean.begin(), f.mean.begin() + static_cast<std::ptrdiff_t>(future));
  std::string line = sparkline(all);
  std::size_t at = 0;  // in bytes: blocks have three, blanks one
  for (std::size_t i = 0; i < past; ++i) at += line[at] == ' ' ? 1 : 3;
  line.insert(at, "|");
  std::fprintf(stderr, "%s %s %s\n", name_column(s.id).c_str(), line.c_str(), note_of(f).c_str());
}

void run_all(const std::vector<TimeSeries>& series, const Job& job, bool json, bool quiet,
             Output& out, const std::string& plot) {
  std::vector<ForecastPicture> pictures;
  ThreadPool threads(static_cast<int>(job.options.threads));
  Progress progress("forecast");
  std::int64_t fallbacks = 0;
  const auto all = static_cast<std::int64_t>(series.size());
  const bool together = std::any_of(job.models.begin(), job.models.end(),
                                    [](const Baseline* m) { return m->many != nullptr; });
  const std::int64_t block = together ? 64 * threads.threads() : 4 * threads.threads();
  for (const TimeSeries& s : series)  // beyond the calendar: before anything is computed
    (void)s.stamp(std::ssize(s.values) + job.horizon - 1);
  out.write(json ? "[" : csv_header(job));
  for (std::int64_t from = 0; from < all; from += block) {
    const auto made = forecasts_of(
        std::span(series).subspan(static_cast<std::size_t>(from),
                                  static_cast<std::size_t>(std::min(block, all - from))),
        job, threads);
    for (std::size_t i = 0; i < made.size(); ++i) {
      const std::size_t number = static_cast<std::size_t>(from) + i;
      const TimeSeries& s = series[number];
      out.write(json ? (number ? ",\n" : "\n") + json_rows(s, made[i], job)
                     : csv_rows(s, made[i], job));
      for (std::size_t m = 0; m < made[i].size(); ++m) {
        fallbacks += !made[i][m].fallback.empty();
        if (!plot.empty() && pictures.size() < kPictures)
          pictures.push_back(picture_of(s, static_cast<std::int64_t>(s.values.size()),
                                        *job.models[m], made[i][m], job.columns.levels));
      }
      if (!quiet && number < kPreviews) preview(s, made[i][0]);
    }
    progress.show(from + std::ssize(made), all);
  }
  out.write(json ? "\n]\n" : "");
  if (!plot.empty()) write_plot(plot, "Forecasts", pictures, series.size() * job.models.size());
  if (!quiet && series.size() > kPreviews)
    std::fprintf(stderr, "... and %zu more series\n", series.size() - kPreviews);
  if (fallbacks > 0)
    std::fprintf(stderr, "%lld forecasts are Seasonal Naive's: the model failed\n",
                 static_cast<long long>(fallbacks));
}

}  // namespace

int forecast(Arguments arguments) {
  std::string data, format = "csv", out_path, plot, least, most;
  std::vector<std::string> names, quantiles, central;
  ModelOptions model_options;
  SeriesOptions series_options;
  bool quiet = false;
  Options options(
      "forecast",
      "Forecast the series of a CSV file, long (unique_id, ds, y), wide or one column, with a "
      "trained model, classical baselines, or both.",
      "subquad forecast sales.csv --baseline auto_ets --horizon 12 --level 80,95 --out "
      "forecast.csv --plot forecast.html");
  options.positional("data", data, "CSV file, - for standard input", true)
      .list("--baseline", names,
            "of " + baseline_keys() +
                ", or all (default: --model shipped; auto_ets where it is missing)")
      .list("--quantiles", quantiles, "levels, as columns NAME-q-10 (default 0.1 to 0.9)")
      .list("--level", central, "central intervals in percent, as NAME-lo-80 and NAME-hi-80");
  model_options.add_to(options);
  series_options.add_to(options);
  options.option("--min", least, "smallest value of a forecast, for example 0")
      .option("--max", most, "largest value of a forecast")
      .option("--format", format, "csv or json")
      .option("--out", out_path, "file to write (default: standard output)")
      .option("--plot", plot, "also draw: FILE.svg for one series, FILE.html for many")
      .flag("--quiet", quiet, "no preview");
  if (!options.parse(arguments)) return 0;
  check_output(format, plot);
  check_writable(out_path);
  if (quantiles.empty() && central.empty())
    quantiles = {"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"};
  if (names.empty() && model_options.folder.empty()) {
    if (shipped_forecaster().empty()) {
      std::fprintf(stderr,
                   "the shipped model is not beside the program: forecasts are AutoETS's\n");
      names = {"auto_ets"};
    } else {
      model_options.folder = "shipped";
    }
  }
  Job job{baselines_named(names), Columns(quantiles, central), {}, {}, 0};
  std::optional<ForecastModel> model;
  if (!model_options.folder.empty()) {
    model.emplace(model_options, series_options.threads);
    job.models.insert(job.models.begin(), &model->entry());
  }
  if (!least.empty()) job.limits.low = number_in("--min", least, -1e300, 1e300);
  if (!most.empty()) job.limits.high = number_in("--max", most, -1e300, 1e300);
  require(job.limits.low <= job.limits.high, ErrorCode::invalid_argument, "--min ", least,
          " is above --max ", most);
  const SeriesFile file = series_options.read_file(data);
  job.options = series_options;
  job.horizon = series_options.horizon > 0 ? series_options.horizon
                                           : default_horizon(file.series[0].grid.frequency);
  check_pictures(plot, file.series.size() * job.models.size());
  Output out(out_path);
  run_all(file.series, job, format == "json", quiet, out, plot);
  out.finish();
  return 0;
}

}  // namespace subquad::app
