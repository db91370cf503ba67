#include "subquad/data/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "subquad/base/error.h"

namespace subquad {
namespace {

unsigned byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

// Bytes of the sequence that the lead byte announces; 0 for a byte that leads none.
std::size_t announced_bytes(unsigned lead) {
  return lead < 0x80   ? 1
         : lead < 0xC2 ? 0
         : lead < 0xE0 ? 2
         : lead < 0xF0 ? 3
         : lead < 0xF5 ? 4
                       : 0;
}

// How many bytes at text[at] a valid sequence could start with, at most the announced ones.
std::size_t valid_prefix(std::string_view text, std::size_t at) {
  const unsigned lead = byte_at(text, at);
  const std::size_t n = announced_bytes(lead);
  if (n < 2) return n;
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  std::size_t k = 1;
  for (; k < n && at + k < text.size(); ++k) {
    const unsigned c = byte_at(text, at + k);
    if (c < low || c > high) break;
    low = 0x80;
    high = 0xBF;
  }
  return k;
}

void append_utf8(std::string& out, utf8proc_int32_t code_point) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(code_point, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n));
}

// Below this, every character is a starter that NFC keeps and that no character before it absorbs.
constexpr std::uint32_t kFirstToNormalize = 0x300;

// Characters of one stretch, decomposed, sorted, composed.
class Composer {
 public:
  void add(std::uint32_t code_point) {
    utf8proc_int32_t parts[8];  // the longest canonical decomposition has four
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts,
                                           std::size(parts), UTF8PROC_DECOMPOSE, nullptr);
    require(n > 0 && n <= static_cast<utf8proc_ssize_t>(std::size(parts)), ErrorCode::internal,
            "no decomposition of U+", std::hex, code_point);
    points_.insert(points_.end(), parts, parts + n);
  }
  void finish(std::string& out) {
    for (std::size_t from = 0; from < points_.size();) {
      std::size_t to = from;
      while (to < points_.size() && combining_class(points_[to]) != 0) ++to;
      std::stable_sort(points_.begin() + static_cast<std::ptrdiff_t>(from),
                       points_.begin() + static_cast<std::ptrdiff_t>(to),
                       [](utf8proc_int32_t a, utf8proc_int32_t b) {
                         return combining_class(a) < combining_class(b);
                       });
      from = to + 1;
    }
    const auto n = utf8proc_normalize_utf32(
        points_.data(), static_cast<utf8proc_ssize_t>(points_.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    require(n >= 0, ErrorCode::internal, "utf8proc could not compose: ", utf8proc_errmsg(n));
    for (utf8proc_ssize_t i = 0; i < n; ++i) append_utf8(out, points_[static_cast<std::size_t>(i)]);
    points_.clear();
  }

 private:
  static int combining_class(utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  }
  std::vector<utf8proc_int32_t> points_;
};

// The first place at or after `from` whose character NFC may change, or the size of the text.
std::size_t next_to_normalize(std::string_view text, std::size_t from) {
  while (from < text.size()) {
    if (byte_at(text, from) < 0xCC) {  // below U+0300, or a stray byte
      ++from;
      continue;
    }
    const CodePoint c = code_point_at(text, from);
    if (c.value != kNoCodePoint && c.value >= kFirstToNormalize) return from;
    from += c.bytes;
  }
  return from;
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t at) {
  const std::size_t n = announced_bytes(byte_at(text, at));
  if (n == 0 || valid_prefix(text, at) != n) return {};
  constexpr unsigned kLeadBits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  std::uint32_t value = byte_at(text, at) & kLeadBits[n];
  for (std::size_t k = 1; k < n; ++k) value = value << 6 | (byte_at(text, at + k) & 0x3F);
  return {value, static_cast<std::uint32_t>(n)};
}

CodePoint code_point_before(std::string_view text, std::size_t end) {
  for (std::size_t n = 1; n <= 4 && n <= end; ++n) {
    const CodePoint c = code_point_at(text.substr(0, end), end - n);
    if (c.value != kNoCodePoint && c.bytes == n) return c;
  }
  return {};
}

std::uint8_t classes_of(std::uint32_t c) {
  if (c < 0x80) return kAsciiClasses[c];
  if (c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
      c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000) {
    return kSpace;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return kNumber;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return kMark;
    default: return 0;
  }
}

ClassifiedChar classified_beyond_ascii(std::string_view text, std::size_t at) {
  const CodePoint c = code_point_at(text, at);
  return {c.value == kNoCodePoint ? std::uint8_t{0} : classes_of(c.value), c.bytes};
}

bool is_word(std::uint32_t c) {
  if (c == kNoCodePoint) return false;
  if ((classes_of(c) & (kLetter | kMark)) != 0 || c == 0x200C || c == 0x200D) return true;
  // Alphabetic symbols: circled and squared Latin letters.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) {
    return true;
  }
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_PC;
}

std::uint32_t upper_case(std::uint32_t code_point) {
  return static_cast<std::uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code_point)));
}
std::uint32_t lower_case(std::uint32_t code_point) {
  return static_cast<std::uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point)));
}
std::uint32_t title_case(std::uint32_t code_point) {
  return static_cast<std::uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code_point)));
}

bool is_printable(std::uint32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return code_point == ' ';
    default: return true;
  }
}

void append_utf8(std::string& to, std::uint32_t code_point) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  to.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n));
}

std::string_view nfc(std::string_view text, std::string& buffer) {
  std::size_t at = next_to_normalize(text, 0), copied = 0;
  if (at == text.size()) return text;
  buffer.clear();
  Composer composer;
  while (at < text.size()) {
    // The character before may compose with the first one here.
    std::size_t from = at;
    if (at > copied) {
      const CodePoint before = code_point_before(text, at);
      if (before.value != kNoCodePoint) from -= before.bytes;
    }
    buffer.append(text.substr(copied, from - copied));
    for (at = from; at < text.size();) {
      const CodePoint c = code_point_at(text, at);
      if (c.value == kNoCodePoint || (at > from && c.value < kFirstToNormalize)) break;
      composer.add(c.value);
      at += c.bytes;
    }
    composer.finish(buffer);
    copied = at;
    at = next_to_normalize(text, at);
  }
  buffer.append(text.substr(copied));
  return buffer;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t n = announced_bytes(byte_at(text, at)), valid = valid_prefix(text, at);
    if (n > 0 && valid == n) {
      out.append(text.substr(at, n));
    } else {
      out += "\xEF\xBF\xBD";
    }
    at += std::max<std::size_t>(valid, 1);
  }
  return out;
}

bool is_valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t n = announced_bytes(byte_at(text, at));
    if (n == 0 || valid_prefix(text, at) != n) return false;
    at += n;
  }
  return true;
}

}  // namespace subquad
