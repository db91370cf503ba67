// Real series as test windows, and their scores beside Seasonal Naive.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "subquad/base/thread_pool.h"
#include "subquad/data/series/patches.h"
#include "subquad/data/series/series.h"
#include "subquad/task/task.h"

namespace subquad {

struct SeriesSet {
  std::string name;
  std::int64_t season = 1, horizon = 1, windows = 1;
  bool annual = false, control = false;
};
struct TestWindow {
  std::size_t set;
  std::vector<double> past, actual;
  std::string id = {};
  Grid grid = {};
  StampStyle style = {};  // past[i] stands at grid.at(i)
};

// A folder with datasets.json: a list of {dataset, file, freq, season, horizon, windows}. Windows
// lie at the end of every series, side by side. Control: 24 random walks of Gaussian steps, which
// nobody can forecast better than Naive.
class ForecastWindows {
 public:
  // Errors: io, format with file and key.
  ForecastWindows(const std::string& folder, const PatchSpec& spec);

  std::int64_t batches() const { return static_cast<std::int64_t>(batches_.size()); }
  // Contexts of one number of tokens; hidden tokens follow until the horizon is reached.
  Batch batch(std::int64_t index) const;
  // Ratios to Seasonal Naive of WQL and MASE in gluonts' convention: geometric means over the sets
  // that have a season or steps within a year (wql_ratio, mase_ratio), over all sets (.._all), over
  // annual sets, by steps of the horizon, and of every set; control_wql_ratio is to Naive;
  // coverage of the central 80 %.
  std::vector<Metric> score(std::span<const Scored> scored) const;
  // The same of a classical forecaster.
  Reference reference(const std::string& baseline, ThreadPool& threads) const;
  // The last window of the first series of the first set of every frequency, and of the control.
  Json samples() const;
  Json answers(std::span<const Scored> scored) const;
  const std::string& digest() const { return digest_; }

 private:
  void add_set(const SeriesSet& set, std::span<const TimeSeries> series);
  void add_control();
  void make_batches();
  std::string name_of(const TestWindow& w) const;     // of a sample
  std::int64_t tokens_of(const TestWindow& w) const;  // of the context
  // [level][step], ascending in the level, of row `row` of a batch.
  std::vector<std::vector<double>> decoded(const TestWindow& w, const Tensor& outputs,
                                           std::int64_t row) const;

  PatchSpec spec_;
  std::vector<SeriesSet> sets_;
  std::vector<TestWindow> windows_;
  std::vector<std::vector<std::size_t>> batches_;
  std::vector<std::size_t> samples_;  // of windows_
  std::string digest_;
};

}  // namespace subquad
