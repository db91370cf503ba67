#include <algorithm>
#include <cstring>
#include <limits>

#include "subquad/base/error.h"
#include "subquad/data/tokenizer/normalizer.h"
#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

constexpr std::size_t kCachedBytes = 30, kCachedIds = 8;

std::uint64_t hash_of(std::string_view word) {
  std::uint64_t h = word.size();
  const auto mix = [&](std::uint64_t part) {
    h = (h ^ part) * 0x9E3779B97F4A7C15ULL;
    h ^= h >> 32;
  };
  for (; word.size() >= 8; word.remove_prefix(8)) {
    std::uint64_t part;
    std::memcpy(&part, word.data(), 8);
    mix(part);
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, word.data(), word.size());
  mix(rest);
  return h;
}

}  // namespace

// One place for each hash, the last word wins: texts cannot make it slow or large.
struct alignas(64) Encoder::CachedWord {
  std::uint8_t bytes = 0, ids = 0;  // bytes 0: empty
  char word[kCachedBytes] = {};
  std::int32_t id[kCachedIds] = {};
};

Encoder::Encoder(const Tokenizer& tokenizer, std::size_t cached_words)
    : tokenizer_(tokenizer), cache_(cached_words) {}

Encoder::~Encoder() = default;

void Encoder::encode(std::string_view text, bool add_special, std::vector<std::int32_t>& out) {
  const TokenizerDefinition& d = tokenizer_.definition_;
  if (add_special) out.insert(out.end(), d.before.begin(), d.before.end());
  raw_.clear();
  tokenizer_.raw_.split(text, raw_);
  for (const TextStretch& s : raw_) {
    if (s.id >= 0) {
      out.push_back(s.id);
    } else {
      encode_between(normalize(d.normalizer, text.substr(s.from, s.to - s.from), buffers_), out);
    }
  }
  if (add_special) out.insert(out.end(), d.after.begin(), d.after.end());
}

void Encoder::encode_between(std::string_view text, std::vector<std::int32_t>& out) {
  normalized_.clear();
  tokenizer_.normalized_.split(text, normalized_);
  for (const TextStretch& s : normalized_) {
    if (s.id >= 0) {
      out.push_back(s.id);
    } else {
      encode_words(text.substr(s.from, s.to - s.from), out);
    }
  }
}

void Encoder::encode_words(std::string_view text, std::vector<std::int32_t>& out) {
  const TokenizerDefinition& d = tokenizer_.definition_;
  if (d.add_prefix_space && !text.starts_with(' ')) {
    prefixed_.assign(" ").append(text);
    text = prefixed_;
  }
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = tokenizer_.word_end(text, at);
    encode_word(text.substr(at, end - at), out);
    at = end;
  }
}

void Encoder::encode_word(std::string_view word, std::vector<std::int32_t>& out) {
  if (word.size() == 1 && tokenizer_.definition_.byte_level) {
    out.push_back(tokenizer_.byte_ids_[static_cast<unsigned char>(word[0])]);
    return;
  }
  if (word.size() > kCachedBytes) {
    merge_word(word);
    out.insert(out.end(), word_ids_.begin(), word_ids_.end());
    return;
  }
  CachedWord& c = cache_[hash_of(word) & (cache_.size() - 1)];
  if (c.bytes == word.size() && std::memcmp(c.word, word.data(), word.size()) == 0) {
    out.insert(out.end(), c.id, c.id + c.ids);
    return;
  }
  merge_word(word);
  out.insert(out.end(), word_ids_.begin(), word_ids_.end());
  if (word_ids_.size() > kCachedIds) return;
  c.bytes = static_cast<std::uint8_t>(word.size());
  c.ids = static_cast<std::uint8_t>(word_ids_.size());
  std::memcpy(c.word, word.data(), word.size());
  std::copy(word_ids_.begin(), word_ids_.end(), c.id);
}

void Encoder::merge_word(std::string_view word) {
  const Tokenizer& t = tokenizer_;
  require(word.size() < static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()),
          ErrorCode::invalid_argument, "encode: a word of ", word.size(),
          " bytes, wanted fewer than 2^31; encode the text in parts");
  word_ids_.clear();
  if (t.definition_.ignore_merges) {
    const auto found = std::lower_bound(t.words_.begin(), t.words_.end(), word,
                                        [&](std::int32_t id, std::string_view w) {
                                          return t.bytes_[static_cast<std::size_t>(id)] < w;
                                        });
    if (found != t.words_.end() && t.bytes_[static_cast<std::size_t>(*found)] == word) {
      word_ids_.push_back(*found);
      return;
    }
  }
  if (t.definition_.byte_level) {
    for (const char c : word) word_ids_.push_back(t.byte_ids_[static_cast<unsigned char>(c)]);
  } else {
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view character = word.substr(at, code_point_at(word, at).bytes);
      if (const auto id = t.find(character)) {
        word_ids_.push_back(*id);
      } else {
        for (const char c : character)
          word_ids_.push_back(t.byte_ids_[static_cast<unsigned char>(c)]);
      }
      at += character.size();
    }
  }
  t.merger_.merge(word_ids_, scratch_);
}

}  // namespace subquad
