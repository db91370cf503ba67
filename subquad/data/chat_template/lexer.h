// The words of a template. White space around tags is dealt with here, as the reference library does
// with trim_blocks and lstrip_blocks: the line end behind a block or comment goes, and so do spaces
// before one that begins its line; "-" takes all white space on its side, "+" keeps it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/base/error.h"

namespace subquad::chat {

struct Place {
  std::int32_t line = 1, column = 1;  // columns count bytes
};

struct Word {
  enum class Kind : std::uint8_t {
    data,         // text outside tags
    print_begin,  // {{
    print_end,    // }}
    block_begin,  // {%
    block_end,    // %}
    name,
    text,  // "..." or '...', without quotes and escapes
    integer,
    real,
    sign,  // operators and brackets
    end,
  };
  Kind kind = Kind::end;
  std::string text;
  Place place;
};

// Fails with format, at a place.
template <class... Parts>
[[noreturn]] void fail_at(const std::string& source, Place p, const Parts&... parts) {
  fail(ErrorCode::unsupported, source, " line ", p.line, ", column ", p.column, ": ", parts...);
}

// Errors: unsupported, naming line and column, for an open tag, text or comment, or a character that
// means nothing.
std::vector<Word> words_of(std::string_view text, const std::string& source);

}  // namespace subquad::chat
