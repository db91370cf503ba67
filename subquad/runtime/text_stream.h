// TextStream: the text of tokens as they come, in pieces that may be shown at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace subquad {

class Tokenizer;

// Holds back what more tokens may change: the start of a UTF-8 character, and what may become a stop
// string. All pieces together are the text of the tokens, special ones left out, up to the stop
// string; bytes that are no UTF-8 become U+FFFD. Cost: one token's text each, whatever came before.
class TextStream {
 public:
  // tokenizer null: ids are bytes. before: the last id of what the text continues, or -1; a token
  // may look different at the start of a text (Llama 2). A tokenizer must outlive the stream.
  // Errors: invalid_argument for an empty stop string.
  explicit TextStream(const Tokenizer* tokenizer, std::vector<std::string> stops = {},
                      std::int32_t before = -1);

  // What may be shown now. Nothing once it has stopped; unused ids, and those that are no byte, are
  // empty.
  std::string push(std::int32_t id);
  // What was held back: no more tokens come.
  std::string finish();
  // A stop string was completed; which one. Nothing of it was or will be shown.
  bool stopped() const { return stopped_ >= 0; }
  const std::string& stop() const { return stops_[static_cast<std::size_t>(stopped_)].text; }

 private:
  struct Stop {
    std::string text;
    std::vector<std::size_t> border;  // Knuth-Morris-Pratt: where to go on after a mismatch
    std::size_t matched = 0;
  };
  std::string bytes_of(std::int32_t id);
  std::string take(std::size_t hold);

  const Tokenizer* tokenizer_;
  std::vector<Stop> stops_;
  std::int32_t before_;
  std::string held_;
  std::int64_t stopped_ = -1;
};

}  // namespace subquad
