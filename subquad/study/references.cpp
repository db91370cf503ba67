#include "subquad/study/references.h"

#include <cstdio>
#include <memory>

#include "subquad/base/interrupt.h"
#include "subquad/base/thread_pool.h"

namespace subquad {
namespace {

constexpr const char* kMethod = "reference";
constexpr const char* kSamples = "samples";

bool holds(const std::vector<Json>& records, const std::string& kind, const std::string& task,
           const std::string& key = "") {
  for (const Json& r : records) {
    if (r.get("kind", "") == kind && r.get("task", "") == task && r.get("key", "") == key)
      return true;
  }
  return false;
}

Json record_of(const std::string& task, const std::string& key, const Reference& reference) {
  Json record = Json::object();
  record["kind"] = kMethod;
  record["task"] = task;
  record["key"] = key;
  record["name"] = reference.name;
  record["answers"] = reference.answers;
  record["fallbacks"] = reference.fallbacks;
  record["cpu_seconds"] = reference.cpu_seconds;
  Json& metrics = record["metrics"] = Json::array();
  for (const Metric& m : reference.metrics) {
    Json j = Json::object();
    j["name"] = m.name;
    j["value"] = m.value;
    metrics.push_back(std::move(j));
  }
  return record;
}

template <class Fn>
void for_methods(const StudyPlan& plan, const std::vector<Json>& records, Fn&& fn) {
  for (const StudyTask& t : plan.tasks) {
    for (const Json& r : records) {
      if (r.get("kind", "") == kMethod && r.get("task", "") == t.name) fn(t.name, r);
    }
  }
}

}  // namespace

void record_references(const StudyPlan& plan, Ledger& ledger, int threads) {
  std::unique_ptr<ThreadPool> pool;
  for (const StudyTask& t : plan.tasks) {
    const auto task = make_task(t.name, {.data = t.data, .extra = t.extra});
    if (!holds(ledger.records(), kSamples, t.name)) {
      if (Json samples = task->samples(); !samples.is_null()) {
        Json record = Json::object();
        record["kind"] = kSamples;
        record["task"] = t.name;
        record["samples"] = std::move(samples);
        ledger.append(std::move(record));
      }
    }
    for (const std::string& key : task->references()) {
      if (holds(ledger.records(), kMethod, t.name, key)) continue;
      require(!interrupted(), ErrorCode::interrupted,
              "interrupted while classical methods were scored; the same command continues");
      std::fprintf(stderr, "  scoring %s on %s ...\n", key.c_str(), t.name.c_str());
      if (!pool) pool = std::make_unique<ThreadPool>(threads);
      ledger.append(record_of(t.name, key, task->reference(key, *pool)));
    }
  }
}

Json collect_references(const StudyPlan& plan, const std::vector<Json>& records) {
  Json out;
  for_methods(plan, records, [&](const std::string& task, const Json& r) {
    Json method = Json::object();
    for (const char* key : {"name", "answers", "fallbacks", "metrics"}) method[key] = r.at(key);
    out[task]["methods"].push_back(std::move(method));
  });
  for (const StudyTask& t : plan.tasks) {
    for (const Json& r : records) {
      if (r.get("kind", "") == kSamples && r.get("task", "") == t.name)
        out[t.name]["samples"] = r.at("samples");
    }
  }
  return out;
}

Json reference_timings(const StudyPlan& plan, const std::vector<Json>& records) {
  Json out;
  for_methods(plan, records, [&](const std::string& task, const Json& r) {
    out[task][r.at("name").as_string()]["cpu_seconds"] = r.at("cpu_seconds");
  });
  return out;
}

}  // namespace subquad
