#include "subquad/base/error.h"

#include "subquad/base/text.h"

namespace subquad {
namespace {

// A message that holds a key or value of a file is not as long as the file decides: its middle is
// left out, between characters.
std::string shortened(const std::string& text) {
  constexpr std::size_t kMost = 4096, kBegin = 2048, kEnd = 1024;
  if (text.size() <= kMost) return text;
  std::size_t begin = kBegin, end = text.size() - kEnd;
  while (begin > kBegin - 4 && inside_character(text[begin])) --begin;
  while (end < text.size() - kEnd + 4 && inside_character(text[end])) ++end;
  return text.substr(0, begin) + " [" + std::to_string(end - begin) + " bytes left out] " +
         text.substr(end);
}

}  // namespace

Error::Error(ErrorCode code, std::string text, std::source_location at)
    : std::runtime_error(""), code_(code), where_(at), text_(shortened(text)) {}

void Error::add_context(const std::string& frame) { text_ = shortened(frame + ": " + text_); }

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return 2;
    case ErrorCode::out_of_space: return 75;
    case ErrorCode::interrupted: return 130;
    default: return 1;
  }
}

}  // namespace subquad
