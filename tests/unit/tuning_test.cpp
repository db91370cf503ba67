// Equal tuning: the trials a plan asks for, the rates that follow from their losses, and the names
// that let one task stand in a study several times.
#include "subquad/study/tuning.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "subquad/study/crossover.h"
#include "subquad/study/findings.h"
#include "subquad/study/recipes.h"

namespace subquad {
namespace {

StudyPlan plan_of(const std::string& rest = "", const std::string& tuning = "recipe = \"R2\"") {
  return parse_plan(
      "name = \"t\"\narms = [\"mlstm\", \"slstm\"]\ntasks = [\"parity\", \"anbn\"]\n"
      "seeds = 2\n[model]\nd_model = 32\nheads = 2\n[tuning]\n" +
          tuning + "\n[task.parity]\ntokens = 100000\n" + rest,
      "test");
}

// A ledger in which every trial asked for so far has the loss that `loss` gives it.
std::vector<Json> finished(const std::vector<PlannedRun>& trials,
                           const std::function<double(const PlannedRun&)>& loss) {
  std::vector<Json> records;
  for (const PlannedRun& t : trials) {
    Json r = Json::object();
    r["kind"] = "trial";
    r["id"] = t.id;
    r["status"] = "done";
    r["result"]["training_macs_per_token"] = 10.0;
    const double value = loss(t);
    r["result"]["validation_loss"] = std::isinf(value) ? Json() : Json(value);
    records.push_back(std::move(r));
  }
  return records;
}

// Least at `best`, growing with the distance in octaves.
double bowl(const PlannedRun& t, double best) {
  return 1 + std::abs(std::log2(t.config.train.learning_rate / best));
}

TEST(Tuning, EveryArmTriesTheSameFactorsOnHalfTheBudget) {
  const StudyPlan plan = plan_of();
  const auto trials = first_trials(plan);
  ASSERT_EQ(trials.size(), 2U * 2U * 5U);
  for (const PlannedRun& t : trials) {
    EXPECT_TRUE(t.config.trial);
    EXPECT_EQ(t.seed, 1000);
    if (t.task == "parity") EXPECT_EQ(t.config.train.tokens, 50000);
  }
  EXPECT_EQ(trials[0].id, "parity-mlstm-lr5e-04");
  EXPECT_EQ(trials[4].config.train.learning_rate, 8e-3);
  EXPECT_TRUE(first_trials(plan_of("", "recipe = \"R1\"")).empty());
  EXPECT_TRUE(extension_trials(plan, {}).empty()) << "nothing is known yet";
  EXPECT_FALSE(tuning_complete(plan, collect_tuning(plan, {})));
}

TEST(Tuning, AnInteriorOptimumIsChosenAndTheRunsHaveIt) {
  const StudyPlan plan = plan_of();
  const auto records = finished(first_trials(plan), [](const PlannedRun& t) {
    return bowl(t, t.arm == "mlstm" ? 1e-3 : 4e-3);
  });
  EXPECT_TRUE(extension_trials(plan, records).empty());
  const Json tuning = collect_tuning(plan, records);
  ASSERT_TRUE(tuning_complete(plan, tuning));
  EXPECT_EQ(tuning.at("trials").size(), 20U);
  EXPECT_EQ(tuning.at("trials")[0].at("macs").as_double(), 10.0 * 50000);
  const Json& chosen = tuning.at("chosen").at("parity").at("slstm");
  EXPECT_EQ(chosen.at("learning_rate").as_double(), 4e-3);
  EXPECT_FALSE(chosen.at("at_edge").as_bool());
  auto runs = planned_runs(plan);
  apply_tuning(runs, tuning);
  for (const PlannedRun& r : runs)
    EXPECT_EQ(r.config.train.learning_rate, r.arm == "mlstm" ? 1e-3 : 4e-3) << r.id;
}

TEST(Tuning, AnEdgeExtendsTheGridOfEveryArmOfThatTaskOnce) {
  const StudyPlan plan = plan_of();
  // slstm wants more than the grid has on parity; the highest rates of mlstm diverge.
  const auto loss = [](const PlannedRun& t) -> double {
    if (t.arm == "mlstm" && t.config.train.learning_rate > 5e-3) return INFINITY;
    return bowl(t, t.arm == "slstm" && t.task == "parity" ? 1.6e-2 : 2e-3);
  };
  auto trials = first_trials(plan);
  const auto more = extension_trials(plan, finished(trials, loss));
  ASSERT_EQ(more.size(), 4U);
  for (const PlannedRun& t : more) {
    EXPECT_EQ(t.task, "parity");
    EXPECT_GT(t.config.train.learning_rate, 8e-3);
  }
  EXPECT_FALSE(tuning_complete(plan, collect_tuning(plan, finished(trials, loss))))
      << "the extension is open";
  trials.insert(trials.end(), more.begin(), more.end());
  const Json tuning = collect_tuning(plan, finished(trials, loss));
  ASSERT_TRUE(tuning_complete(plan, tuning));
  const Json& slstm = tuning.at("chosen").at("parity").at("slstm");
  EXPECT_EQ(slstm.at("learning_rate").as_double(), 1.6e-2);
  EXPECT_FALSE(slstm.at("at_edge").as_bool());
  EXPECT_TRUE(slstm.at("after_extension").as_bool());
  EXPECT_EQ(tuning.at("chosen").at("parity").at("mlstm").at("learning_rate").as_double(), 2e-3);
  int extensions = 0, diverged = 0;
  for (const Json& t : tuning.at("trials").as_array()) {
    extensions += t.at("extension").as_bool() ? 1 : 0;
    diverged += t.at("loss").is_null() ? 1 : 0;
  }
  EXPECT_EQ(extensions, 4);
  EXPECT_EQ(diverged, 4);
  EXPECT_EQ(extension_trials(plan, finished(trials, loss)).size(), 4U) << "once, not again";
}

TEST(Tuning, WhereAllDivergeTheLeastRateStands) {
  const StudyPlan plan = plan_of("", "recipe = \"R2\"\nfactors = [1, 2, 4]");
  const auto all_lost = [](const PlannedRun&) -> double { return INFINITY; };
  auto trials = first_trials(plan);
  const auto more = extension_trials(plan, finished(trials, all_lost));
  trials.insert(trials.end(), more.begin(), more.end());
  const Json tuning = collect_tuning(plan, finished(trials, all_lost));
  const Json& chosen = tuning.at("chosen").at("parity").at("mlstm");
  EXPECT_TRUE(chosen.at("loss").is_null());
  EXPECT_EQ(chosen.at("learning_rate").as_double(), 5e-4);
}

TEST(Tuning, RecipesOfTheAuthorsAreAppliedAndNamed) {
  const StudyPlan plan = plan_of("recipe = \"R3\"\n");
  const Json tuning = collect_tuning(plan, {});
  EXPECT_EQ(tuning.at("recipes").at("parity").as_string(), "R3");
  EXPECT_FALSE(tuning.at("published").at("parity").at("mlstm").at("source").as_string().empty());
  for (const PlannedRun& r : planned_runs(plan)) {
    if (r.task != "parity") continue;
    EXPECT_EQ(r.config.train.learning_rate, 1e-3);
    EXPECT_EQ(r.config.train.beta2, 0.99);
    const std::int64_t steps = 100000 / (32 * 32);
    EXPECT_NEAR(static_cast<double>(r.config.train.warmup_steps), 0.1 * steps, 1);
  }
  EXPECT_EQ(published_recipe("xlstm[1:1]", 2).family, std::string("xlstm"));
  EXPECT_THROW(published_recipe("attention:mlstm[1:1]", 2), Error);
}

TEST(Tuning, MistakesAreRefusedWhereTheyStand) {
  const auto message = [](const std::string& rest, const std::string& tuning) -> std::string {
    try {
      plan_of(rest, tuning);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_NE(message("", "recipe = \"R4\"").find("test:9: tuning.recipe: got \"R4\""),
            std::string::npos);
  EXPECT_NE(message("", "recipe = \"R2\"\nfactors = [1, 2]").find("wanted 3 or more"),
            std::string::npos);
  EXPECT_NE(message("", "recipe = \"R2\"\nfactors = [2, 1, 4]").find("growing"), std::string::npos);
  EXPECT_NE(message("", "recipe = \"R2\"\nseed = 1").find("a seed of the study"),
            std::string::npos);
  EXPECT_NE(message("recipe = \"best\"\n", "recipe = \"R1\"").find("task.parity.recipe"),
            std::string::npos);
  EXPECT_NE(message("", "recipe = \"R2\"\nfraction = 0.0").find("tuning.fraction"),
            std::string::npos);
}

TEST(NamedTasks, OneTaskStandsInAStudySeveralTimes) {
  const StudyPlan plan = parse_plan(R"(name = "t"
arms = ["mlstm"]
tasks = ["parity", "parity@final", "parity@wide"]
seeds = 3
[model]
d_model = 32
heads = 2
[task."parity@final"]
extra = { supervision = "final" }
[task."parity@wide"]
d_model = 64
seeds = 1
)",
                                    "test");
  const auto runs = planned_runs(plan);
  ASSERT_EQ(runs.size(), 7U);
  EXPECT_EQ(runs[0].id, "parity-mlstm-s0") << "ids of plain tasks stay";
  EXPECT_EQ(runs[1].id, "parity@final-mlstm-s0");
  EXPECT_EQ(runs[1].config.model.d_model, 32);
  EXPECT_EQ(runs[2].config.model.d_model, 64);
  EXPECT_EQ(runs[3].id, "parity-mlstm-s1");
  EXPECT_EQ(runs[4].id, "parity@final-mlstm-s1");
  EXPECT_EQ(runs[5].id, "parity-mlstm-s2");
  EXPECT_EQ(make_task("parity@final", {.extra = plan.tasks[1].extra})->spec().primary, "accuracy");
  EXPECT_EQ(question_of("parity@final"), question_of("parity"));
  EXPECT_EQ(parse_plan(plan.to_toml(), "again").hash(), plan.hash());
  for (const char* wrong : {"parity@", "parity@a b", "parity@a/b", "pority@final"})
    EXPECT_EQ(find_task(wrong), nullptr) << wrong;
  const std::string plain =
      parse_plan("name=\"t\"\narms=[\"mlstm\"]\ntasks=[\"parity\"]", "plain").to_json().dump();
  for (const char* key : {"tuning", "\"recipe\":\"R", "seeds\":0"})
    EXPECT_EQ(plain.find(key), std::string::npos) << "plans from before keep their hashes";
}

TEST(Crossover, IsWhereLinearCostsMeet) {
  const double attention[] = {10, 20, 200, 800}, constant[] = {50, 50, 50, 50};
  // From 20 at 1024 to 200 at 16384: 50 after a sixth of the way.
  EXPECT_DOUBLE_EQ(crossover_tokens(attention, constant), 1024 + 15360 * 30.0 / 180);
  const double cheap[] = {1, 1, 1, 1}, dear[] = {900, 900, 900, 900};
  EXPECT_EQ(crossover_tokens(attention, cheap), 64);
  EXPECT_TRUE(std::isinf(crossover_tokens(attention, dear)));
  EXPECT_TRUE(crossover_json(attention, dear).is_null());
}

}  // namespace
}  // namespace subquad
