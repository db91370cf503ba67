#include <algorithm>

#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

struct Counts {
  std::vector<double> right, count;  // by column
  double rows = 0, perfect = 0;
};

Counts count(std::int64_t columns, std::span<const Scored> batches) {
  const auto width = static_cast<std::size_t>(columns);
  Counts c{std::vector<double>(width), std::vector<double>(width), 0, 0};
  for (const Scored& s : batches) {
    const auto target = s.batch.targets.host<std::int32_t>();
    for (std::size_t row = 0; row < target.size(); row += width) {
      bool perfect = true;
      for (std::size_t i = 0; i < width; ++i) {
        if (target[row + i] < 0) continue;
        const bool right = s.predicted[row + i] == target[row + i];
        c.count[i] += 1;
        c.right[i] += right ? 1 : 0;
        perfect = perfect && right;
      }
      c.rows += 1;
      c.perfect += perfect ? 1 : 0;
    }
  }
  return c;
}

// Largest position up to which every window of 16 positions is at least 90 % right.
double horizon(const Counts& c) {
  constexpr std::size_t kWindow = 16;
  double r = 0, n = 0, reached = 0;
  for (std::size_t i = 0; i < c.right.size(); ++i) {
    r += c.right[i];
    n += c.count[i];
    if (i >= kWindow) {
      r -= c.right[i - kWindow];
      n -= c.count[i - kWindow];
    }
    if (n > 0 && r / n < 0.9) break;
    reached = static_cast<double>(i + 1);
  }
  return reached;
}

}  // namespace

std::vector<Metric> score_synthetic(const SyntheticTask& task, std::int64_t length,
                                    std::span<const Scored> batches) {
  const std::int64_t columns = task.columns(length);
  const Counts c = count(columns, batches);
  const auto mean = [&](std::int64_t from) {
    double r = 0, n = 0;
    for (auto i = static_cast<std::size_t>(from); i < c.right.size(); ++i) {
      r += c.right[i];
      n += c.count[i];
    }
    return n > 0 ? r / n : 0.0;
  };
  const double chance = task.spec.chance;
  const auto scaled = [&](double a) { return std::clamp((a - chance) / (1 - chance), 0.0, 1.0); };
  const double accuracy = mean(0), tail = mean(columns - columns / 4);
  std::vector<Metric> metrics;
  if (task.final_answer) {
    metrics = {{"accuracy", accuracy, "", true}, {"scaled_accuracy", scaled(accuracy), "", true}};
  } else {
    metrics = {{"accuracy", accuracy, "", true},
               {"tail_accuracy", tail, "", true},
               {"scaled_accuracy", scaled(accuracy), "", true},
               {"scaled_tail_accuracy", scaled(tail), "", true},
               {"sequence_accuracy", c.rows > 0 ? c.perfect / c.rows : 0.0, "", true},
               {"horizon", horizon(c), "tokens", true}};
  }
  if (task.extra) task.extra(length, batches, metrics);
  return metrics;
}

}  // namespace subquad
