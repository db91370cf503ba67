// Plans, ledgers, charts: small facts checked against known values.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "subquad/model/sizing.h"
#include "subquad/study/chart.h"
#include "subquad/study/ledger.h"
#include "subquad/study/limits.h"
#include "subquad/study/plan.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

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

// The task's table, then the study's [train], then the task itself. (The code task trains at 0.01.)
TEST(Plan, TheNearestLearningRateWins) {
  const std::string text = temporary_path("rates");
  std::filesystem::create_directories(text);
  for (int file = 0; file < 40; ++file) {
    std::ofstream out(text + "/" + std::to_string(file) + ".py");
    for (int i = 0; i < 300; ++i)
      out << "value_of_name_" << file * 1000 + i << " = read_a_number()\n";
  }
  const auto rate = [&](const std::string& own, const std::string& train) {
    const std::string plan = "name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"code\"]\n" + train +
                             "[task.code]\ndata = \"" + text + "\"\n" + own;
    return planned_runs(parse_plan(plan, "test")).front().config.train.learning_rate;
  };
  EXPECT_EQ(rate("", ""), 0.01);
  EXPECT_EQ(rate("", "[train]\nclip = 2\n"), 0.01);
  EXPECT_EQ(rate("", "[train]\nlearning_rate = 0.003\n"), 0.003);
  EXPECT_EQ(rate("learning_rate = 0.02\n", "[train]\nlearning_rate = 0.003\n"), 0.02);
}

TEST(Plan, WrittenAsAStudyFileItIsTheSamePlan) {
  const std::string rich = R"(name = "t"
question = "Is it \"the same\"?"
level = "claim"
arms = ["ngram", "mlstm", "mamba2[-1,1]", "gated_deltanet:attention[1:1]"]
tasks = ["anbn", "parity"]
seeds = [4, 2]
recurrent = false
measure = false
[model]
d_model = 32
heads = 2
match = "time"
recipe = "uniform"
[train]
warmup_steps = 2
eps = 1e-08
[mixer."mamba2[-1,1]"]
state = 16
[mixer.mlstm]
norm_eps = 0.5
conv = 2
[task.parity]
tokens = 5000
learning_rate = 0.02
lengths = [32, 64]
)";
  for (const std::string& text : {std::string(kPlan), rich}) {
    StudyPlan plan = parse_plan(text, "test");
    if (plan.match == "time") {
      plan.widths = Json::parse(
          R"({"parity":{"mlstm":64,"mamba2[-1,1]":12},"anbn":{"mlstm":66,"mamba2[-1,1]":8}})", "w");
    }
    plan.tasks[0].tokens = 123450;  // as a budget chose
    StudyPlan again = parse_plan(plan.to_toml(), "again");
    EXPECT_EQ(again.to_json().dump(1), plan.to_json().dump(1)) << plan.to_toml();
    EXPECT_EQ(again.measure, plan.measure);
    identify_data(plan);
    identify_data(again);
    EXPECT_EQ(again.hash(), plan.hash());
  }
  // Options of arms that were taken out do not make another study.
  StudyPlan plan = parse_plan(rich, "test");
  plan.arms = {"mlstm"};
  drop_unused_options(plan);
  EXPECT_EQ(plan.mixer_options.size(), 1U);
  EXPECT_NO_THROW(parse_plan(plan.to_toml(), "again"));
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

const std::vector<std::string> kArms = {
    "attention", "mlstm",        "slstm",          "xlstm[1:1]",
    "mamba2",    "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"};

TEST(Sizing, LargeBudgetsWidenTheModelFirst) {
  for (const std::int64_t parameters : {3'000'000, 20'000'000}) {
    const auto sized =
        size_arms(kArms, {.blocks = 4, .parameters = parameters, .mixer_options = {}});
    for (const SizedArm& s : sized) {
      EXPECT_NEAR(static_cast<double>(s.parameters), static_cast<double>(parameters),
                  0.01 * static_cast<double>(parameters))
          << s.arm;
      EXPECT_EQ(s.config.d_model, sized[0].config.d_model) << "one width for all";
      EXPECT_EQ(s.config.d_model % (16 * s.config.heads), 0);
      EXPECT_LE(s.config.mlp_hidden, 4 * s.config.d_model) << s.arm;
    }
    EXPECT_GT(sized[0].config.d_model, 64);
  }
  // A budget that the given width reaches keeps it.
  for (const SizedArm& s : size_arms(kArms, {.parameters = 140000, .mixer_options = {}}))
    EXPECT_EQ(s.config.d_model, 64);
}

TEST(Sizing, MatchInStateSolvesMemorySizesThenParameters) {
  const std::vector<std::string> arms = {"attention", "mlstm",          "xlstm[1:1]",
                                         "mamba2",    "gated_deltanet", "gated_deltanet[-1,1]"};
  for (const std::int64_t target : {0, 16384, 65536}) {
    const auto sized =
        size_arms(arms, {.match = Match::state, .state_bytes = target, .mixer_options = {}});
    EXPECT_NE(sized[0].note.find("grows"), std::string::npos);
    const auto state = static_cast<double>(target > 0 ? target : sized[3].state_bytes[1]);
    for (const SizedArm& s : sized) {
      EXPECT_NEAR(static_cast<double>(s.parameters), static_cast<double>(sized[1].parameters),
                  0.01 * static_cast<double>(s.parameters))
          << s.arm;
      if (s.arm == "attention") continue;
      EXPECT_NEAR(static_cast<double>(s.state_bytes[1]), state, 0.05 * state) << s.arm;
      EXPECT_TRUE(s.note.empty()) << s.arm;
      if (s.arm == "gated_deltanet") {  // published: square memories
        const Json& own = s.config.mixer_options.at("gated_deltanet");
        EXPECT_NEAR(own.at("head_dim").as_double() / own.at("value_dim").as_double(), 1, 0.25);
      }
      // What the sizes say is what a state of the model takes.
      ParameterPlan plan;
      const Model model(s.config, plan);
      std::int64_t bytes = 0;
      for (const State& block : model.new_state(1, DType::f32)) {
        for (const auto& [field, var] : block.fields()) bytes += var.value.bytes();
      }
      EXPECT_EQ(bytes, s.state_bytes[1]) << s.arm;
    }
  }
  // The sLSTM's state is its width: it sets the target, or cannot follow.
  for (const SizedArm& s :
       size_arms({"slstm", "mlstm"}, {.match = Match::state, .mixer_options = {}}))
    EXPECT_NEAR(static_cast<double>(s.state_bytes[1]), 2048, 0.05 * 2048) << s.arm;
  try {
    size_arms({"mlstm", "slstm"},
              {.match = Match::state, .state_bytes = 16384, .mixer_options = {}});
    FAIL() << "the sLSTM has no state of 16384 bytes";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("arm slstm"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("nearest is 2048"), std::string::npos) << e.what();
  }
  // A size that the plan sets is not solved.
  const Json options = Json::parse(R"({"gated_deltanet":{"head_dim":8}})", "options");
  const auto own = size_arms(
      {"gated_deltanet"}, {.match = Match::state, .state_bytes = 32768, .mixer_options = options});
  EXPECT_EQ(own[0].config.mixer_options.at("gated_deltanet").at("head_dim").as_int(), 8);
}

// A machine whose times are known: an arm's own time plus a share of its MLP, and a drift that
// meets all models of one turn.
std::vector<double> invented_times(std::span<const ModelConfig> models) {
  static int turn = 0;
  const double drift = 1 + 0.2 * (++turn % 3);
  std::vector<double> times;
  for (const ModelConfig& m : models) {
    const double mixer = m.layers[0] == "slstm" ? 9 : m.layers[0] == "attention" ? 2 : 4;
    const double width = static_cast<double>(m.mlp_hidden);
    times.push_back(drift * 1e-6 * (mixer + 0.02 * width + 0.00001 * width * width));
  }
  return times;
}

TEST(Sizing, MatchInTimeFollowsTheMeasurement) {
  const std::vector<std::string> arms = {"attention", "mlstm", "slstm", "mamba2"};
  SizingRequest r{.match = Match::time, .mixer_options = {}};
  EXPECT_THROW(size_arms(arms, r), Error) << "there is no measurement";
  r.measure = invented_times;
  const auto sized = size_arms(arms, r);
  std::vector<ModelConfig> models;
  for (const SizedArm& s : sized) models.push_back(s.config);
  const auto times = invented_times(models);
  for (std::size_t i = 0; i < arms.size(); ++i)
    EXPECT_NEAR(times[i] / times[2], 1, 0.03) << arms[i];
  EXPECT_EQ(sized[2].config.mlp_hidden, 64) << "the slowest arm keeps an MLP of its width";
  EXPECT_GT(sized[0].config.mlp_hidden, sized[1].config.mlp_hidden);
  // Chosen once: the same widths without a measurement.
  SizingRequest again{.match = Match::time, .mixer_options = {}};
  for (const SizedArm& s : sized) again.widths[s.arm] = s.config.mlp_hidden;
  const auto kept = size_arms(arms, again);
  for (std::size_t i = 0; i < arms.size(); ++i)
    EXPECT_EQ(kept[i].config.to_json().dump(), sized[i].config.to_json().dump());
  // A machine on which nothing depends on the width.
  r.measure = [](std::span<const ModelConfig> m) { return std::vector<double>(m.size(), 1e-6); };
  EXPECT_THROW(size_arms(arms, r), Error);
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
  const std::string path = temporary_path("ledger.jsonl");
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
