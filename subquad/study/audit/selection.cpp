// Audit group C: selection of what is shown.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "subquad/study/audit/checks.h"
#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"
#include "subquad/study/protocol.h"
#include "subquad/study/statistics.h"
#include "subquad/task/task.h"

namespace subquad::checks {
namespace {

// Ids of the runs that the plan asks for.
std::set<std::string> planned_ids(const AuditInput& in) {
  std::set<std::string> out;
  const Json::Array& seeds = in.plan().at("seeds").as_array();
  for (const std::string& task : tasks_of(in.results)) {
    for (const std::string& arm : arms_of(in.results)) {
      const auto count = static_cast<std::size_t>(seeds_of(in.plan(), task));
      for (std::size_t i = 0; i < count; ++i) {
        // The n-gram is counted once, on byte tasks.
        if (arm == "ngram" && (i > 0 || !is_byte_task(task))) continue;
        out.insert(task + "-" + arm + "-s" + seeds[i].dump());
      }
    }
  }
  return out;
}

}  // namespace

CheckOutcome protocol_first(const AuditInput& in) {
  if (in.protocol.is_null()) return {Light::fail, "no frozen protocol", {}};
  try {
    verify_protocol(in.protocol, "plan.protocol.json");
    require_planned(in.protocol, in.plan(), "plan.protocol.json");
  } catch (const Error& e) {
    return {Light::fail, e.what(), {}};
  }
  const std::string& hash = in.protocol.at("sha256").as_string();
  std::int64_t number = 0;
  for (const Json* r : records(in, "protocol")) {
    if (r->get("protocol_sha256", "") == hash) number = r->at("number").as_int();
  }
  if (number == 0) return {Light::fail, "the protocol is not in the ledger", {}};
  std::vector<std::string> off;
  std::vector<const Json*> all = records(in, "run");
  const auto trials = records(in, "trial");
  all.insert(all.end(), trials.begin(), trials.end());
  for (const Json* r : all) {
    if (r->get("exploratory", false)) continue;
    if (r->at("number").as_int() < number || r->get("protocol_sha256", "") != hash ||
        r->get("started", "") < in.protocol.at("frozen").as_string())
      off.push_back(id_of(*r));
  }
  if (!off.empty()) return {Light::fail, "runs that are older than the protocol", off};
  const std::size_t amendments = in.protocol.at("amendments").size();
  return {amendments == 0 ? Light::pass : Light::warn,
          "frozen " + in.protocol.at("frozen").as_string() +
              format(", before every run; %zu dated amendments", amendments),
          {}};
}

CheckOutcome ledger_complete(const AuditInput& in) {
  const auto& problems = in.ledger.problems;
  if (problems.empty())
    return {Light::pass, format("%zu records in one chain", in.ledger.records.size()), {}};
  std::string text;
  for (const std::string& p : problems) text += p + "; ";
  return {Light::fail, text, {}};
}

CheckOutcome seeds_present(const AuditInput& in) {
  std::set<std::string> missing = planned_ids(in);
  const std::set<std::string> planned = missing;
  std::vector<std::string> off;
  std::set<std::string> seen;
  for (const char* list : {"runs", "failed"}) {
    for (const Json& r : in.results.at(list).as_array()) {
      if (!planned.contains(id_of(r)) || !seen.insert(id_of(r)).second) off.push_back(id_of(r));
      missing.erase(id_of(r));
    }
  }
  const std::size_t extra = off.size();
  off.insert(off.end(), missing.begin(), missing.end());
  if (!off.empty())
    return {Light::fail,
            format("%zu planned runs missing, %zu more than planned", missing.size(), extra), off};
  std::set<std::string> failed;
  for (const Json* r : records(in, "run", "failed")) failed.insert(id_of(*r));
  for (const Json* r : records(in, "run", "done")) {
    if (failed.contains(id_of(*r))) off.push_back(id_of(*r));
  }
  return {off.empty() ? Light::pass : Light::warn,
          format("%zu planned runs, all present; %zu replaced a failed one", planned.size(),
                 off.size()),
          off};
}

CheckOutcome best_of_many(const AuditInput& in) {
  // Configurations that ran per arm, task and seed, exploratory ones included.
  std::map<std::string, std::set<std::string>> variants;
  for (const Json* r : records(in, "run", "done")) {
    const Json& result = r->at("result");
    variants[result.at("task").as_string() + " " + result.at("arm").as_string() + " " +
             result.at("seed").dump()]
        .insert(r->at("config_sha256").as_string());
  }
  int most = 1;
  for (const auto& [cell, hashes] : variants)
    most = std::max(most, static_cast<int>(hashes.size()));
  double worst = 0;
  std::string text;
  for (const Comparison& c : comparisons(in.results)) {
    if (c.verdict != "better" && c.verdict != "worse") continue;
    int n = 1;
    double deviation = 0;
    for (const std::string& arm : {c.first, c.second}) {
      std::vector<double> values;
      for (const auto& [seed, v] : goodness_by_seed(in.results, c.task, arm))
        values.push_back(c.shares ? (v >= c.cut ? 1 : 0) : v);
      deviation = std::max(deviation, deviation_of(values));
      for (const auto& [cell, hashes] : variants) {
        if (cell.starts_with(c.task + " " + arm + " "))
          n = std::max(n, static_cast<int>(hashes.size()));
      }
    }
    const double gain = c.shares ? static_cast<double>(c.solved_first) / c.seeds_first -
                                       static_cast<double>(c.solved_second) / c.seeds_second
                                 : mean_of(c.differences);
    const double bias = deviation * expected_normal_maximum(n);
    worst = std::max(worst, bias / std::abs(gain));
    text += format("%s %s: best of %d adds %.3g to a gain of %.3g; ", c.task, c.first, n, bias,
                   std::abs(gain));
  }
  if (text.empty()) text = "no gain is claimed; ";
  return {worst < 0.25 ? Light::pass
          : worst < 1  ? Light::warn
                       : Light::fail,
          text + format("variants of a run: at most %d", most),
          {}};
}

CheckOutcome interests(const AuditInput& in) {
  std::string missing;
  for (const char* key : {"conflict_of_interest", "recipe_source"}) {
    const Json* text = promised(in, key);
    if (!text || text->as_string().empty()) missing += std::string(" ") + key;
  }
  return {missing.empty() ? Light::pass : Light::fail,
          missing.empty() ? "conflict of interest and sources of the recipes are stated"
                          : "not stated:" + missing,
          {}};
}

CheckOutcome test_openings(const AuditInput& in) {
  std::vector<std::string> unlogged, again;
  bool reasons = true;
  for (const Json* r : model_runs(in)) {
    const auto found = in.test_access.find(id_of(*r));
    if (found == in.test_access.end() || found->second.empty()) {
      unlogged.push_back(id_of(*r));
      continue;
    }
    // A run that was interrupted while it was scored is scored again with the same weights.
    std::set<std::string> trained;
    std::size_t openings = 0;
    for (const Json& access : found->second) {
      const bool by_run = access.at("by").as_string() == "train";
      if (by_run && !trained.insert(access.at("weights_sha256").as_string()).second) continue;
      if (++openings > 1) reasons = reasons && !access.get("reason", "").empty();
    }
    if (openings > 1) again.push_back(id_of(*r));
  }
  if (!unlogged.empty())
    return {Light::fail, "openings of the test split were not logged", unlogged};
  return {again.empty() ? Light::pass
          : reasons     ? Light::warn
                        : Light::fail,
          format("test split opened once by %zu runs, again by %zu%s",
                 model_runs(in).size() - again.size(), again.size(),
                 again.empty() ? ""
                 : reasons     ? ", each with a reason"
                               : ", without a reason"),
          again};
}

}  // namespace subquad::checks
