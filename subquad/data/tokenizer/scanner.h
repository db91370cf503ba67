// Pre-tokenizers: cut text into the words inside which byte pairs merge. One hand-written scanner
// for each regular expression that published tokenizers use, chosen by its exact text; none
// backtracks, so time is linear in the text, whatever the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace subquad {

enum class WordPattern : std::uint8_t {
  whole,    // no cut: the text is one word
  gpt2,     // GPT-2, GPT-NeoX, Pythia
  llama3,   // Llama 3: numbers of up to three digits
  qwen2,    // Qwen 2 and 3: every digit alone
  qwen3_5,  // Qwen 3.5: as qwen2, and marks belong to the letters
};

// The regular expression of a pattern; "" for `whole`.
std::string_view regex_of(WordPattern pattern);
std::string_view name_of(WordPattern pattern);
const std::vector<WordPattern>& word_patterns();  // all but `whole`
// Errors: invalid_argument for a name of none, naming all.
WordPattern word_pattern_named(std::string_view name);

// The end of the word that starts at `at` < text.size(); it is greater than `at`.
// \s is White_Space, \p{L}, \p{N}, \p{M} are general categories; a byte that is not part of valid
// UTF-8 is a character of no class. Case-insensitive contractions take U+017F for s.
std::size_t word_end(WordPattern pattern, std::string_view text, std::size_t at);

}  // namespace subquad
