// Audit group F: where runs come from.
#include <algorithm>
#include <cmath>

#include "subquad/study/audit/checks.h"
#include "subquad/train/run.h"

namespace subquad::checks {
namespace {

const char* const kManifest[] = {"version", "revision",     "program_sha256", "compiler",
                                 "machine", "instructions", "threads"};

// Runs whose manifest differs from the first one's in one of these fields.
std::vector<std::string> differing(const AuditInput& in, const std::vector<const char*>& fields) {
  return deviants(
      planned_records(in), [](const Json&) { return std::string(); },
      [&](const Json& r) {
        std::string text;
        for (const char* f : fields) text += r.at("manifest").at(f).dump() + " ";
        return text;
      });
}

}  // namespace

CheckOutcome manifests(const AuditInput& in) {
  std::vector<std::string> missing, dirty;
  for (const Json* r : planned_records(in)) {
    const Json* m = r->find("manifest");
    const auto config = in.configs.find(id_of(*r));
    bool complete =
        m && config != in.configs.end() && r->contains("started") && r->contains("ended");
    for (const char* field : kManifest) complete = complete && m->contains(field);
    if (complete) {
      complete = RunConfig::from_json(config->second, id_of(*r)).sha256() ==
                     r->at("config_sha256").as_string() &&
                 m->at("revision").as_string() != "unknown";
    }
    if (!complete) {
      missing.push_back(id_of(*r));
    } else if (m->at("revision").as_string().find('+') != std::string::npos) {
      dirty.push_back(id_of(*r));
    }
  }
  if (!missing.empty())
    return {Light::fail, "no complete manifest, no revision, or another configuration", missing};
  return {dirty.empty() ? Light::pass : Light::warn,
          dirty.empty() ? "complete, from a clean revision"
                        : "complete; uncommitted changes are known by their digest only",
          dirty};
}

CheckOutcome one_binary(const AuditInput& in) {
  const auto off = differing(in, {"program_sha256", "compiler", "instructions"});
  return {off.empty()           ? Light::pass
          : explained(in, "F2") ? Light::warn
                                : Light::fail,
          format("%zu runs of another program or instruction set", off.size()), off};
}

CheckOutcome reruns(const AuditInput& in) {
  std::vector<std::string> off;
  std::size_t equal = 0, near = 0;
  for (const Json* r : records(in, "rerun")) {
    const std::string outcome = r->at("outcome").as_string();
    equal += outcome == "equal" ? 1 : 0;
    near += outcome == "within tolerance" ? 1 : 0;
    if (outcome != "equal") off.push_back(id_of(*r));
  }
  const std::size_t wanted = std::min<std::size_t>(3, model_runs(in).size());
  const bool enough = equal + near >= wanted && off.size() == near;
  return {!enough     ? Light::fail
          : near == 0 ? Light::pass
                      : Light::warn,
          (equal + off.size() == 0
               ? std::string("no run was made again yet")
               : format("%zu of %zu runs made again: weights equal; %zu within tolerance", equal,
                        equal + off.size(), near)) +
              (equal + near < wanted ? "; subquad audit --rerun 3 makes three again" : ""),
          off};
}

CheckOutcome one_host(const AuditInput& in) {
  const auto off = differing(in, {"machine", "threads"});
  if (!off.empty()) return {Light::fail, "runs on another machine or number of threads", off};
  const Json* speed = in.timings.find("speed");
  if (!speed) return {Light::pass, "one machine; no speed was measured", {}};
  double low = INFINITY, high = 0;
  for (const Json& round : speed->at("rounds").as_array()) {
    if (round.get("disturbed", false)) continue;
    low = std::min(low, round.at("probe_ms").as_double());
    high = std::max(high, round.at("probe_ms").as_double());
  }
  if (high <= 0) return {Light::fail, "speed was measured while the machine was busy", {}};
  return {graded(high / low - 1, 0.03, 0.1),
          "one machine; calibrations of its quiet rounds apart by " + percent(high / low - 1),
          {}};
}

}  // namespace subquad::checks
