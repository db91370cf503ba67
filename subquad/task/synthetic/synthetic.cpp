#include "subquad/task/synthetic/synthetic.h"

#include <algorithm>
#include <cmath>

#include "subquad/base/digest.h"

namespace subquad {
namespace {

constexpr std::int64_t kEvalTokens = 16384;  // of one evaluation batch

bool is_test_row(std::span<const std::int32_t> row) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (std::int32_t id : row) {
    hash ^= static_cast<std::uint32_t>(id);
    hash *= 0x100000001b3ULL;
  }
  return ((hash ^ (hash >> 29)) & 15) == 0;
}

class Synthetic final : public Task {
 public:
  Synthetic(SyntheticTask definition, const TaskOptions& options)
      : t_(std::move(definition)), options_(options) {
    if (!options.extra.is_null()) {
      require(options.extra.is_object() && options.extra.size() == 0, ErrorCode::invalid_argument,
              "task ", t_.spec.name, " takes no further options");
    }
  }

  TaskSpec spec() const override { return t_.spec; }

  Batch train_batch(std::int64_t step) const override {
    const std::int64_t rows = options_.batch_size > 0 ? options_.batch_size : t_.spec.batch_size;
    const Rng rng{options_.seed, stream_id(t_.spec.name + "/train")};
    const auto s = static_cast<std::uint64_t>(step);
    std::int64_t length = t_.spec.train_length;
    if (t_.curriculum && options_.total_steps > 0) {
      const double progress =
          static_cast<double>(step) / (0.6 * static_cast<double>(options_.total_steps));
      const double longest = 4 + (static_cast<double>(length) - 4) * std::min(1.0, progress);
      const auto L = static_cast<std::int64_t>(std::lround(longest));
      const Rng pick{options_.seed, stream_id(t_.spec.name + "/length")};
      length = L / 2 + pick.below(L - L / 2 + 1, s, 0);
    }
    return draw(rng, s, 0, rows, length, t_.draws_length, false);
  }

  std::int64_t eval_batches(Split, std::int64_t length) const override {
    return (rows_at(length) + batch_rows(length) - 1) / batch_rows(length);
  }

  Batch eval_batch(Split split, std::int64_t length, std::int64_t index) const override {
    const Rng rng{0, stream_id(t_.spec.name + (split == Split::test ? "/test" : "/validation"))};
    const std::int64_t first = index * batch_rows(length);
    return draw(rng, static_cast<std::uint64_t>(length), first,
                std::min(batch_rows(length), rows_at(length) - first), length, false, true);
  }

  std::vector<Metric> score(std::int64_t length, std::span<const Scored> batches) const override {
    const std::int64_t columns = t_.columns(length);
    std::vector<double> right(static_cast<std::size_t>(columns)), count(right);
    for (const Scored& s : batches) {
      const auto target = s.batch.targets.host<std::int32_t>();
      for (std::size_t i = 0; i < target.size(); ++i) {
        if (target[i] < 0) continue;
        const std::size_t c = i % static_cast<std::size_t>(columns);
        count[c] += 1;
        right[c] += s.predicted[i] == target[i] ? 1 : 0;
      }
    }
    const auto mean = [&](std::int64_t from) {
      double r = 0, n = 0;
      for (auto c = static_cast<std::size_t>(from); c < right.size(); ++c) {
        r += right[c];
        n += count[c];
      }
      return n > 0 ? r / n : 0.0;
    };
    const double accuracy = mean(0), tail = mean(columns - columns / 4), chance = t_.spec.chance;
    const auto scaled = [&](double a) { return std::clamp((a - chance) / (1 - chance), 0.0, 1.0); };
    std::vector<Metric> metrics = {{"accuracy", accuracy, "", true},
                                   {"tail_accuracy", tail, "", true},
                                   {"scaled_accuracy", scaled(accuracy), "", true},
                                   {"scaled_tail_accuracy", scaled(tail), "", true},
                                   {"horizon", horizon(right, count), "tokens", true}};
    if (t_.extra) t_.extra(length, batches, metrics);
    return metrics;
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
    j["separation"] =
        t_.separate_by_hash
            ? "a hash of the sample decides: no sample is in both train and test"
            : "by length: samples longer than the training length are never trained on";
    return j;
  }

  std::string describe_sample(std::int64_t index) const override {
    const std::int64_t length = std::min<std::int64_t>(t_.spec.train_length, 24);
    const Rng rng{options_.seed, stream_id(t_.spec.name + "/show")};
    const Batch b = draw(rng, 0, index, 1, length, false, false);
    std::string in = "  input  ", target = "  target ";
    for (std::int64_t i = 0; i < b.inputs.numel(); ++i) {
      const std::string x = std::to_string(b.inputs.data<std::int32_t>()[i]);
      const std::int32_t y = b.targets.data<std::int32_t>()[i];
      const std::string z = y < 0 ? "." : std::to_string(y);
      const std::size_t width = std::max(x.size(), z.size()) + 1;
      in += std::string(width - x.size(), ' ') + x;
      target += std::string(width - z.size(), ' ') + z;
    }
    return in + "\n" + target + "\n  " + t_.legend + "\n";
  }

 private:
  std::int64_t batch_rows(std::int64_t length) const {
    return std::max<std::int64_t>(1, std::min(rows_at(length), kEvalTokens / t_.columns(length)));
  }
  std::int64_t rows_at(std::int64_t length) const {
    for (std::size_t i = 0; i < t_.spec.lengths.size(); ++i) {
      if (t_.spec.lengths[i] == length) return t_.rows[i];
    }
    return std::clamp<std::int64_t>(32768 / std::max<std::int64_t>(length, 1), 16,
                                    256);  // a length from the plan
  }

  Batch draw(const Rng& rng, std::uint64_t step, std::int64_t first, std::int64_t rows,
             std::int64_t length, bool draw_length, bool test) const {
    const std::int64_t columns = t_.columns(length);
    Batch b{Tensor({rows, columns}, DType::i32), Tensor({rows, columns}, DType::i32)};
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::span<std::int32_t> in(b.inputs.data<std::int32_t>() + r * columns,
                                       static_cast<std::size_t>(columns));
      const std::span<std::int32_t> target(b.targets.data<std::int32_t>() + r * columns, in.size());
      for (std::uint64_t attempt = 0;; ++attempt) {
        std::fill(in.begin(), in.end(), t_.padding);
        std::fill(target.begin(), target.end(), -1);
        Draw d(rng, step, (static_cast<std::uint64_t>(first + r) << 32) | (attempt << 20));
        t_.row(d, draw_length ? -length : length, in, target);
        // Rows too short to have enough variety on both sides (curriculum starts at 2) are not
        // rejected for long.
        if (!t_.separate_by_hash || is_test_row(in) == test || attempt >= 4000) break;
      }
    }
    return b;
  }

  // Largest position up to which every window of 16 positions is at least 90 % right.
  static double horizon(const std::vector<double>& right, const std::vector<double>& count) {
    constexpr std::size_t kWindow = 16;
    double r = 0, n = 0, reached = 0;
    for (std::size_t c = 0; c < right.size(); ++c) {
      r += right[c];
      n += count[c];
      if (c >= kWindow) {
        r -= right[c - kWindow];
        n -= count[c - kWindow];
      }
      if (n > 0 && r / n < 0.9) break;
      reached = static_cast<double>(c + 1);
    }
    return reached;
  }

  SyntheticTask t_;
  TaskOptions options_;
};

}  // namespace

std::unique_ptr<Task> make_synthetic(SyntheticTask definition, const TaskOptions& options) {
  return std::make_unique<Synthetic>(std::move(definition), options);
}

}  // namespace subquad
