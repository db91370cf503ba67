#include "subquad/data/chat_template/lexer.h"

#include <algorithm>
#include <array>

#include "subquad/data/tokenizer/unicode.h"

namespace subquad::chat {
namespace {

constexpr std::string_view kSigns[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                       "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                       "]",  "{",  "}",  ",",  ".",  ":",  "|"};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || (c >= 9 && c <= 13); }

class Lexer {
 public:
  Lexer(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  std::vector<Word> run() {
    while (at_ < text_.size()) {
      data();
      if (at_ >= text_.size()) break;
      const char kind = text_[at_ + 1];
      if (kind == '#') {
        comment();
      } else {
        tag(kind == '%');
      }
    }
    add(Word::Kind::end, "");
    return std::move(words_);
  }

 private:
  Place place() {  // of at_; called with growing positions
    for (; counted_ < at_; ++counted_) {
      if (text_[counted_] == '\n') {
        ++place_.line;
        place_.column = 1;
      } else {
        ++place_.column;
      }
    }
    return place_;
  }
  void add(Word::Kind kind, std::string text) {
    words_.push_back({kind, std::move(text), place()});
  }
  bool starts(std::string_view s) const { return text_.substr(at_).starts_with(s); }

  // Up to the next tag, whose sign decides what happens to the white space before it.
  void data() {
    std::size_t end = text_.find('{', at_);
    while (end != std::string_view::npos &&
           (end + 1 >= text_.size() ||
            std::string_view("{%#").find(text_[end + 1]) == std::string_view::npos))
      end = text_.find('{', end + 1);
    end = std::min(end, text_.size());
    std::string_view data = text_.substr(at_, end - at_);
    const bool line_start = at_ == 0 || after_line_;
    if (end < text_.size()) {
      const char sign = end + 2 < text_.size() ? text_[end + 2] : ' ';
      if (sign == '-') {
        while (!data.empty() && is_space(data.back())) data.remove_suffix(1);
      } else if (sign != '+' && text_[end + 1] != '{') {
        std::size_t line = data.rfind('\n');
        if (line != std::string_view::npos || line_start) {
          line = line == std::string_view::npos ? 0 : line + 1;
          if (std::all_of(data.begin() + static_cast<std::ptrdiff_t>(line), data.end(), is_space))
            data = data.substr(0, line);
        }
      }
    }
    if (!data.empty()) add(Word::Kind::data, std::string(data));
    at_ = end;
  }

  // Behind a tag: "-" takes all white space; a block or comment its line end.
  void close(char sign, bool trims) {
    after_line_ = false;
    if (sign == '-') {
      while (at_ < text_.size() && is_space(text_[at_])) after_line_ = text_[at_++] == '\n';
    } else if (sign != '+' && trims && at_ < text_.size() && text_[at_] == '\n') {
      ++at_;
      after_line_ = true;
    }
  }

  void comment() {
    const Place begin = place();
    const std::size_t end = text_.find("#}", at_ + 2);
    if (end == std::string_view::npos) fail_at(source_, begin, "a comment {# is never closed");
    const char sign = end > at_ + 2 ? text_[end - 1] : ' ';
    at_ = end + 2;
    close(sign == '-' || sign == '+' ? sign : ' ', true);
  }

  void tag(bool block) {
    const Place begin = place();
    add(block ? Word::Kind::block_begin : Word::Kind::print_begin, block ? "{%" : "{{");
    at_ += 2;
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) ++at_;
    const std::string_view end = block ? "%}" : "}}";
    int open = 0;  // brackets: "}}" may close two dictionaries
    for (;;) {
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
      if (at_ >= text_.size())
        fail_at(source_, begin, block ? "a block {%" : "a print {{", " is never closed");
      if (open == 0) {
        const char sign = text_[at_];
        if ((sign == '-' || (sign == '+' && block)) && text_.substr(at_ + 1).starts_with(end)) {
          add(block ? Word::Kind::block_end : Word::Kind::print_end, std::string(end));
          at_ += 3;
          return close(sign, block);
        }
        if (starts(end)) {
          add(block ? Word::Kind::block_end : Word::Kind::print_end, std::string(end));
          at_ += 2;
          return close(' ', block);
        }
      }
      open += word();
    }
  }

  // Returns by how much brackets open.
  int word() {
    const char c = text_[at_];
    if (is_letter(c)) {
      std::size_t end = at_;
      while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
      take(Word::Kind::name, end);
    } else if (is_digit(c)) {
      number();
    } else if (c == '"' || c == '\'') {
      quoted(c);
    } else {
      for (const std::string_view s : kSigns) {
        if (!starts(s)) continue;
        take(Word::Kind::sign, at_ + s.size());
        return s == "(" || s == "[" || s == "{" ? 1 : s == ")" || s == "]" || s == "}" ? -1 : 0;
      }
      fail_at(source_, place(), "the character ", shown(c), " means nothing here");
    }
    return 0;
  }
  static std::string shown(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte < 0x7f ? std::string("\"") + c + "\""
                                      : "with the byte " + std::to_string(byte);
  }
  void take(Word::Kind kind, std::size_t end) {
    add(kind, std::string(text_.substr(at_, end - at_)));
    at_ = end;
  }
  void number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < text_.size() && (is_digit(text_[end]) || text_[end] == '_')) ++end;
    };
    digits();
    bool real = false;
    if (end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      std::size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (exponent < text_.size() && is_digit(text_[exponent])) {
        real = true;
        end = exponent;
        digits();
      }
    }
    std::string literal(text_.substr(at_, end - at_));
    std::erase(literal, '_');
    add(real ? Word::Kind::real : Word::Kind::integer, std::move(literal));
    at_ = end;
  }

  void quoted(char quote) {
    const Place begin = place();
    std::string value;
    std::size_t at = at_ + 1;
    for (;; ++at) {
      if (at >= text_.size()) fail_at(source_, begin, "a text is opened and never closed");
      if (text_[at] == quote) break;
      if (text_[at] != '\\') {
        value += text_[at];
        continue;
      }
      if (++at >= text_.size()) fail_at(source_, begin, "a text is opened and never closed");
      escape(value, at, begin);
    }
    add(Word::Kind::text, std::move(value));
    at_ = at + 1;
  }
  // The escape whose letter is text_[at]; leaves `at` at its last character.
  void escape(std::string& value, std::size_t& at, Place begin) const {
    constexpr std::string_view kLetters = "ntrbfav0\\'\"\n", kMeanings("\n\t\r\b\f\a\v\0\\'\"", 11);
    const char c = text_[at];
    if (c == 'x' || c == 'u' || c == 'U') {
      const int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      std::uint32_t code = 0;
      for (int i = 0; i < digits; ++i) {
        constexpr std::string_view kHex = "0123456789abcdef";
        const std::size_t digit = ++at < text_.size()
                                      ? kHex.find(static_cast<char>(text_[at] | 0x20))
                                      : std::string::npos;
        if (digit == std::string_view::npos)
          fail_at(source_, begin, "a text with an escape \\", c, " without its ", digits,
                  " hexadecimal digits");
        code = code * 16 + static_cast<std::uint32_t>(digit);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        fail_at(source_, begin, "a text with an escape for no character");
      return append_utf8(value, code);
    }
    const std::size_t which = kLetters.find(c);
    if (which == std::string_view::npos) {  // as in Python, the backslash stays
      (value += '\\') += c;
    } else if (which < kMeanings.size()) {
      value += kMeanings[which];
    }  // a line end behind a backslash joins the lines
  }
  const std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0, counted_ = 0;
  Place place_;
  bool after_line_ = false;  // the last tag ended with a line end
  std::vector<Word> words_;
};

}  // namespace

std::vector<Word> words_of(std::string_view text, const std::string& source) {
  return Lexer(text, source).run();
}

}  // namespace subquad::chat
