#include "subquad/task/code/code.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "subquad/base/rng.h"
#include "subquad/data/corpus.h"
#include "subquad/task/code/probes.h"
#include "subquad/task/options.h"

namespace subquad {
namespace {

constexpr std::int64_t kWindow = 256, kRows = 32;
constexpr std::int64_t kTestBytes = 65536, kValidationBytes = 32768;
constexpr std::int64_t kBorders[] = {0, 16, 64, 256, 1024, 4096, 16384};
constexpr std::size_t kParts = std::size(kBorders) - 1;

class Bytes final : public Task {
 public:
  Bytes(const TaskOptions& options, bool code)
      : options_(options),
        code_(code),
        corpus_({.source = source(options, code), .code = code, .cache = default_corpus_cache()}) {
    TaskOptionReader reader(code ? "code" : "text", options.extra);
    test_bytes_ = reader.integer("test_bytes", kTestBytes, 256, std::int64_t{16} << 20,
                                 "bytes of the test split that are scored, in even windows");
    known_options_ = reader.finish();
  }

  TaskSpec spec() const override {
    TaskSpec s = byte_task_spec(code_ ? "code" : "text");
    s.guide = {.input = "bytes of windows of source files or text; | is a document's end",
               .scored = "every byte's target is the byte after it",
               .source = "files the user chose, or the default corpus",
               .separation =
                   "documents belong to train, validation or test by a hash of their "
                   "folder, file or place: " +
                   corpus_.index().at("split").as_string(),
               .options = known_options_};
    return s;
  }

  Batch train_batch(std::int64_t step) const override {
    const std::int64_t rows = options_.batch_size > 0 ? options_.batch_size : spec().batch_size;
    const auto text = corpus_.split(0);
    const Rng rng{options_.seed, stream_id("code/train")};
    Batch b{Tensor({rows, kWindow}, DType::i32), Tensor({rows, kWindow}, DType::i32)};
    const std::int64_t places =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(text.size()) - kWindow - 1);
    for (std::int64_t r = 0; r < rows; ++r) {
      fill(b, r, text,
           rng.below(places, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(r)),
           kWindow);
    }
    return b;
  }

  std::int64_t eval_batches(Split split, std::int64_t length) const override {
    return (rows_of(split, length) + kRows - 1) / kRows;
  }

  // Windows spread evenly over the split.
  Batch eval_batch(Split split, std::int64_t length, std::int64_t index) const override {
    const std::int64_t all = rows_of(split, length), first = index * kRows,
                       rows = std::min(kRows, all - first);
    const auto text = corpus_.split(split == Split::test ? 2 : 1);
    const std::int64_t places =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(text.size()) - length - 1);
    Batch b{Tensor({rows, length}, DType::i32), Tensor({rows, length}, DType::i32)};
    for (std::int64_t r = 0; r < rows; ++r) fill(b, r, text, places * (first + r) / all, length);
    return b;
  }

  std::vector<Metric> score(std::int64_t length, std::span<const Scored> batches) const override {
    double nats = 0, count = 0, part_nats[kParts] = {}, part_count[kParts] = {};
    for (const Scored& s : batches) {
      const auto target = s.batch.targets.host<std::int32_t>();
      for (std::size_t i = 0; i < target.size(); ++i) {
        if (target[i] < 0) continue;
        const auto loss = static_cast<double>(s.loss[i]);
        nats += loss;
        count += 1;
        const auto position = static_cast<std::int64_t>(i) % length;
        for (std::size_t k = 0; k < kParts; ++k) {
          if (position < kBorders[k] || position >= kBorders[k + 1]) continue;
          part_nats[k] += loss;
          part_count[k] += 1;
        }
      }
    }
    const double bits = 1 / std::log(2.0);
    std::vector<Metric> metrics = {
        {"bits_per_byte", bits * nats / std::max(count, 1.0), "bits/byte", false}};
    for (std::size_t k = 0; k < kParts; ++k) {
      if (part_count[k] == 0) continue;
      metrics.push_back(
          {"loss_at_" + std::to_string(kBorders[k]) + "_" + std::to_string(kBorders[k + 1]),
           bits * part_nats[k] / part_count[k], "bits/byte", false});
    }
    if (code_) {
      const auto probes = code_probes(length, batches);
      metrics.insert(metrics.end(), probes.begin(), probes.end());
    }
    return metrics;
  }

  Json provenance() const override {
    Json j = Json::object();
    const Json& index = corpus_.index();
    for (const auto& [split, info] : index.at("splits").as_object()) {
      j[split] = "sha256:" + info.at("sha256").as_string() + " (" +
                 std::to_string(info.at("bytes").as_int()) + " bytes, " +
                 std::to_string(info.at("documents").as_int()) + " documents)";
    }
    j["split"] = index.at("split");
    j["dropped"] = index.at("dropped");
    return j;
  }

  std::string describe_sample(std::int64_t index) const override {
    const auto text = corpus_.split(0);
    const Rng rng{options_.seed, stream_id("code/show")};
    const std::int64_t places =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(text.size()) - 200);
    const auto at =
        static_cast<std::size_t>(rng.below(places, 0, static_cast<std::uint64_t>(index)));
    std::string out = "  each byte's target is the byte after it:\n";
    for (std::size_t i = at; i < std::min(at + 160, text.size()); ++i)
      out += text[i] == 0 ? '|' : static_cast<char>(text[i]);
    return out + "\n";
  }

  const ByteCorpus* corpus() const override { return &corpus_; }

 private:
  static std::string source(const TaskOptions& o, bool code) {
    if (!o.data.empty()) return o.data;
    require(code, ErrorCode::invalid_argument, "task text needs --data: any UTF-8 file or folder");
    const char* set = std::getenv("SUBQUAD_CORPUS");
    return set ? set : "data/corpus";
  }
  std::int64_t rows_of(Split split, std::int64_t length) const {
    const std::int64_t wanted = split == Split::test ? test_bytes_ : kValidationBytes;
    const auto size = static_cast<std::int64_t>(corpus_.split(split == Split::test ? 2 : 1).size());
    return std::max<std::int64_t>(1, std::min(wanted, size) / length);
  }
  // Row r: bytes [at, at + length) and the bytes after them; what lies past the end is unscored.
  static void fill(const Batch& b, std::int64_t r, std::span<const std::uint8_t> text,
                   std::int64_t at, std::int64_t length) {
    for (std::int64_t t = 0; t < length; ++t) {
      const auto i = static_cast<std::size_t>(at + t);
      b.inputs.data<std::int32_t>()[r * length + t] = i < text.size() ? text[i] : 0;
      b.targets.data<std::int32_t>()[r * length + t] = i + 1 < text.size() ? text[i + 1] : -1;
    }
  }

  TaskOptions options_;
  bool code_;
  std::int64_t test_bytes_ = kTestBytes;
  std::vector<TaskOption> known_options_;
  ByteCorpus corpus_;
};

}  // namespace

TaskSpec byte_task_spec(const std::string& name) {
  return {.name = name,
          .vocabulary = 256,
          .classes = 256,
          .train_length = kWindow,
          .batch_size = 4,
          .lengths = {kWindow, 4 * kWindow},
          .chance = 1.0 / 256,
          .primary = "bits_per_byte",
          .primary_length = kWindow,
          .default_tokens = 2000000,
          .learning_rate = 1e-2};
}

std::unique_ptr<Task> make_code(const TaskOptions& options) {
  return std::make_unique<Bytes>(options, true);
}
std::unique_ptr<Task> make_text(const TaskOptions& options) {
  return std::make_unique<Bytes>(options, false);
}

}  // namespace subquad
