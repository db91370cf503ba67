#include "subquad/data/tokenizer/tokenizer.h"

#include <algorithm>

#include "subquad/base/error.h"
#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/data/tokenizer/decoder.h"
#include "subquad/data/tokenizer/normalizer.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// A text in errors, made only when one is thrown.
struct Quoted {
  std::string_view text;
};
std::ostream& operator<<(std::ostream& out, const Quoted& q) {
  constexpr std::size_t kMost = 60;
  return out << Json(replace_invalid_utf8(q.text.substr(0, kMost))).dump()
             << (q.text.size() > kMost ? "..." : "");
}

template <class... Parts>
void check(Condition condition, const TokenizerDefinition& d, const Parts&... parts) {
  require(condition, ErrorCode::format, d.source, ": ", parts...);
}

// Tokens by id, while ids and texts are checked.
class TokenTable {
 public:
  explicit TokenTable(const TokenizerDefinition& d) : d_(d) {
    limit_ = 4 * static_cast<std::int64_t>(d.vocabulary.size() + d.added_tokens.size()) + 65536;
    for (const auto& [token, id] : d.vocabulary) put(token, id, "model: vocab");
    sort_by_text();
    refuse_repeated_contents();
    for (std::size_t i = 0; i < d.added_tokens.size(); ++i) put_added(i);
    sort_by_text();
  }

  std::vector<std::string> tokens;
  std::vector<std::uint8_t> taken;
  std::vector<std::int32_t> used, by_text;

 private:
  void put(const std::string& token, std::int32_t id, const std::string& entry) {
    check(id < limit_, d_, entry, ": ", Quoted{token}, " has the id ", id, ", wanted less than ",
          limit_, ", four times the number of tokens and 65536 more");
    const auto at = static_cast<std::size_t>(id);
    if (at >= tokens.size()) {
      tokens.resize(at + 1);
      taken.resize(at + 1);
    }
    check(taken[at] == 0, d_, entry, ": ", Quoted{token}, " has the id ", id, ", which is that of ",
          Quoted{tokens[at]}, "; wanted one token for each id");
    tokens[at] = token;
    taken[at] = 1;
    used.push_back(id);
  }

  void refuse_repeated_contents() const {
    std::vector<std::pair<std::string_view, std::size_t>> contents;
    for (std::size_t i = 0; i < d_.added_tokens.size(); ++i) {
      contents.emplace_back(d_.added_tokens[i].content, i);
    }
    std::sort(contents.begin(), contents.end());
    for (std::size_t i = 1; i < contents.size(); ++i) {
      check(contents[i - 1].first != contents[i].first, d_, "added_tokens[", contents[i].second,
            "]: ", Quoted{contents[i].first}, " is the content of added_tokens[",
            contents[i - 1].second, "], too");
    }
  }

  // An added token may stand in the vocabulary, too; then both have the same id.
  void put_added(std::size_t i) {
    const AddedToken& t = d_.added_tokens[i];
    const std::string entry = "added_tokens[" + std::to_string(i) + "]";
    const auto found = std::lower_bound(by_text.begin(), by_text.end(), t.content,
                                        [this](std::int32_t id, const std::string& text) {
                                          return tokens[static_cast<std::size_t>(id)] < text;
                                        });
    if (found == by_text.end() || tokens[static_cast<std::size_t>(*found)] != t.content) {
      return put(t.content, t.id, entry);
    }
    check(*found == t.id, d_, entry, ": ", Quoted{t.content}, " has the id ", t.id,
          ", in model.vocab it has ", *found);
  }

  void sort_by_text() {
    by_text = used;
    std::sort(by_text.begin(), by_text.end(), [this](std::int32_t a, std::int32_t b) {
      return tokens[static_cast<std::size_t>(a)] < tokens[static_cast<std::size_t>(b)];
    });
    for (std::size_t i = 1; i < by_text.size(); ++i) {
      const auto a = static_cast<std::size_t>(by_text[i - 1]),
                 b = static_cast<std::size_t>(by_text[i]);
      check(tokens[a] != tokens[b], d_, "the token ", Quoted{tokens[a]}, " has the ids ", a,
            " and ", b, "; wanted one");
    }
  }

  const TokenizerDefinition& d_;
  std::int64_t limit_ = 0;
};

std::vector<AddedToken> added_tokens(const TokenizerDefinition& d, bool normalized) {
  std::vector<AddedToken> found;
  for (const AddedToken& t : d.added_tokens) {
    if (t.normalized != normalized) continue;
    found.push_back(t);
    if (!normalized) continue;
    std::string buffers[2];
    found.back().content = normalize(d.normalizer, t.content, buffers);
    check(!found.back().content.empty(), d, "the added token ", Quoted{t.content},
          " is empty in normalized form");
  }
  std::vector<std::string_view> contents;
  for (const AddedToken& t : found) contents.push_back(t.content);
  std::sort(contents.begin(), contents.end());
  const auto twice = std::adjacent_find(contents.begin(), contents.end());
  check(twice == contents.end(), d, "added_tokens: two have the content ",
        Quoted{twice == contents.end() ? std::string_view() : *twice});
  return found;
}

}  // namespace

Tokenizer Tokenizer::load(const std::string& path) { return Tokenizer(read_tokenizer(path)); }

Tokenizer::Tokenizer(TokenizerDefinition definition)
    : definition_(std::move(definition)), raw_({}), normalized_({}), merger_({}, 0) {
  TokenTable table(definition_);
  tokens_ = std::move(table.tokens);
  used_ = std::move(table.taken);
  by_text_ = std::move(table.by_text);
  count_ = static_cast<std::int64_t>(by_text_.size());
  check(count_ > 0, definition_, "no token at all");
  special_.resize(tokens_.size());
  for (const AddedToken& t : definition_.added_tokens) {
    special_[static_cast<std::size_t>(t.id)] = t.special ? 1 : 0;
  }
  raw_ = AddedTokenFinder(added_tokens(definition_, false));
  normalized_ = AddedTokenFinder(added_tokens(definition_, true));
  for (const auto* list : {&definition_.before, &definition_.after}) {
    for (const std::int32_t id : *list) {
      check(id < vocabulary() && used_[static_cast<std::size_t>(id)] != 0, definition_,
            "post_processor: the id ", id, " has no token");
    }
  }
  set_words();
  if (!definition_.byte_level) set_spans();
  set_merges();
}

// What byte-level tokens stand for, and the tokens of single bytes.
void Tokenizer::set_words() {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string name = definition_.byte_level
                                 ? std::string(letter_of(static_cast<std::uint8_t>(byte)))
                                 : fallback_token(byte);
    const auto id = find(name);
    check(id.has_value(), definition_, "model: vocab: the token ", Quoted{name}, " of the byte ",
          byte, " is missing; wanted one for each of the 256 bytes");
    byte_ids_[byte] = *id;
  }
  if (!definition_.byte_level) return;
  bytes_.resize(tokens_.size());
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    const auto bytes = bytes_of_letters(tokens_[id]);
    bytes_[id] = bytes ? *bytes : tokens_[id];
  }
  if (!definition_.ignore_merges) return;
  for (const auto& [token, id] : definition_.vocabulary) {
    if (bytes_of_letters(token)) words_.push_back(id);
  }
  std::sort(words_.begin(), words_.end(), [this](std::int32_t a, std::int32_t b) {
    return bytes_[static_cast<std::size_t>(a)] < bytes_[static_cast<std::size_t>(b)];
  });
}

void Tokenizer::set_merges() {
  std::vector<PairMerger::Merge> merges;
  merges.reserve(definition_.merges.size());
  const auto id_of = [&](std::size_t i, const std::string& token, const char* what) {
    const auto id = token.empty() ? std::nullopt : find(token);
    check(id.has_value(), definition_, "model: merges[", i, "] (",
          Quoted{definition_.merges[i].first}, " ", Quoted{definition_.merges[i].second},
          "): ", what, " ", Quoted{token}, " is not in model.vocab");
    return *id;
  };
  for (std::size_t i = 0; i < definition_.merges.size(); ++i) {
    const auto& [left, right] = definition_.merges[i];
    const std::int32_t a = id_of(i, left, "the token"), b = id_of(i, right, "the token");
    merges.push_back({a, b, id_of(i, left + right, "the result")});
  }
  merger_ = PairMerger(std::move(merges), vocabulary());
  definition_.merges.clear();  // of the size of the file; the merger has them now
  definition_.merges.shrink_to_fit();
}

// Where no result of a merge has a byte before a U+2581 (what a space became) inside, no merge spans
// that place: the two sides encode apart, with the same ids, and the cache knows the words.
void Tokenizer::set_spans() {
  for (const auto& [left, right] : definition_.merges) {
    const std::string result = left + right;
    for (std::size_t at = result.find(kSpaceMark, 1); at != std::string::npos;
         at = result.find(kSpaceMark, at + 1)) {
      spans_[static_cast<unsigned char>(result[at - 1])] = true;
    }
    // A byte token does not end with the byte that it stands for.
    if (byte_of_fallback_token(left) >= 0 || byte_of_fallback_token(right) >= 0) {
      std::fill(std::begin(spans_), std::end(spans_), true);
      return;
    }
  }
}

std::size_t Tokenizer::word_end(std::string_view text, std::size_t at) const {
  if (definition_.byte_level) return subquad::word_end(definition_.pattern, text, at);
  std::size_t end = text.find(kSpaceMark, at + 1);
  while (end != std::string_view::npos && spans_[static_cast<unsigned char>(text[end - 1])]) {
    end = text.find(kSpaceMark, end + 1);
  }
  return std::min(end, text.size());
}

std::optional<std::int32_t> Tokenizer::find(std::string_view token) const {
  const auto found = std::lower_bound(by_text_.begin(), by_text_.end(), token,
                                      [this](std::int32_t id, std::string_view text) {
                                        return tokens_[static_cast<std::size_t>(id)] < text;
                                      });
  if (found == by_text_.end() || tokens_[static_cast<std::size_t>(*found)] != token) return {};
  return *found;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  constexpr std::size_t kShort = 1 << 14, kFew = 64;
  Encoder encoder(*this, text.size() < kShort ? kFew : Encoder::kCachedWords);
  std::vector<std::int32_t> ids;
  encoder.encode(text, add_special, ids);
  return ids;
}

std::string Tokenizer::joined(std::span<const std::int32_t> ids, bool skip_special,
                              bool exact) const {
  std::string bytes;
  std::vector<std::string> parts;
  for (const std::int32_t id : ids) {
    require(id >= 0 && id < vocabulary() && used_[static_cast<std::size_t>(id)] != 0,
            ErrorCode::invalid_argument, "decode: got the id ", id, ", wanted one of the ", count_,
            " tokens of ", definition_.source, ", ids 0 to ", vocabulary() - 1);
    if (skip_special && is_special(id)) continue;
    if (definition_.byte_level) {
      bytes += bytes_[static_cast<std::size_t>(id)];
    } else {
      parts.push_back(token(id));
    }
  }
  return definition_.byte_level ? bytes
                                : decode_steps(definition_.decoder, std::move(parts), exact);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  return replace_invalid_utf8(joined(ids, skip_special, false));
}

std::string Tokenizer::decode_bytes(std::span<const std::int32_t> ids, bool skip_special) const {
  return joined(ids, skip_special, true);
}

}  // namespace subquad
