#include "subquad/study/tuning.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "subquad/study/comparison.h"
#include "subquad/study/recipes.h"

namespace subquad {
namespace {

constexpr int kExtension = 2;  // rates beyond an edge

bool tuned(const StudyPlan& plan, const StudyTask& task) { return recipe_of(plan, task) == "R2"; }

// The runs of the first seed of tuned tasks: one per arm and task, at the shared rate.
std::vector<PlannedRun> cells(const StudyPlan& plan) {
  std::vector<PlannedRun> out;
  for (PlannedRun& run : planned_runs(plan)) {
    if (run.seed != plan.seeds.front() || run.arm == "ngram") continue;
    for (const StudyTask& t : plan.tasks) {
      if (t.name == run.task && tuned(plan, t)) out.push_back(std::move(run));
    }
  }
  return out;
}

// Powers of two and other short factors give short ids.
PlannedRun trial_of(const StudyPlan& plan, const PlannedRun& cell, double factor) {
  PlannedRun t = cell;
  TrainConfig& train = t.config.train;
  train.learning_rate *= factor;
  train.tokens = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(plan.tuning.fraction * static_cast<double>(train.tokens)));
  t.seed = plan.tuning.seed;
  t.config.seed = static_cast<std::uint64_t>(plan.tuning.seed);
  t.config.trial = true;
  t.id = t.task + "-" + t.arm + "-lr" + Json(train.learning_rate).dump();
  return t;
}

// The result of a finished trial; null if there is none.
const Json* result_of(const std::vector<Json>& records, const std::string& id) {
  const Json* found = nullptr;
  for (const Json& r : records) {
    if (r.get("kind", "") == "trial" && r.get("id", "") == id && r.get("status", "") == "done")
      found = r.find("result");
  }
  return found;
}

double loss_of(const Json& result) {
  const Json& loss = result.at("validation_loss");
  return loss.is_null() ? INFINITY : loss.as_double();
}

// Of the grid so far: the factor with the least loss, of equals the one nearest to 1; nothing if a
// trial is missing. All diverged: the least factor.
struct Best {
  bool complete = true;
  double factor = 0, loss = INFINITY;
};
Best best_of(const StudyPlan& plan, const PlannedRun& cell, const std::vector<double>& factors,
             const std::vector<Json>& records) {
  Best best;
  best.factor = factors.front();
  for (const double factor : factors) {
    const Json* result = result_of(records, trial_of(plan, cell, factor).id);
    if (!result) {
      best.complete = false;
      return best;
    }
    const double loss = loss_of(*result);
    const bool nearer = std::abs(std::log(factor)) < std::abs(std::log(best.factor));
    if (loss < best.loss || (loss == best.loss && !std::isinf(loss) && nearer)) {
      best.loss = loss;
      best.factor = factor;
    }
  }
  return best;
}

// Factors beyond the edges that some arm of the task asks for, growing; steps as at that edge.
std::vector<double> extension_of(const StudyPlan& plan, const std::string& task,
                                 const std::vector<PlannedRun>& all,
                                 const std::vector<Json>& records) {
  const std::vector<double>& grid = plan.tuning.factors;
  bool low = false, high = false;
  for (const PlannedRun& cell : all) {
    if (cell.task != task) continue;
    const Best best = best_of(plan, cell, grid, records);
    if (!best.complete) return {};
    low = low || best.factor == grid.front();
    high = high || best.factor == grid.back();
  }
  std::vector<double> out;
  const double down = grid[0] / grid[1], up = grid.back() / grid[grid.size() - 2];
  for (int i = kExtension; low && i >= 1; --i) out.push_back(grid.front() * std::pow(down, i));
  for (int i = 1; high && i <= kExtension; ++i) out.push_back(grid.back() * std::pow(up, i));
  return out;
}

void add_cell(Json& tuning, const StudyPlan& plan, const PlannedRun& cell,
              const std::vector<double>& added, const std::vector<Json>& records) {
  std::vector<double> factors = plan.tuning.factors;
  factors.insert(factors.end(), added.begin(), added.end());
  std::sort(factors.begin(), factors.end());
  for (const double factor : factors) {
    const PlannedRun t = trial_of(plan, cell, factor);
    const Json* result = result_of(records, t.id);
    if (!result) continue;
    Json trial = Json::object();
    trial["id"] = t.id;
    trial["task"] = t.task;
    trial["arm"] = t.arm;
    trial["values"]["learning_rate"] = t.config.train.learning_rate;
    trial["tokens"] = t.config.train.tokens;
    trial["seed"] = t.seed;
    // The whole budget also where it diverged: what was planned is what was made equal.
    trial["macs"] = result->at("training_macs_per_token").as_double() *
                    static_cast<double>(t.config.train.tokens);
    trial["loss"] = result->at("validation_loss");
    trial["extension"] = std::find(added.begin(), added.end(), factor) != added.end();
    tuning["trials"].push_back(std::move(trial));
  }
  const Best best = best_of(plan, cell, factors, records);
  if (!best.complete) return;
  Json& chosen = tuning["chosen"][cell.task][cell.arm];
  chosen["learning_rate"] = trial_of(plan, cell, best.factor).config.train.learning_rate;
  chosen["loss"] = std::isinf(best.loss) ? Json() : Json(best.loss);
  chosen["at_edge"] = best.factor == factors.front() || best.factor == factors.back();
  chosen["after_extension"] = !added.empty();
}

// Name under which entries of one task with the same options are compared under several recipes.
std::string group_of(const Json& plan, const std::string& task) {
  const Json& own = plan.at("tasks").at(task);
  return task_kind(task) + " " + own.at("extra").dump() + " " + own.get("data", "") + " " +
         Json(own.get("d_model", 0)).dump() + " " + Json(own.get("parameters", 0)).dump();
}

}  // namespace

std::vector<PlannedRun> first_trials(const StudyPlan& plan) {
  std::vector<PlannedRun> out;
  for (const PlannedRun& cell : cells(plan)) {
    for (const double factor : plan.tuning.factors) out.push_back(trial_of(plan, cell, factor));
  }
  return out;
}

std::vector<PlannedRun> extension_trials(const StudyPlan& plan, const std::vector<Json>& records) {
  const auto all = cells(plan);
  std::map<std::string, std::vector<double>> added;
  for (const PlannedRun& cell : all) {
    if (!added.contains(cell.task)) added[cell.task] = extension_of(plan, cell.task, all, records);
  }
  std::vector<PlannedRun> out;
  for (const PlannedRun& cell : all) {
    for (const double factor : added[cell.task]) out.push_back(trial_of(plan, cell, factor));
  }
  return out;
}

Json collect_tuning(const StudyPlan& plan, const std::vector<Json>& records) {
  std::string recipe = plan.tuning.recipe;
  Json recipes = Json::object();
  for (const StudyTask& t : plan.tasks) {
    const std::string own = recipe_of(plan, t);
    recipes[t.name] = own;
    if (!t.recipe.empty() && (recipe.empty() || own == "R2")) recipe = own;
  }
  if (recipe.empty()) return {};
  Json out = Json::object();
  out["recipe"] = recipe;
  out["recipes"] = recipes;
  out["trials"] = Json::array();
  out["chosen"] = Json::object();
  const auto all = cells(plan);
  if (!all.empty()) {
    Json& grid = out["grid"] = plan.tuning.to_json();
    grid["selection"] =
        "least loss on the validation split at the task's first length; the test split stays "
        "closed";
    for (const PlannedRun& cell : all) grid["centres"][cell.task] = cell.config.train.learning_rate;
  }
  std::map<std::string, std::vector<double>> added;
  for (const PlannedRun& cell : all) {
    if (!added.contains(cell.task)) added[cell.task] = extension_of(plan, cell.task, all, records);
    add_cell(out, plan, cell, added[cell.task], records);
  }
  for (const StudyTask& t : plan.tasks) {
    if (recipe_of(plan, t) != "R3") continue;
    for (const std::string& arm : plan.arms) {
      if (arm != "ngram")
        out["published"][t.name][arm] = published_recipe(arm, plan.blocks).to_json();
    }
  }
  return out;
}

bool tuning_complete(const StudyPlan& plan, const Json& tuning) {
  if (tuning.is_null()) return true;
  for (const PlannedRun& cell : cells(plan)) {
    const Json* task = tuning.at("chosen").find(cell.task);
    if (!task || !task->find(cell.arm)) return false;
  }
  return true;
}

void apply_tuning(std::vector<PlannedRun>& runs, const Json& tuning) {
  if (tuning.is_null()) return;
  for (PlannedRun& run : runs) {
    const Json* task = tuning.at("chosen").find(run.task);
    const Json* chosen = task ? task->find(run.arm) : nullptr;
    if (chosen) run.config.train.learning_rate = chosen->at("learning_rate").as_double();
  }
}

Json headline_by_recipe(const Json& results) {
  Json out = Json::object();
  const Json* tuning = results.find("tuning");
  if (!tuning) return out;
  const Json& recipes = tuning->at("recipes");
  for (const Comparison& c : comparisons(results)) {
    if (recipes.at(c.task).as_string() != "R2") continue;
    Json effects = Json::object();
    for (const auto& [task, recipe] : recipes.as_object()) {
      if (group_of(results.at("plan"), task) != group_of(results.at("plan"), c.task)) continue;
      const auto a = goodness_by_seed(results, task, c.first),
                 b = goodness_by_seed(results, task, c.second);
      double sum = 0, count = 0;
      for (const auto& [seed, value] : a) {
        const auto other = b.find(seed);
        if (other == b.end()) continue;
        sum += value - other->second;
        count += 1;
      }
      if (count > 0) effects[recipe.as_string()] = sum / count;
    }
    if (effects.size() > 1 && effects.find("R2"))
      out[task_kind(c.task) + ": " + c.first + " > " + c.second] = effects;
  }
  return out;
}

}  // namespace subquad
