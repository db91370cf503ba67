#include "subquad/study/limits.h"

#include <unistd.h>

#include <cstdio>

namespace subquad {
namespace {

std::string gib(double bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (1 << 30));
  return text;
}

}  // namespace

double least_training_bytes(const SizedArm& arm, std::int64_t rows, std::int64_t length) {
  const double tokens = static_cast<double>(rows) * static_cast<double>(length);
  const double per_token = 6.0 * static_cast<double>(arm.config.d_model) +
                           3.0 * static_cast<double>(arm.config.mlp_hidden);
  return 4 * (4 * static_cast<double>(arm.parameters) +
              tokens * (2 + per_token * static_cast<double>(arm.config.layers.size())));
}

double physical_memory_bytes() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

void require_possible(const StudyPlan& plan, double memory_bytes, int jobs) {
  for (const StudyTask& t : plan.tasks) {
    const TaskSpec spec = make_task(t.name, {.data = t.data, .extra = t.extra})->spec();
    const std::int64_t rows = t.batch_size > 0 ? t.batch_size : spec.batch_size;
    const std::string step = "task." + t.name + ": a batch of " + std::to_string(rows) +
                             " rows of " + std::to_string(spec.train_length) + " tokens";
    for (const SizedArm& arm : sized_arms(plan, t)) {
      const double fixed = least_training_bytes(arm, 0, spec.train_length),
                   row = least_training_bytes(arm, 1, spec.train_length) - fixed,
                   needed = jobs * (fixed + row * static_cast<double>(rows));
      if (needed <= memory_bytes) continue;
      const auto most = static_cast<std::int64_t>((memory_bytes / jobs - fixed) / row);
      fail(ErrorCode::invalid_argument, step, " needs at least ", gib(needed), " for arm ", arm.arm,
           " with ", jobs, " workers at a time; this machine has ", gib(memory_bytes), ". ",
           most > 0 ? "Set batch_size to " + std::to_string(most) +
                          " at the very most ([train] accumulate gives larger batches in the same "
                          "memory), or give a smaller --jobs"
                    : "Choose a smaller model or a smaller --jobs");
    }
    const std::int64_t tokens = t.tokens > 0 ? t.tokens : spec.default_tokens;
    const double per_step = static_cast<double>(rows) * static_cast<double>(spec.train_length) *
                            static_cast<double>(plan.train.accumulate);
    require(per_step <= static_cast<double>(tokens), ErrorCode::invalid_argument, step,
            plan.train.accumulate > 1
                ? ", " + std::to_string(plan.train.accumulate) + " of them a step,"
                : "",
            " is more than the whole budget of ", tokens,
            " tokens: not one step could be paid for. Set a smaller batch_size, or more tokens");
  }
}

}  // namespace subquad
