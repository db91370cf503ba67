// What a tokenizer.json says, checked for form, with texts as they stand in the file. The Tokenizer
// (tokenizer.h) is made from it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "subquad/data/tokenizer/scanner.h"
#include "subquad/io/json.h"

namespace subquad {

// A text that is one token wherever it stands.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // not where a \w touches it
  bool lstrip = false;       // swallows the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for, in normalized form, in the normalized text
  bool special = false;      // left out by decoders that skip special tokens
};

struct NormalizerStep {
  enum class Kind : std::uint8_t { nfc, prepend, replace };
  Kind kind = Kind::nfc;
  std::string pattern, content;  // replace: every `pattern` by `content`; prepend: `content`
};

struct DecoderStep {
  enum class Kind : std::uint8_t { byte_level, replace, byte_fallback, fuse, strip };
  Kind kind = Kind::byte_level;
  std::string pattern, content;      // replace; strip: the character in `content`
  std::int64_t start = 0, stop = 0;  // strip: at most so many of it
};

struct TokenizerDefinition {
  std::string source;  // the file, for errors
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizer;
  WordPattern pattern = WordPattern::whole;
  // True: words are bytes, written in the byte alphabet. False: words are characters, and one that
  // is no token is written as its bytes <0x00> ... <0xFF>.
  bool byte_level = true;
  bool add_prefix_space = false;  // before the first word, unless it starts with one
  bool ignore_merges = false;     // a word that is a token is that token
  std::vector<std::pair<std::string, std::int32_t>> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;  // in the order of their rank
  std::vector<std::int32_t> before, after;  // special tokens around a text, if asked for
  std::vector<DecoderStep> decoder;
};

// Reads a tokenizer.json, or the one in a folder. Bounds: files of at most 64 MiB, ids below
// 4 x (number of tokens) + 65536, contents of added tokens of at most 1024 bytes, normalizers and
// decoders of at most 16 steps that make a text at most 64 times longer.
// Errors: io; format, naming the file and the entry; unsupported, naming the part, for whatever
// would give other ids than the reference library does.
TokenizerDefinition read_tokenizer(const std::string& path);
TokenizerDefinition parse_tokenizer(const Json& json, const std::string& source);

// The file of a byte-level definition without post-processing, as the reference library loads it.
Json tokenizer_json(const TokenizerDefinition& definition);

}  // namespace subquad
