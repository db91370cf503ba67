#include "subquad/study/audit/audit.h"

#include <algorithm>

#include "subquad/study/audit/checks.h"

namespace subquad {

const std::vector<AuditCheck>& audit_checks() {
  static const std::vector<AuditCheck> table = {
      {"A1", "non-embedding parameters of the arms agree", checks::parameters},
      {"A2", "training FLOPs of the arms agree, and counter and formula", checks::training_flops},
      {"A3", "equal tokens and data order within a seed", checks::data_order},
      {"A4", "decode state is reported, recall compared at equal state", checks::decode_state},
      {"A5", "nothing but the mixer differs undeclared", checks::shared_components},
      {"A6", "scored at the end of the schedule", checks::end_of_schedule},
      {"A7", "claims stay within the grid of scales and budgets", checks::scales},
      {"B1", "every architecture was tuned", checks::recipe},
      {"B2", "equal trials and trial FLOPs", checks::trials},
      {"B3", "best trials lie inside their grid", checks::interior},
      {"B4", "headline keeps its sign under other recipes", checks::recipes_agree},
      {"B5", "sensitivity to the learning rate is known", checks::sensitivity},
      {"B6", "tuning is part of the total cost", checks::tuning_cost},
      {"C1", "protocol is older than the first run", checks::protocol_first},
      {"C2", "ledger is complete and its chain verifies", checks::ledger_complete},
      {"C3", "all planned seeds, and no others", checks::seeds_present},
      {"C4", "gain exceeds what the best of many variants would add", checks::best_of_many},
      {"C5", "conflicts of interest and recipe sources are stated", checks::interests},
      {"C6", "test split was opened once", checks::test_openings},
      {"D1", "seeds per headline cell", checks::seed_count},
      {"D2", "intervals suit number and shape of the seeds", checks::intervals},
      {"D3", "paired tests where runs are paired", checks::pairing},
      {"D4", "claimed differences hold after correction", checks::claims_supported},
      {"D5", "failed runs are shown and fall on arms by chance", checks::failures},
      {"D6", "arms differ by more than the benchmark's noise", checks::signal_to_noise},
      {"D7", "scaling fits show their uncertainty", checks::scaling_fit},
      {"D8", "power behind every \"no difference\"", checks::power},
      {"E1", "data are those of the plan", checks::split_digests},
      {"E2", "no exact duplicates between train and test", checks::exact_duplicates},
      {"E3", "no near duplicates between train and test", checks::near_duplicates},
      {"E4", "13 tokens in a row in train and test", checks::contamination},
      {"E5", "no overlap in time", checks::time_overlap},
      {"E6", "generated test rows were not trained on", checks::collisions},
      {"E7", "one evaluator and one test set for all arms", checks::evaluator},
      {"F1", "manifests are complete, code is clean", checks::manifests},
      {"F2", "one program and instruction set for all arms", checks::one_binary},
      {"F3", "runs made again give the same weights", checks::reruns},
      {"F4", "one machine, calibrations agree", checks::one_host},
      {"G1", "cost table is complete", checks::cost_table},
      {"G2", "kernels of the arms are equally mature", checks::kernel_maturity},
      {"G3", "latency far beyond the trained length", checks::latency_range},
      {"G4", "quality at the served precision", checks::served_precision},
      {"G5", "quality against cost with uncertainty", checks::pareto},
      {"G6", "times name machine, program and libraries", checks::time_claims},
  };
  return table;
}

std::vector<AuditLine> audit_study(const AuditInput& in) {
  std::vector<AuditLine> lines;
  for (const AuditCheck& c : audit_checks()) {
    AuditLine line{c.id, c.title, {}};
    try {
      line.outcome = c.check(in);
    } catch (const Error& e) {
      line.outcome = {Light::fail, std::string("no evidence: ") + e.what(), {}};
    }
    auto& runs = line.outcome.runs;
    std::sort(runs.begin(), runs.end());
    runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
    lines.push_back(std::move(line));
  }
  return lines;
}

const char* name_of(Light light) {
  switch (light) {
    case Light::pass: return "PASS";
    case Light::not_applicable: return "N.A.";
    case Light::warn: return "WARN";
    case Light::fail: break;
  }
  return "FAIL";
}

Light worst_of(const std::vector<AuditLine>& lines) {
  Light worst = Light::pass;
  for (const AuditLine& l : lines) worst = std::max(worst, l.outcome.light);
  return worst;
}

std::string audit_text(const AuditInput& in, const std::vector<AuditLine>& lines) {
  std::string out;
  std::size_t counts[4] = {};
  for (const AuditLine& l : lines) {
    ++counts[static_cast<std::size_t>(l.outcome.light)];
    out += format("%s  %s  %s\n            %s\n", l.id, name_of(l.outcome.light), l.title,
                  l.outcome.numbers);
    if (l.outcome.runs.empty()) continue;
    out += "            runs:";
    constexpr std::size_t kShown = 6;
    for (std::size_t i = 0; i < std::min(kShown, l.outcome.runs.size()); ++i)
      out += " " + l.outcome.runs[i];
    if (l.outcome.runs.size() > kShown)
      out += format(" and %zu more", l.outcome.runs.size() - kShown);
    out += "\n";
  }
  const bool claim = in.plan().get("level", "look") == "claim";
  const char* verdict = worst_of(lines) == Light::fail
                            ? claim ? "the claim fails its audit" : "would fail a claim"
                        : claim ? "the claim stands its audit"
                                : "would stand as a claim";
  return out + format("\n%zu PASS, %zu WARN, %zu FAIL, %zu N.A.: %s (level %s)\n", counts[0],
                      counts[2], counts[3], counts[1], verdict, claim ? "claim" : "look");
}

Json audit_json(const AuditInput& in, const std::vector<AuditLine>& lines) {
  Json out = Json::object();
  out["format"] = 1;
  out["study"] = in.results.at("study");
  out["plan_sha256"] = in.results.at("plan_sha256");
  out["level"] = in.plan().get("level", "look");
  out["worst"] = name_of(worst_of(lines));
  Json& list = out["checks"] = Json::array();
  for (const AuditLine& l : lines) {
    Json j = Json::object();
    j["id"] = l.id;
    j["title"] = l.title;
    j["light"] = name_of(l.outcome.light);
    j["numbers"] = l.outcome.numbers;
    j["runs"] = Json::array();
    for (const std::string& run : l.outcome.runs) j["runs"].push_back(run);
    list.push_back(std::move(j));
  }
  return out;
}

}  // namespace subquad
