#include "subquad/data/tokenizer/added_tokens.h"

#include <algorithm>

#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

bool space_at(std::string_view text, std::size_t at, std::size_t& bytes) {
  const ClassifiedChar c = classified_at(text, at);
  bytes = c.bytes;
  return (c.classes & kSpace) != 0;
}

bool is_space(const CodePoint& c) {
  return c.value != kNoCodePoint && (classes_of(c.value) & kSpace) != 0;
}

bool stands_alone(std::string_view text, std::size_t from, std::size_t to) {
  return (from == 0 || !is_word(code_point_before(text, from).value)) &&
         (to == text.size() || !is_word(code_point_at(text, to).value));
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const AddedToken& t : tokens_) ++first_[static_cast<unsigned char>(t.content[0]) + 1];
  for (int b = 0; b < 256; ++b) first_[b + 1] += first_[b];
}

const AddedToken* AddedTokenFinder::match(std::string_view text, std::size_t at) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  auto low = tokens_.begin() + first_[byte], high = tokens_.begin() + first_[byte + 1];
  const AddedToken* longest = nullptr;
  // Tokens low ... high-1 start with the `n` bytes at text[at].
  for (std::size_t n = 1; low != high; ++n) {
    if (low->content.size() == n) longest = &*low++;
    if (at + n >= text.size()) break;
    const auto next = static_cast<unsigned char>(text[at + n]);
    const auto at_n = [n](const AddedToken& t) { return static_cast<unsigned char>(t.content[n]); };
    low = std::partition_point(low, high, [&](const AddedToken& t) { return at_n(t) < next; });
    high = std::partition_point(low, high, [&](const AddedToken& t) { return at_n(t) == next; });
  }
  return longest;
}

void AddedTokenFinder::split(std::string_view text, std::vector<TextStretch>& out) const {
  std::size_t done = 0;  // what lies before belongs to a stretch
  for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const AddedToken* token = first_[byte] == first_[byte + 1] ? nullptr : match(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t from = at, to = at + token->content.size(), bytes = 0;
    at = to;
    // White space that an earlier token swallowed is gone.
    if (from < done || (token->single_word && !stands_alone(text, from, to))) continue;
    if (token->lstrip) {
      for (CodePoint c; from > done && is_space(c = code_point_before(text, from));) {
        from -= c.bytes;
      }
    }
    if (token->rstrip) {
      while (to < text.size() && space_at(text, to, bytes)) to += bytes;
    }
    if (from > done) out.push_back({-1, done, from});
    out.push_back({token->id, from, to});
    done = to;
  }
  if (done < text.size()) out.push_back({-1, done, text.size()});
}

}  // namespace subquad
