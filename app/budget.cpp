#include "app/budget.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "app/estimate.h"
#include "subquad/base/digest.h"
#include "subquad/base/file.h"

namespace subquad::app {
namespace {

namespace fs = std::filesystem;

double tokens_of(const std::vector<PlannedRun>& runs) {
  double total = 0;
  for (const PlannedRun& r : runs) total += static_cast<double>(r.config.train.tokens);
  return total;
}

// A budget that leaves next to nothing of the study, or that not even the least study meets.
// `before`: its own training tokens.
void warn_of_budget(const StudyPlan& plan, const Json& calibration, const std::string& budget,
                    double before, int jobs) {
  const auto runs = all_runs(plan);
  const double least = estimate_seconds(runs, calibration, jobs), share = tokens_of(runs) / before;
  if (least > 1.25 * duration(budget)) {
    std::fprintf(stderr,
                 "subquad: warning: --budget %s cannot be met: this study takes about %s even with "
                 "the least tokens; give more, or fewer arms, tasks or seeds\n",
                 budget.c_str(), duration_words(least).c_str());
  } else if (share < 0.1) {
    std::fprintf(stderr,
                 "subquad: warning: --budget %s pays for %.2g %% of the study's own training "
                 "tokens: expect models that have learnt little\n",
                 budget.c_str(), 100 * share);
  }
}

void set_tokens(StudyPlan& plan, const Json& calibration, double seconds, int jobs,
                const std::string& out, bool keep) {
  Json key = plan.to_json();
  key["budget_seconds"] = seconds;
  key["jobs"] = jobs;
  const std::string path =
      out + "/" + plan.name + "-budget-" + sha256(key.dump()).substr(0, 8) + ".json";
  if (fs::exists(path)) {
    const Json chosen = Json::read(path);
    for (StudyTask& t : plan.tasks) {
      t.tokens = chosen.at("tokens").at(t.name).as_int();
      std::printf("  budget      %-9s %ld tokens per run, as chosen before (%s)\n", t.name.c_str(),
                  static_cast<long>(t.tokens), path.c_str());
    }
    return;
  }
  for (const auto& [task, by_arm] : calibration.as_object()) {
    for (const auto& [arm, us] : by_arm.as_object())
      std::printf("  calibrated  %-9s %-22s %6.1f us/token\n", task.c_str(), arm.c_str(),
                  us.as_double());
  }
  // Evaluation and starts do not scale with tokens.
  auto runs = all_runs(plan);
  const double whole = estimate_seconds(runs, calibration, jobs);
  for (PlannedRun& r : runs) r.config.train.tokens = 0;
  const double fixed = estimate_seconds(runs, calibration, jobs);
  const double factor = std::max(0.01, (seconds - fixed) / std::max(whole - fixed, 1e-9));
  Json chosen = Json::object();
  for (StudyTask& t : plan.tasks) {
    const TaskSpec spec = make_task(t.name, {.data = t.data, .extra = t.extra})->spec();
    const double tokens =
        static_cast<double>(t.tokens > 0 ? t.tokens : spec.default_tokens) * factor;
    t.tokens = std::max<std::int64_t>(10000, static_cast<std::int64_t>(tokens / 10000) * 10000);
    chosen["tokens"][t.name] = t.tokens;
    std::printf("  budget      %-9s %ld tokens per run\n", t.name.c_str(),
                static_cast<long>(t.tokens));
  }
  if (keep) write_file_atomically(path, chosen.dump(1) + "\n");
}

}  // namespace

double duration(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  const double factor = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  constexpr double kYear = 365.0 * 86400;
  require(end != text.c_str() && value > 0 && factor > 0 && value * factor <= kYear,
          ErrorCode::invalid_argument, "--budget ", text,
          ": wanted a number with s, m or h, for example 20m, at most a year");
  return value * factor;
}

void fit_budget(StudyPlan& plan, const Json& calibration, const std::string& budget, int jobs,
                const std::string& out, bool keep) {
  const double before = tokens_of(all_runs(plan));
  set_tokens(plan, calibration, duration(budget), jobs, out, keep);
  warn_of_budget(plan, calibration, budget, before, jobs);
}

}  // namespace subquad::app
