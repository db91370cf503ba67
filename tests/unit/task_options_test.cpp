// Options of tasks on their way from a plan to a run.
#include <gtest/gtest.h>

#include "subquad/base/file.h"
#include "subquad/study/plan.h"

namespace subquad {
namespace {

StudyPlan plan_with(const std::string& tables) {
  return parse_plan("name = \"t\"\narms = [\"mlstm\"]\ntasks = [\"s5\", \"parity\"]\n" + tables,
                    "plan.toml");
}

TEST(TaskOptions, SurviveThePlanAndReachTheRun) {
  const StudyPlan plan = plan_with(
      "[task.s5.extra]\nelements = \"swaps\"\ntokens_per_element = 4\ncurriculum = false\n"
      "[task.parity]\nlengths = [16, 40]\nextra = { train_length = 128 }\n");
  const StudyPlan again = parse_plan(plan.to_toml(), "again.toml");
  EXPECT_EQ(again.to_json(), plan.to_json());
  EXPECT_EQ(again.hash(), plan.hash());
  EXPECT_NE(plan_with("[task.s5.extra]\nelements = \"swaps\"\n").hash(), plan.hash());
  int found = 0;
  for (const PlannedRun& run : planned_runs(plan)) {
    const RunConfig c = RunConfig::from_json(run.config.to_json(), "run");
    EXPECT_EQ(c.task_extra, run.config.task_extra);
    if (run.task != "s5" || run.seed != 0) continue;
    EXPECT_EQ(c.task_extra.at("tokens_per_element").as_int(), 4);
    EXPECT_EQ(c.model.vocabulary, 12);  // 11 elements and the empty token
    EXPECT_EQ(c.model.classes, 120);
    ++found;
  }
  EXPECT_EQ(found, 1);
}

TEST(TaskOptions, ThePapersSettingIsAPlan) {
  const StudyPlan plan =
      read_plan(std::string(SUBQUAD_SOURCE_DIR) + "/studies/paper_synthetic.toml");
  for (const StudyTask& t : plan.tasks) {
    const TaskSpec s = make_task(t.name, {.extra = t.extra})->spec();
    EXPECT_EQ(s.lengths, (std::vector<std::int64_t>{128, 512, 2048})) << t.name;
    EXPECT_EQ(s.default_tokens, 20000 * s.batch_size * 128) << t.name;
  }
}

}  // namespace
}  // namespace subquad
