// Finds added tokens in a text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/data/tokenizer/definition.h"

namespace subquad {

// A stretch of the text: a token, or (id < 0) text between tokens, never empty.
struct TextStretch {
  std::int32_t id = -1;
  std::size_t from = 0, to = 0;
};

class AddedTokenFinder {
 public:
  // `tokens` have different contents, none empty.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  // The stretches of the text, in order. The leftmost match wins, of those the longest. A
  // single_word match beside a \w is passed over, and the search goes on behind it. White space that
  // lstrip and rstrip swallow belongs to the token, as far as no earlier token has it.
  // Cost: O(bytes x longest token).
  void split(std::string_view text, std::vector<TextStretch>& out) const;

 private:
  // The longest token that starts at text[at], or null.
  const AddedToken* match(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;  // sorted by content
  std::uint32_t first_[257] = {};   // by first byte: tokens first_[b] ... first_[b+1]-1
};

}  // namespace subquad
