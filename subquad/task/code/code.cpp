#include "subquad/task/code/code.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <optional>

#include "subquad/base/digest.h"
#include "subquad/base/rng.h"
#include "subquad/data/corpus.h"
#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/task/code/probes.h"
#include "subquad/task/options.h"

namespace subquad {
namespace {

constexpr std::int64_t kWindow = 256, kRows = 32;
constexpr std::int64_t kTestBytes = 65536, kValidationBytes = 32768;  // or tokens
constexpr std::int64_t kBorders[] = {0, 16, 64, 256, 1024, 4096, 16384};
constexpr std::size_t kParts = std::size(kBorders) - 1;

// The documents of every split as ids, encoded when a split is first asked for.
class Tokens {
 public:
  Tokens(const TaskOptions& options, const ByteCorpus& corpus)
      : tokenizer_(Tokenizer::load(options.tokenizer)),
        separator_(options.separator),
        corpus_(corpus) {
    require(separator_ < tokenizer_.vocabulary(), ErrorCode::invalid_argument, "separator ",
            separator_, ", the tokenizer has ", tokenizer_.vocabulary(), " ids");
    for (std::int64_t id = 0; id < tokenizer_.vocabulary(); ++id)
      bytes_.push_back(length_of(static_cast<std::int32_t>(id)));
    // It stands for the zero byte between documents.
    if (separator_ >= 0) bytes_[static_cast<std::size_t>(separator_)] = 1;
  }

  std::int64_t vocabulary() const { return tokenizer_.vocabulary(); }
  std::int64_t bytes(std::int32_t id) const { return bytes_[static_cast<std::size_t>(id)]; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  std::span<const std::int32_t> split(int which) const {
    const auto at = static_cast<std::size_t>(which);
    std::call_once(once_[at], [&] { encode(corpus_.split(which), ids_[at]); });
    return ids_[at];
  }

 private:
  // As behind another token: at the start of a text some decoders drop a space.
  std::int64_t length_of(std::int32_t id) const {
    if (tokenizer_.token(id).empty() || tokenizer_.is_special(id)) return 0;
    const std::int32_t word = tokenizer_.encode("a").back(), both[] = {word, id};
    return static_cast<std::int64_t>(tokenizer_.decode_bytes(both).size() -
                                     tokenizer_.decode_bytes(std::span(&word, 1)).size());
  }

  void encode(std::span<const std::uint8_t> text, std::vector<std::int32_t>& ids) const {
    Encoder encoder(tokenizer_);
    const std::string_view all(reinterpret_cast<const char*>(text.data()), text.size());
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t end = std::min(all.find('\0', at), all.size());
      encoder.encode(all.substr(at, end - at), false, ids);
      if (separator_ >= 0) ids.push_back(separator_);
      at = end + 1;
    }
  }

  Tokenizer tokenizer_;
  std::int32_t separator_;
  const ByteCorpus& corpus_;
  std::vector<std::int64_t> bytes_;  // by id: of the text that it stands for
  mutable std::array<std::once_flag, 3> once_;
  mutable std::array<std::vector<std::int32_t>, 3> ids_;
};

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
    if (!options.tokenizer.empty()) tokens_.emplace(options, corpus_);
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
    if (!tokens_) return s;
    s.vocabulary = s.classes = tokens_->vocabulary();
    s.guide.input = "tokens of windows of source files or text";
    s.guide.scored = "every token's target is the token after it, per byte that it stands for";
    return s;
  }

  Batch train_batch(std::int64_t step) const override {
    const std::int64_t rows = options_.batch_size > 0 ? options_.batch_size : spec().batch_size;
    const Rng rng{options_.seed, stream_id("code/train")};
    Batch b{Tensor({rows, kWindow}, DType::i32), Tensor({rows, kWindow}, DType::i32)};
    with_ids(0, [&](auto text) {
      const std::int64_t places =
          std::max<std::int64_t>(1, static_cast<std::int64_t>(text.size()) - kWindow - 1);
      for (std::int64_t r = 0; r < rows; ++r) {
        fill(b, r, text,
             rng.below(places, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(r)),
             kWindow);
      }
    });
    return b;
  }

  std::int64_t eval_batches(Split split, std::int64_t length) const override {
    return (rows_of(split, length) + kRows - 1) / kRows;
  }

  // Windows spread evenly over the split.
  Batch eval_batch(Split split, std::int64_t length, std::int64_t index) const override {
    const std::int64_t all = rows_of(split, length), first = index * kRows,
                       rows = std::min(kRows, all - first);
    Batch b{Tensor({rows, length}, DType::i32), Tensor({rows, length}, DType::i32)};
    with_ids(split == Split::test ? 2 : 1, [&](auto text) {
      const std::int64_t places =
          std::max<std::int64_t>(1, static_cast<std::int64_t>(text.size()) - length - 1);
      for (std::int64_t r = 0; r < rows; ++r) fill(b, r, text, places * (first + r) / all, length);
    });
    return b;
  }

  std::vector<Metric> score(std::int64_t length, std::span<const Scored> batches) const override {
    double nats = 0, count = 0, part_nats[kParts] = {}, part_count[kParts] = {};
    for (const Scored& s : batches) {
      const auto target = s.batch.targets.host<std::int32_t>();
      for (std::size_t i = 0; i < target.size(); ++i) {
        if (target[i] < 0) continue;
        const auto loss = static_cast<double>(s.loss[i]);
        const auto bytes = static_cast<double>(tokens_ ? tokens_->bytes(target[i]) : 1);
        nats += loss;
        count += bytes;
        const auto position = static_cast<std::int64_t>(i) % length;
        for (std::size_t k = 0; k < kParts; ++k) {
          if (position < kBorders[k] || position >= kBorders[k + 1]) continue;
          part_nats[k] += loss;
          part_count[k] += bytes;
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
    if (code_ && !tokens_) {  // the probes read bytes
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
    if (tokens_) {
      j["tokenizer"] = "sha256:" + sha256(read_file(tokens_->tokenizer().definition().source));
      j["separator"] = static_cast<std::int64_t>(options_.separator);
    }
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
    std::int64_t size = 0;
    with_ids(split == Split::test ? 2 : 1,
             [&](auto text) { size = static_cast<std::int64_t>(text.size()); });
    return std::max<std::int64_t>(1, std::min(wanted, size) / length);
  }
  // visit(span of the ids of a split): bytes, or tokens.
  template <class Visit>
  void with_ids(int split, Visit&& visit) const {
    if (tokens_) {
      visit(tokens_->split(split));
    } else {
      visit(corpus_.split(split));
    }
  }
  // Row r: ids [at, at + length) and the ids after them; what lies past the end is unscored.
  template <class Id>
  static void fill(const Batch& b, std::int64_t r, std::span<const Id> text, std::int64_t at,
                   std::int64_t length) {
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
  std::optional<Tokens> tokens_;
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
