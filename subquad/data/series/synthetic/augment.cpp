// Sources: Auer et al. 2025 (TiRex, arXiv 2505.23719), algorithms 1 to 3, for amplitude modulation,
// censoring and spikes; Moroshan et al. 2025 (TempoPFN, arXiv 2510.25502) for the others.
#include "subquad/data/series/synthetic/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "subquad/base/error.h"
#include "subquad/data/series/synthetic/family.h"

namespace subquad {
namespace {

void modulate(Draws& d, std::span<double> y) {
  std::vector<std::size_t> points;
  for (std::int64_t k = d.between(0, 5); k > 0; --k) points.push_back(1 + d.below(y.size() - 2));
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  std::vector<double> amplitudes(points.size() + 2);
  for (double& a : amplitudes) a = 1 + d.normal();
  modulate_amplitude(y, points, amplitudes);
}

// Labels of successive spikes; 0 is no spike of its own kind but the first height.
std::vector<int> spike_pattern(Draws& d) {
  constexpr double kGroups[] = {0.75, 0.1, 0.1, 0.05};
  static const std::array<std::array<std::vector<int>, 2>, 4> patterns = {{
      {{{0}, {0, 1}}},
      {{{0, 1, 2}, {0, 0, 1}}},
      {{{0, 0, 1, 1}, {0, 1, 0, 2}}},
      {{{0, 0, 0, 0, 0, 1, 1}, {0, 0, 0, 0, 0, 1, 2}}},
  }};
  std::vector<int> p = patterns[d.weighted(kGroups)][d.below(2)];
  std::rotate(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(d.below(p.size())), p.end());
  return p;
}

void inject_spikes(Draws& d, std::span<double> y) {
  const auto n = static_cast<double>(y.size());
  const double period = d.uniform(10, std::min(512.0, n));
  const std::vector<int> pattern = spike_pattern(d);
  const std::size_t kind = d.below(3);  // top hat, squared exponential, triangle
  const double unit = std::max(moments_of(y).deviation, 1e-12);
  std::array<double, 3> width{}, height{};
  for (std::size_t label = 0; label < 3; ++label) {
    width[label] = period * d.uniform(0.05, 0.2);
    height[label] = unit * d.uniform(0.5, 3);
  }
  std::size_t number = 0;
  for (double centre = n - 1 - d.uniform(0, period); centre > -period; centre -= period, ++number) {
    const auto label = static_cast<std::size_t>(pattern[number % pattern.size()]);
    const double w = width[label], reach = kind == 1 ? 3 * w : w;
    const double first = std::max(0.0, std::ceil(centre - reach)),
                 last = std::min(n - 1, centre + reach);
    for (double t = first; t <= last; ++t) {
      const double x = std::abs(t - centre) / w;
      const double shape = kind == 0   ? (x <= 0.5 ? 1 : 0)
                           : kind == 1 ? std::exp(-x * x / 2)
                                       : std::max(0.0, 1 - x);
      y[static_cast<std::size_t>(t)] += height[label] * shape;
    }
  }
}

// Every k-th value, held or joined by lines: as slow sensors and interpolated tables look.
void resample(Draws& d, std::span<double> y) {
  const auto k = static_cast<std::size_t>(d.between(2, 8));
  const bool hold = d.chance(0.5);
  for (std::size_t from = 0; from < y.size(); from += k) {
    const std::size_t to = std::min(from + k, y.size() - 1);
    for (std::size_t t = from + 1; t < std::min(from + k, y.size()); ++t) {
      const double part = static_cast<double>(t - from) / static_cast<double>(k);
      y[t] = hold ? y[from] : y[from] + part * (y[to] - y[from]);
    }
  }
}

void quantize(Draws& d, std::span<double> y) {
  const auto [low, high] = std::minmax_element(y.begin(), y.end());
  const double floor = *low, range = *high - *low;
  if (range <= 0) return;
  if (d.chance(0.5)) {  // whole numbers
    const double unit = moments_of(y).deviation / d.log_uniform(0.7, 50);
    for (double& x : y) x = std::round(x / unit);
    return;
  }
  const auto levels = static_cast<double>(d.between(5, 15) - 1);
  for (double& x : y) x = floor + std::round((x - floor) / range * levels) * range / levels;
}

// Scattered points, blocks, or a beginning before anything was recorded.
void lose(Draws& d, std::span<double> y) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  constexpr double kKinds[] = {1, 1, 1};
  const std::array<double, 2> last = {y[y.size() - 2], y[y.size() - 1]};
  const std::size_t kind = d.weighted(kKinds), n = y.size();
  if (kind == 0) {
    const double share = d.log_uniform(0.005, 0.5);
    for (double& x : y) x = d.chance(share) ? kNaN : x;
  } else if (kind == 1) {
    for (std::int64_t k = d.between(1, 4); k > 0; --k) {
      const auto length = static_cast<std::size_t>(d.log_uniform(2, static_cast<double>(n) / 4));
      const std::size_t at = d.below(n - length);
      std::fill_n(y.begin() + static_cast<std::ptrdiff_t>(at), length, kNaN);
    }
  } else {
    const auto kept = static_cast<std::size_t>(d.log_uniform(8, static_cast<double>(n)));
    std::fill_n(y.begin(), n - kept, kNaN);
  }
  const auto observed =
      std::count_if(y.begin(), y.end(), [](double x) { return std::isfinite(x); });
  if (observed < 2) std::copy(last.begin(), last.end(), y.end() - 2);
}

}  // namespace

void modulate_amplitude(std::span<double> y, std::span<const std::size_t> change_points,
                        std::span<const double> amplitudes) {
  require(amplitudes.size() == change_points.size() + 2, ErrorCode::shape_mismatch,
          amplitudes.size(), " amplitudes for ", change_points.size(),
          " change points, wanted two more");
  std::size_t from = 0;
  for (std::size_t i = 0; i + 1 < amplitudes.size(); ++i) {
    const bool end = i == change_points.size();
    const std::size_t to = end ? y.size() - 1 : change_points[i];
    const double slope =
        to > from ? (amplitudes[i + 1] - amplitudes[i]) / static_cast<double>(to - from) : 0;
    for (std::size_t t = from; t < to; ++t)
      y[t] *= amplitudes[i] + slope * static_cast<double>(t - from);
    from = to;
  }
  y[from] *= amplitudes.back();
}

void censor(std::span<double> y, double q, bool keep_above) {
  std::vector<double> sorted(y.begin(), y.end());
  const double place = q * static_cast<double>(y.size() - 1);
  const auto low = std::min(static_cast<std::size_t>(place), y.size() - 1);
  const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(low);
  std::nth_element(sorted.begin(), at, sorted.end());
  double c = *at;
  if (low + 1 < sorted.size())
    c += (place - static_cast<double>(low)) * (*std::min_element(at + 1, sorted.end()) - c);
  for (double& x : y) x = keep_above ? std::max(x, c) : std::min(x, c);
}

std::vector<double> mix(std::span<const std::vector<double>> series,
                        std::span<const double> weights, MixScaling scaling) {
  std::vector<double> sum(series[0].size());
  for (std::size_t i = 0; i < series.size(); ++i) {
    double centre = 0, unit = 0;
    if (scaling == MixScaling::z_score) {
      const Moments m = moments_of(series[i]);
      centre = m.mean;
      unit = m.deviation;
    } else {
      for (const double x : series[i]) unit += std::abs(x) / static_cast<double>(sum.size());
    }
    const double factor = unit > 1e-12 * std::abs(centre) ? weights[i] / unit : 0;
    for (std::size_t t = 0; t < sum.size(); ++t) sum[t] += factor * (series[i][t] - centre);
  }
  return sum;
}

void augment(Draws& d, const AugmentationRates& rates, std::span<double> y) {
  if (d.chance(rates.time_flip)) std::reverse(y.begin(), y.end());
  if (d.chance(rates.amplitude_modulation)) modulate(d, y);
  if (d.chance(rates.censor)) {
    const double q = d.uniform();
    censor(y, q, d.chance(0.5));
  }
  if (d.chance(rates.spikes)) inject_spikes(d, y);
  if (d.chance(rates.sign_flip)) {
    for (double& x : y) x = -x;
  }
  if (d.chance(rates.resample)) resample(d, y);
  if (d.chance(rates.quantize)) quantize(d, y);
  if (d.chance(rates.noise)) {
    const double spread = d.log_uniform(0.001, 0.1) * moments_of(y).deviation;
    for (double& x : y) x += spread * d.normal();
  }
  if (d.chance(rates.missing)) lose(d, y);
}

}  // namespace subquad
