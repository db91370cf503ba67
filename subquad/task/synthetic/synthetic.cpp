#include "subquad/task/synthetic/synthetic.h"

#include <algorithm>
#include <cmath>

#include "subquad/base/digest.h"

namespace subquad {
namespace {

constexpr std::int64_t kEvalTokens = 16384;  // of one evaluation batch
// Samples shorter than this are too few to hold some out: all of them are training samples, and no
// evaluation length is shorter.
constexpr std::size_t kShortestHeldOut = 8;
constexpr std::int64_t kLongestRow = std::int64_t{1} << 24;
constexpr std::uint64_t kMostAttempts = std::uint64_t{1} << 16;

enum class Share : std::uint8_t { train, validation, test };

// Where a sample belongs: a function of the sample, so that it cannot be in two places.
Share share_of(std::span<const std::int32_t> sample) {
  if (sample.size() < kShortestHeldOut) return Share::train;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (std::int32_t id : sample) {
    hash ^= static_cast<std::uint32_t>(id);
    hash *= 0x100000001b3ULL;
  }
  if (((hash ^ (hash >> 29)) & 15) != 0) return Share::train;
  return ((hash >> 24) ^ (hash >> 45)) & 1 ? Share::test : Share::validation;
}

// Keeps the last scored target alone.
void keep_last(std::span<std::int32_t> target) {
  bool found = false;
  for (std::size_t i = target.size(); i-- > 0;) {
    if (found) target[i] = -1;
    found = found || target[i] >= 0;
  }
}

// What a causal model sees before it has answered everything: positions up to the last scored one.
std::size_t seen(std::span<const std::int32_t> target) {
  std::size_t n = target.size();
  while (n > 0 && target[n - 1] < 0) --n;
  return n;
}

class Synthetic final : public Task {
 public:
  Synthetic(SyntheticTask definition, const TaskOptions& options)
      : t_(std::move(definition)), options_(options) {}

  TaskSpec spec() const override { return t_.spec; }

  Batch train_batch(std::int64_t step) const override {
    const std::int64_t rows = options_.batch_size > 0 ? options_.batch_size : t_.spec.batch_size;
    const auto s = static_cast<std::uint64_t>(step);
    return draw({options_.seed, stream_id(t_.spec.name + "/train")}, s, 0, rows, train_length(step),
                Share::train);
  }

  std::int64_t eval_batches(Split, std::int64_t length) const override {
    std::int64_t least = t_.shortest;
    if (!t_.one_per_length) {
      least = std::max(least, static_cast<std::int64_t>(kShortestHeldOut) + t_.unscored_tail);
    }
    require(length >= least && length <= kLongestRow, ErrorCode::invalid_argument, "task ",
            t_.spec.name, " at length ", length, ": wanted ", least, " to ", kLongestRow,
            t_.shortest < least ? " (shorter samples are all trained on)" : "");
    return (rows_at(length) + batch_rows(length) - 1) / batch_rows(length);
  }

  Batch eval_batch(Split split, std::int64_t length, std::int64_t index) const override {
    require(index >= 0 && index < eval_batches(split, length), ErrorCode::invalid_argument, "task ",
            t_.spec.name, " has no evaluation batch ", index, " at length ", length);
    const bool test = split == Split::test;
    const Rng rng{0, stream_id(t_.spec.name + (test ? "/test" : "/validation"))};
    const std::int64_t first = index * batch_rows(length);
    return draw(rng, static_cast<std::uint64_t>(length), first,
                std::min(batch_rows(length), rows_at(length) - first), length,
                test ? Share::test : Share::validation);
  }

  std::vector<Metric> score(std::int64_t length, std::span<const Scored> batches) const override {
    return score_synthetic(t_, length, batches);
  }

  Json provenance() const override {
    // The generators are code: what pins the data is the digest of the first evaluation batch of
    // each length.
    Json j = Json::object();
    for (std::int64_t length : t_.spec.lengths) {
      const Batch b = eval_batch(Split::test, length, 0);
      const auto ids = b.inputs.host<std::int32_t>();
      j["test/" + std::to_string(length)] = "sha256:" + sha256(std::as_bytes(std::span(ids)));
    }
    j["separation"] = t_.spec.guide.separation;
    return j;
  }

  std::string describe_sample(std::int64_t index) const override {
    const std::int64_t length =
        std::min(t_.spec.train_length, std::max<std::int64_t>(24, t_.shortest + t_.shortest / 2));
    const Batch b =
        draw({options_.seed, stream_id(t_.spec.name + "/show")}, 0, index, 1, length, Share::train);
    std::string out, in, target;
    for (std::int64_t i = 0; i < b.inputs.numel(); ++i) {
      const std::int32_t id = b.inputs.data<std::int32_t>()[i];
      const std::int32_t answer = b.targets.data<std::int32_t>()[i];
      const std::string x = print_input(id), y = answer < 0 ? "." : print_answer(answer);
      const std::size_t width = std::max(x.size(), y.size()) + 1;
      in += std::string(width - x.size(), ' ') + x;
      target += std::string(width - y.size(), ' ') + y;
      if (in.size() < 88 && i + 1 < b.inputs.numel()) continue;
      out += "  input  " + in + "\n  target " + target + "\n";
      in.clear();
      target.clear();
    }
    return out;
  }

 private:
  std::string print_input(std::int32_t id) const {
    if (t_.final_answer && t_.variable_length && id == t_.padding) return "_";
    return t_.symbol ? t_.symbol(id) : std::to_string(id);
  }
  std::string print_answer(std::int32_t id) const {
    return t_.answer ? t_.answer(id) : print_input(id);
  }

  // Length of the rows of a step.
  std::int64_t train_length(std::int64_t step) const {
    const auto s = static_cast<std::uint64_t>(step);
    const Rng pick{options_.seed, stream_id(t_.spec.name + "/length")};
    if (!t_.mix.empty()) {
      std::int64_t all = 0;
      for (const LengthShare& m : t_.mix) all += m.weight;
      std::int64_t at = pick.below(all, s, 0);
      for (const LengthShare& m : t_.mix) {
        if (at < m.weight) return m.length;
        at -= m.weight;
      }
    }
    const std::int64_t length = t_.spec.train_length;
    if (!t_.curriculum || options_.total_steps <= 0) return length;
    const double progress =
        static_cast<double>(step) / (0.6 * static_cast<double>(options_.total_steps));
    const double longest = 4 + (static_cast<double>(length) - 4) * std::min(1.0, progress);
    const auto L = static_cast<std::int64_t>(std::lround(longest));
    return std::max(t_.shortest, L / 2 + pick.below(L - L / 2 + 1, s, 0));
  }

  std::int64_t batch_rows(std::int64_t length) const {
    return std::max<std::int64_t>(1, std::min(rows_at(length), kEvalTokens / t_.columns(length)));
  }
  std::int64_t rows_at(std::int64_t length) const {
    for (std::size_t i = 0; i < t_.spec.lengths.size(); ++i) {
      if (t_.spec.lengths[i] == length) return t_.rows[i];
    }
    if (t_.one_per_length) return 1;
    return std::clamp<std::int64_t>(32768 / std::max<std::int64_t>(length, 1), 16,
                                    256);  // a length from the plan
  }

  // Data tokens of one row of a batch of `length`: final answers are asked after 3 tokens and more.
  std::int64_t row_length(const Rng& rng, std::uint64_t step, std::int64_t row, std::int64_t length,
                          Share share) const {
    const std::int64_t least = std::max<std::int64_t>(3, t_.shortest);
    if (share != Share::train || !t_.final_answer || !t_.variable_length || length <= least)
      return length;
    const Rng pick{rng.seed, rng.stream ^ stream_id("row length")};
    return least + pick.below(length - least + 1, step, static_cast<std::uint64_t>(row));
  }

  // Draws one row until it is of the wanted share.
  void draw_row(const Rng& rng, std::uint64_t step, std::int64_t row, const RowRequest& request,
                Share share, std::span<std::int32_t> in, std::span<std::int32_t> target) const {
    const auto columns = static_cast<std::size_t>(t_.columns(request.length));
    for (std::uint64_t attempt = 0; attempt < kMostAttempts; ++attempt) {
      std::fill(in.begin(), in.end(), t_.padding);
      std::fill(target.begin(), target.end(), -1);
      Draw d(rng, step, (static_cast<std::uint64_t>(row) << 32) | (attempt << 20));
      t_.row(d, request, in.first(columns), target.first(columns));
      if (t_.final_answer) {
        if (t_.answer_at_end && target[columns - 1] < 0) continue;
        keep_last(target);
      }
      const std::size_t n = seen(target);
      if (n > 0 && (t_.one_per_length || share_of(in.first(n)) == share)) return;
    }
    fail(ErrorCode::invalid_argument, "task ", t_.spec.name, ": of ", request.length,
         " tokens there are too few different samples to hold some out; give a longer length");
  }

  Batch draw(const Rng& rng, std::uint64_t step, std::int64_t first, std::int64_t rows,
             std::int64_t length, Share share) const {
    const std::int64_t columns = t_.columns(length);
    Batch b{Tensor({rows, columns}, DType::i32), Tensor({rows, columns}, DType::i32)};
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::span<std::int32_t> in(b.inputs.data<std::int32_t>() + r * columns,
                                       static_cast<std::size_t>(columns));
      const std::span<std::int32_t> target(b.targets.data<std::int32_t>() + r * columns, in.size());
      const RowRequest request{row_length(rng, step, first + r, length, share),
                               share == Share::train, t_.final_answer};
      draw_row(rng, step, first + r, request, share, in, target);
    }
    return b;
  }

  SyntheticTask t_;
  TaskOptions options_;
};

}  // namespace

std::unique_ptr<Task> make_synthetic(SyntheticTask task, const TaskOptionReader& reader,
                                     const TaskOptions& options) {
  task.spec.guide.options = reader.finish();
  task.spec.guide.separation =
      task.one_per_length
          ? "by length alone: a length has one sample, so the test at the training length is "
            "trained on; longer samples never are"
          : "by a hash of the sample (what a causal model sees up to the last scored position): "
            "none is in two of train, validation and test; samples of fewer than 8 tokens are too "
            "few to hold any out, all belong to train and none is tested";
  return std::make_unique<Synthetic>(std::move(task), options);
}

}  // namespace subquad
