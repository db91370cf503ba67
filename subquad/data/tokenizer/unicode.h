// UTF-8, the character classes that tokenizers ask for, and NFC. The Unicode version is that of
// utf8proc (2.8 holds Unicode 15).
//
// Text need not be valid: a byte that starts no valid sequence (overlong forms, surrogates and
// values above U+10FFFF are not valid) stands for itself, belongs to no class and is never changed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace subquad {

inline constexpr std::uint32_t kNoCodePoint = 0xFFFFFFFF;

struct CodePoint {
  std::uint32_t value = kNoCodePoint;
  std::uint32_t bytes = 1;
};

// The code point at text[at], at < text.size(); or kNoCodePoint and one byte.
CodePoint code_point_at(std::string_view text, std::size_t at);
// The one that ends before text[end], end > 0.
CodePoint code_point_before(std::string_view text, std::size_t end);

enum CharClass : std::uint8_t {
  kLetter = 1,   // category L
  kNumber = 2,   // category N
  kMark = 4,     // category M
  kSpace = 8,    // property White_Space
  kNewline = 16  // \r and \n, which are kSpace as well
};
std::uint8_t classes_of(std::uint32_t code_point);

constexpr std::uint8_t ascii_classes(unsigned c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const bool number = c >= '0' && c <= '9';
  const bool space = c == ' ' || (c >= 9 && c <= 13);
  const bool newline = c == '\r' || c == '\n';
  return static_cast<std::uint8_t>((letter ? kLetter : 0) | (number ? kNumber : 0) |
                                   (space ? kSpace : 0) | (newline ? kNewline : 0));
}
inline constexpr auto kAsciiClasses = [] {
  std::array<std::uint8_t, 128> table{};
  for (unsigned c = 0; c < 128; ++c) table[c] = ascii_classes(c);
  return table;
}();

struct ClassifiedChar {
  std::uint8_t classes = 0;
  std::uint32_t bytes = 1;
};
ClassifiedChar classified_beyond_ascii(std::string_view text, std::size_t at);
inline ClassifiedChar classified_at(std::string_view text, std::size_t at) {
  const auto c = static_cast<unsigned char>(text[at]);
  return c < 0x80 ? ClassifiedChar{kAsciiClasses[c], 1} : classified_beyond_ascii(text, at);
}

// \w: alphabetic, mark, decimal digit, connector punctuation or join control (UTS #18, annex C).
bool is_word(std::uint32_t code_point);

// Simple case mappings: one code point to one. Code points that have no case stay.
std::uint32_t upper_case(std::uint32_t code_point);
std::uint32_t lower_case(std::uint32_t code_point);
std::uint32_t title_case(std::uint32_t code_point);
// Not a control, format, private, unassigned or separator character; the space is printable.
bool is_printable(std::uint32_t code_point);
void append_utf8(std::string& to, std::uint32_t code_point);  // valid ones, below 0x110000

// `text` in normalization form C: `text` itself where all of it lies below U+0300, else in `buffer`.
// Cost: O(n log n), whatever the text; combining marks are sorted, not bubbled.
std::string_view nfc(std::string_view text, std::string& buffer);

// Valid UTF-8: U+FFFD for each maximal part of an invalid sequence (Unicode 15, section 3.9).
std::string replace_invalid_utf8(std::string_view text);
bool is_valid_utf8(std::string_view text);

}  // namespace subquad
