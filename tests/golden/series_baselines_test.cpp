// Baselines against statsforecast: the simple rules exactly; those with an optimiser inside by what
// they reach.
#include <map>

#include "subquad/base/distributions.h"
#include "subquad/data/series/arima.h"
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

// "ETS(M,Ad,A)"
EtsForm form_named(const std::string& text) {
  const bool damped = text.find("Ad,") != std::string::npos && text[7] == 'd';
  return {text[4], text[6], text[text.size() - 2], damped};
}

// The likelihood is reached, often exceeded; where both end at the same optimum, so do the numbers.
TEST(GoldenSeriesBaselines, ExponentialSmoothingReachesTheLikelihood) {
  int same = 0;
  for (const Json& j : golden_lines("baselines")) {
    const Case c(j);
    for (const char* name : {"AutoETS", "Holt", "HoltWinters"}) {
      const Json& want = c.models->at(name);
      if (want.contains("error")) continue;
      const std::string form = want.at("info").at("method").as_string();
      const std::string what = c.id + " " + name + " " + form;
      const double aicc = want.at("info").at("aicc").as_double();
      const auto fit = fit_ets(c.y, c.history.season, form_named(form));
      ASSERT_TRUE(fit) << what;
      EXPECT_EQ(fit->form.text(), form);
      EXPECT_LE(fit->aicc, aicc + 1) << what;
      if (std::string(name) == "AutoETS") {
        EXPECT_LE(select_ets(c.y, c.history.season)->aicc, aicc + 1) << what;
      }
      if (std::abs(fit->aicc - aicc) > 0.05) continue;
      ++same;
      NormalForecast got = forecast_ets(*fit, c.history.horizon);
      EXPECT_LE(distance(got.mean, golden_numbers(want.at("mean"))), 0.05 * c.deviation) << what;
      const double z = normal_quantile(0.1);
      for (std::size_t i = 0; i < got.mean.size(); ++i) got.mean[i] += z * got.deviation[i];
      EXPECT_LE(distance(got.mean, golden_numbers(want.at("lo-80"))), 0.05 * c.deviation) << what;
    }
  }
  RecordProperty("same optimum", same);
  EXPECT_GT(same, 0) << "no forecast was compared";
}

// The same order: the likelihood is reached, and at the same optimum the numbers are the same.
TEST(GoldenSeriesBaselines, ArimaReachesTheLikelihood) {
  int same = 0;
  for (const Json& j : golden_lines("baselines")) {
    const Case c(j);
    const Json* want = c.models->find("AutoARIMA");
    if (!want) continue;
    const Json& info = want->at("info");
    const Json& o = info.at("arma(p,q,P,Q,m,d,D)");
    ArimaOrder order{.p = o[0].as_int(),
                     .d = o[5].as_int(),
                     .q = o[1].as_int(),
                     .P = o[2].as_int(),
                     .D = o[6].as_int(),
                     .Q = o[3].as_int(),
                     .m = info.at("season").as_int()};
    order.constant = info.at("coef").contains("drift") || info.at("coef").contains("intercept");
    const std::string what = c.id + " " + order.text();
    const double aicc = info.at("aicc").as_double();
    const auto fit = fit_arima(c.y, order);
    ASSERT_TRUE(fit) << what;
    EXPECT_LE(fit->aicc, aicc + 1) << what;
    const auto found = select_arima(c.y, order.m);
    ASSERT_TRUE(found) << what;
    EXPECT_LE(found->aicc, aicc + 1)
        << c.id << " chosen " << found->order.text() << ", theirs " << order.text();
    if (std::abs(fit->aicc - aicc) > 0.05) continue;
    ++same;
    NormalForecast got = forecast_arima(*fit, c.y, c.history.horizon);
    EXPECT_LE(distance(got.mean, golden_numbers(want->at("mean"))), 0.05 * c.deviation) << what;
    const double z = normal_quantile(0.1);
    for (std::size_t i = 0; i < got.mean.size(); ++i) got.mean[i] += z * got.deviation[i];
    EXPECT_LE(distance(got.mean, golden_numbers(want->at("lo-80"))), 0.05 * c.deviation) << what;
  }
  EXPECT_GT(same, 0) << "no forecast was compared";
}

TEST(GoldenSeriesBaselines, ThetaAndSmoothing) {
  const struct {
    const char* name;
    Rule rule;
    double bound;  // in standard deviations of the training values
  } cases[] = {{"SESOptimized", ses, 1e-3},
               {"Theta", theta, 1e-2},
               {"DynamicOptimizedTheta", dynamic_theta, 0.1}};
  for (const Json& j : golden_lines("baselines")) {
    const Case c(j);
    for (const auto& k : cases) {
      EXPECT_LE(distance(k.rule(c.history).mean, golden_numbers(c.models->at(k.name).at("mean"))),
                k.bound * c.deviation)
          << c.id << " " << k.name;
    }
  }
}

}  // namespace
}  // namespace subquad
