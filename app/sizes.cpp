#include "app/sizes.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace subquad::app {

void print_sizes(const StudyPlan& plan, const Json& calibration) {
  for (const StudyTask& t : plan.tasks) {
    std::printf("  %s\n", t.name.c_str());
    for (const SizedArm& s : sized_arms(plan, t)) {
      std::printf(
          "    %-22s %8ld parameters  width %ld, MLP %ld  %.0f training FLOPs/token  %.1f us/token "
          " state %ld bytes @64, %ld @64k\n",
          s.arm.c_str(), static_cast<long>(s.parameters), static_cast<long>(s.config.d_model),
          static_cast<long>(s.config.mlp_hidden), 2 * s.training_macs_per_token,
          calibration.at(t.name).at(s.arm).as_double(), static_cast<long>(s.state_bytes[0]),
          static_cast<long>(s.state_bytes[3]));
      if (!s.note.empty()) std::printf("      %s\n", s.note.c_str());
    }
  }
}

void print_equal(const StudyPlan& plan) {
  double low = 1e300, high = 0;
  for (const SizedArm& s : sized_arms(plan, plan.tasks.front())) {
    if (plan.match == "state" && !s.note.empty()) continue;
    const double x = plan.match == "flops"   ? 2 * s.training_macs_per_token
                     : plan.match == "state" ? static_cast<double>(s.state_bytes[1])
                                             : static_cast<double>(s.parameters);
    low = std::min(low, x);
    high = std::max(high, x);
  }
  if (high <= 0) return;
  std::set<std::string> recipes;
  for (const StudyTask& t : plan.tasks) recipes.insert(recipe_of(plan, t));
  const char* rest =
      recipes.size() > 1       ? "tokens, data order; optimiser by the recipe of each task"
      : recipes.contains("R2") ? "tokens, data order, optimiser, budget of tuning the learning rate"
      : recipes.contains("R3") ? "tokens, data order (optimiser as published)"
                               : "tokens, data order, optimiser (one recipe, untuned)";
  if (plan.match == "time") {
    std::printf("  equal for all: time per training token +-3 %% as measured, %s\n", rest);
    return;
  }
  const double off = 100 * (high - low) / (high + low), middle = (low + high) / 2;
  if (plan.match == "state") {
    std::printf("  equal for all: state %.0f bytes +-%.1f %% a sequence, parameters, %s\n", middle,
                off, rest);
  } else {
    std::printf("  equal for all: %s %.1fk +-%.1f %%, %s\n",
                plan.match == "flops" ? "training FLOPs per token" : "parameters", middle / 1000,
                off, rest);
  }
}

}  // namespace subquad::app
