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

std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> out;
  if (!fs::exists(path)) return out;
  const std::string text = read_file(path);
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    out.push_back(Json::parse(std::string_view(text).substr(from, end - from), path));
    from = end + 1;
  }
  return out;
}

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
  in.tuning = read_if_there(folder + "/tuning.json");
  in.ledger = check_ledger(folder + "/ledger.jsonl");
  for (const Json& run : in.results.at("runs").as_array()) {
    const std::string& id = run.at("id").as_string();
    require(id.find('/') == std::string::npos, ErrorCode::format, folder,
            "/results.json: a run is called ", id);
    const std::string path = folder + "/runs/" + id;
    const Json config = read_if_there(path + "/config.json");
    if (!config.is_null()) in.configs[id] = config;
    in.test_access[id] = read_lines(path + "/test_access.jsonl");
  }
  read_data_again(in);
  return in;
}

}  // namespace subquad
