// Audit group E: integrity of the data.
#include <algorithm>

#include "subquad/study/audit/checks.h"
#include "subquad/study/findings.h"

namespace subquad::checks {
namespace {

// Tasks whose data are documents: every run of a model on a generated task counts its collisions.
std::vector<std::string> byte_tasks(const AuditInput& in) {
  std::vector<std::string> out;
  for (const std::string& task : tasks_of(in.results)) {
    const auto runs = model_runs(in, task);
    if (std::any_of(runs.begin(), runs.end(),
                    [](const Json* r) { return r->at("data").contains("dropped"); }))
      out.push_back(task);
  }
  return out;
}

// The share of test documents, over byte tasks the worst, that `key` of the overlap counts.
CheckOutcome worst_share(const AuditInput& in, const char* key, double good, double fair) {
  const auto tasks = byte_tasks(in);
  if (tasks.empty()) return {Light::not_applicable, "no task reads documents", {}};
  double worst = 0;
  std::string text;
  for (const std::string& task : tasks) {
    const Json* overlap = in.overlap.find(task);
    if (!overlap) return {Light::fail, "the data of " + task + " cannot be read: not computed", {}};
    const std::int64_t n = overlap->at(key).as_int(), all = overlap->at("test_documents").as_int();
    const double share = all > 0 ? static_cast<double>(n) / static_cast<double>(all) : 0;
    worst = std::max(worst, share);
    text += task + format(": %lld of %lld test documents; ", static_cast<long long>(n),
                          static_cast<long long>(all));
  }
  return {graded(worst, good, fair), text, {}};
}

}  // namespace

CheckOutcome split_digests(const AuditInput& in) {
  const Json& planned = in.plan().at("data");
  std::vector<std::string> off;
  for (const Json& r : in.results.at("runs").as_array()) {
    const Json* wanted = planned.find(r.at("task").as_string());
    if (!wanted || r.at("data") != *wanted) off.push_back(id_of(r));
  }
  if (!off.empty()) return {Light::fail, "runs on other data than the plan's", off};
  std::string unread, changed;
  for (const std::string& task : tasks_of(in.results)) {
    const Json* now = in.data_now.find(task);
    if (!now) {
      unread += " " + task;
    } else if (*now != planned.at(task)) {
      changed += " " + task;
    }
  }
  if (!changed.empty())
    return {Light::fail, "the data are not those of the plan any more:" + changed, {}};
  return {Light::pass,
          "plan and every run agree" +
              (unread.empty() ? std::string(", and so do the data") : "; not read again:" + unread),
          {}};
}

CheckOutcome exact_duplicates(const AuditInput& in) { return worst_share(in, "exact", 0, 1e-4); }

CheckOutcome near_duplicates(const AuditInput& in) { return worst_share(in, "near", 1e-3, 1e-2); }

CheckOutcome contamination(const AuditInput& in) {
  // Scores are not kept by document, so the gap between clean and others is not known.
  return worst_share(in, "ngram13", 0, 1);
}

CheckOutcome time_overlap(const AuditInput&) {
  return {Light::not_applicable, "no task is about series", {}};
}

CheckOutcome collisions(const AuditInput& in) {
  std::vector<std::string> off;
  std::int64_t at_primary = 0, short_ones = 0, rows = 0;
  for (const std::string& task : tasks_of(in.results)) {
    const auto bytes = byte_tasks(in);
    if (std::find(bytes.begin(), bytes.end(), task) != bytes.end()) continue;
    const std::int64_t primary = in.results.at("tasks").at(task).at("primary_length").as_int();
    for (const Json* r : model_runs(in, task)) {
      const Json& c = r->at("collisions");
      rows += c.at("train_rows").as_int();
      for (const auto& [length, shared] : c.at("shared").as_object()) {
        const bool scored = std::stoll(length) >= primary;
        (scored ? at_primary : short_ones) += shared.as_int();
        if (scored && shared.as_int() > 0) off.push_back(id_of(*r));
      }
    }
  }
  if (rows == 0) return {Light::not_applicable, "no task is generated", {}};
  return {
      at_primary > 0   ? Light::fail
      : short_ones > 0 ? Light::warn
                       : Light::pass,
      format("%lld test rows were trained on at the length that is compared, %lld at shorter ones",
             static_cast<long long>(at_primary), static_cast<long long>(short_ones)),
      off};
}

CheckOutcome evaluator(const AuditInput& in) {
  const auto off = deviants(
      model_runs(in), [](const Json& r) { return r.at("task").as_string(); },
      [](const Json& r) {
        std::string text = r.at("evaluator").dump();
        for (const Json& m : r.at("metrics").as_array())
          text +=
              " " + m.at("split").as_string() + m.at("name").as_string() + m.at("length").dump();
        return text;
      });
  return {off.empty() ? Light::pass : Light::fail,
          format("%zu runs were scored otherwise than the first of their task", off.size()), off};
}

}  // namespace subquad::checks
