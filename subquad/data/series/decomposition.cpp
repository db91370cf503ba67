#include "subquad/data/series/decomposition.h"

#include <algorithm>
#include <cmath>

namespace subquad {

double centred_average(std::span<const double> y, std::size_t t, std::size_t m) {
  const std::size_t half = m / 2;
  double sum = 0;
  for (std::size_t k = t - half; k <= t + half; ++k) {
    const bool end = m % 2 == 0 && (k == t - half || k == t + half);
    sum += (end ? 0.5 : 1.0) * y[k];
  }
  return sum / static_cast<double>(m);
}

double variance_of(std::span<const double> x) {
  double mean = 0, squares = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  for (const double v : x) squares += (v - mean) * (v - mean);
  return squares / static_cast<double>(x.size());
}

std::vector<double> seasonal_figure(std::span<const double> y, std::int64_t season,
                                    bool multiplicative) {
  const auto m = static_cast<std::size_t>(season);
  const std::size_t n = y.size(), half = m / 2;
  std::vector<double> sum(m), count(m);
  for (std::size_t t = half; t + half < n; ++t) {
    const double trend = centred_average(y, t, m);
    sum[t % m] += multiplicative ? y[t] / trend : y[t] - trend;
    count[t % m] += 1;
  }
  double mean = 0;
  for (std::size_t i = 0; i < m; ++i) {
    sum[i] /= std::max(count[i], 1.0);
    mean += sum[i] / static_cast<double>(m);
  }
  for (double& s : sum) s = multiplicative ? s / mean : s - mean;
  return sum;
}

bool is_seasonal(std::span<const double> y, std::int64_t season) {
  const auto n = static_cast<std::int64_t>(y.size());
  if (season < 4 || n < 2 * season) return false;
  double mean = 0, variance = 0;
  for (const double x : y) mean += x / static_cast<double>(n);
  for (const double x : y) variance += (x - mean) * (x - mean);
  if (!(variance > 0)) return false;
  const auto correlation = [&](std::int64_t lag) {
    double sum = 0;
    for (std::int64_t t = lag; t < n; ++t)
      sum +=
          (y[static_cast<std::size_t>(t)] - mean) * (y[static_cast<std::size_t>(t - lag)] - mean);
    return sum / variance;
  };
  double squares = 0;
  for (std::int64_t k = 1; k < season; ++k) squares += correlation(k) * correlation(k);
  constexpr double kTenPercent = 1.6448536269514722;
  return std::abs(correlation(season)) >
         kTenPercent * std::sqrt((1 + 2 * squares) / static_cast<double>(n));
}

Deseasonalised deseasonalise(std::span<const double> y, std::int64_t season) {
  Deseasonalised out{{y.begin(), y.end()}, {}, false};
  if (!is_seasonal(y, season)) return out;
  const auto positive = [](double x) { return x > 0; };
  out.multiplicative = std::all_of(y.begin(), y.end(), positive);
  std::vector<double> figure = seasonal_figure(y, season, out.multiplicative);
  const auto large = [](double x) { return x > 0.01; };
  if (out.multiplicative && !std::all_of(figure.begin(), figure.end(), large)) {
    out.multiplicative = false;
    figure = seasonal_figure(y, season, false);
  }
  const auto m = static_cast<std::size_t>(season);
  for (std::size_t t = 0; t < out.y.size(); ++t) {
    if (out.multiplicative) {
      out.y[t] /= figure[t % m];
    } else {
      out.y[t] -= figure[t % m];
    }
  }
  std::rotate(figure.begin(), figure.begin() + static_cast<std::ptrdiff_t>(y.size() % m),
              figure.end());
  out.figure = std::move(figure);
  return out;
}

void reseasonalise(const Deseasonalised& d, std::vector<double>& mean,
                   std::vector<double>& deviation) {
  for (std::size_t i = 0; i < mean.size() && !d.figure.empty(); ++i) {
    const double s = d.figure[i % d.figure.size()];
    mean[i] = d.multiplicative ? mean[i] * s : mean[i] + s;
    deviation[i] *= d.multiplicative ? s : 1;
  }
}

}  // namespace subquad
