#include "subquad/study/audit/input.h"

#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/data/corpus.h"
#include "subquad/data/overlap.h"
#include "subquad/study/plan.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

Json read_if_there(const std::string& path) { return fs::exists(path) ? Json::read(path) : Json(); }

// Data whose files have moved or gone are left out: the check says so.
void read_data_again(AuditInput& in) {
  for (const auto& [name, task] : in.plan().at("tasks").as_object()) {
    try {
      const auto own = make_task(name, {.data = task.get("data", ""), .extra = task.at("extra")});
      in.data_now[name] = own->provenance();
      if (const ByteCorpus* corpus = own->corpus())
        in.overlap[name] = overlap_of(corpus->split(0), corpus->split(2)).to_json();
    } catch (const Error&) {
      continue;
    }
  }
}

}  // namespace

AuditInput read_audit_input(const std::string& folder) {
  for (const char* file : {"/results.json", "/ledger.jsonl"}) {
    require(fs::exists(folder + file), ErrorCode::io, folder, " holds no ", file + 1,
            ": it is not a study folder, or no seed is complete yet");
  }
  AuditInput in;
  in.results = Json::read(folder + "/results.json");
  in.timings = read_if_there(folder + "/timings.json");
  in.provenance = read_if_there(folder + "/provenance.json");
  in.protocol = read_if_there(folder + "/plan.protocol.json");
  const Json* tuning = in.results.find("tuning");
  in.tuning = tuning ? *tuning : read_if_there(folder + "/tuning.json");
  in.ledger = check_ledger(folder + "/ledger.jsonl");
  // A run whose folder stayed behind is known from the ledger and the plan.
  std::map<std::string, const Json*> recorded;
  for (const Json& r : in.ledger.records) {
    if (r.get("kind", "") == "run" && r.get("status", "") == "done") recorded[r.get("id", "")] = &r;
  }
  for (const Json& run : in.results.at("runs").as_array()) {
    const std::string& id = run.at("id").as_string();
    require(id.find('/') == std::string::npos, ErrorCode::format, folder,
            "/results.json: a run is called ", id);
    const std::string path = folder + "/runs/" + id;
    Json config = read_if_there(path + "/config.json");
    Json access = fs::exists(path + "/test_access.jsonl")
                      ? Json::read_lines(path + "/test_access.jsonl")
                      : Json::array();
    if (const auto found = recorded.find(id); found != recorded.end()) {
      const Json *own = found->second->find("config"), *log = found->second->find("test_access");
      if (config.is_null() && own) config = *own;
      if (access.size() == 0 && log) access = *log;
    }
    if (!config.is_null()) in.configs[id] = config;
    in.test_access[id] = access.as_array();
  }
  read_data_again(in);
  return in;
}

}  // namespace subquad
