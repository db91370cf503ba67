// Plans, statistics, charts: small facts checked against known values.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "subquad/model/sizing.h"
#include "subquad/study/chart.h"
#include "subquad/study/ledger.h"
#include "subquad/study/limits.h"
#include "subquad/study/plan.h"
#include "subquad/study/statistics.h"

namespace subquad {
namespace {

TEST(Statistics, StudentIntervalsMatchPublishedTables) {
  EXPECT_NEAR(t_quantile(0.975, 2), 4.303, 5e-4);
  EXPECT_NEAR(t_quantile(0.975, 5), 2.571, 5e-4);
  EXPECT_NEAR(t_quantile(0.95, 10), 1.812, 5e-4);
  const Interval i = t_interval({1, 2, 3});
  EXPECT_NEAR(i.low, 2 - 4.303 / std::sqrt(3), 1e-3);
  EXPECT_NEAR(i.high, 2 + 4.303 / std::sqrt(3), 1e-3);
  EXPECT_EQ(median_of({3, 1, 2, 10}), 2.5);
  EXPECT_EQ(deviation_of({5}), 0);
}

const char* kPlan = R"(name = "t"
arms = ["ngram", "mlstm", "xlstm[1:1]"]
tasks = ["parity", "anbn"]
seeds = [4, 2]
[model]
d_model = 32
heads = 2
[task.parity]
tokens = 5000
)";

TEST(Plan, RunsAreSeedMajorAndShareTheirBudget) {
  const StudyPlan plan = parse_plan(kPlan, "test");
  const auto runs = planned_runs(plan);
  ASSERT_EQ(runs.size(), 8U) << "the n-gram counts bytes: it has no part in synthetic tasks";
  EXPECT_EQ(runs[0].id, "parity-mlstm-s4");
  EXPECT_EQ(runs[3].id, "anbn-xlstm[1:1]-s4");
  EXPECT_EQ(runs[4].seed, 2);
  for (const PlannedRun& r : runs) {
    if (r.task == "parity") EXPECT_EQ(r.config.train.tokens, 5000);
  }
  EXPECT_EQ(plan.hash(), parse_plan(kPlan, "elsewhere").hash());
  EXPECT_NE(plan.hash(), parse_plan(std::string(kPlan) + "lengths = [32]\n", "test").hash());
  // A run's own file describes it completely.
  const RunConfig again =
      RunConfig::from_json(Json::parse(runs[0].config.to_json().dump(), "again"), "again");
  EXPECT_EQ(again.sha256(), runs[0].config.sha256());
}

TEST(Plan, DataBelongToItsIdentity) {
  StudyPlan plan = parse_plan(kPlan, "test");
  const std::string bare = plan.hash();
  identify_data(plan);
  const std::string whole = plan.hash();
  EXPECT_NE(bare, whole);
  EXPECT_EQ(plan.to_json().at("data").size(), 2U);
  identify_data(plan);
  EXPECT_EQ(plan.hash(), whole) << "equal data, equal study";
  plan.data["parity"]["test/32"] = "sha256:other";
  EXPECT_NE(plan.hash(), whole);
}

TEST(Plan, ImpossibleSizesAreRefusedWithWhatHelps) {
  StudyPlan plan = parse_plan(kPlan, "test");
  EXPECT_NO_THROW(require_possible(plan, 1e9, 2));
  const auto message = [&](double memory, int jobs) -> std::string {
    try {
      require_possible(plan, memory, jobs);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  plan.tasks[0].batch_size = 1 << 20;
  plan.tasks[0].tokens = std::int64_t{1} << 30;
  const std::string big = message(8e9, 2);
  for (const char* part : {"task.parity", "1048576 rows", "7.5 GiB", "at the very most", "--jobs"})
    EXPECT_NE(big.find(part), std::string::npos) << big;
  EXPECT_EQ(message(1e15, 2), "");
  plan.tasks[0].tokens = 5000;
  EXPECT_NE(message(1e15, 2).find("whole budget of 5000"), std::string::npos);
  // The bound is a lower one: what it counts is there.
  const SizedArm arm = sized_arms(plan, plan.tasks[0])[0];
  EXPECT_GT(least_training_bytes(arm, 8, 100), 16.0 * static_cast<double>(arm.parameters));
  EXPECT_GT(least_training_bytes(arm, 16, 100), least_training_bytes(arm, 8, 100));
}

TEST(Sizing, ArmsMatchWithinOnePercent) {
  const std::vector<std::string> arms = {
      "attention", "mlstm",        "slstm",          "xlstm[1:1]",
      "mamba2",    "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"};
  for (const std::int64_t parameters : {std::int64_t{0}, std::int64_t{400000}}) {
    const auto sized = size_arms(arms, {.parameters = parameters, .mixer_options = {}});
    for (const SizedArm& s : sized) {
      EXPECT_NEAR(static_cast<double>(s.parameters),
                  static_cast<double>(parameters ? parameters : sized[4].parameters),
                  0.01 * static_cast<double>(s.parameters))
          << s.arm;
      // The counts are those of the model that is then built.
      ParameterPlan plan;
      const Model model(s.config, plan);
      EXPECT_EQ(plan.parameter_count(), s.parameters);
    }
  }
  const auto flops = size_arms(arms, {.match = Match::flops, .mixer_options = {}});
  for (const SizedArm& s : flops)
    EXPECT_NEAR(s.training_macs_per_token, flops[0].training_macs_per_token,
                0.01 * s.training_macs_per_token)
        << s.arm;
  EXPECT_THROW(match_from("parameter"), Error);
}

TEST(Sizing, CostsAreTheWeightsPlusTheCore) {
  // Outside the cores a multiply-add is a weight used once per token.
  for (const char* kind : {"mlstm", "slstm", "mamba2", "gated_deltanet", "attention"}) {
    ParameterPlan plan;
    const auto mixer = make_mixer(kind, {.d_model = 64, .heads = 4, .options = {}}, plan);
    double weights = 0;
    for (const ParamInfo& p : plan.all()) {
      if (p.shape.rank >= 2 && p.name.find("bias") == std::string::npos)
        weights += static_cast<double>(p.shape.numel());
    }
    const double per_token = (mixer->cost(2000).macs - mixer->cost(1000).macs) / 1000;
    EXPECT_GE(per_token, weights) << kind;
    const std::string name = kind;
    if (name == "slstm") EXPECT_NEAR(per_token, weights, 0.02 * weights);
    if (name == "mlstm")
      EXPECT_NEAR(per_token, weights + 4 * (3 * 16 * 16 + 3 * 16), 0.01 * weights);
    if (name == "gated_deltanet") EXPECT_NEAR(per_token, weights + 4 * 4 * 16 * 16, 0.01 * weights);
    if (name == "mamba2") EXPECT_NEAR(per_token, weights + 4 * 3 * 32 * 32 + 128, 0.01 * weights);
  }
}

TEST(Ledger, ChainHoldsAcrossReopening) {
  const std::string path = testing::TempDir() + "/ledger.jsonl";
  std::filesystem::remove(path);
  for (int i = 0; i < 3; ++i) {
    Ledger ledger(path);
    EXPECT_EQ(ledger.records().size(), static_cast<std::size_t>(i));
    Json record = Json::object();
    record["id"] = i;
    ledger.append(record);
  }
  const Ledger ledger(path);
  EXPECT_EQ(ledger.records()[2].at("previous"), ledger.records()[1].at("sha256"));
}

TEST(Chart, ValuesOnHoverAndNothingUnescaped) {
  const std::string svg =
      line_chart({.title = "a<b", .x_label = "x", .y_label = "y", .x_ticks = {}},
                 {{"arm & co", "#000", {{1, 2}, {2, 3}}, {{1, 2}}}});
  EXPECT_NE(svg.find("a&lt;b"), std::string::npos);
  EXPECT_NE(svg.find("arm &amp; co"), std::string::npos);
  EXPECT_NE(svg.find("<title>"), std::string::npos);
  EXPECT_EQ(short_number(1024), "1024");
  EXPECT_EQ(short_number(65536), "65.5k");
  EXPECT_EQ(short_number(0.25), "0.25");
}

}  // namespace
}  // namespace subquad
