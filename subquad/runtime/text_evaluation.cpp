#include "subquad/runtime/text_evaluation.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "subquad/data/tokenizer/text_reader.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

// A text may be longer than memory has room for its ids.
SessionOptions options(bool recurrent) {
  return {.piece_tokens = recurrent ? 1 : kPieceTokens, .keep_ids = false};
}

// Scores one text after the other.
class Scorer {
 public:
  Scorer(Engine& engine, const LanguageModel& model, const TextEvaluationSetup& setup)
      : model_(model),
        setup_(setup),
        window_(setup.window),
        stride_(setup.stride > 0 ? setup.stride : setup.window),
        main_(engine, model.model(), model.store(),
              options(setup.execution == Execution::recurrent)) {
    require(window_ >= 0 && stride_ >= 0 && stride_ <= window_, ErrorCode::invalid_argument,
            "windows of ", window_, " tokens, ", stride_, " of them new: wanted 1 to ", window_);
    if (setup.execution == Execution::both)
      stepwise_.emplace(engine, model.model(), model.store(), options(true));
    for (std::int64_t first = 0, last = 16; first < std::int64_t{1} << 40; first = last, last *= 4)
      score.by_position.push_back({first, last});
    score.by_position.back().last = std::numeric_limits<std::int64_t>::max();
  }

  void read(const std::string& path) {
    file_ = path;
    tokens_.clear();
    done_ = windows_ = 0;
    reset();
    const std::int32_t prefix = model_.prefix_id();
    if (prefix >= 0) tokens_.push_back(prefix);
    bool begun = prefix >= 0;  // a token stands before what is read: it is scored
    TextReader reader(model_.tokenizer_or_null(), path, setup_.piece_bytes);
    while (const std::int64_t bytes = reader.next(tokens_)) {
      for (const std::int32_t id : tokens_)
        require(id < model_.inputs, ErrorCode::format, path, ": got the id ", id,
                ", the model has ", model_.inputs, "; tokenizer and model do not belong together");
      if (begun) {
        score.bytes += bytes;
      } else if (!tokens_.empty()) {  // else a normalizer took all of the piece
        score.bytes += std::max<std::int64_t>(0, bytes - length_of(tokens_.front()));
        begun = true;
      }
      advance(false);
    }
    advance(true);
    ++score.files;
  }

  TextScore score;

 private:
  std::int64_t length_of(std::int32_t id) const {
    return model_.tokenizer
               ? static_cast<std::int64_t>(model_.tokenizer->decode_bytes(std::span(&id, 1)).size())
               : 1;
  }

  // tokens_[0] is the first token that may be read, tokens_[done_] the last that was scored or needs
  // not be.
  void advance(bool last) {
    if (window_ == 0) return stream();
    const auto size = [&] { return static_cast<std::int64_t>(tokens_.size()); };
    for (;;) {
      const std::int64_t wanted = windows_ == 0 ? window_ : stride_,
                         fresh = std::min(wanted, size() - 1 - done_);
      if (fresh <= 0 || (fresh < wanted && !last)) return;
      const std::int64_t end = done_ + fresh, begin = std::max<std::int64_t>(0, end - window_);
      reset();
      run(std::span(tokens_).subspan(static_cast<std::size_t>(begin),
                                     static_cast<std::size_t>(end - begin) + 1),
          done_ - begin);
      ++windows_;
      done_ = end;
      const std::int64_t spare = std::max<std::int64_t>(0, done_ - window_);
      tokens_.erase(tokens_.begin(), tokens_.begin() + spare);
      done_ -= spare;
    }
  }

  void stream() {
    if (tokens_.size() < 2) return;
    run(tokens_, 0);
    tokens_.erase(tokens_.begin(), tokens_.end() - 1);
  }

  // Reads all of `ids` but the last and scores what follows each, but for the first `context`.
  void run(std::span<const std::int32_t> ids, std::int64_t context) {
    const auto inputs = ids.first(ids.size() - 1);
    std::vector<std::int32_t> targets(ids.begin() + 1, ids.end());
    std::fill_n(targets.begin(), context, -1);
    const std::int64_t before = main_.positions();
    const RowScores s = main_.score(inputs, targets);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] >= 0) add(before + static_cast<std::int64_t>(i), s.loss[i]);
    }
    if (stepwise_ && compared_ < setup_.recurrent_tokens) compare(inputs, targets, s);
  }

  void add(std::int64_t position, float loss) {
    require(std::isfinite(loss), ErrorCode::numeric, file_, ": token ", score.tokens,
            " has the loss ", loss, " after ", position,
            " tokens of context; the model's output "
            "is not a number");
    score.nats += static_cast<double>(loss);
    ++score.tokens;
    const auto part = std::find_if(score.by_position.begin(), score.by_position.end(),
                                   [&](const PositionLoss& p) { return position < p.last; });
    part->nats += static_cast<double>(loss);
    ++part->tokens;
  }

  // The first tokens of what the main session has just read, one position at a time. A text whose
  // start was left out is not gone on with.
  void compare(std::span<const std::int32_t> inputs, std::span<const std::int32_t> targets,
               const RowScores& chunkwise) {
    const auto count = static_cast<std::size_t>(std::min<std::int64_t>(
        static_cast<std::int64_t>(inputs.size()), setup_.recurrent_tokens - compared_));
    const RowScores s = stepwise_->score(inputs.first(count), targets.first(count));
    compared_ += static_cast<std::int64_t>(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (targets[i] < 0) continue;
      ++score.compared;
      if (s.predicted[i] == chunkwise.predicted[i]) ++score.same_prediction;
      const double d =
          std::abs(static_cast<double>(s.loss[i]) - static_cast<double>(chunkwise.loss[i]));
      require(std::isfinite(d), ErrorCode::numeric, file_,
              ": a loss is not a number one position at a time, but is in chunks");
      score.largest_difference = std::max(score.largest_difference, d);
    }
  }

  void reset() {
    main_.reset();
    if (stepwise_) stepwise_->reset();
  }

  const LanguageModel& model_;
  const TextEvaluationSetup& setup_;
  std::int64_t window_, stride_;
  Session main_;
  std::optional<Session> stepwise_;
  std::string file_;
  std::vector<std::int32_t> tokens_;
  std::int64_t done_ = 0, windows_ = 0, compared_ = 0;
};

}  // namespace

Execution execution_named(const std::string& name) {
  if (name == "chunkwise") return Execution::chunkwise;
  if (name == "recurrent") return Execution::recurrent;
  require(name == "both", ErrorCode::invalid_argument, "--execution ", name,
          ", wanted chunkwise, recurrent or both");
  return Execution::both;
}

double TextScore::bits_per_byte() const {
  return bytes ? nats / std::log(2.0) / static_cast<double>(bytes) : 0;
}
double TextScore::perplexity() const { return std::exp(loss()); }

std::vector<std::string> text_files(const std::string& path) {
  std::error_code error;
  require(fs::exists(path, error), ErrorCode::io, "cannot read ", path, ": it does not exist");
  if (!fs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
  }
  require(!error, ErrorCode::io, "cannot read folder ", path, ": ", error.message());
  require(!files.empty(), ErrorCode::io, path, " holds no file");
  std::sort(files.begin(), files.end());
  return files;
}

TextScore evaluate_text(Engine& engine, const LanguageModel& model,
                        const std::vector<std::string>& files, const TextEvaluationSetup& setup) {
  Scorer scorer(engine, model, setup);
  for (const std::string& file : files) scorer.read(file);
  std::erase_if(scorer.score.by_position, [](const PositionLoss& p) { return p.tokens == 0; });
  return std::move(scorer.score);
}

}  // namespace subquad
