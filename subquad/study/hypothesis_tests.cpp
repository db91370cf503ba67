#include "subquad/study/hypothesis_tests.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "subquad/base/distributions.h"
#include "subquad/base/rng.h"

namespace subquad {
namespace {

constexpr std::size_t kExactPairs = 16;
constexpr std::size_t kMasks = std::size_t{1} << kExactPairs;

// Calls fn(mask words) for every subset of n values, or for drawn ones: the first is the empty one.
template <class Fn>
void for_subsets(std::size_t n, Fn&& fn) {
  if (n <= kExactPairs) {
    for (std::uint64_t mask = 0; mask < std::uint64_t{1} << n; ++mask)
      fn([mask](std::size_t i) { return (mask >> i & 1) != 0; });
    return;
  }
  const Rng rng{0, stream_id("subsets")};
  fn([](std::size_t) { return false; });
  std::vector<std::uint64_t> words((n + 63) / 64);
  for (std::size_t sample = 1; sample < kMasks; ++sample) {
    for (std::size_t w = 0; w < words.size(); ++w) words[w] = rng.bits(sample, w);
    fn([&words](std::size_t i) { return (words[i / 64] >> i % 64 & 1) != 0; });
  }
}

double subsets(std::size_t n) {
  return static_cast<double>(n <= kExactPairs ? std::size_t{1} << n : kMasks);
}

// Twice the mid-ranks of |d|, which are whole numbers, and the doubled rank sum of the positive.
struct SignedRanks {
  std::vector<std::int64_t> ranks;
  std::int64_t positive = 0;
  double ties = 0;  // sum of t^3 - t over groups of equal values
};

SignedRanks signed_ranks(std::vector<double> d) {
  std::erase(d, 0.0);
  std::sort(d.begin(), d.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
  SignedRanks s;
  for (std::size_t i = 0; i < d.size();) {
    std::size_t end = i;
    while (end < d.size() && std::abs(d[end]) == std::abs(d[i])) ++end;
    const auto rank = static_cast<std::int64_t>(i + end + 1);
    const auto t = static_cast<double>(end - i);
    s.ties += t * t * t - t;
    for (; i < end; ++i) {
      s.ranks.push_back(rank);
      s.positive += d[i] > 0 ? rank : 0;
    }
  }
  return s;
}

}  // namespace

double sign_flip_p(const std::vector<double>& differences) {
  const std::size_t n = differences.size();
  if (n == 0) return 1;
  double observed = 0, scale = 0, as_far = 0;
  for (double d : differences) {
    observed += d;
    scale += std::abs(d);
  }
  // Sums that are equal but for the order of adding count as equal.
  const double bound = std::abs(observed) - 1e-12 * scale;
  for_subsets(n, [&](auto&& flipped) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += flipped(i) ? -differences[i] : differences[i];
    as_far += std::abs(sum) >= bound ? 1 : 0;
  });
  return as_far / subsets(n);
}

Interval sign_flip_interval(const std::vector<double>& differences, double level) {
  const std::size_t n = differences.size();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> means;
  if (n > 0) means.reserve(static_cast<std::size_t>(subsets(n)));
  if (n > 0) {
    for_subsets(n, [&](auto&& chosen) {
      double sum = 0, count = 0;
      for (std::size_t i = 0; i < n; ++i) {
        if (!chosen(i)) continue;
        sum += differences[i];
        ++count;
      }
      if (count > 0) means.push_back(sum / count);
    });
  }
  // One-sided p of a shift below k of the means is k / (their number + 1).
  const auto k =
      static_cast<std::size_t>((1 - level) / 2 * static_cast<double>(means.size() + 1) + 1e-9);
  if (k == 0) return {-kInfinity, kInfinity};
  const auto at = [&](std::size_t index) {
    const auto place = means.begin() + static_cast<std::ptrdiff_t>(index);
    std::nth_element(means.begin(), place, means.end());
    return *place;
  };
  return {at(k - 1), at(means.size() - k)};
}

double sign_test_p(const std::vector<double>& differences) {
  std::int64_t positive = 0, negative = 0;
  for (double d : differences) {
    positive += d > 0 ? 1 : 0;
    negative += d < 0 ? 1 : 0;
  }
  const std::int64_t n = positive + negative;
  return n == 0 ? 1 : std::min(1.0, 2 * fair_binomial_cdf(std::min(positive, negative), n));
}

double wilcoxon_p(const std::vector<double>& differences) {
  const SignedRanks s = signed_ranks(differences);
  if (s.ranks.empty()) return 1;
  const auto n = static_cast<double>(s.ranks.size());
  const std::int64_t total = std::accumulate(s.ranks.begin(), s.ranks.end(), std::int64_t{0}),
                     smaller = std::min(s.positive, total - s.positive);
  if (s.ranks.size() > 200) {
    const double variance = n * (n + 1) * (2 * n + 1) / 24 - s.ties / 48;
    const double z =
        (static_cast<double>(smaller) / 2 - n * (n + 1) / 4 + 0.5) / std::sqrt(variance);
    return std::min(1.0, 2 * normal_cdf(z));
  }
  // Probability of every doubled rank sum when each sign is a fair coin.
  std::vector<double> of_sum(static_cast<std::size_t>(total) + 1, 0);
  of_sum[0] = 1;
  for (const std::int64_t rank : s.ranks) {
    const auto r = static_cast<std::size_t>(rank);
    for (std::size_t sum = of_sum.size(); sum-- > 0;)
      of_sum[sum] = 0.5 * (of_sum[sum] + (sum >= r ? of_sum[sum - r] : 0));
  }
  double tail = 0;
  for (std::int64_t sum = 0; sum <= smaller; ++sum) tail += of_sum[static_cast<std::size_t>(sum)];
  return std::min(1.0, 2 * tail);
}

double paired_t_p(const std::vector<double>& differences) {
  if (differences.size() < 2) return 1;
  const auto n = static_cast<double>(differences.size());
  const double mean = mean_of(differences), error = deviation_of(differences) / std::sqrt(n);
  if (error <= 0) return mean == 0 ? 1 : 0;
  return 2 * t_cdf(-std::abs(mean) / error, n - 1);
}

double equivalence_p(const std::vector<double>& differences, double margin) {
  if (differences.size() < 2) return 1;
  const auto n = static_cast<double>(differences.size());
  const double distance = margin - std::abs(mean_of(differences)),
               error = deviation_of(differences) / std::sqrt(n);
  if (error <= 0) return distance > 0 ? 0 : 1;
  return t_cdf(-distance / error, n - 1);
}

double fisher_p(int a, int n, int b, int m) {
  if (n <= 0 || m <= 0) return 1;
  const int successes = a + b, low = std::max(0, successes - m), high = std::min(successes, n);
  const double observed = hypergeometric_pmf(a, successes, n, n + m);
  double p = 0;
  for (int k = low; k <= high; ++k) {
    const double of_k = hypergeometric_pmf(k, successes, n, n + m);
    if (of_k <= observed * (1 + 1e-9)) p += of_k;
  }
  return std::min(1.0, p);
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(p.size() - i) * p[order[i]]));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

double probability_of_improvement(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.empty() || b.empty()) return 0.5;
  double wins = 0;
  for (double x : a) {
    for (double y : b) wins += x > y ? 1 : x == y ? 0.5 : 0;
  }
  return wins / static_cast<double>(a.size()) / static_cast<double>(b.size());
}

double paired_t_power(double effect, int n, double alpha) {
  if (n < 2) return 0;
  const double critical = t_quantile(1 - alpha / 2, n - 1),
               shift = std::abs(effect) * std::sqrt(static_cast<double>(n));
  // Beyond 30 standard errors the power is 1 to every digit, and the series need not converge.
  if (shift > 30 + critical) return 1;
  return 1 - noncentral_t_cdf(critical, n - 1, shift) + noncentral_t_cdf(-critical, n - 1, shift);
}

double minimal_detectable_difference(double deviation, int n, double power, double alpha) {
  if (n < 2) return std::numeric_limits<double>::infinity();
  double low = 0, high = 1;
  while (paired_t_power(high, n, alpha) < power) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (paired_t_power(middle, n, alpha) < power ? low : high) = middle;
  }
  return high * deviation;
}

int pairs_needed(double effect, double power, double alpha) {
  int n = 2;
  while (n < 10000 && paired_t_power(effect, n, alpha) < power) ++n;
  return n;
}

}  // namespace subquad
