#include "subquad/io/csv.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "subquad/base/error.h"

namespace subquad {
namespace {

char commonest_delimiter(std::string_view text, char decimal) {
  std::array<std::int64_t, 256> count{};
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (c == '\n' && !quoted) break;
    if (!quoted) ++count[static_cast<unsigned char>(c)];
  }
  char best = decimal == ',' ? ';' : ',';
  for (const char c : {';', '\t', '|'}) {
    if (count[static_cast<unsigned char>(c)] > count[static_cast<unsigned char>(best)]) best = c;
  }
  return best;
}

}  // namespace

CsvReader::CsvReader(std::string_view text, std::string source, char delimiter, char decimal)
    : text_(text), source_(std::move(source)) {
  if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
  const std::size_t first = std::min(text_.find_first_not_of("\r\n"), text_.size());
  delimiter_ = delimiter ? delimiter : commonest_delimiter(text_.substr(first), decimal);
}

std::string CsvReader::place(std::size_t cell) const {
  return source_ + " line " + std::to_string(row_line_) + ", column " + std::to_string(cell + 1);
}

bool CsvReader::skip_line_end() {
  if (at_ < text_.size() && text_[at_] == '\r') ++at_;
  if (at_ < text_.size() && text_[at_] == '\n') {
    ++at_;
    ++line_;
    return true;
  }
  return at_ > 0 && text_[at_ - 1] == '\r';  // old Macintosh: CR alone
}

bool CsvReader::next() {
  while (at_ < text_.size() && (text_[at_] == '\n' || text_[at_] == '\r')) skip_line_end();
  if (at_ >= text_.size()) return false;
  read_row();
  return true;
}

void CsvReader::read_row() {
  row_line_ = line_;
  cells_.clear();
  unquoted_.clear();
  for (;;) {
    if (at_ < text_.size() && text_[at_] == '"') {
      cells_.push_back(quoted_cell());
    } else {
      std::size_t end = at_;
      while (end < text_.size() && text_[end] != delimiter_ && text_[end] != '\n' &&
             text_[end] != '\r')
        ++end;
      cells_.push_back(text_.substr(at_, end - at_));
      at_ = end;
    }
    if (at_ < text_.size() && text_[at_] == delimiter_) {
      ++at_;
      continue;
    }
    if (at_ < text_.size()) skip_line_end();
    return;
  }
}

std::string_view CsvReader::quoted_cell() {
  const std::size_t begin = ++at_;
  bool doubled = false;
  for (;; ++at_) {
    require(at_ < text_.size(), ErrorCode::format, place(cells_.size()),
            ": a quote is opened and never closed");
    if (text_[at_] == '\n') ++line_;
    if (text_[at_] != '"') continue;
    if (at_ + 1 >= text_.size() || text_[at_ + 1] != '"') break;
    doubled = true;
    ++at_;
  }
  const std::string_view raw = text_.substr(begin, at_ - begin);
  ++at_;
  require(
      at_ >= text_.size() || text_[at_] == delimiter_ || text_[at_] == '\n' || text_[at_] == '\r',
      ErrorCode::format, place(cells_.size()),
      ": text behind a closing quote; a quote inside a cell is written twice");
  if (!doubled) return raw;
  std::string& cell = unquoted_.emplace_back();
  for (std::size_t i = 0; i < raw.size(); ++i) {
    cell += raw[i];
    if (raw[i] == '"') ++i;
  }
  return cell;
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",;\t|\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

std::string csv_number(double value) {
  if (std::isnan(value)) return "";
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace subquad
