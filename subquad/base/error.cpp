#include "subquad/base/error.h"

#include <utility>

namespace subquad {

Error::Error(ErrorCode code, std::string text, std::source_location at)
    : std::runtime_error(text), code_(code), where_(at), text_(std::move(text)) {}

void Error::add_context(const std::string& frame) { text_ = frame + ": " + text_; }

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return 2;
    case ErrorCode::out_of_space: return 75;
    case ErrorCode::interrupted: return 130;
    default: return 1;
  }
}

}  // namespace subquad
