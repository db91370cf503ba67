// Metrics against gluonts and fev.
#include "subquad/data/series/metrics.h"
#include "tests/golden/series_golden.h"

namespace subquad {
namespace {

constexpr double kBound = 1e-11;

struct Task {
  std::vector<double> levels;
  struct Item {
    std::vector<double> past, actual, mean;
    std::vector<std::vector<double>> quantiles;
  };
  std::vector<Item> items;

  explicit Task(const Json& j) : levels(golden_numbers(j.at("levels"))) {
    for (const Json& s : j.at("series").as_array()) {
      Item& item = items.emplace_back();
      item.past = golden_numbers(s.at("past"));
      item.actual = golden_numbers(s.at("y"));
      if (const Json* mean = s.find("mean"); mean && !mean->is_null())
        item.mean = golden_numbers(*mean);
      for (const Json& q : s.at("q").as_array()) item.quantiles.push_back(golden_numbers(q));
    }
  }

  MetricSums sums(const Json& j, Convention convention, double epsilon) const {
    MetricSums out({.convention = convention,
                    .season = j.at("seasonality").as_int(),
                    .levels = levels,
                    .epsilon = epsilon});
    for (const Item& item : items) {
      ForecastWindow w{
          .past = item.past, .actual = item.actual, .quantiles = {}, .mean = item.mean};
      for (const auto& q : item.quantiles) w.quantiles.emplace_back(q);
      out.add(w);
    }
    return out;
  }
};

// The value that a package's name stands for. False if no such metric is known.
bool find_metric(const MetricValues& v, const std::vector<double>& levels, const std::string& name,
                 double& to) {
  const std::pair<const char*, double> fixed[] = {{"MSE[mean]", v.mse_mean},
                                                  {"MSE[0.5]", v.mse},
                                                  {"MSE", v.mse},
                                                  {"MAE[0.5]", v.mae},
                                                  {"MAE", v.mae},
                                                  {"MASE[0.5]", v.mase},
                                                  {"MASE", v.mase},
                                                  {"MAPE[0.5]", v.mape},
                                                  {"MAPE", v.mape},
                                                  {"sMAPE[0.5]", v.smape},
                                                  {"SMAPE", v.smape},
                                                  {"MSIS", v.msis},
                                                  {"RMSE[mean]", v.rmse_mean},
                                                  {"NRMSE[mean]", v.nrmse_mean},
                                                  {"RMSE[0.5]", v.rmse},
                                                  {"RMSE", v.rmse},
                                                  {"NRMSE[0.5]", v.nrmse},
                                                  {"ND[0.5]", v.nd},
                                                  {"WAPE", v.nd},
                                                  {"RMSSE", v.rmsse},
                                                  {"RMSSE[mean]", v.rmsse_mean},
                                                  {"MQL", v.mql},
                                                  {"WQL", v.wql},
                                                  {"SQL", v.sql},
                                                  {"sum_absolute_label", v.sum_absolute_label},
                                                  {"mean_weighted_sum_quantile_loss", v.wql},
                                                  {"average_mean_scaled_quantile_loss", v.sql},
                                                  {"MAE_coverage", v.calibration}};
  for (const auto& [known, value] : fixed) {
    if (name == known) {
      to = value;
      return true;
    }
  }
  const std::size_t bracket = name.find('[');
  if (bracket == std::string::npos) return false;
  const double level = std::stod(name.substr(bracket + 1));
  const auto i =
      static_cast<std::size_t>(std::find(levels.begin(), levels.end(), level) - levels.begin());
  if (i == levels.size()) return false;
  if (name.starts_with("weighted_sum_quantile_loss"))
    to = v.wql_by_level[i];
  else if (name.starts_with("coverage"))
    to = v.coverage_by_level[i];
  else
    return false;
  return true;
}

TEST(GoldenSeriesMetrics, TasksAsGluontsAndFevComputeThem) {
  std::int64_t compared = 0;
  for (const Json& j : golden_lines("metrics")) {
    if (j.at("kind").as_string() != "task") continue;
    const Task task(j);
    const std::string id = j.at("id").as_string();
    for (const Convention convention : {Convention::gluonts, Convention::fev}) {
      const MetricSums plain = task.sums(j, convention, 0), floored = task.sums(j, convention, 1);
      for (const auto& [name, want] : j.at(name_of(convention)).as_object()) {
        const std::string what = id + " " + name_of(convention) + " " + name;
        double got = 0;
        if (name == "sum_num_masked_target_values") {
          got = static_cast<double>(plain.counts().masked_labels);
        } else {
          const std::size_t epsilon = name.find("(epsilon=1)");
          const MetricSums& sums = epsilon == std::string::npos ? plain : floored;
          ASSERT_TRUE(find_metric(sums.values(), task.levels, name.substr(0, epsilon), got))
              << what << " is not known";
        }
        expect_near(got, golden_number(want), kBound, 0, what);
        ++compared;
      }
    }
    const PointCounts counts = task.sums(j, Convention::gluonts, 0).counts();
    const Json& want = j.at("counts");
    EXPECT_EQ(counts.points, want.at("points").as_int()) << id;
    EXPECT_EQ(counts.masked_labels, want.at("masked_label").as_int()) << id;
    EXPECT_EQ(counts.without_scale, want.at("zero_or_undefined_scale").as_int()) << id;
    EXPECT_EQ(counts.zero_labels, want.at("zero_label").as_int()) << id;
    EXPECT_EQ(counts.zero_over_zero, want.at("smape_0_over_0").as_int()) << id;
  }
  RecordProperty("compared", std::to_string(compared));
}

TEST(GoldenSeriesMetrics, ContinuousRankedProbabilityScore) {
  for (const Json& j : golden_lines("metrics")) {
    const std::string kind = j.at("kind").as_string(), id = j.at("id").as_string();
    if (kind == "crps_samples") {
      const std::vector<double> samples = golden_numbers(j.at("samples"));
      const double y = j.at("y").as_double();
      expect_near(crps_of_samples(samples, y), golden_number(j.at("crps")), kBound, 0, id);
      expect_near(crps_of_samples(samples, y, true), golden_number(j.at("crps_fair")), kBound, 0,
                  id + " fair");
    } else if (kind == "crps_normal") {
      const double mean = j.at("mean").as_double(), sd = j.at("sd").as_double();
      expect_near(crps_of_normal(mean, sd, j.at("y").as_double()), golden_number(j.at("crps")),
                  kBound, 0, id);
    }
  }
}

TEST(GoldenSeriesMetrics, ModelsOverTasks) {
  for (const Json& j : golden_lines("metrics")) {
    if (j.at("kind").as_string() != "aggregate") continue;
    std::vector<std::vector<double>> errors;
    for (const Json& row : j.at("errors").as_array()) errors.push_back(golden_numbers(row));
    std::size_t baseline = 0;
    while (j.at("models")[baseline].as_string() != j.at("baseline").as_string()) ++baseline;
    const auto compare = [&](const std::vector<double>& got, const Json& want) {
      const std::vector<double> numbers = golden_numbers(want);
      ASSERT_EQ(got.size(), numbers.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        expect_near(got[i], numbers[i], kBound, 1, "model " + std::to_string(i));
    };
    compare(geometric_mean_ratios(errors, baseline), j.at("gift_eval").at("geometric_mean_ratio"));
    compare(mean_ranks(errors), j.at("gift_eval").at("mean_rank_ties_averaged"));
    compare(skill_scores(errors, baseline), j.at("fev").at("skill_score"));
    compare(win_rates(errors), j.at("fev").at("win_rate"));
    compare(skill_scores(errors, baseline), j.at("fev_package").at("skill_score"));
    compare(win_rates(errors), j.at("fev_package").at("win_rate"));
  }
}

}  // namespace
}  // namespace subquad
