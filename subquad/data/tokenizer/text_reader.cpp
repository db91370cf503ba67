#include "subquad/data/tokenizer/text_reader.h"

#include <algorithm>
#include <filesystem>

#include "subquad/base/error.h"

namespace subquad {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// What a text may be cut before, if an ASCII letter stands before that. Not where the whole is one
// word, a normalizer may look across, or an added token could reach across, swallow it, or be taken
// for a word of its own behind the cut.
std::string borders_of(const Tokenizer& tokenizer) {
  const TokenizerDefinition& d = tokenizer.definition();
  if (!d.byte_level || d.pattern == WordPattern::whole) return {};
  for (const NormalizerStep& step : d.normalizer) {
    if (step.kind != NormalizerStep::Kind::nfc) return {};
  }
  std::string borders = d.add_prefix_space ? " " : " \n";
  for (const AddedToken& t : d.added_tokens) {
    for (std::size_t i = 0; i < t.content.size(); ++i) {
      const bool across = i > 0 && is_letter(t.content[i - 1]);
      if (across || (i == 0 && t.single_word)) std::erase(borders, t.content[i]);
    }
    if (t.rstrip && !t.content.empty() && is_letter(t.content.back())) return {};
  }
  return borders;
}

}  // namespace

TextReader::TextReader(const Tokenizer* tokenizer, const std::string& path,
                       std::int64_t piece_bytes)
    : tokenizer_(tokenizer),
      path_(path),
      borders_(tokenizer ? borders_of(*tokenizer) : ""),
      piece_bytes_(piece_bytes),
      file_(path, std::ios::binary) {
  std::error_code error;
  require(file_.is_open() && !std::filesystem::is_directory(path, error), ErrorCode::io,
          "cannot read ", path, ": wanted a file");
  if (tokenizer) encoder_.emplace(*tokenizer);
}

// Reads until the buffer has `wanted` bytes; false at the end of the file.
bool TextReader::fill(std::size_t wanted) {
  while (!at_end_ && buffer_.size() < wanted) {
    const std::size_t have = buffer_.size();
    buffer_.resize(wanted);
    file_.read(buffer_.data() + have, static_cast<std::streamsize>(wanted - have));
    buffer_.resize(have + static_cast<std::size_t>(file_.gcount()));
    require(!file_.bad(), ErrorCode::io, "cannot read ", path_, " after ", buffer_.size(),
            " bytes of a piece");
    at_end_ = file_.eof();
  }
  return !at_end_;
}

std::size_t TextReader::cut() const {
  for (std::size_t i = buffer_.size() - 1; i > 0; --i) {
    if (borders_.find(buffer_[i]) != std::string::npos && is_letter(buffer_[i - 1])) return i;
  }
  return 0;
}

std::int64_t TextReader::next(std::vector<std::int32_t>& ids) {
  std::size_t size = 0, wanted = static_cast<std::size_t>(piece_bytes_);
  for (;;) {
    const bool more = fill(wanted);
    size = buffer_.size();
    if (!more || !tokenizer_) break;
    if (!borders_.empty() && (size = cut()) > 0) break;
    require(wanted < static_cast<std::size_t>(kMostBytes), ErrorCode::unsupported, path_, ": ",
            buffer_.size(), " bytes and no place where ", tokenizer_->definition().source,
            " allows to cut them (an ASCII letter before a space); wanted smaller files");
    wanted *= 2;
  }
  if (tokenizer_) {
    encoder_->encode(std::string_view(buffer_).substr(0, size), false, ids);
  } else {
    for (const char c : buffer_) ids.push_back(static_cast<unsigned char>(c));
  }
  buffer_.erase(0, size);
  return static_cast<std::int64_t>(size);
}

}  // namespace subquad
