#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "app/commands.h"
#include "app/forecast_model.h"
#include "app/options.h"
#include "app/series_options.h"
#include "subquad/base/error.h"
#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
#include "subquad/data/series/backtest.h"
#include "subquad/io/csv.h"
#include "subquad/study/format.h"

namespace subquad::app {
namespace {

// The metrics of tables and files.
struct Metric {
  const char* name;
  double (*of)(const Score&);
};
constexpr Metric kMetrics[] = {
    {"MASE", [](const Score& s) { return s.values.mase; }},
    {"WQL", [](const Score& s) { return s.values.wql; }},
    {"SQL", [](const Score& s) { return s.values.sql; }},
    {"sMAPE", [](const Score& s) { return s.values.smape; }},
    {"MSIS", [](const Score& s) { return s.values.msis; }},
    {"coverage80", [](const Score& s) { return s.values.inside; }},
};
constexpr std::size_t kRelative = 2;  // the first so many are compared with Seasonal Naive

struct Table {
  std::string name;
  BacktestResult result;
};

std::optional<std::size_t> seasonal_naive_of(const std::vector<const Baseline*>& models) {
  for (std::size_t m = 0; m < models.size(); ++m) {
    if (models[m]->run == seasonal_naive) return m;
  }
  return {};
}

std::string ratio_text(double value, double base) {
  if (!std::isfinite(value) || !std::isfinite(base) || base == 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value / base);
  return text;
}

void print_number(double x) {
  if (std::isnan(x)) {
    std::printf(" %10s", "-");
  } else {
    std::printf("%s", format(std::abs(x) < 1e5 ? " %10.4f" : " %10.3g", x).c_str());
  }
}

void print_table(const Table& t, const std::vector<const Baseline*>& models) {
  const auto base = seasonal_naive_of(models);
  const BacktestResult& r = t.result;
  std::printf("%s: %zu series, %lld windows of %lld steps\n", t.name.c_str(), r.series.size(),
              static_cast<long long>(r.windows), static_cast<long long>(r.horizon));
  std::printf("%-22s", "model");
  for (const Metric& m : kMetrics) std::printf(" %10s", m.name);
  for (std::size_t k = 0; base && k < kRelative; ++k)
    std::printf(" %10s", ("rel. " + std::string(kMetrics[k].name)).c_str());
  std::printf("\n");
  for (std::size_t m = 0; m < models.size(); ++m) {
    const Score& s = r.total[m];
    std::printf("%-22s", models[m]->title);
    for (const Metric& k : kMetrics) print_number(k.of(s));
    for (std::size_t k = 0; base && k < kRelative; ++k)
      std::printf(" %10s", ratio_text(kMetrics[k].of(s), kMetrics[k].of(r.total[*base])).c_str());
    if (s.fallbacks > 0)
      std::printf("  %lld windows by Seasonal Naive", static_cast<long long>(s.fallbacks));
    std::printf("\n");
  }
  const PointCounts& c = r.total[0].counts;
  std::printf(
      "points %lld; left out: %lld missing labels, %lld without a scale (MASE, SQL, MSIS), "
      "%lld windows\n\n",
      static_cast<long long>(c.points), static_cast<long long>(c.masked_labels),
      static_cast<long long>(c.without_scale), static_cast<long long>(r.left_out));
}

// Geometric means over files of the ratio to Seasonal Naive, files without one left out.
void print_summary(const std::vector<Table>& tables, const std::vector<const Baseline*>& models) {
  const auto base = seasonal_naive_of(models);
  if (tables.size() < 2 || !base) return;
  std::vector<std::vector<double>> ratios;
  std::size_t used[kRelative] = {};
  for (std::size_t k = 0; k < kRelative; ++k) {
    std::vector<std::vector<double>> errors;
    for (const Table& t : tables) {
      std::vector<double> row;
      for (const Score& s : t.result.total) row.push_back(kMetrics[k].of(s));
      bool whole = row[*base] > 0;
      for (const double x : row) whole = whole && std::isfinite(x);
      if (whole) errors.push_back(std::move(row));
    }
    used[k] = errors.size();
    if (errors.empty()) return;
    ratios.push_back(geometric_mean_ratios(errors, *base));
  }
  std::printf(
      "geometric mean of the ratio to Seasonal Naive over %zu (MASE) and %zu (WQL) of %zu files\n",
      used[0], used[1], tables.size());
  for (std::size_t m = 0; m < models.size(); ++m)
    std::printf("%-22s %10.3f %10.3f\n", models[m]->title, ratios[0][m], ratios[1][m]);
}

std::string metric_row(const std::string& file, const std::string& id, const char* model,
                       const Score& s) {
  std::string line = csv_cell(file) + "," + csv_cell(id) + "," + model;
  for (const Metric& m : kMetrics) line += "," + csv_number(m.of(s));
  return line + "," + std::to_string(s.counts.points) + "," +
         std::to_string(s.counts.masked_labels) + "," + std::to_string(s.counts.without_scale) +
         "," + std::to_string(s.fallbacks) + "\n";
}

void write_metrics(const std::string& path, const std::vector<Table>& tables,
                   const std::vector<const Baseline*>& models) {
  Output out(path);
  std::string header = "file,unique_id,model";
  for (const Metric& m : kMetrics) header += "," + std::string(m.name);
  out.write(header + ",points,missing_labels,without_scale,fallbacks\n");
  for (const Table& t : tables) {
    for (std::size_t m = 0; m < models.size(); ++m)
      out.write(metric_row(t.name, "", models[m]->title, t.result.total[m]));
    for (const SeriesScores& s : t.result.series) {
      for (std::size_t m = 0; m < models.size(); ++m)
        out.write(metric_row(t.name, s.id, models[m]->title, s.models[m]));
    }
  }
  out.finish();
}

// Nixtla's cross-validation frame: a row per series, step and window, a column per model.
class Frame {
 public:
  Frame(const std::string& path, const std::vector<const Baseline*>& models)
      : out_(path), models_(models.size()) {
    std::string header = "unique_id,ds,cutoff,y";
    for (const Baseline* m : models)
      header += "," + std::string(m->title) + "," + m->title + "-lo-80," + m->title + "-hi-80";
    out_.write(header + "\n");
  }
  void add(const TimeSeries& s, std::int64_t cut, const Forecast& f) {
    row_.push_back(f);
    if (row_.size() < models_) return;
    for (std::size_t i = 0; i < f.mean.size(); ++i) {
      const std::int64_t at = cut + static_cast<std::int64_t>(i);
      std::string line = csv_cell(s.id) + "," + s.stamp(at) + "," + s.stamp(cut - 1) + "," +
                         csv_number(s.values[static_cast<std::size_t>(at)]);
      for (const Forecast& m : row_)
        line += "," + csv_number(m.mean[i]) + "," + csv_number(m.quantiles[kLow][i]) + "," +
                csv_number(m.quantiles[kHigh][i]);
      out_.write(line + "\n");
    }
    row_.clear();
  }
  void finish() { out_.finish(); }

 private:
  static constexpr std::size_t kLow = 1, kHigh = 9;  // 0.1 and 0.9 of backtest_levels()
  Output out_;
  std::size_t models_;
  std::vector<Forecast> row_;
};

// The last window of every series, by every model: which one is drawn shows at the end.
class Pictures {
 public:
  explicit Pictures(std::size_t models) : models_(models) {}
  void add(const TimeSeries& s, std::int64_t cut, const Baseline& model, const Forecast& f) {
    const auto end = static_cast<std::size_t>(cut) + f.mean.size();
    if (end != s.values.size() || pictures_.size() >= kPictures * models_) return;
    const auto levels = backtest_levels();
    pictures_.push_back(picture_of(s, cut, model, f, {levels.begin(), levels.end()}));
  }
  // Of the model with the smallest WQL.
  void choose(const Table& table, const std::vector<const Baseline*>& models,
              std::vector<ForecastPicture>& to, std::vector<std::string>& notes) {
    std::size_t best = 0;
    for (std::size_t m = 1; m < models.size(); ++m) {
      if (table.result.total[m].values.wql < table.result.total[best].values.wql) best = m;
    }
    for (std::size_t i = best; i < pictures_.size() && to.size() < kPictures; i += models_)
      to.push_back(std::move(pictures_[i]));
    notes.push_back(table.name + ": the last window, by " + models[best]->title +
                    ", which has the smallest WQL");
  }

 private:
  std::size_t models_;
  std::vector<ForecastPicture> pictures_;
};

// Tests and prints file by file; writes forecasts and pictures where paths are given.
std::vector<Table> run_files(const std::vector<std::string>& files, SeriesOptions& options,
                             BacktestSetup setup, const std::string& frame_path,
                             const std::string& plot) {
  std::optional<Frame> frame;
  if (!frame_path.empty()) frame.emplace(frame_path, setup.models);
  ThreadPool threads(static_cast<int>(options.threads));
  std::vector<Table> tables;
  std::vector<ForecastPicture> pictures;
  std::vector<std::string> notes;
  for (const std::string& path : files) {
    const SeriesFile file = options.read_file(path);
    Progress progress("backtest " + path);
    setup.progress = [&](std::int64_t done) {
      progress.show(done, static_cast<std::int64_t>(file.series.size()));
      return !interrupted();
    };
    Pictures last(setup.models.size());
    setup.forecast = [&](const TimeSeries& s, std::int64_t cut, const Baseline& model,
                         const Forecast& f) {
      if (frame) frame->add(s, cut, f);
      if (!plot.empty()) last.add(s, cut, model, f);
    };
    tables.push_back(
        {std::filesystem::path(path).filename(), run_backtest(file.series, setup, threads)});
    print_table(tables.back(), setup.models);
    if (!plot.empty()) last.choose(tables.back(), setup.models, pictures, notes);
  }
  if (frame) frame->finish();
  if (!plot.empty()) write_file_atomically(plot, forecast_page("Backtest", pictures, notes));
  return tables;
}

}  // namespace

int backtest(Arguments arguments) {
  std::vector<std::string> files, names;
  std::string convention = "gluonts", metrics, frame_path, plot;
  std::int64_t windows = 0, step = 0;
  SeriesOptions series_options;
  ModelOptions model_options;
  Options options(
      "backtest",
      "Score a trained model and the classical baselines beside each other on rolling windows at "
      "the end of every series.",
      "subquad backtest sales.csv --horizon 12 --windows 4 --out metrics.csv");
  options.positionals("data", files, "CSV files, - for standard input; a file is a task")
      .list("--baselines", names,
            "of " + baseline_keys() + ", or all (default: all, and the shipped model)")
      .option("--windows", windows, "windows (0: a tenth of the shortest series, 1 to 20)",
              {0, 10'000})
      .option("--step", step, "steps between windows (0: the horizon)", {0, 100'000})
      .option("--convention", convention, "how metrics are computed: gluonts or fev");
  model_options.add_to(options);
  series_options.add_to(options);
  options.option("--out", metrics, "CSV file of all metrics: totals (no unique_id), then series")
      .option("--forecasts", frame_path, "CSV file of the forecasts, with their cutoff")
      .option("--plot", plot, "FILE.html: last windows, by the model with the smallest WQL");
  if (!options.parse(arguments)) return 0;
  if (names.empty()) {
    names = {"all"};
    if (model_options.folder.empty() && !shipped_forecaster().empty())
      model_options.folder = "shipped";
  }
  require(!files.empty(), ErrorCode::invalid_argument,
          "no file; give one, for example subquad backtest examples/series/elec_equip_m.csv");
  require(plot.empty() || plot.ends_with(".html"), ErrorCode::invalid_argument, "--plot ", plot,
          ", wanted a name in .html");
  for (const std::string& path : {metrics, frame_path, plot}) check_writable(path);
  std::vector<const Baseline*> models = baselines_named(names);
  std::optional<ForecastModel> model;
  if (!model_options.folder.empty()) {
    model.emplace(model_options, series_options.threads);
    models.insert(models.begin(), &model->entry());
  }
  const std::vector<Table> tables = run_files(files, series_options,
                                              {.convention = convention_named(convention),
                                               .horizon = series_options.horizon,
                                               .season = series_options.season,
                                               .windows = windows,
                                               .step = step,
                                               .max_history = series_options.max_history,
                                               .fill = series_options.fill,
                                               .models = models,
                                               .progress = {},
                                               .forecast = {}},
                                              frame_path, plot);
  print_summary(tables, models);
  if (!metrics.empty()) write_metrics(metrics, tables, models);
  return 0;
}

}  // namespace subquad::app
