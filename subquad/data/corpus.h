// Byte corpora: text or source files below a folder, cleaned, de-duplicated, split, and kept as one
// byte stream per split with a zero byte behind every document.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "subquad/base/file.h"
#include "subquad/io/json.h"

namespace subquad {

struct CorpusOptions {
  std::string source;                                // folder or file
  bool code = true;                                  // source-code cleaning; false: any UTF-8 text
  std::int64_t most_bytes = std::int64_t{16} << 20;  // of cleaned text; a sample, if there is more
  std::string cache;                                 // folder for the built shards
};

std::string default_corpus_cache();  // $SUBQUAD_DATA, else data/cache

class ByteCorpus {
 public:
  // Builds the shards unless the cache holds those of the same files (paths, sizes, times,
  // inodes: see fingerprint). Errors: missing folder; nothing left after cleaning (with the count
  // of every rule).
  explicit ByteCorpus(const CorpusOptions& options);

  // 0 train, 1 validation, 2 test.
  std::span<const std::uint8_t> split(int which) const;
  const Json& index() const {
    return index_;
  }  // counts per rule and split, SHA-256 of every split, how it was split

 private:
  std::array<MappedFile, 3> files_;
  Json index_;
};

// The text without its leading licence comment, for the comment styles of the common languages;
// exposed for tests.
std::string strip_leading_comment(const std::string& text);
// Empty if the text is fit for a corpus of source code, else the name of the rule it breaks.
std::string broken_rule(const std::string& text);

}  // namespace subquad
