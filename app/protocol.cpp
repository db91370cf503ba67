#include "subquad/study/protocol.h"

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/base/file.h"
#include "subquad/study/comparison.h"

namespace subquad::app {
namespace {

void save(const Json& protocol, const std::string& path, const char* done) {
  write_file_atomically(path, protocol.dump(1) + "\n");
  std::printf("  %s %s\n  SHA-256 %s\n", done, path.c_str(),
              protocol.at("sha256").as_string().c_str());
}

// Exact tests of few pairs cannot decide, whatever the runs will show: better known before.
void warn_of_few_seeds(const StudyPlan& plan) {
  const auto family = static_cast<int>(hypotheses_of(plan.to_json()).size()),
             seeds = static_cast<int>(plan.seeds.size());
  if (smallest_p_holm(seeds, family) < 0.05) return;
  int enough = seeds;
  while (smallest_p_holm(enough, family) >= 0.05) ++enough;
  std::fprintf(
      stderr,
      "subquad: warning: exact tests of %d paired seeds cannot decide %d hypotheses at 5 %% "
      "(smallest corrected p %.2g); %d seeds can\n",
      seeds, family, smallest_p_holm(seeds, family), enough);
}

}  // namespace

int protocol(Arguments arguments) {
  std::string action, study, reason;
  Options options("protocol",
                  "freeze: write hypotheses, primary metrics, arms, budgets and exclusion rules of "
                  "a study, and their hash, to STUDY.protocol.json before the first run. amend: "
                  "record a dated change of them. verify: check the hashes.",
                  "subquad protocol freeze studies/tracking.toml");
  options.positional("action", action, "freeze, amend or verify", true)
      .positional("study", study, "a study file with a table [protocol]", true)
      .option("--reason", reason, "of an amendment");
  if (!options.parse(arguments)) return 0;
  require(action == "freeze" || action == "amend" || action == "verify",
          ErrorCode::invalid_argument, "got \"", action, "\", wanted freeze, amend or verify");
  require(reason.empty() || action == "amend", ErrorCode::invalid_argument,
          "--reason belongs to amend");
  require(std::filesystem::exists(study), ErrorCode::invalid_argument, "no study file ", study);
  StudyPlan plan = read_plan(study);
  identify_data(plan);
  const std::string path = protocol_path(study);
  const bool frozen = std::filesystem::exists(path);
  if (action == "freeze" && !frozen) {
    save(freeze_protocol(plan, utc_now()), path, "frozen as");
    warn_of_few_seeds(plan);
    return 0;
  }
  require(frozen, ErrorCode::invalid_argument, "there is no ", path, "; freeze the study first");
  const Json before = Json::read(path);
  verify_protocol(before, path);
  if (action == "amend") {
    save(amend_protocol(before, plan, reason, utc_now()), path, "amended");
    return 0;
  }
  require_planned(before, plan.to_json(), path);
  std::printf("  %s, frozen %s, %zu amendments: hashes match, and so does the study\n",
              path.c_str(), before.at("frozen").as_string().c_str(),
              before.at("amendments").size());
  return 0;
}

}  // namespace subquad::app
