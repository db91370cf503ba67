// What `forecast`, `backtest` and `anomalies` have in common: how series are read and shown.
#pragma once

#include <string>
#include <vector>

#include "app/options.h"
#include "subquad/data/series/baseline.h"
#include "subquad/data/series/series.h"
#include "subquad/study/forecast_page.h"

namespace subquad::app {

struct SeriesOptions {
  ReadSetup read;
  std::string delimiter, decimal = ".", fill = "last";
  std::int64_t horizon = 0, season = 0, max_history = 5000, threads = 1;

  void add_to(Options& options);
  // Reads, and prints what was repaired to the standard error output.
  SeriesFile read_file(const std::string& path);
};

// "all", or names of baselines.
std::vector<const Baseline*> baselines_named(const std::vector<std::string>& names);
std::string baseline_keys();

// The most that one page draws.
inline constexpr std::size_t kPictures = 100;
// A forecast made at `cut`, with the last of what came before it and what came, if it did.
ForecastPicture picture_of(const TimeSeries& series, std::int64_t cut, const Baseline& model,
                           const Forecast& forecast, const std::vector<double>& levels);
// Why a forecast is what it is: the fitted form, or why it is Seasonal Naive's.
std::string note_of(const Forecast& forecast);

// A line on the terminal that is written over; nothing where the output is not a terminal.
class Progress {
 public:
  explicit Progress(std::string what, std::string unit = "series")
      : what_(std::move(what)), unit_(std::move(unit)) {}
  ~Progress();
  void show(std::int64_t done, std::int64_t all);

 private:
  std::string what_, unit_;
  double last_ = 0;
  bool shown_ = false;
};

// Text that goes to a file beside its place and is renamed at the end, or to standard output.
class Output {
 public:
  explicit Output(std::string path);  // empty: standard output
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  void write(const std::string& text);
  void finish();

 private:
  std::string path_, partial_;
  std::FILE* file_;
};

// Before anything is computed. Refuses a --format that is neither csv nor json, a --plot that is no
// .svg or .html, and files in folders that cannot be written.
void check_output(const std::string& format, const std::string& plot);
void check_writable(const std::string& path);  // empty: standard output
// Refuses an SVG file for more than one picture.
void check_pictures(const std::string& plot, std::size_t pictures);
// An SVG file, or a page that says how many of `all` it draws.
void write_plot(const std::string& path, const std::string& title,
                const std::vector<ForecastPicture>& pictures, std::size_t all);
// A series' name in 24 columns.
std::string name_column(const std::string& id);

}  // namespace subquad::app
