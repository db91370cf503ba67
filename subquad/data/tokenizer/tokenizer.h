// Byte-pair tokenizers as files tokenizer.json describe them: text to ids and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/data/tokenizer/added_tokens.h"
#include "subquad/data/tokenizer/bpe.h"
#include "subquad/data/tokenizer/definition.h"

namespace subquad {

// Immutable; any number of threads may use one.
class Tokenizer {
 public:
  // A tokenizer.json, or a folder that holds one. Errors: those of read_tokenizer and below.
  static Tokenizer load(const std::string& path);
  // Errors: format, naming the entry, if ids or contents are given twice, an id is too large, a merge
  // names a token that is missing, or a byte has no token.
  explicit Tokenizer(TokenizerDefinition definition);

  const TokenizerDefinition& definition() const { return definition_; }  // without its merges
  // The largest id + 1: rows that an embedding needs. Ids between may be unused.
  std::int64_t vocabulary() const { return static_cast<std::int64_t>(tokens_.size()); }
  std::int64_t count() const { return count_; }  // of used ids

  // As it stands in the file; empty for an unused id. 0 <= id < vocabulary().
  const std::string& token(std::int32_t id) const { return tokens_[static_cast<std::size_t>(id)]; }
  bool is_special(std::int32_t id) const { return special_[static_cast<std::size_t>(id)] != 0; }
  std::optional<std::int32_t> find(std::string_view token) const;

  // Ids of a text, see Encoder, which is faster on many texts.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special = false) const;

  // The text of ids, as valid UTF-8: U+FFFD where bytes are none. skip_special leaves special tokens
  // out. Errors: invalid_argument for an id that is unused or not in [0, vocabulary()).
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;
  // The same bytes that were encoded, valid UTF-8 or not, where no normalizer changed them and no
  // token swallowed white space (lstrip, rstrip).
  std::string decode_bytes(std::span<const std::int32_t> ids, bool skip_special = false) const;

 private:
  friend class Encoder;
  void set_words();
  void set_merges();
  void set_spans();
  std::size_t word_end(std::string_view text, std::size_t at) const;
  std::string joined(std::span<const std::int32_t> ids, bool skip_special, bool exact) const;

  TokenizerDefinition definition_;
  std::vector<std::string> tokens_;           // by id
  std::vector<std::int32_t> by_text_;         // ids in the order of their tokens
  std::vector<std::uint8_t> used_, special_;  // by id
  std::int64_t count_ = 0;
  std::vector<std::string> bytes_;   // by id, of byte-level tokenizers: what it stands for
  std::vector<std::int32_t> words_;  // if ignore_merges: ids in the order of bytes_
  std::int32_t byte_ids_[256] = {};
  // Without a word pattern: whether some merge spans the place between this byte and a U+2581.
  bool spans_[256] = {};
  AddedTokenFinder raw_, normalized_;
  PairMerger merger_;
};

// Encodes many texts: keeps what short words became, and its buffers. One per thread; the tokenizer
// must outlive it.
class Encoder {
 public:
  static constexpr std::size_t kCachedWords = std::size_t{1} << 14;
  // cached_words, a power of two, takes 64 bytes each.
  explicit Encoder(const Tokenizer& tokenizer, std::size_t cached_words = kCachedWords);
  ~Encoder();

  // Appends the ids of `text` to `out`: added tokens are found in the raw text, then in the
  // normalized text between, the rest is cut into words, and pairs merge inside each. With
  // add_special, the tokens that the file's template puts around a text come with it.
  // Bytes that are not valid UTF-8 are encoded as they are.
  // Ranges: no word of 2^31 bytes or more (invalid_argument).
  void encode(std::string_view text, bool add_special, std::vector<std::int32_t>& out);

  // Candidate pairs that merging has looked at: at most 3 for each byte of words not in the cache.
  std::int64_t candidates() const { return scratch_.candidates; }

 private:
  struct CachedWord;
  void encode_between(std::string_view text, std::vector<std::int32_t>& out);
  void encode_words(std::string_view text, std::vector<std::int32_t>& out);
  void encode_word(std::string_view word, std::vector<std::int32_t>& out);
  void merge_word(std::string_view word);  // into word_ids_

  const Tokenizer& tokenizer_;
  std::vector<CachedWord> cache_;
  PairMerger::Scratch scratch_;
  std::vector<std::int32_t> word_ids_;
  std::vector<TextStretch> raw_, normalized_;
  std::string buffers_[2], prefixed_;
};

}  // namespace subquad
