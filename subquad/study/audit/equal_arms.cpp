// Audit group A: what was made equal between arms.
#include <algorithm>
#include <cmath>
#include <set>

#include "subquad/io/json_differences.h"
#include "subquad/study/audit/checks.h"
#include "subquad/study/findings.h"
#include "subquad/task/task.h"

namespace subquad::checks {
namespace {

std::string mode_of(const AuditInput& in) {
  return in.plan().at("model").get("match", "parameters");
}

// One figure of every arm on a task.
std::vector<double> by_arm(const AuditInput& in, const std::string& task,
                           const std::function<double(const Json&)>& figure) {
  std::vector<double> out;
  for (const std::string& arm : model_arms(in)) {
    for (const Json* r : model_runs(in, task)) {
      if (r->at("arm").as_string() != arm) continue;
      out.push_back(figure(*r));
      break;
    }
  }
  return out;
}

bool starts_with_any(const std::string& path, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& p) { return path.starts_with(p); });
}

// What R2 tunes per arm may differ between arms, and under R3 all of the optimiser.
std::vector<std::string> declared_paths(const AuditInput& in, const std::string& task) {
  std::vector<std::string> out;
  if (const Json* list = promised(in, "declared_differences")) {
    for (const Json& path : list->as_array()) out.push_back(path.as_string());
  }
  if (in.tuning.is_null()) return out;
  const Json* recipes = in.tuning.find("recipes");
  if (recipes && recipes->get(task, "") == "R3") out.emplace_back("train.");
  for (const Json& trial : in.tuning.at("trials").as_array()) {
    for (const auto& [name, value] : trial.at("values").as_object()) out.push_back("train." + name);
  }
  return out;
}

}  // namespace

CheckOutcome parameters(const AuditInput& in) {
  double worst = 0;
  std::string text;
  for (const std::string& task : tasks_of(in.results)) {
    const double s = spread(by_arm(
        in, task, [](const Json& r) { return r.at("non_embedding_parameters").as_double(); }));
    text += task + " +-" + percent(s) + "; ";
    worst = std::max(worst, s);
  }
  const std::string mode = mode_of(in);
  const bool claimed = mode == "parameters" || mode == "state";
  Light light = graded(worst, 0.01, 0.03);
  if (!claimed) light = std::min(light, Light::warn);
  return {light, text + "arms match in " + mode, {}};
}

CheckOutcome training_flops(const AuditInput& in) {
  double apart = 0, disagreement = 0;
  for (const std::string& task : tasks_of(in.results)) {
    apart =
        std::max(apart, spread(by_arm(in, task, [](const Json& r) {
                   return r.at("training_macs_per_token").as_double() * r.at("tokens").as_double();
                 })));
  }
  std::vector<std::string> off;
  for (const Json* r : model_runs(in)) {
    const Json& macs = r->at("forward_macs");
    const double d = std::abs(macs.at("counted").as_double() / macs.at("formula").as_double() - 1);
    disagreement = std::max(disagreement, d);
    if (d > 0.05) off.push_back(id_of(*r));
  }
  Light light = graded(apart, 0.02, 0.05);
  if (mode_of(in) != "flops") light = std::min(light, Light::warn);
  return {worse(light, graded(disagreement, 0.05, 0.1)),
          "arms +-" + percent(apart) + "; counter against formula " + percent(disagreement) +
              "; arms match in " + mode_of(in),
          off};
}

CheckOutcome data_order(const AuditInput& in) {
  const auto off = deviants(
      model_runs(in),
      [](const Json& r) { return r.at("task").as_string() + " " + r.at("seed").dump(); },
      [](const Json& r) { return r.at("order_sha256").as_string() + " " + r.at("tokens").dump(); });
  return {off.empty() ? Light::pass : Light::fail,
          format("%zu of %zu runs saw other data or another number of tokens than their seed's "
                 "first",
                 off.size(), model_runs(in).size()),
          off};
}

CheckOutcome decode_state(const AuditInput& in) {
  std::vector<std::string> missing;
  for (const Json* r : model_runs(in)) {
    const Json* bytes = r->find("state_bytes");
    if (!bytes || bytes->size() == 0) missing.push_back(id_of(*r));
  }
  if (!missing.empty()) return {Light::fail, "no state bytes", missing};
  const auto tasks = tasks_of(in.results);
  if (std::none_of(tasks.begin(), tasks.end(),
                   [](const std::string& t) { return task_kind(t) == "mqar"; }))
    return {Light::pass, "state bytes of every run; no recall task", {}};
  const bool equal = mode_of(in) == "state";
  return {equal ? Light::pass : Light::warn,
          std::string("state bytes of every run; recall was compared at ") +
              (equal ? "equal state" : "unequal state"),
          {}};
}

CheckOutcome shared_components(const AuditInput& in) {
  const std::vector<std::string> own = {"arm", "model.layers", "model.mlp_hidden",
                                        "model.mixer_options"},
                                 harmless = {"threads", "train.checkpoint_"};
  std::map<std::string, const Json*> first;
  std::set<std::string> undeclared, listed, allowed;
  std::vector<std::string> off;
  for (const Json* r : model_runs(in)) {
    const auto config = in.configs.find(id_of(*r));
    require(config != in.configs.end(), ErrorCode::format, "no config.json of run ", id_of(*r));
    const auto [place, fresh] =
        first.emplace(r->at("task").as_string() + " " + r->at("seed").dump(), &config->second);
    if (fresh) continue;
    const auto declared = declared_paths(in, r->at("task").as_string());
    for (const JsonDifference& d : json_differences(*place->second, config->second)) {
      if (starts_with_any(d.path, own)) continue;
      std::set<std::string>& set = starts_with_any(d.path, declared)   ? allowed
                                   : starts_with_any(d.path, harmless) ? listed
                                                                       : undeclared;
      set.insert(d.path);
      if (&set == &undeclared) off.push_back(id_of(*r));
    }
  }
  std::string text = "beside mixers and the width that makes arms equal: ";
  const auto add = [&](const char* what, const std::set<std::string>& paths) {
    for (const std::string& p : paths) text += p + " (" + what + ") ";
  };
  add("undeclared", undeclared);
  add("harmless", listed);
  add("declared", allowed);
  if (undeclared.empty() && listed.empty() && allowed.empty()) text += "nothing differs";
  return {!undeclared.empty() ? Light::fail
          : !listed.empty()   ? Light::warn
                              : Light::pass,
          text, off};
}

CheckOutcome end_of_schedule(const AuditInput& in) {
  std::vector<std::string> off;
  for (const Json* r : model_runs(in)) {
    if (r->at("steps").as_int() < r->at("planned_steps").as_int()) off.push_back(id_of(*r));
  }
  return {off.empty() ? Light::pass : Light::fail,
          format("%zu runs were scored before their schedule ended", off.size()), off};
}

CheckOutcome scales(const AuditInput& in) {
  const Json* scope = promised(in, "scope");
  if (!scope || scope->as_string() != "general")
    return {Light::not_applicable, "nothing is claimed beyond these sizes and budgets", {}};
  // Sizes and budgets that differ by half or more count as different.
  const auto distinct = [](std::vector<double> x) {
    std::sort(x.begin(), x.end());
    int count = 0;
    double last = 0;
    for (const double v : x) {
      if (count > 0 && v < 1.5 * last) continue;
      last = v;
      ++count;
    }
    return count;
  };
  int scales = 1000, budgets = 1000;  // of the task with the fewest
  std::set<std::string> kinds;
  for (const std::string& task : tasks_of(in.results)) kinds.insert(task_kind(task));
  for (const std::string& kind : kinds) {
    std::vector<double> sizes, ratios;
    for (const Json* r : model_runs(in)) {
      if (task_kind(r->at("task").as_string()) != kind) continue;
      sizes.push_back(r->at("non_embedding_parameters").as_double());
      ratios.push_back(r->at("tokens").as_double() / sizes.back());
    }
    scales = std::min(scales, distinct(sizes));
    budgets = std::min(budgets, distinct(ratios));
  }
  return {scales >= 2 && budgets >= 2   ? Light::pass
          : scales >= 2 || budgets >= 2 ? Light::warn
                                        : Light::fail,
          format("claims hold in general; %d scales, %d ratios of tokens to parameters", scales,
                 budgets),
          {}};
}

}  // namespace subquad::checks
