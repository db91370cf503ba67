// Session: sequences that one model reads and continues, with everything it remembers of them. A
// value: a copy shares its tensors with the original, and whoever writes first copies them, so a
// copy is an independent continuation of the same prefix.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "subquad/autograd/ops.h"
#include "subquad/model/engine.h"
#include "subquad/model/model.h"

namespace subquad {

// A long prompt is read in pieces of so many tokens: activations take memory for one piece only.
inline constexpr std::int64_t kPieceTokens = 512;

struct SessionOptions {
  std::int64_t rows = 1;                     // sequences of equal length
  std::int64_t piece_tokens = kPieceTokens;  // 1: one position at a time, by the step kernels
  bool keep_ids = true;                      // what was read, 4 bytes a token; save() needs it
};

class Session {
 public:
  // Nothing read yet. Borrows engine, model and weights, which must outlive it and its copies.
  Session(Engine& engine, const Model& model, ParameterStore& weights,
          const SessionOptions& options = {});

  std::int64_t rows() const { return options_.rows; }
  // Tokens read so far, of every row alike.
  std::int64_t positions() const { return state_.front().positions(); }
  bool full() const;  // the model's learned positions are used up: no further token can be read
  std::span<const std::int32_t> ids(std::int64_t row = 0) const;  // what was read, if it is kept
  std::int64_t state_bytes() const;                               // of all rows, as allocated
  const Model& model() const { return *model_; }

  // Reads T more tokens of every row: ids (rows,T), row-major; T = 0 does nothing.
  // Errors: shape_mismatch if the rows are unequal; invalid_argument for an id that the model has
  // not; interrupted (Ctrl-C) between two pieces, after which the session has read whole pieces.
  void prefill(std::span<const std::int32_t> ids);
  // Reads one more token of every row, and what to expect after it: logits (rows, classes).
  Tensor step(std::span<const std::int32_t> ids);
  // Logits of the next token, (rows, classes). Errors: invalid_argument before anything is read.
  Tensor logits() const;
  // prefill() that also says how likely the next tokens were: the natural-log loss of targets
  // (rows,T), aligned with ids, -1 = not scored, and the arg-max at every scored position.
  // Never more than a tile of logits in memory.
  RowScores score(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets);

  // Sequences `rows` of this one, in that order; a row may be named often, or never.
  // A row's continuation does not depend on the others, bit for bit (law L3).
  Session select(std::span<const std::int64_t> rows) const;
  // The only row, n times. Cost: n copies of its state, whatever the length of the prefix was
  // (attention: of its cache).
  Session fork(std::int64_t n) const;
  void reset();  // forgets everything

  // The state as a file (docs/formats.md, "State"), written atomically. Errors: invalid_argument
  // before anything is read; io; out_of_space.
  void save(const std::string& path) const;
  // Errors: format, naming what is damaged, or of which other model this is the state; unsupported
  // for a newer version.
  static Session load(Engine& engine, const Model& model, ParameterStore& weights,
                      const std::string& path);

 private:
  Tensor features(std::span<const std::int32_t> ids, std::int64_t tokens, std::int64_t first,
                  std::int64_t count);
  std::int64_t tokens_of(std::span<const std::int32_t> ids) const;

  Engine* engine_;
  const Model* model_;
  ParameterStore* weights_;
  SessionOptions options_;
  ModelState state_;
  Tensor last_;                                 // (rows, d_model): features of the last position
  std::vector<std::vector<std::int32_t>> ids_;  // by row; empty unless they are kept
};

// What identifies a model: SHA-256 of its configuration and weights.
std::string model_digest(const Model& model, const ParameterStore& weights);

}  // namespace subquad
