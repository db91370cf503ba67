// Multiple-choice questions, scored by log-likelihood as the LM Evaluation Harness does.
#pragma once

#include <string>
#include <vector>

#include "subquad/runtime/language_model.h"
#include "subquad/runtime/session.h"

namespace subquad {

// One line of a JSONL file: {"context": "...", "choices": ["...", ...], "answer": 0}; "delimiter",
// " " unless given, stands between context and choice. Other keys are ignored.
struct Question {
  std::string context, delimiter = " ";
  std::vector<std::string> choices;
  std::size_t answer = 0;
};
// Errors: io; format, naming file, line and key. Lines have at most 16 MiB.
std::vector<Question> read_questions(const std::string& path);

struct EncodedPair {
  std::vector<std::int32_t> context, continuation;
};
// The harness's cut of context + continuation: white space at the context's end belongs to the
// continuation; the continuation's ids are those of the whole behind as many as the context alone
// has. An empty context is model.prefix_id(). No special tokens are added.
// Errors: invalid_argument if nothing is left to score, or to score it from.
EncodedPair encode_pair(const LanguageModel& model, const std::string& context,
                        const std::string& continuation);

struct ChoiceScores {
  std::vector<std::vector<double>> log_likelihoods;  // natural log, by question and choice
  double accuracy = 0;                               // largest log-likelihood, of equals the first
  double accuracy_normalised = 0;                    // per character of the choice (acc_norm)
  double accuracy_error = 0, accuracy_normalised_error = 0;  // standard errors; 0 for one question
};

struct ChoiceSetup {
  std::int64_t most_tokens =
      0;  // of context and choice; the context loses its start. 0: any number
  std::int64_t piece_tokens = kPieceTokens;  // 1: recurrent
};

// A context is read once, and its state forked into the choices.
// Errors: numeric, naming the question, for a log-likelihood that is not finite; interrupted.
ChoiceScores score_choices(Engine& engine, const LanguageModel& model,
                           const std::vector<Question>& questions, const ChoiceSetup& setup);

}  // namespace subquad
