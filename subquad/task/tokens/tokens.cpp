#include "subquad/task/tokens/tokens.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/base/rng.h"
#include "subquad/task/options.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;
constexpr const char* kSplits[] = {"train", "validation", "test"};
constexpr std::int64_t kMostIds = 1 << 20, kEvalRows = 512, kBatchRows = 32;

struct Sample {
  std::vector<std::int32_t> input, target;
};

std::vector<std::int32_t> read_ids(const Json& line, const char* key, std::int64_t low) {
  std::vector<std::int32_t> ids;
  for (const Json& v : line.at(key).as_array()) {
    const std::int64_t id = v.as_int();
    require(id >= low && id < kMostIds, ErrorCode::format, key, " holds ", id, ", wanted ", low,
            " to ", kMostIds - 1);
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

std::vector<Sample> read_lines(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<Sample> samples;
  std::size_t number = 0;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string_view line = std::string_view(text).substr(from, end - from);
    from = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = path + ":" + std::to_string(number);
    try {
      const Json json = Json::parse(line, where);
      for (const auto& [key, value] : json.as_object()) {
        require(key == "input" || key == "target", ErrorCode::format, "unknown key \"", key,
                "\", wanted input and target");
      }
      Sample s{read_ids(json, "input", 0), read_ids(json, "target", -1)};
      require(!s.input.empty() && s.input.size() == s.target.size(), ErrorCode::format,
              "input has ", s.input.size(), " ids and target ", s.target.size(),
              ", wanted equally many and at least one");
      samples.push_back(std::move(s));
    } catch (Error& e) {
      if (std::string_view(e.what()).find(where) == std::string_view::npos) e.add_context(where);
      throw;
    }
  }
  require(!samples.empty(), ErrorCode::format, path, " holds no sample");
  return samples;
}

class Tokens final : public Task {
 public:
  explicit Tokens(const TaskOptions& options) : options_(options) {
    TaskOptionReader("tokens", options.extra).finish();  // it has none
    const std::string& data = options.data;
    require(!data.empty(), ErrorCode::invalid_argument,
            "task tokens needs --data: a folder with train.jsonl, or one .jsonl file");
    require(fs::exists(data), ErrorCode::io, "no folder or file ", data);
    if (fs::is_directory(data)) {
      split_[0] = read_lines(data + "/train.jsonl");
      for (std::size_t i : {1U, 2U}) {
        const std::string path = data + "/" + kSplits[i] + ".jsonl";
        if (fs::exists(path)) split_[i] = read_lines(path);
      }
      if (split_[2].empty()) share(split_[0]);
    } else {
      share(read_lines(data));
    }
    if (split_[1].empty()) split_[1] = split_[2];
    for (std::size_t i = 0; i < 3; ++i) {
      require(!split_[i].empty(), ErrorCode::invalid_argument, data, ": the ", kSplits[i],
              " split is empty; give more samples or a file ", kSplits[i], ".jsonl");
      for (const Sample& s : split_[i]) {
        length_ = std::max(length_, static_cast<std::int64_t>(s.input.size()));
        for (std::int32_t id : s.input) vocabulary_ = std::max(vocabulary_, std::int64_t{id} + 1);
        for (std::int32_t id : s.target) classes_ = std::max(classes_, std::int64_t{id} + 1);
      }
    }
    require(classes_ > 0, ErrorCode::invalid_argument, data,
            ": no position is scored (every target is -1)");
  }

  TaskSpec spec() const override {
    TaskSpec s;
    s.name = "tokens";
    s.vocabulary = vocabulary_;
    s.classes = classes_;
    s.train_length = length_;
    s.batch_size = kBatchRows;
    s.lengths = {length_};
    s.chance = 1 / static_cast<double>(classes_);
    s.primary = "accuracy";
    s.primary_length = length_;
    s.default_tokens = 1000000;
    s.guide = {
        .input = "the ids of `input`",
        .scored = "the ids of `target`, not where they are -1",
        .source = "the user's file",
        .separation = "a file per split, or a hash of `input`: equal inputs are in one split"};
    return s;
  }
  Batch train_batch(std::int64_t step) const override {
    const std::int64_t rows = options_.batch_size > 0 ? options_.batch_size : kBatchRows;
    const Rng rng{options_.seed, stream_id("tokens/train")};
    std::vector<const Sample*> chosen;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t i =
          rng.below(static_cast<std::int64_t>(split_[0].size()), static_cast<std::uint64_t>(step),
                    static_cast<std::uint64_t>(r));
      chosen.push_back(&split_[0][static_cast<std::size_t>(i)]);
    }
    return pack(chosen);
  }
  std::int64_t eval_batches(Split split, std::int64_t) const override {
    return (rows_of(split) + kBatchRows - 1) / kBatchRows;
  }
  Batch eval_batch(Split split, std::int64_t, std::int64_t index) const override {
    const auto& all = split_[split == Split::test ? 2 : 1];
    std::vector<const Sample*> chosen;
    for (std::int64_t r = index * kBatchRows;
         r < std::min(rows_of(split), (index + 1) * kBatchRows); ++r)
      chosen.push_back(&all[static_cast<std::size_t>(r)]);
    return pack(chosen);
  }
  std::vector<Metric> score(std::int64_t, std::span<const Scored> batches) const override {
    double right = 0, count = 0, whole = 0, rows = 0;
    for (const Scored& s : batches) {
      const std::int64_t T = s.batch.targets.shape()[1];
      for (std::int64_t r = 0; r < s.batch.targets.shape()[0]; ++r) {
        bool all = true;
        for (std::int64_t t = 0; t < T; ++t) {
          const auto i = static_cast<std::size_t>(r * T + t);
          const std::int32_t target = s.batch.targets.data<std::int32_t>()[i];
          if (target < 0) continue;
          count += 1;
          right += s.predicted[i] == target ? 1 : 0;
          all = all && s.predicted[i] == target;
        }
        rows += 1;
        whole += all ? 1 : 0;
      }
    }
    return {{"accuracy", right / std::max(count, 1.0), "", true},
            {"sequence_accuracy", whole / std::max(rows, 1.0), "", true}};
  }
  Json provenance() const override {
    Json j = Json::object();
    for (std::size_t i = 0; i < 3; ++i) {
      Sha256 hash;
      for (const Sample& s : split_[i]) {
        hash.update(std::as_bytes(std::span(s.input)));
        hash.update(std::as_bytes(std::span(s.target)));
      }
      j[kSplits[i]] =
          "sha256:" + hash.finish() + " (" + std::to_string(split_[i].size()) + " samples)";
    }
    return j;
  }
  std::string describe_sample(std::int64_t index) const override {
    const Sample& s = split_[0][static_cast<std::size_t>(index) % split_[0].size()];
    std::string in = "  input ", target = "  target";
    for (std::size_t i = 0; i < s.input.size(); ++i) {
      in += " " + std::to_string(s.input[i]);
      target += " " + (s.target[i] < 0 ? std::string(".") : std::to_string(s.target[i]));
    }
    return in + "\n" + target + "\n";
  }

 private:
  void share(std::vector<Sample> all) {
    split_ = {};
    for (Sample& s : all) {
      const std::string_view bytes(reinterpret_cast<const char*>(s.input.data()),
                                   s.input.size() * sizeof(std::int32_t));
      const std::uint64_t h = stream_id(bytes) >> 11;
      split_[h % 10 == 0 ? 2 : h % 10 == 1 ? 1 : 0].push_back(std::move(s));
    }
  }
  std::int64_t rows_of(Split split) const {
    return std::min<std::int64_t>(
        kEvalRows, static_cast<std::int64_t>(split_[split == Split::test ? 2 : 1].size()));
  }
  static Batch pack(const std::vector<const Sample*>& rows) {
    std::size_t T = 1;
    for (const Sample* s : rows) T = std::max(T, s->input.size());
    const auto n = static_cast<std::int64_t>(rows.size()), length = static_cast<std::int64_t>(T);
    Batch b{Tensor::zeros({n, length}, DType::i32), Tensor({n, length}, DType::i32)};
    std::fill_n(b.targets.data<std::int32_t>(), b.targets.numel(), -1);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      std::copy(rows[r]->input.begin(), rows[r]->input.end(),
                b.inputs.data<std::int32_t>() + r * T);
      std::copy(rows[r]->target.begin(), rows[r]->target.end(),
                b.targets.data<std::int32_t>() + r * T);
    }
    return b;
  }

  TaskOptions options_;
  std::array<std::vector<Sample>, 3> split_;
  std::int64_t vocabulary_ = 1, classes_ = 0, length_ = 1;
};

}  // namespace

std::unique_ptr<Task> make_tokens(const TaskOptions& options) {
  return std::make_unique<Tokens>(options);
}

}  // namespace subquad
