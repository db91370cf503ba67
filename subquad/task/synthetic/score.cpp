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
  const double chance = task.spec.chance;
  std::vector<Metric> metrics;
  // Accuracy over columns `from` and later, and the same scaled; nothing where nothing is scored.
  const auto add = [&](std::int64_t from, const std::string& name) {
    double r = 0, n = 0;
    for (auto i = static_cast<std::size_t>(from); i < c.right.size(); ++i) {
      r += c.right[i];
      n += c.count[i];
    }
    if (n == 0) return;
    metrics.push_back({name, r / n, "", true});
    metrics.push_back(
        {"scaled_" + name, std::clamp((r / n - chance) / (1 - chance), 0.0, 1.0), "", true});
  };
  add(0, "accuracy");
  if (!task.final_answer) {
    add(columns - columns / 4, "tail_accuracy");
    metrics.push_back({"sequence_accuracy", c.rows > 0 ? c.perfect / c.rows : 0.0, "", true});
    metrics.push_back({"horizon", horizon(c), "tokens", true});
  }
  if (task.extra) task.extra(length, batches, metrics);
  return metrics;
}

}  // namespace subquad
