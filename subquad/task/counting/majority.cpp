// The most frequent symbol: which it is, and how often it occurs.
#include <algorithm>

#include "subquad/task/counting/counting.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

struct Majority {
  const char* name;
  bool how_often;     // the answer is a count
  bool final_answer;  // by default
  std::int64_t symbols, tokens, longest;
  const char* source;
};
constexpr Majority kMajority[] = {
    {"majority", false, true, 63, 2000000, 32, "Beck et al. 2024 (arXiv:2405.04517)"},
    {"plurality", false, false, 16, 1200000, 32,
     "majority of Beck et al. 2024 (arXiv:2405.04517), smaller and at every position"},
    {"majority_count", true, true, 63, 2000000, 2,
     "Beck et al. 2024 (arXiv:2405.04517); larger counts than in training are unseen classes, so "
     "it is tested at twice the training length at most"}};

// Ones minus zeros, next to a tie: answers there take a count, not a guess.
void close_accuracy(std::int64_t length, std::span<const Scored> batches,
                    std::vector<Metric>& metrics) {
  double right = 0, count = 0;
  for (const Scored& s : batches) {
    const auto in = s.batch.inputs.host<std::int32_t>(),
               target = s.batch.targets.host<std::int32_t>();
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::int64_t t = static_cast<std::int64_t>(i) % length;
      if (t == 0) sum = 0;
      sum += in[i] == 1 ? 1 : -1;
      if (target[i] < 0 || 10 * std::abs(sum) > t + 1) continue;
      count += 1;
      right += s.predicted[i] == target[i] ? 1 : 0;
    }
  }
  if (count > 0) metrics.push_back({"close_accuracy", right / count, "", true});
}

}  // namespace

std::unique_ptr<Task> make_majority(const std::string& name, const TaskOptions& options) {
  const Majority& m = *std::find_if(std::begin(kMajority), std::end(kMajority),
                                    [&](const Majority& k) { return name == k.name; });
  TaskOptionReader reader(name, options.extra);
  const std::int64_t symbols =
      reader.integer("symbols", m.symbols, 2, 256,
                     m.how_often ? "how many there are, and the largest count that is told apart"
                                 : "how many there are");
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = symbols,
            .classes = m.how_often ? symbols + 1 : symbols,
            .chance = 1 / static_cast<double>(symbols),
            .primary = "tail_accuracy",
            .guide = {.input = "uniform symbols",
                      .scored = "the most frequent symbol so far, not where two are tied",
                      .source = m.source}};
  if (m.how_often)
    t.spec.guide.scored = "the count of the most frequent symbol, at most the number of symbols";
  t.answer_at_end = true;
  apply_protocol(t,
                 {.final_answer = m.final_answer,
                  .multiple = m.how_often ? 1 : 8,
                  .longest = m.longest,
                  .tokens = m.tokens},
                 reader);
  t.answer = [](std::int32_t id) { return std::to_string(id); };
  t.row = [symbols, how_often = m.how_often](Draw& d, const RowRequest&, std::span<std::int32_t> in,
                                             std::span<std::int32_t> target) {
    std::vector<std::int64_t> count(static_cast<std::size_t>(symbols));
    std::int64_t most = 0, tied = 0;  // the largest count, and how many symbols have it
    std::int32_t leader = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] = d.id(symbols);
      const std::int64_t c = ++count[static_cast<std::size_t>(in[i])];
      if (c > most) {
        most = c;
        tied = 1;
        leader = in[i];
      } else if (c == most) {
        ++tied;
      }
      if (how_often) {
        target[i] = static_cast<std::int32_t>(std::min(most, symbols));
      } else if (tied == 1) {
        target[i] = leader;
      }
    }
  };
  return make_synthetic(std::move(t), reader, options);
}

std::unique_ptr<Task> make_binary_majority(const std::string& name, const TaskOptions& options) {
  TaskOptionReader reader(name, options.extra);
  SyntheticTask t;
  t.spec = {
      .name = name,
      .vocabulary = 2,
      .classes = 2,
      .chance = 0.5,
      .primary = "tail_accuracy",
      .guide = {.input = "bits that are 1 with a probability of the row's own, 0.3 to 0.7",
                .scored = "1 where ones are more than zeros so far, at odd counts only (no ties); "
                          "close_accuracy: where they differ by a tenth of the count at most",
                .source = "Arora et al. 2023 (arXiv:2312.04927), cumulative majority"}};
  t.answer_at_end = true;
  t.extra = close_accuracy;
  t.unscored_tail = 1;
  apply_protocol(t, {.multiple = 8}, reader);
  t.answer = [](std::int32_t id) { return std::to_string(id); };
  t.row = [](Draw& d, const RowRequest& request, std::span<std::int32_t> in,
             std::span<std::int32_t> target) {
    const double p = 0.3 + 0.4 * d.uniform();
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] = d.uniform() < p ? 1 : 0;
      sum += in[i] == 1 ? 1 : -1;
      if (sum != 0 && (i % 2 == 0 || request.final_answer)) target[i] = sum > 0 ? 1 : 0;
    }
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
