// Files tokenizer.json: what is refused, and that the error says where.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/base/rng.h"
#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/data/tokenizer/tokenizer.h"

namespace subquad {
namespace {

std::string golden_file(const std::string& name) {
  return std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/" + name + "/tokenizer.json";
}

// A byte-level tokenizer of 256 bytes, "ab", "abc" and one special token.
Json small() {
  TokenizerDefinition d;
  for (int b = 0; b < 256; ++b)
    d.vocabulary.emplace_back(letter_of(static_cast<std::uint8_t>(b)), b);
  d.vocabulary.emplace_back("ab", 256);
  d.vocabulary.emplace_back("abc", 257);
  d.merges = {{"a", "b"}, {"ab", "c"}};
  AddedToken end;
  end.id = 258;
  end.content = "<end>";
  end.special = true;
  d.added_tokens = {end};
  d.pattern = WordPattern::llama3;
  return tokenizer_json(d);
}

Tokenizer made(const Json& json) { return Tokenizer(parse_tokenizer(json, "small.json")); }

void expect_refused(const Json& json, const std::vector<std::string>& parts) {
  try {
    made(json);
    ADD_FAILURE() << "accepted, wanted an error with " << parts[0];
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == ErrorCode::format || e.code() == ErrorCode::unsupported);
    EXPECT_TRUE(std::string(e.what()).starts_with("small.json: ")) << e.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
          << "wanted \"" << part << "\" in: " << e.what();
  }
}

template <class... Merges>
Json merges(const Merges&... list) {
  Json j = small();
  j["model"]["merges"] = Json::array();
  (j["model"]["merges"].push_back(Json(list)), ...);
  return j;
}

Json with(std::initializer_list<const char*> path, Json value) {
  Json j = small();
  Json* at = &j;
  for (const char* key : path) at = &(*at)[key];
  *at = std::move(value);
  return j;
}

Json added(Json::Object changes) {
  Json j = small();
  Json token = j.at("added_tokens")[0];
  for (auto& [key, value] : changes) token[key] = value;
  j["added_tokens"].push_back(token);
  return j;
}

TEST(TokenizerFile, WhatIsWrittenIsRead) {
  const Json json = small();
  const Tokenizer t = made(Json::parse(json.dump(1), "again"));
  EXPECT_EQ(t.encode("abc<end>abd"), (std::vector<std::int32_t>{257, 258, 256, 'd' + 0}));
  EXPECT_EQ(tokenizer_json(parse_tokenizer(json, "x")).dump(), json.dump());
}

TEST(TokenizerFile, OldMergesAndMissingKeys) {
  Json json = small();
  json["model"]["merges"] = Json::Array{"#version: 0.2", "a b", "ab c"};
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                          "fuse_unk", "byte_fallback", "ignore_merges", "type"}) {
    std::erase_if(const_cast<Json::Object&>(json.at("model").as_object()),
                  [&](const auto& entry) { return entry.first == key; });
  }
  EXPECT_EQ(made(json).encode("abc"), std::vector<std::int32_t>{257});
}

TEST(TokenizerFile, MergesThatCannotBe) {
  expect_refused(merges(Json::Array{"a", "b"}, Json::Array{"a", "zz"}),
                 {"model: merges[1]", "\"zz\"", "not in model.vocab"});
  expect_refused(merges(Json::Array{"b", "a"}), {"model: merges[0]", "result \"ba\""});
  expect_refused(merges(Json::Array{"", "a"}),
                 {"model: merges[0]", "\"\""});  // a + "" = a: a cycle
  expect_refused(merges(Json::Array{"a", "b", "c"}), {"model: merges[0]", "3 items", "two tokens"});
  expect_refused(merges(Json("abc")), {"merges[0]", "one space between"});
  expect_refused(merges(Json("a b c")), {"merges[0]", "one space between"});
  expect_refused(merges(Json(7)), {"merges[0]", "an integer", "two tokens"});
  expect_refused(merges(Json::Array{"a", 3}), {"merges[0]", "wanted a string"});
  expect_refused(merges(Json::Array{std::string(1 << 20, 'a'), "b"}), {"merges[0]", "..."});
  expect_refused(with({"model", "merges"}, 1), {"model", "wanted an array"});
}

TEST(TokenizerFile, IdsThatCannotBe) {
  expect_refused(with({"model", "vocab", "abc"}, 5),
                 {"model: vocab", "\"abc\"", "id 5", "one token"});
  expect_refused(with({"model", "vocab", "abc"}, -1), {"vocab[\"abc\"]", "id -1"});
  expect_refused(with({"model", "vocab", "abc"}, 2000000000),
                 {"\"abc\"", "2000000000", "less than"});
  expect_refused(with({"model", "vocab", "abc"}, std::int64_t{1} << 40),
                 {"\"abc\"", "1099511627776"});
  expect_refused(with({"model", "vocab", "abc"}, 1.5), {"\"abc\"", "wanted an integer"});
  expect_refused(added({{"id", 5}, {"content", "<x>"}}), {"added_tokens[1]", "id 5"});
  expect_refused(added({{"id", 300}, {"content", "abc"}}), {"added_tokens[1]", "257"});
  expect_refused(added({{"id", 300}}), {"added_tokens[1]", "\"<end>\""});
  expect_refused(added({}), {"added_tokens[1]", "\"<end>\"", "added_tokens[0]"});
  // Two that are one in normalized form.
  Json same = with({"normalizer"}, Json::Object{{"type", "NFC"}});
  Json token = same.at("added_tokens")[0];
  token["normalized"] = true;
  for (const auto& [id, content] :
       {std::pair{300, "\xC7\x96"}, std::pair{301, "u\xCC\x88\xCC\x84"}}) {
    token["id"] = id;
    token["content"] = content;
    same["added_tokens"].push_back(token);
  }
  expect_refused(same, {"added_tokens", "two have the content"});
  expect_refused(added({{"id", 300}, {"content", ""}}), {"added_tokens[1]", "0 bytes"});
  expect_refused(added({{"id", 300}, {"content", std::string(2000, 'x')}}), {"2000 bytes"});
  expect_refused(added({{"id", 300}, {"content", "<x>"}, {"lstrip", 1}}),
                 {"added_tokens[1]", "true or false"});
  expect_refused(with({"added_tokens"}, Json::Array{Json::Object{{"id", 300}}}),
                 {"added_tokens[0]", "\"content\" is missing"});
  Json no_byte = small();
  no_byte["model"]["vocab"] = Json::Object{{"a", 0}};
  no_byte["model"]["merges"] = Json::array();
  expect_refused(no_byte, {"model: vocab", "of the byte 0 is missing"});
}

TEST(TokenizerFile, PartsThatAreNotKnown) {
  expect_refused(with({"model", "type"}, "Unigram"), {"model", "\"Unigram\"", "BPE"});
  expect_refused(with({"model", "dropout"}, 0.1), {"dropout", "0.1"});
  expect_refused(with({"model", "end_of_word_suffix"}, "</w>"), {"end_of_word_suffix", "</w>"});
  expect_refused(with({"model", "ignore_merge"}, true), {"did you mean \"ignore_merges\""});
  expect_refused(with({"truncation"}, Json::object()), {"truncation"});
  expect_refused(with({"normalizer"}, Json::Object{{"type", "Lowercase"}}),
                 {"normalizer", "\"Lowercase\"", "NFC"});
  expect_refused(with({"decoder"}, Json()), {"decoder", "null"});
  expect_refused(with({"decoder"}, Json::Object{{"type", "WordPiece"}}), {"decoder", "WordPiece"});
  expect_refused(with({"post_processor"}, Json::Object{{"type", "BertProcessing"}}),
                 {"post_processor", "BertProcessing", "TemplateProcessing"});
  expect_refused(with({"pre_tokenizer"}, Json::Object{{"type", "Whitespace"}}),
                 {"pre_tokenizer", "Whitespace", "ByteLevel"});
  expect_refused(with({"pre_tokenizer"}, Json()), {"decoder", "without ByteLevel"});
  expect_refused(with({"decoder"}, Json::Object{{"type", "Fuse"}}), {"decoder", "ByteLevel alone"});
  Json neither = with({"pre_tokenizer"}, Json());
  neither["decoder"] = Json::Object{{"type", "Fuse"}};
  expect_refused(neither, {"model", "byte_fallback"});
  expect_refused(with({"extra"}, 1), {"\"extra\""});
  Json json = small();
  const Json split = json.at("pre_tokenizer").at("pretokenizers")[0];
  const auto with_split = [&](const char* key, Json value) {
    Json changed = split;
    changed[key] = std::move(value);
    return with({"pre_tokenizer", "pretokenizers"},
                Json::Array{changed, json.at("pre_tokenizer").at("pretokenizers")[1]});
  };
  expect_refused(with_split("pattern", Json::Object{{"Regex", "(a+)+$"}}),
                 {"pre_tokenizer", "pretokenizers[0]", "(a+)+$", "gpt2, llama3, qwen2, qwen3_5"});
  expect_refused(with_split("behavior", "Removed"), {"pretokenizers[0]", "Removed", "Isolated"});
  expect_refused(with_split("invert", true), {"invert"});
}

TEST(TokenizerFile, StepsThatWouldGrowTexts) {
  expect_refused(with({"normalizer"},
                      Json::Object{{"type", "Prepend"}, {"prepend", std::string(1 << 20, 'x')}}),
                 {"normalizer", "1048576 bytes"});
  expect_refused(with({"normalizer"}, Json::Object{{"type", "Replace"},
                                                   {"pattern", Json::Object{{"String", ""}}},
                                                   {"content", "x"}}),
                 {"normalizer", "String", "0 bytes"});
  // Each step may insert 64 bytes for one, all of them together no more.
  const Json step = Json::Object{{"type", "Replace"},
                                 {"pattern", Json::Object{{"String", "a"}}},
                                 {"content", std::string(64, 'a')}};
  const auto steps = [&](const char* list, std::size_t n) {
    return Json::Object{{"type", "Sequence"}, {list, Json::Array(n, step)}};
  };
  EXPECT_EQ(made(with({"normalizer"}, steps("normalizers", 1))).encode("a").size(), 64U);
  expect_refused(with({"normalizer"}, steps("normalizers", 2)),
                 {"normalizer", "4096 times longer, wanted at most 64"});
  expect_refused(with({"normalizer"}, steps("normalizers", 6)), {"normalizer", "times longer"});
  expect_refused(with({"decoder"}, steps("decoders", 6)), {"decoder", "times longer"});
  const Json nfc = Json::Object{{"type", "NFC"}};
  expect_refused(with({"normalizer"},
                      Json::Object{{"type", "Sequence"}, {"normalizers", Json::Array(17, nfc)}}),
                 {"normalizer", "17 steps"});
}

TEST(TokenizerFile, TheTemplateNamesTokens) {
  Json special = Json::Object{{"<end>", Json::Object{{"ids", Json::Array{258}}}}};
  Json end = Json::Object{{"SpecialToken", Json::Object{{"id", "<end>"}, {"type_id", 0}}}};
  Json text = Json::Object{{"Sequence", Json::Object{{"id", "A"}, {"type_id", 0}}}};
  const auto processor = [&](Json::Array single, Json tokens) {
    return with({"post_processor"}, Json::Object{{"type", "TemplateProcessing"},
                                                 {"single", std::move(single)},
                                                 {"special_tokens", std::move(tokens)}});
  };
  EXPECT_EQ(made(processor({end, text, end, end}, special)).encode("abc", true),
            (std::vector<std::int32_t>{258, 257, 258, 258}));
  expect_refused(processor({end}, special), {"post_processor", "no Sequence"});
  expect_refused(processor({text, text}, special), {"post_processor", "one Sequence"});
  expect_refused(processor({end, text}, Json::object()), {"post_processor", "<end>"});
  special["<end>"]["ids"] = Json::Array{999};
  expect_refused(processor({end, text}, special), {"post_processor", "999"});
}

class Written {
 public:
  explicit Written(std::string_view content)
      : path_(testing::TempDir() + "/subquad-tokenizer-" + std::to_string(::getpid()) + ".json") {
    write_file_atomically(path_, content);
  }
  ~Written() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void expect_file_refused(std::string_view content, const std::string& part) {
  const Written file(content);
  try {
    Tokenizer::load(file.path());
    ADD_FAILURE() << "accepted, wanted an error with " << part;
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find(file.path()), std::string::npos) << what;
    EXPECT_NE(what.find(part), std::string::npos) << what;
  }
}

TEST(TokenizerFile, BrokenJson) {
  const std::string good = small().dump();
  expect_file_refused(good.substr(0, good.size() / 2), "not valid JSON");
  expect_file_refused("", "not valid JSON");
  expect_file_refused("[]", "wanted an object");
  expect_file_refused("{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"a\":2}}}", "\"a\" appears twice");
  expect_file_refused(std::string(100000, '['), "nested deeper");
  expect_file_refused("{\"version\":\"\xFF\"}", "not valid JSON");
  EXPECT_THROW(Tokenizer::load("/nowhere/tokenizer.json"), Error);
  EXPECT_THROW(Tokenizer::load("/dev/zero"), Error);
  // A sparse file of 1 TiB: refused by its size, not read.
  const Written large("{");
  std::filesystem::resize_file(large.path(), std::uintmax_t{1} << 40);
  try {
    Tokenizer::load(large.path());
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("1099511627776 bytes"), std::string::npos) << e.what();
  }
}

// Cut anywhere, or with some bytes changed, a file is refused or works; nothing else happens.
TEST(TokenizerFile, DamagedFilesNeverCrash) {
  for (const char* name : {"added_token_flags", "llama2_bytefallback", "llama3"}) {
    const std::string good = read_file(golden_file(name));
    const Rng rng{3, stream_id(name)};
    int refused = 0;
    for (std::uint64_t k = 0; k < 300; ++k) {
      std::string bad = good;
      if (k % 3 == 0) {
        bad.resize(
            static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(good.size()), 0, k)));
      }
      for (std::uint64_t i = 0; i <= k % 4 && !bad.empty(); ++i) {
        const auto at =
            static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(bad.size()), 1 + i, k));
        bad[at] = "0123456789\"[]{},:a\\ -\xC4"[rng.below(22, 10 + i, k)];
      }
      try {
        const Tokenizer t(parse_tokenizer(Json::parse(bad, name), name));
        (void)t.decode(t.encode("it's <l> caf\xC3\xA9 \xFF 123", true));
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
        ++refused;
      }
    }
    EXPECT_GT(refused, 150);
  }
}

}  // namespace
}  // namespace subquad
