#include "subquad/study/audit/checks.h"

#include <algorithm>
#include <map>

#include "subquad/study/findings.h"

namespace subquad::checks {

Light graded(double value, double good, double fair) {
  return value <= good ? Light::pass : value <= fair ? Light::warn : Light::fail;
}

Light worse(Light a, Light b) { return std::max(a, b); }

std::vector<const Json*> model_runs(const AuditInput& in) {
  std::vector<const Json*> out;
  for (const Json& r : in.results.at("runs").as_array()) {
    if (r.at("arm").as_string() != "ngram") out.push_back(&r);
  }
  require(!out.empty(), ErrorCode::format, "no model has a finished run");
  return out;
}

std::vector<const Json*> model_runs(const AuditInput& in, const std::string& task) {
  std::vector<const Json*> out = model_runs(in);
  std::erase_if(out, [&](const Json* r) { return r->at("task").as_string() != task; });
  return out;
}

std::vector<std::string> model_arms(const AuditInput& in) {
  std::vector<std::string> out = arms_of(in.results);
  std::erase(out, "ngram");
  return out;
}

std::string id_of(const Json& run) { return run.at("id").as_string(); }

std::vector<const Json*> records(const AuditInput& in, const std::string& kind,
                                 const std::string& status) {
  std::vector<const Json*> out;
  for (const Json& r : in.ledger.records) {
    if (r.get("kind", "") == kind && (status.empty() || r.get("status", "") == status))
      out.push_back(&r);
  }
  return out;
}

std::vector<const Json*> planned_records(const AuditInput& in) {
  auto out = records(in, "run", "done");
  std::erase_if(out, [](const Json* r) { return r->get("exploratory", false); });
  return out;
}

bool explained(const AuditInput& in, const std::string& check) {
  for (const Json* note : records(in, "note")) {
    if (note->get("check", "") == check && !note->get("text", "").empty()) return true;
  }
  return false;
}

const Json* promised(const AuditInput& in, const std::string& key) {
  const Json* protocol = in.plan().find("protocol");
  return protocol ? protocol->find(key) : nullptr;
}

double spread(const std::vector<double>& x) {
  if (x.empty()) return 0;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  return *low + *high == 0 ? 0 : (*high - *low) / (*high + *low);
}

std::string percent(double share) { return format("%.2g %%", 100 * share); }

std::vector<std::string> deviants(const std::vector<const Json*>& runs,
                                  const std::function<std::string(const Json&)>& group,
                                  const std::function<std::string(const Json&)>& value) {
  std::map<std::string, std::string> first;
  std::vector<std::string> out;
  for (const Json* r : runs) {
    const auto [place, fresh] = first.emplace(group(*r), value(*r));
    if (!fresh && place->second != value(*r)) out.push_back(id_of(*r));
  }
  return out;
}

}  // namespace subquad::checks
