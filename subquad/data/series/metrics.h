// Scores of probabilistic forecasts, exactly as the field's two evaluation packages compute them.
// Notation: past x_1..x_T, actual y_1..y_h, quantile forecasts q^a, median yhat, season m.
//   scale s     mean |x_t - x_(t-m)| over pairs without a missing value, from the window's own past
//   QL_a        2 |(y - q^a) (1[y <= q^a] - a)|, twice the pinball loss: QL_0.5 = |y - yhat|
//   MASE        mean |y - yhat| / s                SQL     mean over a and points of QL_a / s
//   WQL         mean over a of sum QL_a / sum |y|  (the boards' "CRPS")
//   sMAPE       mean 2 |y - yhat| / (|y| + |yhat|), range 0 to 2
//   MSIS        mean [(u - l) + 40 (l - y)+ + 40 (y - u)+] / s, l and u the quantiles 0.025, 0.975
//   coverage_a  share of y <= q^a
//   inside      share of q^a <= y <= q^b, a the lowest and b the highest level
// Every mean runs over the points of all windows that were added (a point = a step of a window).
//
// | case                         | gluonts (GIFT-Eval, Chronos)     | fev                           |
// |------------------------------|----------------------------------|-------------------------------|
// | T < m                        | m = 1 for that window            | no scale                      |
// | no scale, or s = 0           | point left out of MASE, SQL, MSIS| same                          |
// | label NaN                    | left out everywhere              | same                          |
// | label infinite               | left out everywhere              | MAE, MSE, MQL infinite, WQL NaN; left out of MASE, SQL, MAPE |
// | y = 0, or y = yhat = 0       | left out of MAPE, of sMAPE       | same                          |
// | sum |y| = 0                  | WQL, ND infinite                 | same, unless epsilon > 0      |
// A mean without any point is NaN.
// Source: gluonts.ev and fev.metrics; the cases are held by tests/golden/timeseries/metrics.jsonl.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace subquad {

enum class Convention : std::uint8_t { gluonts, fev };
Convention convention_named(const std::string& name);
const char* name_of(Convention convention);

struct MetricSetup {
  Convention convention = Convention::gluonts;
  std::int64_t season = 1;          // m of the scale, at least 1
  std::vector<double> levels = {};  // of the quantiles: ascending, inside (0, 1), 0.5 among them
  double epsilon = 0;               // fev: smallest scale and smallest mean |y|
};

// One forecast with what came before it and what came. A non-finite forecast is an error under
// gluonts; fev's metrics turn it into NaN.
struct ForecastWindow {
  std::span<const double> past, actual;
  std::vector<std::span<const double>> quantiles;  // [level][step]
  std::span<const double> mean = {};               // empty: the median
  std::int64_t season = 0;                         // of this one's scale; 0: the setup's
  // Quantiles 0.025 and 0.975; empty: quantile_at() of those that are there.
  std::span<const double> low95 = {}, high95 = {};
};

struct PointCounts {
  std::int64_t points = 0;
  std::int64_t masked_labels = 0;  // label missing: left out everywhere
  std::int64_t without_scale =
      0;                         // past too short, constant or missing: left out of scaled metrics
  std::int64_t zero_labels = 0;  // left out of MAPE
  std::int64_t zero_over_zero = 0;  // label and median zero: left out of sMAPE
};

struct MetricValues {
  double mae, mse, rmse, nrmse, nd;        // of the median; nd = WAPE = sum |e| / sum |y|
  double mse_mean, rmse_mean, nrmse_mean;  // of the mean
  double mape, smape, mase, msis;
  double rmsse, rmsse_mean;  // sqrt(mean e^2 / mean (x_t - x_(t-m))^2)
  double mql, wql, sql;
  double calibration;  // mean |coverage_a - a|
  double inside;
  double sum_absolute_label;
  std::vector<double> wql_by_level, coverage_by_level;
};

class MetricSums {
 public:
  explicit MetricSums(MetricSetup setup);
  void add(const ForecastWindow& window);
  MetricValues values() const;
  const PointCounts& counts() const { return counts_; }
  const MetricSetup& setup() const { return setup_; }

 private:
  struct Mean {
    double sum = 0;
    std::int64_t count = 0;
    void add(double x) {
      sum += x;
      ++count;
    }
    double value() const;
  };
  void add_ratio(Mean& mean, double a, double b) const;
  void add_point(double y, double median, double mean, double scale, double square_scale);
  void check(const ForecastWindow& window) const;

  MetricSetup setup_;
  std::size_t median_ = 0;
  PointCounts counts_;
  Mean absolute_, square_, square_mean_, label_, mape_, smape_, mase_, msis_, rmsse_, rmsse_mean_,
      inside_;
  std::vector<Mean> loss_, scaled_loss_, below_;  // by level
};

// The scale s, and its square twin mean (x_t - x_(t-m))^2; NaN without a pair. Under gluonts pairs
// with infinities are left out like those with NaN, and T < m means m = 1.
double seasonal_error(std::span<const double> past, std::int64_t season, Convention convention);
double seasonal_square_error(std::span<const double> past, std::int64_t season,
                             Convention convention);

// The quantile at `level` of a forecast known at `levels` (two or more): a known one as it is, else
// linear between its neighbours, but up to max(0.1, the lowest level) the exponential tail through
// the two lowest (a1, q1), (a2, q2):
//   q2 + (q2 - q1) ln(level / a2) / ln(a2 / a1), mirrored in 1 - level on the right.
// Source: gluonts QuantileForecast, with its 1e-8 offsets inside the logarithms.
double quantile_at(double level, std::span<const double> levels, std::span<const double> values);

// Continuous ranked probability score, integral of (F(x) - 1[y <= x])^2 dx.
// Of samples: mean |X - y| - sum sum |X - X'| / (2 n^2); fair: 2 n (n - 1), NaN for one sample.
double crps_of_samples(std::span<const double> samples, double y, bool fair = false);
double crps_of_normal(double mean, double deviation, double y);

// Comparison of models over tasks; errors[task][model], `baseline` a model's number.
// GIFT-Eval: geometric mean of error / error of the baseline, and mean rank (ties averaged).
std::vector<double> geometric_mean_ratios(const std::vector<std::vector<double>>& errors,
                                          std::size_t baseline);
std::vector<double> mean_ranks(const std::vector<std::vector<double>>& errors);
// fev: 1 - geometric mean of the ratios clipped to [0.01, 100]; share of pairs (task, other model)
// won, ties half.
std::vector<double> skill_scores(const std::vector<std::vector<double>>& errors,
                                 std::size_t baseline);
std::vector<double> win_rates(const std::vector<std::vector<double>>& errors);

}  // namespace subquad
