// The byte alphabet of GPT-2: every byte as a printable character. Bytes 33-126, 161-172 and 174-255
// are the code points of the same number, the other 68, in increasing order, U+0100 and up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace subquad {

std::string_view letter_of(std::uint8_t byte);  // UTF-8, at most two bytes

// The bytes that a token stands for; none if it has a character that is not of the alphabet.
std::optional<std::string> bytes_of_letters(std::string_view token);

}  // namespace subquad
