// Vectors of the reference library: tests/golden/tokenizers/NAME/{tokenizer.json, vectors.jsonl}, or
// those below $SUBQUAD_GOLDEN/tokenizers. A new folder is a new case.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/data/tokenizer/tokenizer.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

std::string tokenizers_folder() {
  const char* other = std::getenv("SUBQUAD_GOLDEN");
  const std::string there = (other ? std::string(other) : "") + "/tokenizers";
  return other && fs::is_directory(there)
             ? there
             : std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers";
}

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(tokenizers_folder())) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::int32_t> ids_of(const Json& list) {
  std::vector<std::int32_t> ids;
  for (const Json& id : list.as_array()) ids.push_back(static_cast<std::int32_t>(id.as_int()));
  return ids;
}

class GoldenTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTokenizer, EncodesAndDecodesAsTheReferenceLibrary) {
  const std::string folder = tokenizers_folder() + "/" + GetParam();
  const Tokenizer tokenizer = Tokenizer::load(folder);
  Encoder encoder(tokenizer);  // one for all lines: its cache must not change an id
  const std::string file = folder + "/vectors.jsonl", lines = read_file(file);
  int line = 0, texts = 0;
  for (std::size_t at = 0; at < lines.size(); ++line) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    const Json v = Json::parse(std::string_view(lines).substr(at, end - at), file);
    at = end + 1;
    SCOPED_TRACE("line " + std::to_string(line + 1));
    const auto ids = ids_of(v.at("ids"));
    EXPECT_EQ(tokenizer.decode(ids), v.at("decoded").as_string());
    // Lines without a text do not say what is left when special tokens are skipped.
    const Json* skipped = v.find("decoded_skip");
    if (!v.at("text").is_null() || skipped) {
      EXPECT_EQ(tokenizer.decode(ids, true), (skipped ? *skipped : v.at("decoded")).as_string());
    }
    if (v.at("text").is_null()) continue;
    ++texts;
    const std::string& text = v.at("text").as_string();
    std::vector<std::int32_t> got;
    encoder.encode(text, false, got);
    EXPECT_EQ(got, ids) << text;
    EXPECT_EQ(tokenizer.encode(text), ids) << "alone: " << text;
    const Json* special = v.find("ids_special");
    if (special) EXPECT_EQ(tokenizer.encode(text, true), ids_of(*special)) << text;
  }
  EXPECT_GE(texts, 100) << file;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTokenizer, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace subquad
