// KernelSynth's covariances, paths and statistics; mixtures and augmentations; against the packages.
#include <complex>
#include <numbers>

#include "subquad/data/series/synthetic/augment.h"
#include "subquad/data/series/synthetic/kernels.h"
#include "tests/golden/series_golden.h"

namespace subquad {
namespace {

Kernel kernel_from(const Json& j) {
  using Kind = Kernel::Kind;
  const std::string& name = j[0].as_string();
  for (const auto& [key, kind] : {std::pair{"periodic", Kind::periodic},
                                  {"linear", Kind::linear},
                                  {"rbf", Kind::rbf},
                                  {"rq", Kind::rational_quadratic},
                                  {"white", Kind::white},
                                  {"constant", Kind::constant}}) {
    if (name == key) return {kind, j[1].as_double()};
  }
  ADD_FAILURE() << "kernel " << name;
  return {};
}

TEST(SeriesSyntheticGolden, KernelsAndPaths) {
  for (const Json& c : golden_lines("kernels")) {
    const std::string id = c.at("id").as_string();
    CompositeKernel composite;
    for (const Json& k : c.at("kernels").as_array()) composite.kernels.push_back(kernel_from(k));
    for (const Json& op : c.at("ops").as_array())
      composite.product.push_back(op.as_string() == "*");
    const std::int64_t n = c.at("n").as_int();
    const auto size = static_cast<std::size_t>(n);
    std::vector<double> k = covariance(composite, n, c.at("length").as_int());
    const std::vector<double> row = golden_numbers(c.at("first_row"));
    for (std::size_t i = 0; i < row.size(); ++i) expect_near(k[i], row[i], 1e-12, 1e-12, id);
    if (const Json* all = c.find("K")) {
      for (std::size_t i = 0; i < size; ++i)
        for (std::size_t j = 0; j < size; ++j)
          expect_near(k[i * size + j], (*all)[i][j].as_double(), 1e-12, 1, id);
    }
    if (const Json* trace = c.find("trace")) {
      double sum = 0, squares = 0;
      for (std::size_t i = 0; i < size; ++i) sum += k[i * size + i];
      for (const double x : k) squares += x * x;
      expect_near(sum, trace->as_double(), 1e-12, 1, id);
      if (const Json* f = c.find("frobenius"))
        expect_near(std::sqrt(squares), f->as_double(), 1e-12, 1, id);
    }
    const std::vector<double> y = golden_numbers(c.at("y")),
                              got = gaussian_paths(k, n, golden_numbers(c.at("z")));
    double largest = 0;
    for (const double x : y) largest = std::max(largest, std::abs(x));
    ASSERT_EQ(got.size(), y.size());
    for (std::size_t i = 0; i < y.size(); ++i) expect_near(got[i], y[i], 1e-8, largest, id);
  }
}

std::vector<std::size_t> indices(const Json& j) {
  std::vector<std::size_t> out;
  for (const Json& x : j.as_array()) out.push_back(static_cast<std::size_t>(x.as_int()));
  return out;
}

TEST(SeriesSyntheticGolden, MixturesAndAugmentations) {
  int modulated = 0, censored = 0, mixed = 0;
  for (const Json& c : golden_lines("recipes")) {
    const std::string kind = c.at("kind").as_string();
    std::vector<double> got;
    if (kind == "amplitude_modulation") {
      got = golden_numbers(c.at("x"));
      modulate_amplitude(got, indices(c.at("change_points")), golden_numbers(c.at("amplitudes")));
      ++modulated;
    } else if (kind == "censor") {
      got = golden_numbers(c.at("x"));
      censor(got, c.at("q").as_double(), c.at("keep_above").as_bool());
      ++censored;
    } else if (kind == "tsmixup") {
      std::vector<std::vector<double>> x;
      for (const Json& row : c.at("x").as_array()) x.push_back(golden_numbers(row));
      const std::vector<double> weights = golden_numbers(c.at("weights"));
      const std::vector<double> want = golden_numbers(c.at("y_mean_scaled"));
      const std::vector<double> by_mean = mix(x, weights, MixScaling::mean_absolute);
      for (std::size_t i = 0; i < want.size(); ++i) expect_near(by_mean[i], want[i], 1e-9, 1, kind);
      got = mix(x, weights, MixScaling::z_score);
      ++mixed;
    } else {
      continue;
    }
    const std::vector<double> want = golden_numbers(c.at(kind == "tsmixup" ? "y_z_scored" : "y"));
    ASSERT_EQ(got.size(), want.size()) << kind;
    for (std::size_t i = 0; i < want.size(); ++i) expect_near(got[i], want[i], 1e-9, 1, kind);
  }
  EXPECT_TRUE(std::getenv("SUBQUAD_GOLDEN") || (modulated > 0 && censored > 0 && mixed > 0));
}

// The statistics of stats.csv, in its order; empty for a constant series.
std::vector<double> statistics_of(const std::vector<double>& y) {
  const auto n = static_cast<double>(y.size());
  double mean = 0, largest = 0, variance = 0;
  for (const double x : y) {
    mean += x / n;
    largest = std::max(largest, std::abs(x));
  }
  for (const double x : y) variance += (x - mean) * (x - mean) / n;
  const double deviation = std::sqrt(variance);
  if (deviation < 0.01 * largest) return {};
  std::vector<double> z(y), out;
  for (double& x : z) x = (x - mean) / deviation;
  for (const std::size_t lag : {1U, 2U, 7U, 12U, 24U, 48U, 96U, 168U}) {
    double sum = 0;
    for (std::size_t t = 0; t + lag < z.size(); ++t) sum += z[t] * z[t + lag];
    out.push_back(sum / n);
  }
  std::vector<double> power;
  double total = 0;
  for (std::size_t k = 1; k <= z.size() / 2; ++k) {
    std::complex<double> sum = 0;
    const auto turn = std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k) / n);
    std::complex<double> w = 1;
    for (const double x : z) {
      sum += x * w;
      w *= turn;
    }
    power.push_back(std::norm(sum));
    total += power.back();
  }
  double entropy = 0;
  for (const double p : power) entropy -= p > 0 ? p / total * std::log(p / total) : 0;
  out.push_back(entropy / std::log(n / 2));
  const auto variance_of = [](const std::vector<double>& x) {
    double m = 0, v = 0;
    for (const double a : x) m += a / static_cast<double>(x.size());
    for (const double a : x) v += (a - m) * (a - m) / static_cast<double>(x.size());
    return v;
  };
  std::vector<double> d1, d2;
  for (std::size_t t = 1; t < z.size(); ++t) d1.push_back(z[t] - z[t - 1]);
  for (std::size_t t = 1; t < d1.size(); ++t) d2.push_back(d1[t] - d1[t - 1]);
  out.push_back(std::log10(std::max(variance_of(d1), 1e-5)));
  out.push_back(std::log10(std::max(variance_of(d2), 1e-5)));
  double third = 0, fourth = 0, turns = 0;
  for (const double x : z) {
    third += x * x * x / n;
    fourth += x * x * x * x / n;
  }
  for (std::size_t t = 1; t < d1.size(); ++t) turns += d1[t] * d1[t - 1] < 0;
  out.insert(out.end(),
             {fourth - 3, third, turns / static_cast<double>(d2.size()), std::log10(deviation)});
  return out;
}

std::vector<std::vector<double>> reference_columns(std::vector<std::string>& names) {
  const std::string text =
      read_file(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/timeseries/kernelsynth/stats.csv");
  std::vector<std::vector<double>> columns;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    const bool header = names.empty();
    std::size_t column = 0;
    for (std::size_t from = at; from < end; ++column) {
      const std::size_t stop = std::min(text.find(',', from), end);
      const std::string cell = text.substr(from, stop - from);
      if (header) {
        names.push_back(cell);
        columns.emplace_back();
      } else {
        columns[column].push_back(std::stod(cell));
      }
      from = stop + 1;
    }
    at = end + 1;
  }
  return columns;
}

// Largest distance of two empirical distribution functions, over values above `from`.
double distance(std::vector<double> a, std::vector<double> b, double from) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  double largest = 0;
  for (const auto* x : {&a, &b}) {
    for (const double v : *x) {
      if (v < from) continue;
      const auto share = [v](const std::vector<double>& s) {
        return static_cast<double>(std::upper_bound(s.begin(), s.end(), v) - s.begin()) /
               static_cast<double>(s.size());
      };
      largest = std::max(largest, std::abs(share(a) - share(b)));
    }
  }
  return largest;
}

TEST(SeriesSyntheticGolden, KernelSynthHasTheStatisticsOfTheReference) {
  constexpr std::int64_t kSeries = 200, kLength = 512;
  std::vector<std::string> names;
  const auto reference = reference_columns(names);
  ASSERT_EQ(names.size(), 15u);
  std::vector<std::vector<double>> own(names.size());
  std::int64_t constant = 0;
  for (std::int64_t i = 0; i < kSeries; ++i) {
    Draws draws(1, stream_id("statistics"), static_cast<std::uint64_t>(i));
    std::vector<double> k = covariance(draw_kernel_synth(draws), kLength, kLength),
                        z(static_cast<std::size_t>(kLength));
    for (double& x : z) x = draws.normal();
    const std::vector<double> statistics = statistics_of(gaussian_paths(k, kLength, z));
    constant += statistics.empty();
    for (std::size_t s = 0; s < statistics.size(); ++s) own[s].push_back(statistics[s]);
  }
  EXPECT_LT(constant, 10) << "18 of 2000 in the reference";
  for (std::size_t s = 0; s < names.size(); ++s) {
    // Jitter shows in the turns of very smooth series: their upper half alone.
    auto sorted = reference[s];
    std::nth_element(sorted.begin(), sorted.begin() + 500, sorted.end());
    const double from = names[s] == "turning_share" ? sorted[500] : -HUGE_VAL;
    // Two-sample Kolmogorov-Smirnov test, 200 against 1000, p = 0.001.
    EXPECT_LT(distance(own[s], reference[s], from), 1.95 * std::sqrt(1.0 / 200 + 1.0 / 1000))
        << names[s];
  }
}

}  // namespace
}  // namespace subquad
