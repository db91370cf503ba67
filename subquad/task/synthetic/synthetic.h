// What all generated tasks share: rows drawn from counter-based streams, train and test kept apart,
// the usual metrics. A task adds its alphabet and its row.
#pragma once

#include <functional>
#include <memory>

#include "subquad/base/rng.h"
#include "subquad/task/task.h"

namespace subquad {

// Consecutive draws of one row.
class Draw {
 public:
  Draw(const Rng& rng, std::uint64_t step, std::uint64_t first)
      : rng_(rng), step_(step), next_(first) {}
  std::int64_t below(std::int64_t n) { return rng_.below(n, step_, next_++); }

 private:
  Rng rng_;
  std::uint64_t step_, next_;
};

struct SyntheticTask {
  TaskSpec spec;
  // Fills one row of `length` data tokens. in and target have columns(length) entries, preset to
  // `padding` and -1.
  std::function<void(Draw&, std::int64_t length, std::span<std::int32_t> in,
                     std::span<std::int32_t> target)>
      row;
  std::function<std::int64_t(std::int64_t length)> columns = [](std::int64_t length) {
    return length;
  };
  std::int32_t padding = 0;
  bool draws_length = false;  // the row draws its own length, at most `length`, in training
  bool curriculum = false;    // batch lengths grow over the first 60 % of the steps
  bool separate_by_hash =
      true;  // a row belongs to test iff its hash says so; false: lengths separate them
  std::vector<std::int64_t> rows;  // evaluation rows per entry of spec.lengths
  // Further metrics beside accuracy, tail and scaled accuracy and horizon.
  std::function<void(std::int64_t length, std::span<const Scored>, std::vector<Metric>&)> extra;
  std::string legend;  // how to read the ids, for describe_sample
};

std::unique_ptr<Task> make_synthetic(SyntheticTask definition, const TaskOptions& options);

}  // namespace subquad
