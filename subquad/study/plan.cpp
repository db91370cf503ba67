#include "subquad/study/plan.h"

#include <algorithm>

#include "subquad/study/recipes.h"

namespace subquad {

std::vector<std::string> kinds_of(const StudyPlan& plan) {
  std::vector<std::string> kinds;
  for (const std::string& arm : plan.arms) {
    if (arm == "ngram") continue;
    for (const std::string& kind : arm_layers(arm, plan.blocks)) {
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    }
  }
  return kinds;
}

void drop_unused_options(StudyPlan& plan) {
  if (plan.mixer_options.is_null()) return;
  const auto kinds = kinds_of(plan);
  Json used = Json::object();
  for (const auto& [kind, options] : plan.mixer_options.as_object()) {
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) used[kind] = options;
  }
  plan.mixer_options = used;
}

void identify_data(StudyPlan& plan) {
  plan.data = Json::object();
  for (const StudyTask& t : plan.tasks)
    plan.data[t.name] = make_task(t.name, {.data = t.data, .extra = t.extra})->provenance();
}

std::string recipe_of(const StudyPlan& plan, const StudyTask& task) {
  if (!task.recipe.empty()) return task.recipe;
  return plan.tuning.stated() ? plan.tuning.recipe : "R1";
}

SizingRequest sizing_request(const StudyPlan& plan, const StudyTask& task, const TaskSpec& spec) {
  return {.vocabulary = spec.vocabulary,
          .classes = spec.classes,
          .d_model = task.d_model > 0 ? task.d_model : plan.d_model,
          .blocks = plan.blocks,
          .heads = plan.heads,
          .match = match_from(plan.match),
          .parameters = task.parameters > 0 ? task.parameters : plan.parameters,
          .state_bytes = plan.state_bytes,
          .train_length = spec.train_length,
          .recipe = plan.recipe,
          .mixer_options = plan.mixer_options,
          .patches = spec.patches};
}

std::vector<SizedArm> sized_arms(const StudyPlan& plan, const StudyTask& task) {
  const TaskSpec spec = make_task(task.name, {.data = task.data, .extra = task.extra})->spec();
  std::vector<std::string> models;
  for (const std::string& arm : plan.arms) {
    if (arm != "ngram") models.push_back(arm);
  }
  SizingRequest r = sizing_request(plan, task, spec);
  if (r.match == Match::time) {
    const Json* chosen = plan.widths.find(task.name);
    require(chosen != nullptr, ErrorCode::invalid_argument, "the arms of ", plan.name,
            " are to match in time, and nobody has measured them on the task ", task.name);
    for (const auto& [arm, width] : chosen->as_object()) r.widths[arm] = width.as_int();
  }
  return size_arms(models, r);
}

std::vector<PlannedRun> planned_runs(const StudyPlan& plan) {
  struct Prepared {
    TaskSpec spec;
    std::vector<SizedArm> sized;
  };
  std::vector<Prepared> prepared;
  for (const StudyTask& t : plan.tasks) {
    prepared.push_back(
        {make_task(t.name, {.data = t.data, .extra = t.extra})->spec(), sized_arms(plan, t)});
  }
  std::vector<PlannedRun> runs;
  for (std::int64_t place = 0; place < static_cast<std::int64_t>(plan.seeds.size()); ++place) {
    const std::int64_t seed = plan.seeds[static_cast<std::size_t>(place)];
    for (const std::string& arm : plan.arms) {
      for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
        const StudyTask& t = plan.tasks[i];
        const TaskSpec& spec = prepared[i].spec;
        const bool counts = arm == "ngram";
        // The n-gram is counted, not trained: one run, and on byte tasks only.
        if (counts && (seed != plan.seeds.front() || !is_byte_task(t.name))) continue;
        if (t.seeds > 0 && place >= t.seeds) continue;
        PlannedRun run{t.name + "-" + arm + "-s" + std::to_string(seed), arm, t.name, seed, {}};
        RunConfig& c = run.config;
        c.study = plan.name;
        c.arm = arm;
        c.task = t.name;
        c.seed = static_cast<std::uint64_t>(seed);
        for (const SizedArm& s : prepared[i].sized) {
          if (s.arm == arm) c.model = s.config;
        }
        c.train = plan.train;
        c.train.tokens = t.tokens > 0 ? t.tokens : spec.default_tokens;
        c.train.learning_rate = t.learning_rate > 0            ? t.learning_rate
                                : plan.train.learning_rate > 0 ? plan.train.learning_rate
                                                               : spec.learning_rate;
        if (!counts && recipe_of(plan, t) == "R3") {
          const std::int64_t batch = t.batch_size > 0 ? t.batch_size : spec.batch_size;
          apply_recipe(published_recipe(arm, plan.blocks), steps_of(c.train, spec, batch), c.train);
        }
        c.data = t.data;
        c.batch_size = t.batch_size;
        c.task_extra = t.extra;
        c.lengths = t.lengths;
        c.recurrent = plan.recurrent;
        runs.push_back(std::move(run));
      }
    }
  }
  return runs;
}

}  // namespace subquad
