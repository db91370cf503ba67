// What happens to text before pairs merge: UTF-8, NFC, added tokens, words.
#include <gtest/gtest.h>

#include "subquad/data/tokenizer/added_tokens.h"
#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/data/tokenizer/normalizer.h"
#include "subquad/data/tokenizer/scanner.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

using Words = std::vector<std::string>;

std::string normalized(std::string_view text) {
  std::string buffer;
  return std::string(nfc(text, buffer));
}

Words words(WordPattern pattern, std::string_view text) {
  Words out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = word_end(pattern, text, at);
    EXPECT_GT(end, at);
    EXPECT_LE(end, text.size());
    out.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return out;
}

TEST(TokenizerUnicode, CodePointsBothWays) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82";
  const std::uint32_t points[] = {'a', 0xE9, 0x20AC, 0x1F642};
  std::size_t at = 0;
  for (const std::uint32_t p : points) {
    const CodePoint c = code_point_at(text, at);
    EXPECT_EQ(c.value, p);
    at += c.bytes;
    EXPECT_EQ(code_point_before(text, at).value, p);
  }
  // Overlong, surrogate, too large, cut off, stray.
  for (const std::string bad : {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                "\xF5\x80\x80\x80", "\xE2\x82", "\x80", "\xFF"}) {
    const CodePoint c = code_point_at(bad, 0);
    EXPECT_EQ(c.value, kNoCodePoint);
    EXPECT_EQ(c.bytes, 1);
    EXPECT_FALSE(is_valid_utf8(bad));
    EXPECT_EQ(code_point_before(bad, bad.size()).value, kNoCodePoint);
  }
  EXPECT_TRUE(is_valid_utf8(text));
}

TEST(TokenizerUnicode, OneReplacementForEachMaximalPart) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("a\xE2\x82z"), "a" + r + "z");
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82\xE2\x82\xAC"), r + "\xE2\x82\xAC");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x99"), r);
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xFF"), r + r + r);
  EXPECT_EQ(replace_invalid_utf8("\xC3\xA9"), "\xC3\xA9");
}

TEST(TokenizerUnicode, Nfc) {
  EXPECT_EQ(normalized("plain"), "plain");
  EXPECT_EQ(normalized("e\xCC\x81"), "\xC3\xA9");            // e, acute
  EXPECT_EQ(normalized("xe\xCC\x81\xFF"), "x\xC3\xA9\xFF");  // beside a stray byte
  EXPECT_EQ(normalized("\xFF\xCC\x81"), "\xFF\xCC\x81");     // which composes with none
  EXPECT_EQ(normalized("\xE2\x84\xAB"), "\xC3\x85");         // Angstrom sign
  EXPECT_EQ(normalized("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "\xEA\xB0\x81");  // jamo
  EXPECT_EQ(normalized("q\xCC\x87\xCC\xA3"), "q\xCC\xA3\xCC\x87");                // order of marks
  EXPECT_EQ(normalized("\xE0\xA4\x95\xE0\xA4\xBC"), "\xE0\xA4\x95\xE0\xA4\xBC");  // excluded
}

TEST(TokenizerUnicode, Classes) {
  for (const std::uint32_t space : {0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x202F, 0x205F, 0x3000})
    EXPECT_EQ(classes_of(space), kSpace) << space;
  for (const std::uint32_t none : {0x1C, 0x180E, 0x200B, 0xFEFF, 0xE000, 0x10FFFF})
    EXPECT_EQ(classes_of(none), 0) << none;
  EXPECT_EQ(classes_of(0x0A), kSpace | kNewline);
  EXPECT_EQ(classes_of(0x4E00), kLetter);
  EXPECT_EQ(classes_of(0x2167), kNumber);
  EXPECT_EQ(classes_of(0x0301), kMark);
  EXPECT_TRUE(is_word('_') && is_word('z') && is_word('7') && is_word(0x0301) && is_word(0x24B6));
  EXPECT_FALSE(is_word('-') || is_word(' ') || is_word(kNoCodePoint) || is_word(0x00B2));
}

TEST(TokenizerBytes, TheAlphabetIsABijection) {
  std::string all, letters;
  for (int b = 0; b < 256; ++b) {
    all += static_cast<char>(b);
    letters += letter_of(static_cast<std::uint8_t>(b));
  }
  EXPECT_EQ(bytes_of_letters(letters), all);
  EXPECT_EQ(letter_of(' '), "\xC4\xA0");
  EXPECT_EQ(letter_of('\n'), "\xC4\x8A");
  EXPECT_EQ(letter_of(127), "\xC4\xA1");
  EXPECT_EQ(letter_of(173), "\xC5\x83");
  EXPECT_FALSE(bytes_of_letters("a b"));
  EXPECT_FALSE(bytes_of_letters("\xE2\x82\xAC"));
}

TEST(TokenizerWords, OfEveryPattern) {
  const std::string text = "it's  IT'S 12345 f(x)\n\n  y\t!z";
  EXPECT_EQ(words(WordPattern::gpt2, text), (Words{"it", "'s", " ", " IT", "'", "S", " 12345", " f",
                                                   "(", "x", ")", "\n\n ", " y", "\t", "!", "z"}));
  EXPECT_EQ(words(WordPattern::llama3, text), (Words{"it", "'s", " ", " IT", "'S", " ", "123", "45",
                                                     " f", "(x", ")\n\n", " ", " y", "\t", "!z"}));
  EXPECT_EQ(words(WordPattern::qwen2, text),
            (Words{"it", "'s", " ", " IT", "'S", " ", "1", "2", "3", "4", "5", " f", "(x", ")\n\n",
                   " ", " y", "\t", "!z"}));
  EXPECT_EQ(words(WordPattern::whole, text), Words{text});
}

TEST(TokenizerWords, CornersOfThePatterns) {
  const auto llama3 = [](std::string_view t) { return words(WordPattern::llama3, t); };
  EXPECT_EQ(llama3("x'\xC5\xBFy"), (Words{"x", "'\xC5\xBF", "y"}));  // long s
  EXPECT_EQ(words(WordPattern::gpt2, "x'\xC5\xBFy"), (Words{"x", "'", "\xC5\xBFy"}));
  EXPECT_EQ(llama3(" \n \n  z"), (Words{" \n \n", " ", " z"}));
  EXPECT_EQ(llama3("z   "), (Words{"z", "   "}));  // nothing behind the run
  EXPECT_EQ(llama3("a\xC2\xA0"
                   "b"),
            (Words{"a",
                   "\xC2\xA0"
                   "b"}));
  EXPECT_EQ(words(WordPattern::gpt2, "a\xC2\xA0 b"), (Words{"a", "\xC2\xA0", " b"}));
  EXPECT_EQ(llama3("..\r\n\r\nx"), (Words{"..\r\n\r\n", "x"}));
  EXPECT_EQ(llama3("e\xCC\x81t"), (Words{"e", "\xCC\x81t"}));  // a mark is no letter,
  EXPECT_EQ(words(WordPattern::qwen3_5, "e\xCC\x81t"), (Words{"e\xCC\x81t"}));  // or is one
  EXPECT_EQ(llama3("a\xFF\xFE"
                   "b"),
            (Words{"a", "\xFF\xFE", "b"}));  // stray bytes: as symbols
  EXPECT_EQ(llama3("'"), Words{"'"});
  EXPECT_EQ(llama3("'r"), Words{"'r"});
  EXPECT_EQ(llama3("12345678"), (Words{"123", "456", "78"}));
}

TEST(TokenizerWords, PatternsByNameAndByText) {
  for (const WordPattern p : word_patterns()) {
    EXPECT_EQ(word_pattern_named(name_of(p)), p);
    EXPECT_FALSE(regex_of(p).empty());
  }
  EXPECT_THROW(word_pattern_named("gpt5"), Error);
}

std::string split(const std::vector<AddedToken>& tokens, std::string_view text) {
  std::vector<TextStretch> stretches;
  AddedTokenFinder(tokens).split(text, stretches);
  std::string out;
  std::size_t at = 0;
  for (const TextStretch& s : stretches) {
    EXPECT_EQ(s.from, at) << "stretches cover the text";
    EXPECT_GT(s.to, s.from);
    at = s.to;
    out += (s.id < 0 ? "|" : "|" + std::to_string(s.id) + "=") +
           std::string(text.substr(s.from, s.to - s.from));
  }
  EXPECT_EQ(at, text.size());
  return out;
}

AddedToken token(std::int32_t id, const std::string& content) {
  AddedToken t;
  t.id = id;
  t.content = content;
  return t;
}

TEST(TokenizerAdded, LeftmostThenLongest) {
  const std::vector<AddedToken> tokens = {token(1, "abc"), token(2, "abcd"), token(3, "bcde"),
                                          token(4, "  "), token(5, "   ")};
  EXPECT_EQ(split(tokens, "xabcde"), "|x|2=abcd|e");
  EXPECT_EQ(split(tokens, "xabc"), "|x|1=abc");
  EXPECT_EQ(split(tokens, "bcdeab"), "|3=bcde|ab");
  EXPECT_EQ(split(tokens, "a       b"), "|a|5=   |5=   | b");
  EXPECT_EQ(split(tokens, ""), "");
  EXPECT_EQ(split({}, "ab"), "|ab");
}

TEST(TokenizerAdded, Flags) {
  AddedToken left = token(1, "<l>"), right = token(2, "<r>"), word = token(3, "word");
  left.lstrip = right.rstrip = word.single_word = true;
  const std::vector<AddedToken> tokens = {left, right, word, token(4, " ")};
  EXPECT_EQ(split({left, right}, "a \t<l> b <r>\n c"), "|a|1= \t<l>| b |2=<r>\n |c");
  EXPECT_EQ(split({left, right}, "<r>  <l>"), "|2=<r>  |1=<l>");  // to the earlier one
  EXPECT_EQ(split({word}, "word sword words -word- word"),
            "|3=word| sword words -|3=word|- |3=word");
  EXPECT_EQ(split({word}, "\xC3\xA9word word\xCC\x81"), "|\xC3\xA9word word\xCC\x81");
  EXPECT_EQ(split(tokens, "<r>  <l>"), "|2=<r>  |1=<l>");  // a token swallowed is no token
}

TEST(TokenizerNormalizer, StepsInOrder) {
  using Kind = NormalizerStep::Kind;
  const std::vector<NormalizerStep> llama2 = {{Kind::prepend, "", "_"}, {Kind::replace, " ", "_"}};
  std::string buffers[2];
  EXPECT_EQ(normalize(llama2, "a  b", buffers), "_a__b");
  EXPECT_EQ(normalize(llama2, "", buffers), "");
  const std::vector<NormalizerStep> both = {
      {Kind::replace, "E", "e"}, {Kind::nfc, "", ""}, {Kind::replace, "\xC3\xA9", "!"}};
  EXPECT_EQ(normalize(both, "E\xCC\x81", buffers), "!");
}

}  // namespace
}  // namespace subquad
