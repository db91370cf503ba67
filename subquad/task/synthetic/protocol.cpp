#include <algorithm>

#include "subquad/task/synthetic/synthetic.h"

namespace subquad {
namespace {

constexpr std::int64_t kLongTraining = 128;  // from here on the long protocol
constexpr std::int64_t kLongestTraining = 65536;
constexpr std::int64_t kLongSteps = 20000;

struct Test {
  std::int64_t multiple, rows, few_rows;
};
constexpr Test kShort[] = {{1, 256, 256}, {2, 256, 128}, {8, 128, 64}, {32, 32, 16}};
constexpr Test kLong[] = {{1, 1024, 256}, {4, 1024, 64}, {16, 128, 16}};

}  // namespace

void apply_protocol(SyntheticTask& t, const Protocol& p, TaskOptionReader& options) {
  TaskSpec& s = t.spec;
  std::vector<std::string> supervisions = {"dense"};
  if (!p.dense_only) supervisions.emplace_back("final");
  t.final_answer =
      options.choice("supervision", p.final_answer ? "final" : "dense", supervisions,
                     p.dense_only        ? p.dense_only
                     : t.variable_length ? "every position, or the last one of rows of 3 to "
                                           "train_length tokens"
                                         : "every answer of a row, or its last one") == "final";
  s.train_length =
      options.integer("train_length", p.train_length, std::max<std::int64_t>(16, t.shortest),
                      kLongestTraining, "tokens of the longest training sequence");
  if (t.variable_length) {
    t.curriculum = options.flag("curriculum", p.curriculum,
                                "grow the training length from 4 over the first 60 % of the steps");
  }
  const bool is_long = s.train_length >= kLongTraining;
  s.lengths.clear();
  t.rows.clear();
  for (const Test& test : is_long ? std::span<const Test>(kLong) : std::span<const Test>(kShort)) {
    if (test.multiple > p.longest) continue;
    s.lengths.push_back(s.train_length * test.multiple);
    t.rows.push_back(p.few_rows ? test.few_rows : test.rows);
  }
  const bool own_length = s.train_length == p.train_length;
  const std::int64_t read_at =
      is_long && !own_length ? std::min<std::int64_t>(16, p.longest) : p.multiple;
  s.primary_length = *std::find_if(s.lengths.begin(), s.lengths.end(), [&](std::int64_t length) {
    return length >= s.train_length * read_at || length == s.lengths.back();
  });
  s.default_tokens = is_long && !own_length ? kLongSteps * s.batch_size * s.train_length : p.tokens;
  if (t.final_answer && s.primary == "tail_accuracy") s.primary = "accuracy";
  // After the last token of a short row.
  if (t.final_answer && t.variable_length) t.padding = static_cast<std::int32_t>(s.vocabulary++);
}

}  // namespace subquad
