#include "subquad/data/series/anomalies.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "subquad/base/distributions.h"
#include "subquad/base/error.h"

namespace subquad {
namespace {

constexpr std::int64_t kManyForecasts = 2000, kLongestStep = 24;
constexpr std::size_t kErrors = 200, kFewestErrors = 8;
constexpr double kLargest = 1e100;  // beyond it differences and squares overflow
constexpr double kTail = 0.1;       // of the quantiles that measure the spread

struct Plan {
  std::int64_t warm_up, horizon;
};

Plan plan_of(std::int64_t length, const AnomalySetup& s) {
  require(s.level >= 0.5 && s.level < 1, ErrorCode::invalid_argument, "level ", s.level,
          ", wanted 0.5 to below 1");
  require(s.horizon >= 0 && s.warm_up >= 0 && s.season >= 1 && s.history >= 1 && s.patience >= 1,
          ErrorCode::invalid_argument, "horizon ", s.horizon, ", warm-up ", s.warm_up, ", season ",
          s.season, ", history ", s.history, ", patience ", s.patience,
          "; the first two are 0 or more, the others 1 or more");
  const std::int64_t warm_up =
      s.warm_up > 0 ? s.warm_up : std::min(2 * s.season + 8, std::max<std::int64_t>(length / 2, 3));
  const std::int64_t left = std::max<std::int64_t>(length - warm_up, 0);
  const std::int64_t horizon =
      s.horizon > 0 ? s.horizon
                    : std::min(kLongestStep, (left + kManyForecasts - 1) / kManyForecasts);
  return {warm_up, std::max<std::int64_t>(horizon, 1)};
}

// The errors of the last scored values in units of the forecast's spread.
class Calibration {
 public:
  double factor() const {
    if (errors_.size() < kFewestErrors) return 1;
    std::vector<double> sorted(errors_.begin(), errors_.end());
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    // Half of all errors zero (a series that is mostly constant) says nothing about the others.
    return *middle > 0 ? *middle / normal_quantile(0.75) : 1;
  }
  void add(double error) {
    errors_.push_back(error);
    if (errors_.size() > kErrors) errors_.pop_front();
  }

 private:
  std::deque<double> errors_;
};

class Detector {
 public:
  Detector(std::span<const double> values, const AnomalySetup& setup, const Forecaster& forecaster,
           const std::function<void(const ScoredValue&)>& sink)
      : values_(values),
        setup_(setup),
        forecaster_(forecaster),
        sink_(sink),
        tail_((1 - setup.level) / 2),
        levels_{tail_, kTail, 0.5, 1 - kTail, 1 - tail_},
        past_(values.begin(), values.end()),
        z_(normal_quantile(1 - tail_)),
        unit_(2 * normal_quantile(1 - kTail)) {
    std::sort(levels_.begin(), levels_.end());
    levels_.erase(std::unique(levels_.begin(), levels_.end()), levels_.end());
  }

  void run() {
    const auto length = static_cast<std::int64_t>(values_.size());
    const Plan plan = plan_of(length, setup_);
    for (std::int64_t cut = plan.warm_up; cut < length; cut += plan.horizon) {
      const std::int64_t steps = std::min(plan.horizon, length - cut);
      const auto ahead =
          values_.subspan(static_cast<std::size_t>(cut), static_cast<std::size_t>(steps));
      if (std::none_of(ahead.begin(), ahead.end(), [](double x) { return std::isfinite(x); }))
        continue;
      const std::int64_t from = std::max<std::int64_t>(0, cut - setup_.history);
      const std::vector<double> past =
          filled_values(std::span(past_).subspan(static_cast<std::size_t>(from),
                                                 static_cast<std::size_t>(cut - from)),
                        setup_.fill);
      if (past.empty()) continue;  // nothing but missing values so far
      const Forecast f = forecaster_(past, steps, levels_);
      // A batch shares one calibration: what it holds is not known when it is forecast.
      const double factor = setup_.method == BandMethod::robust ? calibration_.factor() : 1;
      for (std::int64_t i = 0; i < steps; ++i) score(f, i, cut + i, factor);
    }
  }

 private:
  std::size_t level_at(double level) const {
    const auto near = std::min_element(levels_.begin(), levels_.end(), [&](double a, double b) {
      return std::abs(a - level) < std::abs(b - level);
    });
    return static_cast<std::size_t>(near - levels_.begin());
  }

  void score(const Forecast& f, std::int64_t step, std::int64_t index, double factor) {
    const double value = values_[static_cast<std::size_t>(index)];
    if (!std::isfinite(value)) return;
    const auto at = static_cast<std::size_t>(step);
    const auto quantile = [&](double level) { return f.quantiles[level_at(level)][at]; };
    const double median = quantile(0.5);
    const double floor = std::max(1e-6 * std::abs(median), 1e-300);
    const double raw = std::max(quantile(1 - kTail) - quantile(kTail), unit_ * floor);
    const double spread = factor * raw / unit_;
    ScoredValue s{index, value, median, median - z_ * spread, median + z_ * spread, 0, false};
    if (setup_.method == BandMethod::quantile) {
      s.low = std::min(quantile(tail_), median - floor);
      s.high = std::max(quantile(1 - tail_), median + floor);
    }
    s.score = (value - median) / (factor * raw);
    s.anomaly = value < s.low || value > s.high;
    calibration_.add(std::abs(value - median) * unit_ / raw);
    remember(s);
    sink_(s);
  }

  // What later forecasts see.
  void remember(const ScoredValue& s) {
    const int side = !s.anomaly ? 0 : s.value > s.median ? 1 : -1;
    if (side == 0 || side != side_) row_.clear();
    side_ = side;
    if (side == 0) return;
    row_.push_back(s.index);
    if (static_cast<std::int64_t>(row_.size()) < setup_.patience) {
      past_[static_cast<std::size_t>(s.index)] = s.median;
      return;
    }
    for (const std::int64_t index : row_)
      past_[static_cast<std::size_t>(index)] = values_[static_cast<std::size_t>(index)];
  }

  std::span<const double> values_;
  const AnomalySetup& setup_;
  const Forecaster& forecaster_;
  const std::function<void(const ScoredValue&)>& sink_;
  double tail_;
  std::vector<double> levels_, past_;
  double z_, unit_;
  Calibration calibration_;
  int side_ = 0;
  std::vector<std::int64_t> row_;  // outliers in a row on that side
};

}  // namespace

void score_anomalies(std::span<const double> values, const AnomalySetup& setup,
                     const Forecaster& forecaster,
                     const std::function<void(const ScoredValue&)>& sink) {
  if (values.size() < 4) {
    plan_of(4, setup);
    return;
  }
  double largest = 0;
  for (const double x : values) largest = std::max(largest, std::isfinite(x) ? std::abs(x) : 0);
  if (largest <= kLargest) return Detector(values, setup, forecaster, sink).run();
  std::vector<double> small(values.begin(), values.end());
  for (double& x : small) x /= largest;
  const auto grown = [&](double x) {
    constexpr double kMost = std::numeric_limits<double>::max();
    return std::clamp(x * largest, -kMost, kMost);
  };
  Detector(small, setup, forecaster, [&](const ScoredValue& s) {
    sink({s.index, values[static_cast<std::size_t>(s.index)], grown(s.median), grown(s.low),
          grown(s.high), s.score, s.anomaly});
  }).run();
}

}  // namespace subquad
