#include "subquad/data/tokenizer/byte_alphabet.h"

#include <array>

#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

constexpr std::uint32_t kMovedTo = 0x100;
constexpr int kMoved = 68;

struct Alphabet {
  std::array<std::array<char, 2>, 256> letters{};
  std::array<std::uint8_t, 256> sizes{};
  std::array<int, kMovedTo + kMoved> byte_of{};  // by code point; -1: not a letter
};

constexpr Alphabet kAlphabet = [] {
  Alphabet a;
  for (int& byte : a.byte_of) byte = -1;
  unsigned moved = 0;
  for (unsigned b = 0; b < 256; ++b) {
    const bool stays = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const unsigned point = stays ? b : kMovedTo + moved++;
    a.byte_of[point] = static_cast<int>(b);
    if (point < 0x80) {
      a.letters[b] = {static_cast<char>(point), 0};
      a.sizes[b] = 1;
    } else {
      a.letters[b] = {static_cast<char>(0xC0 | point >> 6),
                      static_cast<char>(0x80 | (point & 0x3F))};
      a.sizes[b] = 2;
    }
  }
  return a;
}();

}  // namespace

std::string_view letter_of(std::uint8_t byte) {
  return {kAlphabet.letters[byte].data(), kAlphabet.sizes[byte]};
}

std::optional<std::string> bytes_of_letters(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint c = code_point_at(token, at);
    if (c.value >= kAlphabet.byte_of.size() || kAlphabet.byte_of[c.value] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte_of[c.value]);
    at += c.bytes;
  }
  return bytes;
}

}  // namespace subquad
