#include "subquad/task/counting/counting.h"

#include <algorithm>
#include <array>

#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

constexpr std::int32_t kBos = 0, kA = 1, kB = 2, kEos = 3;

// n from the position of the scored targets: a row scores n of them.
void stop_metrics(std::int64_t length, std::span<const Scored> batches,
                  std::vector<Metric>& metrics) {
  const std::int64_t columns = length + 1;
  double rows = 0, ratio = 0, exact = 0, b_right = 0, b_count = 0, eos_right = 0;
  for (const Scored& s : batches) {
    const auto target = s.batch.targets.host<std::int32_t>();
    for (std::size_t row = 0; row * static_cast<std::size_t>(columns) < target.size(); ++row) {
      std::int64_t n = 0, stop = 0;  // stop: after how many b's the model first predicts the end
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::size_t i = row * static_cast<std::size_t>(columns) + static_cast<std::size_t>(c);
        if (target[i] < 0) continue;
        ++n;
        if (stop == 0 && s.predicted[i] == kEos) stop = n;
        if (target[i] == kB) {
          b_count += 1;
          b_right += s.predicted[i] == kB ? 1 : 0;
        } else {
          eos_right += s.predicted[i] == kEos ? 1 : 0;
        }
      }
      rows += 1;
      ratio += stop == 0 ? 2.0 : static_cast<double>(stop) / static_cast<double>(n);
      exact += stop == n ? 1 : 0;
    }
  }
  const double b_accuracy = b_count > 0 ? b_right / b_count : 1.0;
  metrics.push_back({"stop_ratio", ratio / rows, "", true});
  metrics.push_back({"exact", exact / rows, "", true});
  metrics.push_back({"balanced_accuracy", 0.5 * (b_accuracy + eos_right / rows), "", true});
}

}  // namespace

std::unique_ptr<Task> make_anbn(const TaskOptions& options) {
  SyntheticTask t;
  t.spec = {.name = "anbn",
            .vocabulary = 4,
            .classes = 4,
            .train_length = 32,
            .batch_size = 32,
            .lengths = {32, 64, 256, 1024},
            .chance = 0.5,
            .primary = "stop_ratio",
            .primary_length = 256,
            .default_tokens = 800000,
            .learning_rate = 2e-3};
  // At a fixed n there is one sample only; evaluation needs it once.
  t.rows = {1, 1, 1, 1};
  t.columns = [](std::int64_t length) { return length + 1; };
  t.padding = kEos;
  t.draws_length = true;
  t.separate_by_hash = false;
  t.extra = stop_metrics;
  t.legend =
      "ids 0 begin, 1 a, 2 b, 3 end; target: the next token, scored from the first b on (. is not "
      "scored)";
  t.row = [](Draw& d, std::int64_t length, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    const std::int64_t longest = std::abs(length) / 2;
    const auto n = static_cast<std::size_t>(length < 0 ? 1 + d.below(longest) : longest);
    in[0] = kBos;
    std::fill_n(in.begin() + 1, n, kA);
    std::fill_n(in.begin() + 1 + static_cast<std::ptrdiff_t>(n), n, kB);
    std::fill_n(target.begin() + 1 + static_cast<std::ptrdiff_t>(n), n - 1, kB);
    target[2 * n] = kEos;
  };
  return make_synthetic(std::move(t), options);
}

std::unique_ptr<Task> make_plurality(const TaskOptions& options) {
  SyntheticTask t;
  t.spec = {.name = "plurality",
            .vocabulary = 16,
            .classes = 16,
            .train_length = 32,
            .batch_size = 32,
            .lengths = {32, 64, 256, 1024},
            .chance = 1.0 / 16,
            .primary = "tail_accuracy",
            .primary_length = 256,
            .default_tokens = 1200000,
            .learning_rate = 2e-3};
  t.rows = {256, 256, 128, 32};
  t.legend = "target: the most frequent symbol so far (. where two are tied)";
  t.row = [](Draw& d, std::int64_t length, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    std::array<std::int64_t, 16> count{};
    for (std::size_t i = 0; i < static_cast<std::size_t>(length); ++i) {
      in[i] = static_cast<std::int32_t>(d.below(16));
      ++count[static_cast<std::size_t>(in[i])];
      const auto most = std::max_element(count.begin(), count.end());
      if (std::count(count.begin(), count.end(), *most) == 1)
        target[i] = static_cast<std::int32_t>(most - count.begin());
    }
  };
  return make_synthetic(std::move(t), options);
}

}  // namespace subquad
