// A conversation with a language model in the terminal.
#pragma once

#include <string>
#include <vector>

#include "subquad/runtime/language_model.h"
#include "subquad/runtime/sampler.h"

namespace subquad::app {

inline constexpr const char* kNoRoom =
    "stopped: the model's learned positions are used up, no further token can be read\n";

struct ChatWishes {
  std::string system, first;  // the system's message; the first of the user's, then no more
  std::vector<std::string> stops;
  std::int64_t tokens = 200;  // of an answer
  std::int64_t threads = 1;
  SamplerOptions sampling;
};

// Reads a message a line from standard input and streams the answers. What an answer is, and how a
// conversation is written for the model, says the chat template of its folder.
// Errors: unsupported if the folder has no template or the model speaks no text.
void chat(const LanguageModel& model, const ChatWishes& wishes);

}  // namespace subquad::app
