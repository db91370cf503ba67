// a^n b^n and a^n b^n c^n: after the a's every change of letter, and the end, can be predicted.
#include <algorithm>

#include "subquad/task/counting/counting.h"
#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

// Ids: 0 begin, 1 .. letters, then the end.
constexpr std::int32_t kBegin = 0;

// Of a row's scored targets, n for each letter after the first, the last of every n is a change.
struct Stops {
  double worst = 1;   // stop / n that is farthest from 1; stop: after how many targets of a letter
                      // the model first predicts its change, 2 n if never
  bool exact = true;  // every change at its place
};

Stops stops_of(std::span<const std::int32_t> target, std::span<const std::int32_t> predicted,
               std::size_t n) {
  Stops s;
  for (std::size_t from = 0; from < target.size(); from += n) {
    const std::int32_t change = target[from + n - 1];
    std::size_t stop = 2 * n;
    for (std::size_t i = n; i-- > 0;) {
      if (predicted[from + i] == change) stop = i + 1;
    }
    const double ratio = static_cast<double>(stop) / static_cast<double>(n);
    if (std::abs(ratio - 1) > std::abs(s.worst - 1)) s.worst = ratio;
    s.exact = s.exact && stop == n;
  }
  return s;
}

void stop_metrics(std::int64_t letters, std::int64_t length, std::span<const Scored> batches,
                  std::vector<Metric>& metrics) {
  const auto columns = static_cast<std::size_t>(length) + 1;
  double rows = 0, ratio = 0, exact = 0, same = 0, same_right = 0, change = 0, change_right = 0;
  std::vector<std::int32_t> target, predicted;  // of one row, where it is scored
  for (const Scored& s : batches) {
    const auto all = s.batch.targets.host<std::int32_t>();
    for (std::size_t row = 0; row < all.size(); row += columns) {
      target.clear();
      predicted.clear();
      for (std::size_t i = row; i < row + columns; ++i) {
        if (all[i] < 0) continue;
        target.push_back(all[i]);
        predicted.push_back(s.predicted[i]);
      }
      const std::size_t n = target.size() / static_cast<std::size_t>(letters - 1);
      for (std::size_t i = 0; i < target.size(); ++i) {
        const bool changes = i % n == n - 1;
        (changes ? change : same) += 1;
        if (target[i] == predicted[i]) (changes ? change_right : same_right) += 1;
      }
      const Stops stops = stops_of(target, predicted, n);
      rows += 1;
      ratio += stops.worst;
      exact += stops.exact ? 1 : 0;
    }
  }
  metrics.push_back({"stop_ratio", ratio / rows, "", true});
  metrics.push_back({"exact", exact / rows, "", true});
  metrics.push_back({"balanced_accuracy",
                     0.5 * ((same > 0 ? same_right / same : 1.0) + change_right / change), "",
                     true});
}

}  // namespace

std::unique_ptr<Task> make_counter_language(const std::string& name, const TaskOptions& options) {
  const std::int64_t letters = name == "anbncn" ? 3 : 2;
  const auto end = static_cast<std::int32_t>(letters + 1);
  TaskOptionReader reader(name, options.extra);
  SyntheticTask t;
  t.spec = {.name = name,
            .vocabulary = letters + 2,
            .classes = letters + 2,
            .chance = 0.5,
            .primary = "stop_ratio",
            .guide = {.source = "a formal language of arXiv:2606.12364; format and metrics ours"}};
  TaskGuide& guide = t.spec.guide;
  guide.input = letters == 2 ? "begin (^), n times a, n times b, end ($); n up to length / 2"
                             : "begin (^), n times a, b and c each, end ($); n up to length / 3";
  guide.scored =
      "from the first b on, the next token; a stop ratio of 1 is a stop after n letters, 2 none";
  t.shortest = letters;
  t.one_per_length = true;
  t.columns = [](std::int64_t length) { return length + 1; };
  t.padding = end;
  t.extra = [letters](std::int64_t length, std::span<const Scored> batches,
                      std::vector<Metric>& metrics) {
    stop_metrics(letters, length, batches, metrics);
  };
  apply_protocol(t,
                 {.multiple = 8,
                  .dense_only = "not final: the last answer is always the end, so a model could "
                                "say it without counting"},
                 reader);
  std::fill(t.rows.begin(), t.rows.end(), 1);  // all there is
  t.symbol = [end](std::int32_t id) {
    return std::string(1, id == kBegin ? '^' : id == end ? '$' : "abc"[id - 1]);
  };
  t.row = [letters, end](Draw& d, const RowRequest& request, std::span<std::int32_t> in,
                         std::span<std::int32_t> target) {
    const std::int64_t longest = request.length / letters;
    const auto n = static_cast<std::size_t>(request.training ? 1 + d.below(longest) : longest);
    const std::size_t all = n * static_cast<std::size_t>(letters);
    in[0] = kBegin;
    for (std::size_t i = 0; i < all; ++i) in[i + 1] = static_cast<std::int32_t>(1 + i / n);
    for (std::size_t i = n + 1; i <= all; ++i) target[i] = i == all ? end : in[i + 1];
  };
  return make_synthetic(std::move(t), reader, options);
}

}  // namespace subquad
