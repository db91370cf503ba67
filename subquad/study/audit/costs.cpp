// Audit group G: costs.
#include <algorithm>
#include <cmath>
#include <set>

#include "subquad/study/audit/checks.h"
#include "subquad/study/findings.h"

namespace subquad::checks {
namespace {

// A claim about wall time: arms matched in it, or a protocol that says so.
bool claims_time(const AuditInput& in) {
  const Json* said = promised(in, "claims_time");
  return in.plan().at("model").get("match", "") == "time" || (said && said->as_bool());
}

}  // namespace

CheckOutcome cost_table(const AuditInput& in) {
  std::set<std::string> missing;
  const auto want = [&](bool there, const char* what) {
    if (!there) missing.insert(what);
  };
  for (const Json* r : model_runs(in)) {
    want(r->contains("training_macs_per_token"), "FLOPs");
    want(r->contains("model_bytes"), "size");
    const Json* runs = in.timings.find("runs");
    const Json* t = runs ? runs->find(id_of(*r)) : nullptr;
    want(t && t->contains("train_seconds"), "time");
    want(t && t->contains("peak_rss_bytes"), "peak memory");
    want(t && t->contains("package_joules"), "energy, or that it is not measurable");
  }
  for (const std::string& arm : model_arms(in)) {
    for (const char* column : kDecodeColumns)
      want(!std::isnan(speed(in.timings, arm, column)), "latency curve");
  }
  std::string text;
  for (const std::string& m : missing) text += " " + m + ";";
  return {missing.empty()       ? Light::pass
          : missing.size() == 1 ? Light::warn
                                : Light::fail,
          missing.empty() ? "FLOPs, time, memory, latency, size, energy" : "missing:" + text,
          {}};
}

CheckOutcome kernel_maturity(const AuditInput& in) {
  double low = INFINITY, high = 0;
  std::string text;
  const std::string task = cost_task(in.results, in.timings);
  for (const Json* r : model_runs(in, task)) {
    const std::string& arm = r->at("arm").as_string();
    const double tokens = speed(in.timings, arm, "train_tokens_per_second");
    if (std::isnan(tokens) || text.find(arm + " ") != std::string::npos) continue;
    const double rate = 3 * r->at("forward_macs").at("counted").as_double() * tokens;
    low = std::min(low, rate);
    high = std::max(high, rate);
    text += arm + format(" %.2g GMAC/s; ", rate / 1e9);
  }
  if (high <= 0)
    return {claims_time(in) ? Light::fail : Light::not_applicable, "speed was not measured", {}};
  Light light = graded(high / low, 1.5, 3);
  if (!claims_time(in)) light = std::min(light, Light::warn);
  return {light,
          text + format("executed rates apart by %.2gx; %s", high / low,
                        claims_time(in) ? "wall time is claimed" : "no claim about wall time"),
          {}};
}

CheckOutcome latency_range(const AuditInput& in) {
  std::int64_t depth = 0, longest = 0;
  const std::int64_t depths[] = {64, 1024, 16384, 65536};
  for (std::size_t i = 0; i < std::size(kDecodeColumns); ++i) {
    const auto arms = model_arms(in);
    if (std::none_of(arms.begin(), arms.end(), [&](const std::string& arm) {
          return std::isnan(speed(in.timings, arm, kDecodeColumns[i]));
        }))
      depth = depths[i];
  }
  for (const auto& [task, info] : in.results.at("tasks").as_object())
    longest = std::max(longest, info.at("train_length").as_int());
  return {depth >= 16 * longest  ? Light::pass
          : depth >= 4 * longest ? Light::warn
                                 : Light::fail,
          format("latency to %lld tokens, trained on %lld", static_cast<long long>(depth),
                 static_cast<long long>(longest)),
          {}};
}

CheckOutcome served_precision(const AuditInput& in) {
  const Json* promise = promised(in, "served_precision");
  const std::string wanted = promise ? promise->as_string() : "f32";
  std::vector<std::string> off;
  for (const Json* r : model_runs(in)) {
    if (r->at("precision").as_string() != wanted) off.push_back(id_of(*r));
  }
  return {off.empty() ? Light::pass : Light::fail,
          format("%zu runs were not scored in %s, in which models are served", off.size(), wanted),
          off};
}

CheckOutcome pareto(const AuditInput& in) {
  Light light = Light::pass;
  std::string text;
  for (const std::string& task : tasks_of(in.results)) {
    const Json& t = in.results.at("findings").at("tasks").at(task);
    if (const Json* front = t.find("on_front_of_quality_and_state")) {
      text += task + " " + front->dump() + "; ";
      continue;
    }
    const Json* arms = in.results.at("tasks").at(task).find("arms");
    light = worse(light, arms && arms->size() > 0 ? Light::warn : Light::fail);
    text += task + ": points only; ";
  }
  return {light, "probability of being on the front of quality and state: " + text, {}};
}

CheckOutcome time_claims(const AuditInput& in) {
  std::string missing;
  for (const char* key : {"machine", "compiler", "program SHA-256"}) {
    if (in.provenance.is_null() || in.provenance.get(key, "").empty())
      missing += std::string(" ") + key;
  }
  for (const Json* r : planned_records(in)) {
    if (r->at("manifest").get("libraries", "").empty()) {
      missing += " libraries";
      break;
    }
  }
  return {missing.empty() ? Light::pass : Light::fail,
          missing.empty() ? "machine, program, compiler and libraries are named"
                          : "times without:" + missing,
          {}};
}

}  // namespace subquad::checks
