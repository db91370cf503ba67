// Delimited text, row by row and without a copy: RFC 4180 quotes, LF or CRLF, UTF-8 byte-order mark
// and empty lines skipped. Source: RFC 4180.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace subquad {

class CsvReader {
 public:
  // `source` names the text in errors. delimiter 0: of , ; tab and | the commonest in the first row, but never
  // `decimal`.
  // The text must outlive the reader.
  CsvReader(std::string_view text, std::string source, char delimiter = 0, char decimal = '.');

  // The next row, or false at the end. Cells are valid until the next call.
  // Errors: format, with the line, for a quote that is never closed or is followed by text.
  bool next();
  const std::vector<std::string_view>& cells() const { return cells_; }
  std::int64_t line() const { return row_line_; }  // where the row begins, from 1
  char delimiter() const { return delimiter_; }
  const std::string& source() const { return source_; }
  // "FILE line 7, column 3": for errors about the cell with this index.
  std::string place(std::size_t cell) const;

 private:
  bool skip_line_end();
  void read_row();
  std::string_view quoted_cell();

  std::string_view text_;
  std::string source_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1, row_line_ = 1;
  char delimiter_;
  std::vector<std::string_view> cells_;
  std::deque<std::string> unquoted_;  // of cells with doubled quotes
};

// The text as one cell of a CSV file: in quotes where it must be.
std::string csv_cell(std::string_view text);
// Shortest decimal text that reads back as the same double; empty for NaN.
std::string csv_number(double value);

}  // namespace subquad
