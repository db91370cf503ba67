#include "subquad/data/tokenizer/scanner.h"

#include "subquad/base/error.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

struct Known {
  WordPattern pattern;
  std::string_view name, regex;
};

constexpr Known kKnown[] = {
    {WordPattern::gpt2, "gpt2",
     R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {WordPattern::llama3, "llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {WordPattern::qwen2, "qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {WordPattern::qwen3_5, "qwen3_5",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};

// The end of the run of characters that have one of the classes.
std::size_t run_of(std::uint8_t classes, std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const ClassifiedChar c = classified_at(text, at);
    if ((c.classes & classes) == 0) break;
    at += c.bytes;
  }
  return at;
}

// The end of the run of characters that have none of the classes.
std::size_t run_without(std::uint8_t classes, std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const ClassifiedChar c = classified_at(text, at);
    if ((c.classes & classes) != 0) break;
    at += c.bytes;
  }
  return at;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// The end of 's 't 're 've 'm 'll 'd at `at`, or `at`.
template <bool any_case>
std::size_t contraction_end(std::string_view text, std::size_t at) {
  if (text[at] != '\'' || at + 1 == text.size()) return at;
  const auto letter = [&](std::size_t i) {
    return i >= text.size() ? '\0' : any_case ? lower(text[i]) : text[i];
  };
  const char a = letter(at + 1), b = letter(at + 2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
  if (any_case && text.substr(at + 1).starts_with("\xC5\xBF")) return at + 3;  // long s
  return at;
}

// \s+(?!\S)|\s+ on the run [at, end) of white space: all of it at the end of the text, else all but
// its last character, which is left to the next word, unless it is the only one.
std::size_t space_end(std::string_view text, std::size_t at, std::size_t end) {
  if (end == text.size()) return end;
  const std::size_t last = end - code_point_before(text, end).bytes;
  return last > at ? last : end;
}

std::size_t gpt2_end(std::string_view text, std::size_t at) {
  if (const std::size_t end = contraction_end<false>(text, at); end > at) return end;
  const ClassifiedChar first = classified_at(text, at);
  // The character that decides stands behind one optional space.
  std::size_t from = at;
  ClassifiedChar c = first;
  if (text[at] == ' ' && at + 1 < text.size()) c = classified_at(text, from = at + 1);
  if ((c.classes & kLetter) != 0) return run_of(kLetter, text, from + c.bytes);
  if ((c.classes & kNumber) != 0) return run_of(kNumber, text, from + c.bytes);
  if ((c.classes & kSpace) == 0) {
    return run_without(kSpace | kLetter | kNumber, text, from + c.bytes);
  }
  return space_end(text, at, run_of(kSpace, text, at + first.bytes));
}

// The family of Llama 3: `letter` is the class of what words are made of, numbers have at most
// `digits` digits.
template <std::uint8_t letter, int digits>
std::size_t llama3_end(std::string_view text, std::size_t at) {
  if (const std::size_t end = contraction_end<true>(text, at); end > at) return end;
  const ClassifiedChar first = classified_at(text, at);
  const std::size_t second = at + first.bytes;
  if ((first.classes & letter) != 0) return run_of(letter, text, second);
  if ((first.classes & kNumber) != 0) {
    std::size_t end = second;
    for (int k = 1; k < digits && end < text.size(); ++k) {
      const ClassifiedChar c = classified_at(text, end);
      if ((c.classes & kNumber) == 0) break;
      end += c.bytes;
    }
    return end;
  }
  if ((first.classes & kNewline) == 0 && second < text.size()) {
    const ClassifiedChar next = classified_at(text, second);
    if ((next.classes & letter) != 0) return run_of(letter, text, second + next.bytes);
  }
  // Anything else behind one optional space, with the newlines that follow.
  constexpr std::uint8_t kNotOther = kSpace | kNumber | letter;
  const std::size_t other = text[at] == ' ' ? second : at;
  const std::size_t end = run_without(kNotOther, text, other);
  if (end > other) return run_of(kNewline, text, end);
  // White space: up to its last newline, if there is one.
  std::size_t space = at, line = at;
  while (space < text.size()) {
    const ClassifiedChar c = classified_at(text, space);
    if ((c.classes & kSpace) == 0) break;
    space += c.bytes;
    if ((c.classes & kNewline) != 0) line = space;
  }
  return line > at ? line : space_end(text, at, space);
}

}  // namespace

std::string_view regex_of(WordPattern pattern) {
  for (const Known& k : kKnown) {
    if (k.pattern == pattern) return k.regex;
  }
  return "";
}

std::string_view name_of(WordPattern pattern) {
  for (const Known& k : kKnown) {
    if (k.pattern == pattern) return k.name;
  }
  return "whole";
}

const std::vector<WordPattern>& word_patterns() {
  static const std::vector<WordPattern> all = {WordPattern::gpt2, WordPattern::llama3,
                                               WordPattern::qwen2, WordPattern::qwen3_5};
  return all;
}

WordPattern word_pattern_named(std::string_view name) {
  std::string names;
  for (const Known& k : kKnown) {
    if (k.name == name) return k.pattern;
    names += (names.empty() ? "" : ", ") + std::string(k.name);
  }
  fail(ErrorCode::invalid_argument, "word pattern \"", name, "\": wanted one of ", names);
}

std::size_t word_end(WordPattern pattern, std::string_view text, std::size_t at) {
  switch (pattern) {
    case WordPattern::gpt2: return gpt2_end(text, at);
    case WordPattern::llama3: return llama3_end<kLetter, 3>(text, at);
    case WordPattern::qwen2: return llama3_end<kLetter, 1>(text, at);
    case WordPattern::qwen3_5: return llama3_end<kLetter | kMark, 1>(text, at);
    case WordPattern::whole: break;
  }
  return text.size();
}

}  // namespace subquad
