// Audit group B: tuning, as the study did it or as tuning.json says that somebody did.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "subquad/base/text.h"
#include "subquad/study/audit/checks.h"
#include "subquad/study/findings.h"
#include "subquad/study/trials.h"
#include "subquad/task/task.h"

namespace subquad::checks {
namespace {

const char* const kNoTrials = "no trials: one recipe for all arms, untuned";

// The recipe of a task: a study may hold tasks under several.
std::string recipe_of(const AuditInput& in, const std::string& task) {
  const std::string all = in.tuning.get("recipe", "");
  const Json* recipes = in.tuning.find("recipes");
  return recipes ? recipes->get(task, all.c_str()) : all;
}

// Tasks whose arms were to be tuned: those of recipe R2, or all where none is.
std::vector<std::string> tuned_tasks(const AuditInput& in) {
  auto all = tasks_of(in.results);
  auto tuned = all;
  std::erase_if(tuned, [&](const std::string& t) { return recipe_of(in, t) != "R2"; });
  return tuned.empty() ? all : tuned;
}

// Tasks that are not compared under R2 under any label.
std::string untuned_kinds(const AuditInput& in) {
  std::set<std::string> kinds;
  std::string missing;
  for (const std::string& t : tasks_of(in.results)) {
    if (recipe_of(in, t) == "R2") kinds.insert(task_kind(t));
  }
  for (const std::string& t : tasks_of(in.results)) {
    if (!kinds.contains(task_kind(t))) missing += " " + t;
  }
  return missing;
}

// Trials of one arm on one task.
using Trials = std::vector<const Json*>;
std::map<std::string, Trials> trials_by_cell(const AuditInput& in) {
  std::map<std::string, Trials> out;
  if (in.tuning.is_null()) return out;
  for (const std::string& task : tuned_tasks(in)) {
    for (const std::string& arm : model_arms(in)) out[task + " " + arm];
  }
  for (const Json& t : in.tuning.at("trials").as_array())
    out[t.at("task").as_string() + " " + t.at("arm").as_string()].push_back(&t);
  return out;
}

const Json& best_of(const Trials& trials) {
  return **std::min_element(trials.begin(), trials.end(), [](const Json* a, const Json* b) {
    return trial_loss(*a) < trial_loss(*b);
  });
}

std::set<double> values_tried(const Trials& trials, const std::string& dimension, bool first_grid) {
  std::set<double> out;
  for (const Json* t : trials) {
    if (first_grid && t->get("extension", false)) continue;
    const Json* v = t->at("values").find(dimension);
    if (v && v->is_number()) out.insert(v->as_double());
  }
  return out;
}

// Fewer than three values have no interior.
bool at_edge(const std::set<double>& tried, double value) {
  return tried.size() >= 3 && (value <= *tried.begin() || value >= *tried.rbegin());
}

}  // namespace

CheckOutcome recipe(const AuditInput& in) {
  if (in.tuning.is_null()) return {Light::fail, kNoTrials, {}};
  std::string missing;
  for (const auto& [cell, trials] : trials_by_cell(in)) {
    if (trials.empty()) missing += " " + cell;
  }
  const std::string recipe = in.tuning.get("recipe", "");
  if (recipe == "R2") missing += untuned_kinds(in);
  if (recipe == "R2" && missing.empty())
    return {Light::pass, "R2: every arm was tuned on every task", {}};
  if (recipe == "R3") return {Light::warn, "R3: recipes of the authors only", {}};
  return {Light::fail,
          "recipe \"" + recipe + "\"; not tuned:" + (missing.empty() ? " -" : missing),
          {}};
}

CheckOutcome trials(const AuditInput& in) {
  if (in.tuning.is_null()) return {Light::not_applicable, kNoTrials, {}};
  std::map<std::string, std::vector<double>> counts, macs;  // by task
  std::size_t dimensions = 0, rates = 1000;
  for (const auto& [cell, list] : trials_by_cell(in)) {
    const std::string task = cell.substr(0, cell.find(' '));
    counts[task].push_back(static_cast<double>(list.size()));
    double sum = 0;
    for (const Json* t : list) {
      sum += t->at("macs").as_double();
      dimensions = std::max(dimensions, t->at("values").size());
    }
    macs[task].push_back(sum);
    rates = std::min(rates, loss_by_rate(list).size());
  }
  double of_count = 0, of_macs = 0;
  for (const auto& [task, x] : counts) of_count = std::max(of_count, spread(x));
  for (const auto& [task, x] : macs) of_macs = std::max(of_macs, spread(x));
  // Trials of arms that match in anything but FLOPs differ by what the arms do.
  Light light = graded(of_macs, 0.02, 0.1);
  if (in.plan().at("model").get("match", "") != "flops") light = std::min(light, Light::warn);
  light = worse(light, graded(of_count, 0.02, 0.1));
  std::string text =
      "trials per arm +-" + percent(of_count) + "; their FLOPs +-" + percent(of_macs);
  // Seven rates with two weight decays and two warm-ups are the full search; fewer find a worse
  // optimum, for all arms alike.
  if (rates < 7 || dimensions < 2) {
    light = worse(light, Light::warn);
    text += format(
        "; reduced search: %zu learning rates and %s for every arm, of 7 "
        "and 3",
        rates, count_of(static_cast<std::int64_t>(dimensions), "dimension"));
    if (const Json* grid = in.tuning.find("grid"))
      text += format("; one seed, %g of the schedule", grid->get("fraction", 1.0));
  }
  return {light, text, {}};
}

CheckOutcome interior(const AuditInput& in) {
  if (in.tuning.is_null()) return {Light::not_applicable, kNoTrials, {}};
  std::string edges, extended;
  for (const auto& [cell, list] : trials_by_cell(in)) {
    if (list.empty()) continue;
    const Json& best = best_of(list);
    for (const auto& [dimension, value] : best.at("values").as_object()) {
      if (!value.is_number()) continue;
      const std::string what = cell + " " + dimension + " = " + value.dump() + "; ";
      if (at_edge(values_tried(list, dimension, false), value.as_double())) {
        edges += what;
      } else if (at_edge(values_tried(list, dimension, true), value.as_double()) ||
                 !values_tried(list, dimension, true).contains(value.as_double())) {
        extended += what;
      }
    }
  }
  if (!edges.empty()) return {Light::fail, "best trial at the edge of its grid: " + edges, {}};
  if (!extended.empty()) return {Light::warn, "interior after an extension: " + extended, {}};
  return {Light::pass, "every best trial lies inside its grid", {}};
}

CheckOutcome recipes_agree(const AuditInput& in) {
  if (in.tuning.is_null()) return {Light::not_applicable, kNoTrials, {}};
  Light light = Light::pass;
  std::string text;
  const Json none = Json::object();
  const Json* headline = in.tuning.find("headline");
  for (const auto& [hypothesis, effects] : (headline ? *headline : none).as_object()) {
    const double r2 = effects.at("R2").as_double();
    const Json *r1 = effects.find("R1"), *r3 = effects.find("R3");
    const auto flips = [&](const Json* other) { return other && other->as_double() * r2 < 0; };
    light = worse(light, flips(r3) || !r3 ? Light::fail : flips(r1) ? Light::warn : Light::pass);
    text += hypothesis + " " + effects.dump() + "; ";
  }
  return {text.empty() ? Light::fail : light,
          text.empty() ? "no headline under more than one recipe" : text,
          {}};
}

CheckOutcome sensitivity(const AuditInput& in) {
  if (in.tuning.is_null()) return {Light::fail, kNoTrials, {}};
  std::string text, missing;
  for (const auto& [cell, list] : trials_by_cell(in)) {
    const auto losses = loss_by_rate(list);
    if (losses.size() < 3) {
      missing += " " + cell;
      continue;
    }
    std::vector<double> all;
    for (const Json* t : list) {
      if (!std::isinf(trial_loss(*t))) all.push_back(trial_loss(*t));
    }
    text += cell + format(" %.1f octaves, expected best %.4g of 1, %.4g of %zu; ",
                          width_in_octaves(losses), expected_best(all, 1),
                          expected_best(all, static_cast<int>(all.size())), all.size());
  }
  if (!missing.empty()) return {Light::fail, "fewer than three learning rates:" + missing, {}};
  return {Light::pass, text, {}};
}

CheckOutcome tuning_cost(const AuditInput& in) {
  if (in.tuning.is_null()) return {Light::not_applicable, kNoTrials, {}};
  double macs = 0;
  for (const Json& t : in.tuning.at("trials").as_array()) macs += t.at("macs").as_double();
  const Json* totals = in.results.find("total_training_macs");
  const Json* stated = totals ? totals->find("tuning") : nullptr;
  const bool included = stated && std::abs(stated->as_double() - macs) <= 1e-6 * macs;
  return {macs <= 0  ? Light::fail
          : included ? Light::pass
                     : Light::warn,
          format("tuning %.3g multiply-adds, %s the totals of the study", macs,
                 included ? "in" : "apart from"),
          {}};
}

}  // namespace subquad::checks
