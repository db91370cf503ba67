#include "subquad/study/audit/audit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "app/study_folder.h"
#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/study/protocol.h"
#include "subquad/train/run.h"

namespace subquad::app {
namespace {

namespace fs = std::filesystem;

// Equal weights, or metrics within 1 %, or neither.
std::string compared(const Json& first, const Json& again) {
  if (first.at("weights_sha256") == again.at("weights_sha256") &&
      first.at("metrics") == again.at("metrics"))
    return "equal";
  const auto &a = first.at("metrics").as_array(), &b = again.at("metrics").as_array();
  bool near = a.size() == b.size();
  for (std::size_t i = 0; near && i < a.size(); ++i) {
    const double x = a[i].at("value").as_double(), y = b[i].at("value").as_double();
    near = std::abs(x - y) <= 0.01 * std::max(std::abs(x), std::abs(y));
  }
  return near ? "within tolerance" : "differs";
}

// Trains `count` finished runs again from their configuration alone, drawn by the digest of their
// ids, and puts into the ledger whether they came out the same.
void run_again(const std::string& folder, const AuditInput& in, std::int64_t count) {
  const FileLock lock(folder + "/.lock",
                      "another process works on " + folder + "; wait for it to end");
  Ledger ledger(folder + "/ledger.jsonl");
  std::vector<std::pair<std::string, const Json*>> drawn;
  for (const Json& run : in.results.at("runs").as_array()) {
    const std::string& id = run.at("id").as_string();
    if (run.at("arm").as_string() != "ngram" && in.configs.contains(id))
      drawn.emplace_back(sha256(id), &run);
  }
  std::sort(drawn.begin(), drawn.end());
  drawn.resize(std::min(drawn.size(), static_cast<std::size_t>(count)));
  for (const auto& [key, run] : drawn) {
    const std::string id = run->at("id").as_string(), place = folder + "/reruns/" + id;
    std::fprintf(stderr, "  training %s again ...\n", id.c_str());
    fs::remove_all(place);
    fs::create_directories(place);
    write_file_atomically(place + "/config.json", in.configs.at(id).dump(1) + "\n");
    const Json again = execute_run(place, {});
    Json record = Json::object();
    record["kind"] = "rerun";
    record["id"] = id;
    record["outcome"] = compared(*run, again);
    record["weights_sha256"] = again.at("weights_sha256");
    ledger.append(std::move(record));
  }
}

// "F2: the compiler was updated" into the ledger, dated.
void add_note(const std::string& folder, const std::string& note) {
  const std::size_t colon = note.find(": ");
  std::vector<std::string> ids;
  for (const AuditCheck& c : audit_checks()) ids.emplace_back(c.id);
  require(colon != std::string::npos && colon + 2 < note.size() &&
              std::find(ids.begin(), ids.end(), note.substr(0, colon)) != ids.end(),
          ErrorCode::invalid_argument, "--note: got \"", note,
          "\", wanted a check and why, for example \"F2: the compiler was updated\"");
  const FileLock lock(folder + "/.lock",
                      "another process works on " + folder + "; wait for it to end");
  Json record = Json::object();
  record["kind"] = "note";
  record["date"] = utc_now();
  record["check"] = note.substr(0, colon);
  record["text"] = note.substr(colon + 2);
  Ledger(folder + "/ledger.jsonl").append(std::move(record));
}

}  // namespace

int audit(Arguments arguments) {
  std::string folder, note;
  std::int64_t rerun = 0;
  bool json = false;
  Options options(
      "audit",
      "44 checks of a study's fairness, each PASS, WARN, FAIL or N.A. with its numbers; "
      "written to audit.json and the report too. A study of level claim fails with its worst "
      "check.",
      "subquad audit runs/default-3f9a21c4");
  options.positional("study-folder", folder, "folder with results.json and ledger.jsonl", true)
      .option("--rerun", rerun, "first train so many finished runs again, and compare", {0, 1000})
      .option("--note", note, "first put an explanation into the ledger: \"F2: why\"")
      .flag("--json", json, "print JSON instead of text");
  if (!options.parse(arguments)) return 0;
  AuditInput in = read_audit_input(folder);
  if (rerun > 0) run_again(folder, in, rerun);
  if (!note.empty()) add_note(folder, note);
  in.ledger = check_ledger(folder + "/ledger.jsonl");
  const auto lines = audit_study(in);
  const Json twin = audit_json(in, lines);
  write_file_atomically(folder + "/audit.json", twin.dump(1) + "\n");
  write_report(folder);
  std::printf("%s\n", json ? twin.dump(1).c_str() : audit_text(in, lines).c_str());
  return in.plan().get("level", "look") == "claim" && worst_of(lines) == Light::fail ? 1 : 0;
}

}  // namespace subquad::app
