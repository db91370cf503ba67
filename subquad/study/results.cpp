// results.json, timings.json and results.csv from the ledger of a study.
#include <algorithm>
#include <filesystem>
#include <set>

#include "subquad/study/crossover.h"
#include "subquad/study/findings.h"
#include "subquad/study/ledger.h"
#include "subquad/study/references.h"
#include "subquad/study/runner.h"
#include "subquad/study/tuning.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

// Multiply-adds of all finished runs, and of the trials that tuned them if there were any.
Json total_macs(const Json& results, const std::string& folder) {
  double runs = 0, tuning = 0;
  for (const Json& r : results.at("runs").as_array())
    runs += r.at("training_macs_per_token").as_double() * r.at("tokens").as_double();
  const Json* own = results.find("tuning");
  Json by_hand;
  if (const std::string path = folder + "/tuning.json"; !own && fs::exists(path))
    own = &(by_hand = Json::read(path));
  if (own) {
    for (const Json& t : own->at("trials").as_array()) tuning += t.at("macs").as_double();
  }
  Json out = Json::object();
  out["runs"] = runs;
  out["tuning"] = tuning;
  return out;
}

}  // namespace

Json collect_results(const StudyPlan& plan, const std::string& folder) {
  const Ledger ledger(folder + "/ledger.jsonl");
  Json out = Json::object();
  out["format"] = 1;
  out["study"] = plan.name;
  out["plan_sha256"] = plan.hash();
  out["plan"] = plan.to_json();
  Json& tasks = out["tasks"] = Json::object();
  for (const StudyTask& t : plan.tasks) {
    const TaskSpec spec = make_task(t.name, {.data = t.data, .extra = t.extra})->spec();
    Json& task = tasks[t.name];
    task["kind"] = task_kind(t.name);
    task["primary"] = spec.primary;
    task["primary_length"] = spec.primary_length;
    task["train_length"] = spec.train_length;
    task["chance"] = spec.chance;
    const auto sized = sized_arms(plan, t);
    const auto attention = std::find_if(sized.begin(), sized.end(),
                                        [](const SizedArm& s) { return s.arm == "attention"; });
    const auto bytes = [](const SizedArm& s) {
      return std::vector<double>(s.state_bytes.begin(), s.state_bytes.end());
    };
    for (const SizedArm& s : sized) {
      Json& arm = task["arms"][s.arm];
      if (attention != sized.end() && s.arm != "attention")
        arm["memory_crossover_tokens"] = crossover_json(bytes(*attention), bytes(s));
      arm["model"] = s.config.to_json();
      arm["parameters"] = s.parameters;
      arm["training_macs_per_token"] = s.training_macs_per_token;
      if (!s.note.empty()) arm["note"] = s.note;
      for (std::size_t i = 0; i < s.state_bytes.size(); ++i) {
        arm["state_bytes"][std::to_string(kDepths[i])] = s.state_bytes[i];
      }
    }
  }
  Json& runs = out["runs"] = Json::array();
  Json& failures = out["failed"] = Json::array();
  for (const PlannedRun& r : planned_runs(plan)) {
    const Json *result = nullptr, *failure = nullptr;
    for (const Json& record : ledger.records()) {
      if (record.get("kind", "") != "run" || record.get("id", "") != r.id) continue;
      if (record.get("status", "") == "done") result = record.find("result");
      if (record.get("status", "") == "failed") failure = &record;
    }
    if (result) {
      Json run = *result;
      run["id"] = r.id;
      runs.push_back(std::move(run));
    } else if (failure) {
      Json f = Json::object();
      f["id"] = r.id;
      f["arm"] = r.arm;
      f["task"] = r.task;
      f["seed"] = r.seed;
      f["message"] = failure->at("message");
      failures.push_back(std::move(f));
    }
  }
  if (Json references = collect_references(plan, ledger.records()); !references.is_null())
    out["references"] = std::move(references);
  Json tuning = collect_tuning(plan, ledger.records());
  if (!tuning.is_null()) {
    out["tuning"] = tuning;
    tuning["headline"] = headline_by_recipe(out);
    out["tuning"] = std::move(tuning);
  }
  out["total_training_macs"] = total_macs(out, folder);
  out["findings"] = findings(out);
  return out;
}

Json collect_timings(const StudyPlan& plan, const std::string& folder) {
  Json out = Json::object();
  Json& runs = out["runs"] = Json::object();
  Json trials = Json::object();
  std::set<std::string> planned;
  for (const PlannedRun& r : planned_runs(plan)) planned.insert(r.id);
  const Ledger ledger(folder + "/ledger.jsonl");
  for (const Json& record : ledger.records()) {
    if (record.get("status", "") != "done") continue;
    const std::string id = record.get("id", "");
    const bool trial = record.get("kind", "") == "trial";
    if (!trial && !planned.contains(id)) continue;
    const std::string path = folder + "/runs/" + id + "/timings.json";
    const Json* own = record.find("timings");
    const Json times = own ? *own : fs::exists(path) ? Json::read(path) : Json();
    if (!times.is_null()) (trial ? trials : runs)[id] = times;
  }
  if (trials.size() > 0) out["trials"] = trials;
  if (Json references = reference_timings(plan, ledger.records()); !references.is_null())
    out["references"] = std::move(references);
  if (fs::exists(folder + "/speed.json")) out["speed"] = Json::read(folder + "/speed.json");
  return out;
}

std::string results_csv(const Json& results) {
  std::string csv = "run,arm,task,seed,split,length,metric,value,unit,parameters,tokens\n";
  for (const Json& r : results.at("runs").as_array()) {
    for (const Json& m : r.at("metrics").as_array()) {
      csv += "\"" + r.at("id").as_string() + "\",\"" + r.at("arm").as_string() + "\"," +
             r.at("task").as_string() + "," + std::to_string(r.at("seed").as_int()) + "," +
             m.at("split").as_string() + "," + std::to_string(m.at("length").as_int()) + "," +
             m.at("name").as_string() + "," + m.at("value").dump() + "," +
             m.at("unit").as_string() + "," + std::to_string(r.at("parameters").as_int()) + "," +
             std::to_string(r.at("tokens").as_int()) + "\n";
    }
  }
  return csv;
}

}  // namespace subquad
