// Forecasters with a closed form. Source of the deviations: Hyndman and Athanasopoulos, Forecasting:
// Principles and Practice, with the divisors of statsforecast (T - 1, T - m).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/data/series/baseline.h"
#include "subquad/data/series/decomposition.h"
#include "subquad/data/series/least_squares.h"

namespace subquad {
namespace {

NormalForecast flat(const History& h, double mean, double deviation) {
  const auto steps = static_cast<std::size_t>(h.horizon);
  return {std::vector<double>(steps, mean), std::vector<double>(steps, deviation)};
}

double mean_of(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double root_mean_square(double sum, std::size_t count) {
  return count > 0 ? std::sqrt(sum / static_cast<double>(count)) : 0;
}

// Final level and the sum of squares of its one-step errors; the level starts at the first value.
struct Level {
  double value = 0, squares = 0;
};
Level smooth(std::span<const double> x, double alpha) {
  Level l{x.empty() ? 0 : x[0], 0};
  for (std::size_t t = 1; t < x.size(); ++t) {
    const double e = x[t] - l.value;
    l.squares += e * e;
    l.value += alpha * e;
  }
  return l;
}

// Mean error of a flat forecast that is renewed at every step.
template <class Predict>
double in_sample(std::span<const double> y, Predict&& predict) {
  double squares = 0;
  std::size_t count = 0;
  for (std::size_t t = 1; t < y.size(); ++t) {
    const double e = y[t] - predict(t);
    squares += e * e;
    ++count;
  }
  return root_mean_square(squares, count);
}

// Croston's three: demand sizes and intervals (or, for TSB, the probability of demand) are smoothed
// separately. sizes and intervals start at their first values.
struct Demand {
  double size = 0, interval = 0, probability = 0;
  std::int64_t since = 0;
  bool seen = false, started = false;

  void add(double y, double alpha_size, double alpha_other) {
    ++since;
    const double indicator = y != 0 ? 1 : 0;
    probability = started ? probability + alpha_other * (indicator - probability) : indicator;
    started = true;
    if (y == 0) return;
    const auto gap = static_cast<double>(since);
    size = seen ? size + alpha_size * (y - size) : y;
    interval = seen ? interval + alpha_other * (gap - interval) : gap;
    seen = true;
    since = 0;
  }
};

template <class Rate>
NormalForecast intermittent(const History& h, double alpha_size, double alpha_other, Rate&& rate) {
  Demand d;
  d.add(h.y[0], alpha_size, alpha_other);
  const double deviation = in_sample(h.y, [&](std::size_t t) {
    const double forecast = d.seen ? rate(d) : 0;
    d.add(h.y[t], alpha_size, alpha_other);
    return forecast;
  });
  return flat(h, d.seen ? rate(d) : 0, deviation);
}

}  // namespace

// y_T; sqrt(sum d^2 / (T - 1)) sqrt(h), d the differences.
NormalForecast naive(const History& h) {
  NormalForecast f = flat(h, h.y.back(), in_sample(h.y, [&](std::size_t t) { return h.y[t - 1]; }));
  for (std::size_t i = 0; i < f.deviation.size(); ++i)
    f.deviation[i] *= std::sqrt(static_cast<double>(i + 1));
  return f;
}

// The last season again; sqrt(sum r^2 / (T - m)) sqrt(floor((h - 1) / m) + 1), r the differences at
// lag m. A series shorter than a season and one value: Naive.
NormalForecast seasonal_naive(const History& h) {
  const auto m = static_cast<std::size_t>(h.season), n = h.y.size();
  if (n < m + 1) return naive(h);
  double squares = 0;
  for (std::size_t t = m; t < n; ++t) squares += (h.y[t] - h.y[t - m]) * (h.y[t] - h.y[t - m]);
  NormalForecast f = flat(h, 0, root_mean_square(squares, n - m));
  for (std::size_t i = 0; i < f.mean.size(); ++i) {
    f.mean[i] = h.y[n - m + i % m];
    f.deviation[i] *= std::sqrt(static_cast<double>(i / m + 1));
  }
  return f;
}

// y_T + h (y_T - y_1) / (T - 1); sqrt(sum (d - slope)^2 / (T - 1)) sqrt(h (1 + h / (T - 1))).
NormalForecast drift(const History& h) {
  const std::size_t n = h.y.size();
  if (n < 2) return naive(h);
  const auto pairs = static_cast<double>(n - 1);
  const double slope = (h.y[n - 1] - h.y[0]) / pairs;
  NormalForecast f =
      flat(h, h.y[n - 1], in_sample(h.y, [&](std::size_t t) { return h.y[t - 1] + slope; }));
  for (std::size_t i = 0; i < f.mean.size(); ++i) {
    const auto step = static_cast<double>(i + 1);
    f.mean[i] += step * slope;
    f.deviation[i] *= std::sqrt(step * (1 + step / pairs));
  }
  return f;
}

// Mean; sqrt(sum (y - mean)^2 / (T - 1)) sqrt(1 + 1 / T).
NormalForecast historic_average(const History& h) {
  const double mean = mean_of(h.y);
  double squares = 0;
  for (const double y : h.y) squares += (y - mean) * (y - mean);
  return flat(h, mean,
              root_mean_square(squares, h.y.size() - 1) *
                  std::sqrt(1 + 1 / static_cast<double>(h.y.size())));
}

// Mean of the last 8; in-sample deviation of the same rule.
NormalForecast window_average(const History& h) {
  const auto rule = [&](std::size_t t) {
    const std::size_t count = std::min<std::size_t>(8, t);
    return mean_of(h.y.subspan(t - count, count));
  };
  return flat(h, rule(h.y.size()), in_sample(h.y, rule));
}

// Mean of the last 2 values of the same season; in-sample.
NormalForecast seasonal_window_average(const History& h) {
  const auto m = static_cast<std::size_t>(h.season), n = h.y.size();
  if (n < 2 * m) return seasonal_naive(h);
  double squares = 0;
  for (std::size_t t = 2 * m; t < n; ++t) {
    const double e = h.y[t] - (h.y[t - m] + h.y[t - 2 * m]) / 2;
    squares += e * e;
  }
  NormalForecast f = flat(h, 0, root_mean_square(squares, n - 2 * m));
  for (std::size_t i = 0; i < f.mean.size(); ++i)
    f.mean[i] = (h.y[n - m + i % m] + h.y[n - 2 * m + i % m]) / 2;
  if (n == 2 * m) f.deviation = seasonal_naive(h).deviation;
  return f;
}

// Level; in-sample deviation sqrt(1 + (h - 1) a^2).
NormalForecast ses_with(const History& h, double alpha) {
  const Level l = smooth(h.y, alpha);
  NormalForecast f = flat(h, l.value, root_mean_square(l.squares, h.y.size() - 1));
  for (std::size_t i = 0; i < f.deviation.size(); ++i)
    f.deviation[i] *= std::sqrt(1 + static_cast<double>(i) * alpha * alpha);
  return f;
}

// Smoothing in [0.01, 0.99] with the smallest squared error.
NormalForecast ses(const History& h) {
  const auto squares = [&](double alpha) { return smooth(h.y, alpha).squares; };
  constexpr double kLow = 0.01, kHigh = 0.99, kGrid = 0.02, kGolden = 0.6180339887498949;
  double best = kLow;
  for (double a = kLow; a <= kHigh + 1e-9; a += kGrid) {
    if (squares(a) < squares(best)) best = a;
  }
  double low = std::max(kLow, best - kGrid), high = std::min(kHigh, best + kGrid);
  while (high - low > 1e-6) {
    const double a = high - kGolden * (high - low), b = low + kGolden * (high - low);
    (squares(a) < squares(b) ? high : low) = squares(a) < squares(b) ? b : a;
  }
  return ses_with(h, (low + high) / 2);
}

// One exponential smoothing (0.3) per season position, after the oldest T mod m values are dropped.
NormalForecast seasonal_es(const History& h) {
  const auto m = static_cast<std::size_t>(h.season), n = h.y.size();
  if (n < m) return ses_with(h, 0.3);
  NormalForecast f = flat(h, 0, 0);
  const std::size_t seasons = n / m;
  for (std::size_t i = 0; i < std::min(m, f.mean.size()); ++i) {
    std::vector<double> same;
    for (std::size_t k = 0; k < seasons; ++k) same.push_back(h.y[n % m + k * m + i]);
    const NormalForecast one =
        ses_with({same, 1, static_cast<std::int64_t>(f.mean.size() / m + 1)}, 0.3);
    for (std::size_t k = i; k < f.mean.size(); k += m) {
      f.mean[k] = one.mean[k / m];
      f.deviation[k] = one.deviation[k / m];
    }
  }
  return f;
}

// Smoothed size over smoothed interval, both with 0.1; in-sample. Source: Croston 1972.
NormalForecast croston(const History& h) {
  return intermittent(h, 0.1, 0.1, [](const Demand& d) { return d.size / d.interval; });
}
// The same times 0.95. Source: Syntetos and Boylan 2005.
NormalForecast croston_sba(const History& h) {
  return intermittent(h, 0.1, 0.1, [](const Demand& d) { return 0.95 * d.size / d.interval; });
}
// Smoothed size times smoothed probability of demand, both with 0.2; in-sample.
// Source: Teunter, Syntetos and Babai 2011.
NormalForecast tsb(const History& h) {
  return intermittent(h, 0.2, 0.2, [](const Demand& d) { return d.size * d.probability; });
}

}  // namespace subquad
