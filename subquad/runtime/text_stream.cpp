#include "subquad/runtime/text_stream.h"

#include <algorithm>

#include "subquad/base/error.h"
#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

// Bytes at the end that start a UTF-8 character and do not end it: 0 to 3.
std::size_t unfinished(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, text.size()); ++n) {
    const auto c = static_cast<unsigned char>(text[text.size() - n]);
    if (c < 0x80) return 0;
    if (c < 0xC0) continue;  // inside a character: look further ahead for its start
    const std::size_t bytes = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    return bytes > n ? n : 0;
  }
  return 0;
}

std::vector<std::size_t> borders(const std::string& text) {
  std::vector<std::size_t> border(text.size(), 0);
  for (std::size_t i = 1, k = 0; i < text.size(); ++i) {
    while (k > 0 && text[i] != text[k]) k = border[k - 1];
    if (text[i] == text[k]) ++k;
    border[i] = k;
  }
  return border;
}

}  // namespace

TextStream::TextStream(const Tokenizer* tokenizer, std::vector<std::string> stops,
                       std::int32_t before)
    : tokenizer_(tokenizer), before_(before) {
  for (std::string& text : stops) {
    require(!text.empty(), ErrorCode::invalid_argument,
            "a stop string is empty; wanted one byte or more");
    std::vector<std::size_t> border = borders(text);
    stops_.push_back({std::move(text), std::move(border)});
  }
}

// The token before comes with it, so that it is decoded as inside a text.
std::string TextStream::bytes_of(std::int32_t id) {
  if (!tokenizer_)
    return id < 0 || id > 255 ? std::string() : std::string(1, static_cast<char>(id));
  const bool used = id >= 0 && id < tokenizer_->vocabulary() && !tokenizer_->token(id).empty();
  if (!used || tokenizer_->is_special(id)) return {};
  std::string text;
  if (before_ < 0 || before_ >= tokenizer_->vocabulary() || tokenizer_->token(before_).empty()) {
    text = tokenizer_->decode_bytes(std::span(&id, 1));
  } else {
    const std::int32_t both[] = {before_, id};
    const std::size_t known = tokenizer_->decode_bytes(std::span(both, 1)).size();
    text = tokenizer_->decode_bytes(both);
    text.erase(0, std::min(known, text.size()));
  }
  before_ = id;
  return text;
}

// Everything held but the last `hold` bytes, and no part of a character.
std::string TextStream::take(std::size_t hold) {
  const std::size_t ready = held_.size() - hold;
  const std::size_t end = ready - unfinished(std::string_view(held_).substr(0, ready));
  std::string out = replace_invalid_utf8(std::string_view(held_).substr(0, end));
  held_.erase(0, end);
  return out;
}

std::string TextStream::push(std::int32_t id) {
  if (stopped()) return {};
  for (const char c : bytes_of(id)) {
    held_ += c;
    std::size_t longest = 0;
    for (std::size_t i = 0; i < stops_.size(); ++i) {
      Stop& s = stops_[i];
      while (s.matched > 0 && s.text[s.matched] != c) s.matched = s.border[s.matched - 1];
      if (s.text[s.matched] == c) ++s.matched;
      if (s.matched < s.text.size() || s.matched <= longest) continue;
      longest = s.matched;
      stopped_ = static_cast<std::int64_t>(i);
    }
    if (!stopped()) continue;
    held_.erase(held_.size() - longest);
    return finish();
  }
  std::size_t hold = 0;
  for (const Stop& s : stops_) hold = std::max(hold, s.matched);
  return take(hold);
}

std::string TextStream::finish() {
  std::string out = replace_invalid_utf8(held_);
  held_.clear();
  return out;
}

}  // namespace subquad
