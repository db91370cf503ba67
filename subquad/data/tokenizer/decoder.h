#pragma once

#include <string>
#include <vector>

#include "subquad/data/tokenizer/definition.h"

namespace subquad {

// The text of tokens, as they stand in the vocabulary, after the steps replace, byte_fallback, fuse
// and strip. Of a run of byte tokens <0x00> ... <0xFF> that is not valid UTF-8, every byte gives one
// U+FFFD, or (`exact`) itself.
std::string decode_steps(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens,
                         bool exact);

// The byte of a token <0xNN>, or -1.
int byte_of_fallback_token(std::string_view token);
std::string fallback_token(int byte);

}  // namespace subquad
