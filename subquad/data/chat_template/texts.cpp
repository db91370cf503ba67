// What filters and methods do to texts.
#include <algorithm>

#include "subquad/data/chat_template/operations.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad::chat {
namespace {

// White space as Python strips it.
bool is_space(const CodePoint& c) {
  return c.value != kNoCodePoint &&
         ((classes_of(c.value) & kSpace) != 0 || (c.value >= 0x1c && c.value <= 0x1f));
}

bool is_letter(std::uint32_t c) { return c != kNoCodePoint && (classes_of(c) & kLetter) != 0; }

// Every code point by map(code point, whether a letter stands before it).
template <class Map>
std::string mapped(std::string_view text, Map&& map) {
  std::string out;
  out.reserve(text.size());
  bool letter_before = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (c.value == kNoCodePoint) {
      out += text[at];
    } else {
      append_utf8(out, map(c.value, letter_before, at));
    }
    letter_before = is_letter(c.value);
    at += c.bytes;
  }
  return out;
}

}  // namespace

void append_hex(std::string& out, const char* prefix, std::uint32_t value, int digits) {
  out += prefix;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    out += "0123456789abcdef"[value >> shift & 15U];
}

std::string python_quoted(std::string_view text) {
  const bool twice =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = twice ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (c.value == static_cast<unsigned char>(quote) || c.value == '\\') {
      (out += '\\') += text[at];
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (c.value == kNoCodePoint || is_printable(c.value)) {
      out.append(text, at, c.bytes);
    } else if (c.value < 0x100) {
      append_hex(out, "\\x", c.value, 2);
    } else {
      append_hex(out, c.value < 0x10000 ? "\\u" : "\\U", c.value, c.value < 0x10000 ? 4 : 8);
    }
    at += c.bytes;
  }
  return out + quote;
}

std::string stripped(std::string_view text, Side side, const std::string* set) {
  const auto goes = [&](const CodePoint& c, std::string_view bytes) {
    return set ? find_text(*set, bytes) != std::string_view::npos : is_space(c);
  };
  const auto wants = [&](Side s) {
    return (static_cast<unsigned>(side) & static_cast<unsigned>(s)) != 0;
  };
  while (wants(Side::left) && !text.empty()) {
    const CodePoint c = code_point_at(text, 0);
    if (!goes(c, text.substr(0, c.bytes))) break;
    text.remove_prefix(c.bytes);
  }
  while (wants(Side::right) && !text.empty()) {
    const CodePoint c = code_point_before(text, text.size());
    if (!goes(c, text.substr(text.size() - c.bytes))) break;
    text.remove_suffix(c.bytes);
  }
  return std::string(text);
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::int64_t most, Budget& budget) {
  require(!from.empty(), ErrorCode::unsupported, "a replacement of the empty text");
  std::string out;
  std::size_t at = 0;
  for (std::int64_t n = 0; most < 0 || n < most; ++n) {
    const std::size_t next = find_text(text, from, at);
    if (next == std::string_view::npos) break;
    budget.spend(Budget::kStep + next - at + to.size());
    out.append(text.substr(at, next - at)).append(to);
    at = next + from.size();
  }
  budget.spend(text.size() - at);
  return out.append(text.substr(at));
}

std::string upper(std::string_view text) {
  return mapped(text, [](std::uint32_t c, bool, std::size_t) { return upper_case(c); });
}
std::string lower(std::string_view text) {
  return mapped(text, [](std::uint32_t c, bool, std::size_t) { return lower_case(c); });
}
std::string capitalized(std::string_view text) {
  return mapped(text, [](std::uint32_t c, bool, std::size_t at) {
    return at == 0 ? title_case(c) : lower_case(c);
  });
}
// Words begin behind what is no letter; for the filter, only behind white space, - and brackets.
std::string titled(std::string_view text, bool after_letters_only) {
  return mapped(text, [&](std::uint32_t c, bool letter_before, std::size_t at) {
    const bool begins = after_letters_only
                            ? !letter_before
                            : at == 0 || std::string_view("-([{< \t\r\n\f\v").find(text[at - 1]) !=
                                             std::string_view::npos;
    return begins ? title_case(c) : lower_case(c);
  });
}

Value joined(const std::vector<Value>& items, std::string_view separator, bool texts_only,
             Budget& budget) {
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    require(!texts_only || items[i].is_text(), ErrorCode::unsupported, "a join of ",
            items[i].type_name(), ", wanted texts");
    if (i > 0) out += separator;
    budget.spend(Budget::kStep + separator.size());
    out += items[i].printed(budget);
  }
  return Value::text(std::move(out));
}

}  // namespace subquad::chat
