#include "subquad/data/series/anomalies.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <unordered_map>

#include "subquad/base/distributions.h"
#include "subquad/base/error.h"

namespace subquad {
namespace {

constexpr std::int64_t kManyForecasts = 2000, kLongestStep = 24;
constexpr std::size_t kErrors = 200, kFewestErrors = 8;
// Beyond these differences and squares overflow or vanish.
constexpr double kLargest = 1e100, kSmallest = 1e-100;
constexpr double kTail = 0.1;  // of the quantiles that measure the spread

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

// One series: asks for a forecast, scores what it covers, asks again.
class Detector {
 public:
  // Errors: invalid_argument for numbers out of range.
  Detector(std::span<const double> values, const AnomalySetup& setup,
           std::function<void(const ScoredValue&)> sink)
      : values_(values),
        setup_(setup),
        sink_(std::move(sink)),
        plan_(plan_of(std::max<std::int64_t>(std::ssize(values), 4), setup)),
        cut_(std::ssize(values) < 4 ? std::ssize(values) : plan_.warm_up),
        tail_((1 - setup.level) / 2),
        levels_{tail_, kTail, 0.5, 1 - kTail, 1 - tail_},
        z_(normal_quantile(1 - tail_)),
        unit_(2 * normal_quantile(1 - kTail)) {
    std::sort(levels_.begin(), levels_.end());
    levels_.erase(std::unique(levels_.begin(), levels_.end()), levels_.end());
    double largest = 0;
    for (const double x : values) largest = std::max(largest, std::isfinite(x) ? std::abs(x) : 0);
    past_.assign(values.begin(), values.end());
    if (largest == 0 || (largest >= kSmallest && largest <= kLargest)) return;
    unit_of_values_ = largest;
    for (double& x : past_) x /= largest;
    small_ = past_;
    values_ = small_;
  }

  // The next past that is to be forecast, steps() values on; false: the series is done.
  bool ask() {
    for (; cut_ < std::ssize(values_); cut_ += plan_.horizon) {
      const auto ahead =
          values_.subspan(static_cast<std::size_t>(cut_), static_cast<std::size_t>(steps()));
      const std::int64_t from = std::max<std::int64_t>(0, cut_ - setup_.history);
      const auto before = std::span<const double>(past_).subspan(
          static_cast<std::size_t>(from), static_cast<std::size_t>(cut_ - from));
      const auto finite = [](double x) { return std::isfinite(x); };
      if (std::none_of(ahead.begin(), ahead.end(), finite) ||
          std::none_of(before.begin(), before.end(), finite))
        continue;
      question_.assign(before.begin(), before.end());
      return true;
    }
    return false;
  }
  const std::vector<double>& question() const { return question_; }
  std::int64_t steps() const { return std::min(plan_.horizon, std::ssize(values_) - cut_); }
  const std::vector<double>& levels() const { return levels_; }

  void answer(const Forecast& f) {
    // A batch shares one calibration: what it holds is not known when it is forecast.
    const double factor = setup_.method == BandMethod::robust ? calibration_.factor() : 1;
    const std::int64_t count = steps();
    for (std::int64_t i = 0; i < count; ++i) score(f, i, cut_ + i, factor);
    cut_ += plan_.horizon;
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
    constexpr double kFarthest = 1e12;
    s.score = std::clamp((value - median) / (factor * raw), -kFarthest, kFarthest);
    s.anomaly = value < s.low || value > s.high;
    calibration_.add(std::abs(value - median) * unit_ / raw);
    remember(s);
    sink_(grown(s));
  }

  // In the units of the series.
  ScoredValue grown(ScoredValue s) const {
    constexpr double kMost = std::numeric_limits<double>::max();
    if (unit_of_values_ == 1) return s;
    for (double* x : {&s.value, &s.median, &s.low, &s.high})
      *x = std::clamp(*x * unit_of_values_, -kMost, kMost);
    return s;
  }

  // What later forecasts see: the median in place of an outlier, until a row of them is a new level,
  // of the series or of one position of its season.
  void remember(const ScoredValue& s) {
    if (s.anomaly) past_[static_cast<std::size_t>(s.index)] = s.median;
    extend(recent_, s);
    if (setup_.season > 1) extend(by_position_[s.index % setup_.season], s);
  }

  // Outliers in a row on one side.
  struct Row {
    int side = 0;
    std::vector<std::int64_t> indices;
  };

  void extend(Row& row, const ScoredValue& s) {
    const int side = !s.anomaly ? 0 : s.value > s.median ? 1 : -1;
    if (side == 0 || side != row.side) row.indices.clear();
    row.side = side;
    if (side != 0) row.indices.push_back(s.index);
    if (std::ssize(row.indices) < setup_.patience) return;
    for (const std::int64_t index : row.indices)
      past_[static_cast<std::size_t>(index)] = values_[static_cast<std::size_t>(index)];
    row.indices.erase(row.indices.begin());  // one more goes on with the row
  }

  std::span<const double> values_;
  const AnomalySetup& setup_;
  std::function<void(const ScoredValue&)> sink_;
  Plan plan_;
  std::int64_t cut_;  // of the next forecast
  double tail_;
  std::vector<double> levels_, past_, question_;
  std::vector<double> small_;  // the values in units of the largest, if squares would overflow
  double unit_of_values_ = 1;
  double z_, unit_;
  Calibration calibration_;
  Row recent_;
  std::unordered_map<std::int64_t, Row> by_position_;  // of the season
};

}  // namespace

void score_anomalies(std::span<const double> values, const AnomalySetup& setup,
                     const PastForecast& forecast,
                     const std::function<void(const ScoredValue&)>& sink) {
  Detector detector(values, setup, sink);
  while (detector.ask()) {
    detector.answer(forecast(filled_values(detector.question(), setup.fill), detector.steps(),
                             detector.levels()));
  }
}

void score_anomalies(std::span<const std::span<const double>> series,
                     std::span<const AnomalySetup> setups, const ManyForecasts& forecasts,
                     const std::function<void(std::size_t, const ScoredValue&)>& sink) {
  require(series.size() == setups.size(), ErrorCode::invalid_argument, series.size(),
          " series and ", setups.size(), " setups");
  std::deque<Detector> detectors;  // in place: they hold views of themselves
  for (std::size_t i = 0; i < series.size(); ++i)
    detectors.emplace_back(series[i], setups[i], [&sink, i](const ScoredValue& v) { sink(i, v); });
  while (true) {
    // One forecast of every series that is not done, those of a length and level in one call.
    std::map<std::pair<std::int64_t, std::vector<double>>, std::vector<std::size_t>> calls;
    for (std::size_t i = 0; i < detectors.size(); ++i) {
      if (detectors[i].ask()) calls[{detectors[i].steps(), detectors[i].levels()}].push_back(i);
    }
    if (calls.empty()) return;
    for (const auto& [call, members] : calls) {
      std::vector<std::span<const double>> pasts;
      std::vector<std::int64_t> seasons;
      for (const std::size_t i : members) {
        pasts.emplace_back(detectors[i].question());
        seasons.push_back(setups[i].season);
      }
      const std::vector<Forecast> made =
          forecasts(pasts, seasons, {.horizon = call.first, .levels = call.second});
      for (std::size_t k = 0; k < members.size(); ++k) detectors[members[k]].answer(made.at(k));
    }
  }
}

}  // namespace subquad
