#include "app/estimate.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "subquad/study/format.h"
#include "subquad/study/tuning.h"
#include "subquad/train/evaluator.h"

namespace subquad::app {
namespace {

// A forward pass is a third of a training step. One position at a time costs about three times a
// forward pass per position, as measured on the default study.
constexpr double kForward = 1.0 / 3, kRecurrent = 1.0, kStartSeconds = 0.5;

// Training tokens that would take as long as the evaluation of a run.
double evaluation_tokens(const RunConfig& c) {
  const auto task = make_task(c.task, {.data = c.data, .extra = c.task_extra});
  const TaskSpec spec = task->spec();
  const auto positions = [&](Split split, std::int64_t length) {
    return static_cast<double>(task->eval_batches(split, length)) *
           static_cast<double>(task->eval_batch(split, length, 0).inputs.numel());
  };
  double total = kForward * positions(Split::validation, spec.lengths.front());
  if (c.trial) return total;
  const EvaluationSetup setup;
  for (const std::int64_t length : c.lengths.empty() ? spec.lengths : c.lengths) {
    const double all = positions(Split::test, length);
    // Once for the scores, once for the digest of the test split.
    total += 2 * kForward * all;
    if (c.recurrent)
      total += kRecurrent * std::min(all, static_cast<double>(setup.recurrent_positions));
  }
  return total;
}

}  // namespace

std::vector<PlannedRun> all_runs(const StudyPlan& plan) {
  auto out = first_trials(plan);
  for (PlannedRun& run : planned_runs(plan)) out.push_back(std::move(run));
  return out;
}

double estimate_seconds(const std::vector<PlannedRun>& runs, const Json& calibration, int jobs) {
  std::map<std::string, double> evaluation;  // by task, trials apart
  double total = 0;
  for (const PlannedRun& r : runs) {
    const Json* task = calibration.find(r.task);
    const Json* us = task ? task->find(r.arm) : nullptr;
    if (!us) continue;
    const std::string key = r.task + (r.config.trial ? " trial" : "");
    if (!evaluation.contains(key)) evaluation[key] = evaluation_tokens(r.config);
    total +=
        us->as_double() * 1e-6 * (static_cast<double>(r.config.train.tokens) + evaluation.at(key)) +
        kStartSeconds;
  }
  return total / jobs;
}

std::string duration_words(double seconds) {
  return seconds < 90     ? format("%.0f s", seconds)
         : seconds < 7200 ? format("%.0f min", seconds / 60)
                          : format("%.1f h", seconds / 3600);
}

void print_estimate(const StudyPlan& plan, const std::set<std::string>& done,
                    const Json& calibration, int jobs) {
  std::vector<PlannedRun> left, first;
  for (const PlannedRun& r : all_runs(plan)) {
    if (done.contains(r.id)) continue;
    if (r.config.trial || r.seed == plan.seeds.front()) first.push_back(r);
    left.push_back(r);
  }
  if (!done.empty()) std::printf("  %zu runs are done, %zu are left\n", done.size(), left.size());
  if (!left.empty()) {
    std::printf("  estimate %s (calibrated now)",
                duration_words(estimate_seconds(left, calibration, jobs)).c_str());
    if (!first.empty() && plan.seeds.size() > 1)
      std::printf("; first table after %s",
                  duration_words(estimate_seconds(first, calibration, jobs)).c_str());
    std::printf("; Ctrl-C is safe, the same command continues\n");
  }
  std::fflush(stdout);
}

}  // namespace subquad::app
