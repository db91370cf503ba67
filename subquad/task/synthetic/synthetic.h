// What all generated tasks share: rows drawn from counter-based streams, two supervision modes,
// train and test kept apart, the usual metrics. A task adds its alphabet and its row.
#pragma once

#include <functional>
#include <memory>

#include "subquad/base/rng.h"
#include "subquad/task/options.h"
#include "subquad/task/task.h"

namespace subquad {

// Consecutive draws of one row.
class Draw {
 public:
  Draw(const Rng& rng, std::uint64_t step, std::uint64_t first)
      : rng_(rng), step_(step), next_(first) {}
  std::int64_t below(std::int64_t n) { return rng_.below(n, step_, next_++); }
  std::int32_t id(std::int64_t n) { return static_cast<std::int32_t>(below(n)); }
  double uniform() { return rng_.uniform(step_, next_++); }

 private:
  Rng rng_;
  std::uint64_t step_, next_;
};

// One row to fill.
struct RowRequest {
  std::int64_t length = 0;    // data tokens
  bool training = false;      // evaluation rows fill their length, training rows may vary within it
  bool final_answer = false;  // only the last scored position will be kept
};

// A part of the training batches that has its own length.
struct LengthShare {
  std::int64_t length = 0;
  std::int64_t weight = 0;
};

// in and target have columns(length) entries, preset to `padding` and -1 (not scored).
using RowFunction =
    std::function<void(Draw&, const RowRequest&, std::span<std::int32_t>, std::span<std::int32_t>)>;

struct SyntheticTask {
  TaskSpec spec;
  RowFunction row;
  std::function<std::int64_t(std::int64_t length)> columns = [](std::int64_t length) {
    return length;
  };
  std::int32_t padding = 0;
  std::int64_t shortest = 2;       // least length a row can have
  std::int64_t unscored_tail = 0;  // positions at the end that a length may leave without an answer
  bool variable_length = true;     // rows of any length exist: curricula and final answers vary it
  bool answer_at_end = false;    // final answers: draw again where the last position is not scored
  bool one_per_length = false;   // a length has one sample only: nothing to hold out
  std::vector<LengthShare> mix;  // lengths of training batches; empty: train_length
  // Further metrics beside those of score_synthetic.
  std::function<void(std::int64_t length, std::span<const Scored>, std::vector<Metric>&)> extra;
  // How ids print; empty: as numbers.
  std::function<std::string(std::int32_t)> symbol, answer;

  // Set by apply_protocol:
  bool final_answer = false;
  bool curriculum = false;         // batch lengths grow over the first 60 % of the steps
  std::vector<std::int64_t> rows;  // evaluation rows per entry of spec.lengths
};

// What a family says about its protocol; the options of a plan then choose within it.
struct Protocol {
  std::int64_t train_length = 32;
  bool final_answer = false;         // default supervision
  bool curriculum = false;           // default
  std::int64_t multiple = 8;         // of the training length, at which the primary metric is read
  std::int64_t longest = 32;         // largest multiple that is tested
  std::int64_t tokens = 800000;      // training budget
  bool few_rows = false;             // long rows: fewer of them are tested
  const char* dense_only = nullptr;  // why there are no final answers
};

// Reads supervision, train_length and curriculum, and sets what follows from them: the tested
// lengths (1, 2, 8 and 32 times the training length; 1, 4 and 16 times from 128 on), the rows of
// each, the primary metric and the budget (20,000 steps from 128 on).
// Errors: invalid_argument with the option, what was got and what was wanted.
void apply_protocol(SyntheticTask& task, const Protocol& protocol, TaskOptionReader& options);

// accuracy, tail_accuracy (last quarter of positions), both scaled by chance, sequence_accuracy
// (rows without a mistake) and horizon; of final answers accuracy and scaled_accuracy alone.
std::vector<Metric> score_synthetic(const SyntheticTask& task, std::int64_t length,
                                    std::span<const Scored> batches);

// The family's `task`, after apply_protocol. `reader` has read all options.
std::unique_ptr<Task> make_synthetic(SyntheticTask task, const TaskOptionReader& reader,
                                     const TaskOptions& options);

}  // namespace subquad
