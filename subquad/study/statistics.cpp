#include "subquad/study/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "subquad/base/distributions.h"
#include "subquad/base/rng.h"

namespace subquad {
namespace {

// The largest share of the sum of squares that a cut of sorted values explains, and where.
struct Cut {
  double share = 0, at = 0;
};

Cut sharpest_cut(const std::vector<double>& sorted) {
  const auto n = static_cast<double>(sorted.size());
  const double mean = mean_of(sorted);
  double total = 0;
  for (double v : sorted) total += (v - mean) * (v - mean);
  Cut best;
  if (total <= 0) return best;
  double left = 0;  // sum of deviations up to the cut
  for (std::size_t i = 0; i + 1 < sorted.size(); ++i) {
    left += sorted[i] - mean;
    const double k = static_cast<double>(i) + 1, share = left * left * n / (k * (n - k)) / total;
    if (share > best.share) best = {share, 0.5 * (sorted[i] + sorted[i + 1])};
  }
  return best;
}

}  // namespace

double mean_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return x.empty() ? 0 : sum / static_cast<double>(x.size());
}

double median_of(std::vector<double> x) {
  if (x.empty()) return 0;
  std::sort(x.begin(), x.end());
  const std::size_t m = x.size() / 2;
  return x.size() % 2 ? x[m] : 0.5 * (x[m - 1] + x[m]);
}

double deviation_of(const std::vector<double>& x) {
  if (x.size() < 2) return 0;
  const double mean = mean_of(x);
  double square = 0;
  for (double v : x) square += (v - mean) * (v - mean);
  return std::sqrt(square / static_cast<double>(x.size() - 1));
}

Interval t_interval(const std::vector<double>& x, double level) {
  const double mean = mean_of(x);
  if (x.size() < 2) return {mean, mean};
  const auto n = static_cast<double>(x.size());
  const double half = t_quantile(0.5 + level / 2, n - 1) * deviation_of(x) / std::sqrt(n);
  return {mean - half, mean + half};
}

Interval wilson_interval(int successes, int trials, double level) {
  if (trials <= 0) return {0, 1};
  const double z = normal_quantile(0.5 + level / 2), n = trials, p = successes / n, z2 = z * z / n;
  const double centre = (p + z2 / 2) / (1 + z2),
               half = z / (1 + z2) * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  // At no or only successes the nearer limit is 0 or 1 exactly; do not show its rounding error.
  return {successes == 0 ? 0 : centre - half, successes == trials ? 1 : centre + half};
}

Interval clopper_pearson_interval(int successes, int trials, double level) {
  const double tail = (1 - level) / 2, failures = trials - successes;
  return {successes <= 0 ? 0 : beta_quantile(tail, successes, failures + 1),
          failures <= 0 ? 1 : beta_quantile(1 - tail, successes + 1, failures)};
}

TwoGroups two_groups(std::vector<double> x) {
  if (x.size() < 4) return {};
  std::sort(x.begin(), x.end());
  const Cut observed = sharpest_cut(x);
  constexpr std::uint64_t kSamples = 4999;
  const Rng rng{0, stream_id("two groups")};
  std::uint64_t as_sharp = 0;
  for (std::uint64_t sample = 0; sample < kSamples; ++sample) {
    std::vector<double> z(x.size());
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = rng.normal(sample, i);
    std::sort(z.begin(), z.end());
    as_sharp += sharpest_cut(z).share >= observed.share ? 1 : 0;
  }
  return {static_cast<double>(1 + as_sharp) / (1 + kSamples), observed.at};
}

double expected_normal_maximum(int n) {
  if (n <= 1) return 0;
  // E max = integral of (1 - F^n) over x > 0 minus that of F^n over x < 0, by Simpson's rule.
  constexpr int kPoints = 2000;
  constexpr double kEnd = 10, kStep = kEnd / kPoints;
  double sum = 0;
  for (int i = 0; i <= kPoints; ++i) {
    const double x = i * kStep;
    const double f = 1 - std::pow(normal_cdf(x), n) - std::pow(normal_cdf(-x), n);
    sum += (i == 0 || i == kPoints ? 1 : i % 2 ? 4 : 2) * f;
  }
  return sum * kStep / 3;
}

}  // namespace subquad
