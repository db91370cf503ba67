#include "subquad/runtime/text_stream.h"

#include <gtest/gtest.h>

#include <fstream>

#include "subquad/data/tokenizer/text_reader.h"
#include "subquad/data/tokenizer/unicode.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

const std::string kTokenizers = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/";

struct Spoken {
  std::vector<std::string> pieces;
  std::string text;
  bool stopped = false;
};

Spoken speak_bytes(const std::string& bytes, const std::vector<std::string>& stops) {
  TextStream stream(nullptr, stops);
  Spoken s;
  for (const char c : bytes) s.pieces.push_back(stream.push(static_cast<unsigned char>(c)));
  s.stopped = stream.stopped();
  s.pieces.push_back(stream.finish());
  for (const std::string& piece : s.pieces) s.text += piece;
  return s;
}

TEST(TextStream, CharactersAppearWhole) {
  const std::string text = "a\xC3\xA4\xE4\xBD\xA0\xF0\x9F\x99\x82z";  // 1, 2, 3, 4 and 1 bytes
  const Spoken s = speak_bytes(text, {});
  EXPECT_EQ(s.text, text);
  for (const std::string& piece : s.pieces) EXPECT_TRUE(is_valid_utf8(piece)) << piece;
  EXPECT_EQ(s.pieces[1], "");
  EXPECT_EQ(s.pieces[2], "\xC3\xA4");
  EXPECT_EQ(s.pieces[9], "\xF0\x9F\x99\x82");
}

TEST(TextStream, AnIdThatIsNoByteHasNoText) {
  TextStream stream(nullptr);
  EXPECT_EQ(stream.push('a'), "a");
  for (const std::int32_t id : {256, 256 + 'b', -1}) EXPECT_EQ(stream.push(id), "") << id;
  EXPECT_EQ(stream.push('c') + stream.finish(), "c");
}

// Piece by piece as all at once, for whatever bytes.
TEST(TextStream, BytesThatAreNoTextBecomeTheReplacementCharacter) {
  const Rng rng{5, 1};
  const std::string lead = "\xC3\xE4\xBD\xA0\xF0\x9F\x99\x82\xFF\xED\xA0\x80 a";
  for (std::uint64_t round = 0; round < 2000; ++round) {
    std::string bytes;
    for (std::uint64_t i = 0; i < 12; ++i)
      bytes += lead[static_cast<std::size_t>(
          rng.below(static_cast<std::int64_t>(lead.size()), round, i))];
    ASSERT_EQ(speak_bytes(bytes, {}).text, replace_invalid_utf8(bytes));
  }
}

// The text before the first completed stop string, by search; of those that end together the one
// that began first.
std::string until_stop(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t end = std::string::npos, begin = text.size();
  for (const std::string& stop : stops) {
    const std::size_t at = text.find(stop);
    if (at == std::string::npos) continue;
    const std::size_t e = at + stop.size();
    if (e < end || (e == end && at < begin)) {
      end = e;
      begin = at;
    }
  }
  return text.substr(0, begin);
}

TEST(TextStream, NothingOfAStopStringIsShown) {
  const Rng rng{9, 2};
  const std::vector<std::vector<std::string>> sets = {
      {"ab"}, {"aab", "ba"}, {"aaa"}, {"abab", "b"}, {"abcabd", "cab"}, {"c\n\n", "\n\n\n"}};
  const std::string letters = "abc\nd";
  for (std::uint64_t round = 0; round < 3000; ++round) {
    std::string text;
    for (std::uint64_t i = 0; i < 24; ++i)
      text += letters[static_cast<std::size_t>(rng.below(5, round, i))];
    for (const auto& stops : sets) {
      const Spoken s = speak_bytes(text, stops);
      ASSERT_EQ(s.text, until_stop(text, stops)) << text;
      ASSERT_EQ(s.stopped, s.text.size() < text.size());
    }
  }
  EXPECT_EQ(speak_bytes("so far \xE4\xBD\xA0 END", {"\xE4\xBD\xA0"}).text, "so far ");
  TextStream stream(nullptr, {"x", "yz"});
  for (const char c : std::string("ayz")) stream.push(c);
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.stop(), "yz");
  EXPECT_EQ(stream.push('q'), "");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_THROW(TextStream(nullptr, {""}), Error);
}

const char* const kSamples[] = {
    "def f(x):\n    return x + 1  # na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x99\x82\n",
    " leading and   inner  spaces ", "a", "\n\n\tTabs\r\n", "don't 12345 <|endoftext|> end"};

TEST(TextStream, TokensGiveTheTextThatDecodingAllOfThemGives) {
  for (const char* name :
       {"gpt_neox", "gpt2", "llama3", "qwen3", "qwen3_5", "llama2_bytefallback"}) {
    const Tokenizer t = Tokenizer::load(kTokenizers + name);
    for (const char* sample : kSamples) {
      const std::vector<std::int32_t> ids = t.encode(sample);
      TextStream stream(&t);
      std::string text;
      for (const std::int32_t id : ids) {
        const std::string piece = stream.push(id);
        EXPECT_TRUE(is_valid_utf8(piece));
        text += piece;
      }
      EXPECT_EQ(text + stream.finish(), t.decode(ids, true)) << name << ": " << sample;
      // The second half, told what stands before it, is what is missing from the first.
      const std::size_t half = ids.size() / 2;
      if (half == 0 || t.is_special(ids[half - 1])) continue;
      TextStream rest(&t, {}, ids[half - 1]);
      std::string second;
      for (const std::int32_t id : std::span(ids).subspan(half)) second += rest.push(id);
      second += rest.finish();
      const std::string first = t.decode_bytes(std::span(ids).first(half), true);
      EXPECT_EQ(replace_invalid_utf8(t.decode_bytes(ids, true).substr(first.size())), second)
          << name << ": " << sample;
    }
  }
}

TEST(TextStream, AStopStringMayLieAcrossTokens) {
  const Tokenizer t = Tokenizer::load(kTokenizers + "qwen3");
  const std::vector<std::int32_t> ids = t.encode("one two\n\nUser: three");
  TextStream stream(&t, {"\n\nUser:"});
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(text + stream.finish(), "one two");
}

// However a file is cut into pieces, its ids are those of the whole text.
TEST(TextReader, PiecesEncodeAsTheWhole) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    for (const char* sample : kSamples) text += sample;
  const std::string path = temporary_path("pieces.txt");
  std::ofstream(path, std::ios::binary) << text;
  for (const char* name : {"gpt_neox", "gpt2", "llama3", "qwen3", "qwen3_5", "llama2_bytefallback",
                           "added_token_flags"}) {
    const Tokenizer t = Tokenizer::load(kTokenizers + name);
    const std::vector<std::int32_t> want = t.encode(text);
    for (const std::int64_t piece : {16, 61, 1000, 1 << 20}) {
      TextReader reader(&t, path, piece);
      std::vector<std::int32_t> ids;
      std::int64_t bytes = 0, pieces = 0;
      while (const std::int64_t n = reader.next(ids)) {
        bytes += n;
        ++pieces;
      }
      EXPECT_EQ(bytes, static_cast<std::int64_t>(text.size()));
      EXPECT_EQ(ids, want) << name << " in pieces of " << piece;
      if (t.definition().byte_level && piece == 61) EXPECT_GT(pieces, 20) << name;
    }
  }
  // What looks across every place: one word, and normalizers but NFC.
  const auto same_as_whole = [&](const TokenizerDefinition& d, const char* what) {
    const Tokenizer t(d);
    TextReader reader(&t, path, 61);
    std::vector<std::int32_t> ids;
    while (reader.next(ids)) {
    }
    EXPECT_EQ(ids, t.encode(text)) << what;
  };
  const TokenizerDefinition gpt2 = read_tokenizer(kTokenizers + "gpt2");
  TokenizerDefinition whole = gpt2, prepend = gpt2, replace = gpt2;
  whole.pattern = WordPattern::whole;
  whole.vocabulary.emplace_back("e\xC4\xA0", 60000);  // "e "
  whole.merges.insert(whole.merges.begin(), {"e", "\xC4\xA0"});
  prepend.normalizer.push_back({NormalizerStep::Kind::prepend, "", "_"});
  replace.normalizer.push_back({NormalizerStep::Kind::replace, "e ", "!"});
  same_as_whole(whole, "whole");
  same_as_whole(prepend, "prepend");
  same_as_whole(replace, "replace");
  TextReader bytes(nullptr, path, 7);
  std::vector<std::int32_t> ids;
  while (bytes.next(ids)) {
  }
  ASSERT_EQ(ids.size(), text.size());
  EXPECT_EQ(ids[5], static_cast<unsigned char>(text[5]));
  std::remove(path.c_str());
  EXPECT_THROW(TextReader(nullptr, "/nowhere/at/all"), Error);
}

}  // namespace
}  // namespace subquad
