#include "app/series_options.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "subquad/base/error.h"
#include "subquad/base/file.h"
#include "subquad/base/text.h"

namespace subquad::app {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 40;
constexpr std::int64_t kLongestHorizon = 100'000;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void SeriesOptions::add_to(Options& options) {
  options
      .option("--horizon", horizon, "steps to forecast (0: 12 for months, 48 for hours ...)",
              {0, kLongestHorizon})
      .option("--season", season, "season length (0: by frequency, 12 for months ...)",
              {0, kLongestHorizon})
      .option("--freq", read.frequency, "pandas alias (h, D, MS ...); empty: inferred")
      .option("--layout", read.layout, "auto, long, wide or column")
      .option("--id-col", read.id_column, "column of the series' name (unique_id, item_id, id)")
      .option("--time-col", read.time_column, "column of the time (ds, timestamp, date)")
      .option("--target", read.target, "column of the value (y, target, value)")
      .option("--delimiter", delimiter, "one character, or tab; empty: the commonest")
      .option("--decimal", decimal, ". or ,")
      .option("--fill", fill, "missing values become the last one, or: linear, zero")
      .option("--max-history", max_history, "values that a baseline looks at", {1, kMost})
      .option("--max-points", read.max_points, "values in all; more is an error", {1, kMost})
      .option("--threads", threads, "threads", kThreads);
}

SeriesFile SeriesOptions::read_file(const std::string& path) {
  if (delimiter == "tab" || delimiter == "\\t") delimiter = "\t";
  require(delimiter.size() <= 1, ErrorCode::invalid_argument, "--delimiter ", delimiter,
          ", wanted one character or tab");
  require(decimal == "." || decimal == ",", ErrorCode::invalid_argument, "--decimal ", decimal,
          ", wanted . or ,");
  (void)filled_values({}, fill);  // refuses what it does not know
  read.delimiter = delimiter.empty() ? '\0' : delimiter[0];
  read.decimal = decimal[0];
  SeriesFile file = read_series(path, read);
  for (const std::string& n : file.notes) std::fprintf(stderr, "%s: %s\n", path.c_str(), n.c_str());
  return file;
}

std::vector<const Baseline*> baselines_named(const std::vector<std::string>& names) {
  std::vector<const Baseline*> found;
  for (const std::string& name : names) {
    if (name == "all") {
      for (const Baseline& b : all_baselines()) found.push_back(&b);
    } else {
      found.push_back(&baseline_named(name));
    }
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      require(found[i] != found[j], ErrorCode::invalid_argument, "baseline ", found[i]->key,
              " is named twice");
  }
  return found;
}

std::string baseline_keys() {
  std::string all;
  for (const Baseline& b : all_baselines()) all += (all.empty() ? "" : " ") + std::string(b.key);
  return all;
}

std::string note_of(const Forecast& f) {
  return f.fallback.empty() ? f.fitted : "Seasonal Naive, because " + f.fallback;
}

ForecastPicture picture_of(const TimeSeries& s, std::int64_t cut, const Baseline& model,
                           const Forecast& f, const std::vector<double>& levels) {
  constexpr std::int64_t kSeasons = 5, kHorizons = 3, kLeast = 24;
  const auto steps = static_cast<std::int64_t>(f.mean.size()),
             length = static_cast<std::int64_t>(s.values.size());
  const std::int64_t season = default_season(s.grid.frequency, true);
  const std::int64_t shown =
      std::min(cut, std::max({kHorizons * steps, kSeasons * season, kLeast}));
  ForecastPicture p{.id = s.id,
                    .model = model.title,
                    .note = note_of(f),
                    .history = {s.values.begin() + (cut - shown), s.values.begin() + cut},
                    .stamps = {},
                    .levels = levels,
                    .mean = f.mean,
                    .quantiles = f.quantiles};
  for (std::int64_t i = cut - shown; i < cut + steps; ++i) p.stamps.push_back(s.stamp(i));
  for (std::int64_t i = cut; i < std::min(length, cut + steps); ++i)
    p.actual.push_back(s.values[static_cast<std::size_t>(i)]);
  return p;
}

Progress::~Progress() {
  if (shown_) std::fprintf(stderr, "\r\033[K");
}

void Progress::show(std::int64_t done, std::int64_t all) {
  const double now = seconds_now();
  if (last_ == 0) last_ = now;
  if (now - last_ < 0.3 || !isatty(2)) return;
  last_ = now;
  shown_ = true;
  std::fprintf(stderr, "\r%s: %lld of %lld %s", what_.c_str(), static_cast<long long>(done),
               static_cast<long long>(all), unit_.c_str());
  std::fflush(stderr);
}

Output::Output(std::string path)
    : path_(std::move(path)), partial_(path_ + ".partial"), file_(stdout) {
  if (path_.empty()) return;
  file_ = std::fopen(partial_.c_str(), "wb");
  require(file_ != nullptr, ErrorCode::io, "cannot write ", partial_, ": ", std::strerror(errno));
}

Output::~Output() {
  if (path_.empty() || !file_) return;
  std::fclose(file_);
  std::remove(partial_.c_str());
}

void Output::write(const std::string& text) {
  const bool whole = std::fwrite(text.data(), 1, text.size(), file_) == text.size();
  require(whole, errno == ENOSPC ? ErrorCode::out_of_space : ErrorCode::io, "cannot write ",
          path_.empty() ? "standard output" : partial_, ": ", std::strerror(errno));
}

void Output::finish() {
  const bool flushed = std::fflush(file_) == 0 && (path_.empty() || fsync(fileno(file_)) == 0);
  require(flushed, errno == ENOSPC ? ErrorCode::out_of_space : ErrorCode::io, "cannot write ",
          path_.empty() ? "standard output" : partial_, ": ", std::strerror(errno));
  if (path_.empty()) return;
  std::fclose(file_);
  file_ = nullptr;
  std::filesystem::rename(partial_, path_);
}

void check_output(const std::string& format, const std::string& plot) {
  require(format == "csv" || format == "json", ErrorCode::invalid_argument, "--format ", format,
          ", wanted csv or json");
  require(plot.empty() || plot.ends_with(".svg") || plot.ends_with(".html"),
          ErrorCode::invalid_argument, "--plot ", plot, ", wanted a name in .svg or .html");
  check_writable(plot);
}

void check_writable(const std::string& path) {
  std::error_code error;
  if (path.empty() || std::filesystem::is_other(path, error)) return;  // a device, a pipe
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  require(::access(folder.c_str(), W_OK) == 0, ErrorCode::io, "cannot write ", path, ": ", folder,
          ": ", std::strerror(errno));
}

void check_pictures(const std::string& plot, std::size_t pictures) {
  require(!plot.ends_with(".svg") || pictures == 1, ErrorCode::invalid_argument, "--plot ", plot,
          ": ", pictures, " pictures, an SVG file holds one; give a name that ends in .html");
}

void write_plot(const std::string& path, const std::string& title,
                const std::vector<ForecastPicture>& pictures, std::size_t all) {
  if (path.ends_with(".svg")) return write_file_atomically(path, forecast_svg(pictures.at(0)));
  std::vector<std::string> notes;
  if (pictures.size() < all)
    notes.push_back("The first " + std::to_string(pictures.size()) + " of " + std::to_string(all) +
                    " pictures.");
  write_file_atomically(path, forecast_page(title, pictures, notes));
}

std::string name_column(const std::string& id) {
  constexpr std::int64_t kWidth = 24;
  const std::string name = shown(id, kWidth);
  const auto width =
      std::count_if(name.begin(), name.end(), [](char c) { return !inside_character(c); });
  return name + std::string(static_cast<std::size_t>(kWidth - width), ' ');
}

}  // namespace subquad::app
