// TextReader: the ids of a file of any size, piece by piece.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "subquad/data/tokenizer/tokenizer.h"

namespace subquad {

// All pieces together are the encoding of the whole text: a byte-level file is cut only between an
// ASCII letter and a space or newline, where every word pattern ends a word and looks at nothing
// before. Memory: a piece and what it grows by until there is such a place; the whole file where
// there is none: without words, and with normalizers that prepend or replace.
class TextReader {
 public:
  static constexpr std::int64_t kPieceBytes = 1 << 20, kMostBytes = 256 << 20;

  // tokenizer null: ids are bytes. Errors: io.
  TextReader(const Tokenizer* tokenizer, const std::string& path,
             std::int64_t piece_bytes = kPieceBytes);

  // Appends the ids of the next piece and returns its bytes, 0 at the end. Errors: io; unsupported
  // where more than 256 MiB have no place to cut.
  std::int64_t next(std::vector<std::int32_t>& ids);

 private:
  bool fill(std::size_t wanted);
  std::size_t cut() const;

  const Tokenizer* tokenizer_;
  std::string path_, borders_, buffer_;
  std::int64_t piece_bytes_;
  std::ifstream file_;
  std::optional<Encoder> encoder_;
  bool at_end_ = false;
};

}  // namespace subquad
