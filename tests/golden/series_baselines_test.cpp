// Baselines against statsforecast: the simple rules exactly; those with an optimiser inside by what
// they reach.
#include <map>

#include "subquad/data/series/baseline.h"
#include "subquad/data/series/ets.h"
#include "tests/golden/series_golden.h"

namespace subquad {
namespace {

struct Case {
  std::string id;
  std::vector<double> y;
  History history;
  double deviation = 0, largest = 0;
  const Json* models;

  explicit Case(const Json& j)
      : id(j.at("unique_id").as_string()), y(golden_numbers(j.at("y"))), models(&j.at("models")) {
    history = {y, j.at("season").as_int(), j.at("h").as_int()};
    double mean = 0;
    for (const double x : y) {
      mean += x / static_cast<double>(y.size());
      largest = std::max(largest, std::abs(x));
    }
    for (const double x : y) deviation += (x - mean) * (x - mean) / static_cast<double>(y.size());
    deviation = std::sqrt(deviation);
  }
};

// Largest |got - want|.
double distance(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double d = std::abs(got[i] - want[i]);
    if (!(d <= worst)) worst = d;  // a NaN stays
  }
  return worst;
}

double normal_level(const std::string& key) {  // "lo-80" is 0.1
  const double share = std::stod(key.substr(3)) / 100;
  return key.starts_with("lo") ? (1 - share) / 2 : (1 + share) / 2;
}

using Rule = NormalForecast (*)(const History&);
const std::map<std::string, Rule> kExact = {
    {"Naive", naive},
    {"SeasonalNaive", seasonal_naive},
    {"Drift", drift},
    {"HistoricAverage", historic_average},
    {"WindowAverage8", window_average},
    {"SeasonalWindowAverage2", seasonal_window_average},
    {"SES0.3", [](const History& h) { return ses_with(h, 0.3); }},
    {"SeasonalES0.3", seasonal_es},
    {"CrostonClassic", croston},
    {"CrostonSBA", croston_sba},
    {"TSB0.2_0.2", tsb},
};

TEST(GoldenSeriesBaselines, RulesWithoutAnOptimiser) {
  for (const Json& j : golden_lines("baselines")) {
    const Case c(j);
    for (const auto& [name, rule] : kExact) {
      const Json& want = c.models->at(name);
      const NormalForecast got = rule(c.history);
      for (const auto& [key, values] : want.as_object()) {
        if (key != "mean" && !key.starts_with("lo-") && !key.starts_with("hi-")) continue;
        std::vector<double> numbers = got.mean;
        if (key != "mean") {
          const double z = normal_quantile(normal_level(key));
          for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] += z * got.deviation[i];
        }
        EXPECT_LE(distance(numbers, golden_numbers(values)), 1e-9 * c.largest)
            << c.id << " " << name << " " << key;
      }
    }
  }
}

}  // namespace
}  // namespace subquad
