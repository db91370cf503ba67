// Words and names in messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace subquad {

// "1 file", "2 files".
inline std::string count_of(std::int64_t n, const char* noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

// Whether a byte of UTF-8 stands inside a character, behind its first.
inline bool inside_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// What a file holds, for a terminal: the first `most` bytes in whole characters, without what could
// steer the terminal.
inline std::string shown(std::string_view s, std::size_t most = 40) {
  if (s.size() > most) {
    while (most > 0 && inside_character(s[most])) --most;
    s = s.substr(0, most);
  }
  std::string out(s);
  for (char& c : out) c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

}  // namespace subquad
