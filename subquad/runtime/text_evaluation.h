// How well a model predicts texts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "subquad/runtime/language_model.h"
#include "subquad/runtime/session.h"

namespace subquad {

enum class Execution : std::uint8_t { chunkwise, recurrent, both };
// Errors: invalid_argument for another word.
Execution execution_named(const std::string& name);

struct TextEvaluationSetup {
  // 0: one state is carried through the whole text. Else every token is predicted from at most
  // `window` tokens before it: windows overlap, and of each but the first the last `stride` tokens
  // are scored, so that every token is scored once.
  std::int64_t window = 0, stride = 0;  // stride 0: as the window, which then do not overlap
  Execution execution = Execution::both;
  std::int64_t recurrent_tokens = 16384;  // with `both`: so many are run recurrently and compared
  std::int64_t piece_bytes = 1 << 20;     // of a file that are in memory at once
};

struct PositionLoss {
  std::int64_t first, last;  // tokens of context, [first, last)
  std::int64_t tokens = 0;
  double nats = 0;
};

struct TextScore {
  std::int64_t files = 0;
  std::int64_t bytes = 0;   // of what was scored
  std::int64_t tokens = 0;  // scored
  double nats = 0;
  std::vector<PositionLoss> by_position;
  // Of the tokens that were run both ways:
  std::int64_t compared = 0, same_prediction = 0;
  double largest_difference = 0;  // of a token's loss, nats

  double bits_per_byte() const;
  double perplexity() const;  // exp of the mean loss of a token
  double loss() const { return tokens ? nats / static_cast<double>(tokens) : 0; }
};

// The files of a text: one file, or every regular file below a folder, in the order of their paths.
// Errors: io.
std::vector<std::string> text_files(const std::string& path);

// Every file is a text of its own, behind model.prefix_id(); without one its first token is not
// scored. Files may be larger than memory. Errors: numeric, naming file and token, for a loss that
// is not finite; interrupted; those of TextReader.
TextScore evaluate_text(Engine& engine, const LanguageModel& model,
                        const std::vector<std::string>& files, const TextEvaluationSetup& setup);

}  // namespace subquad
