// Chat templates against the reference implementation: every folder of chat_templates, below
// tests/golden and below SUBQUAD_GOLDEN, holds template.jinja and cases.jsonl, a case a line:
// variables, and the text that the reference library makes of them, or refused.
#include "subquad/data/chat_template/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "subquad/base/file.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;
constexpr std::time_t kNow =
    1700000000;  // 14 November 2023, everywhere but at the ends of the world

std::vector<std::string> folders() {
  std::vector<std::string> found;
  const char* own = std::getenv("SUBQUAD_GOLDEN");
  for (const std::string& root :
       {std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden", std::string(own ? own : "")}) {
    const std::string templates = root + "/chat_templates";
    if (root.empty() || !fs::is_directory(templates)) continue;
    for (const auto& entry : fs::directory_iterator(templates)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(ChatTemplateGolden, RendersWhatTheReferenceRenders) {
  const auto all = folders();
  ASSERT_GE(all.size(), 6U);
  for (const std::string& folder : all) {
    SCOPED_TRACE(folder);
    const ChatTemplate t(read_file(folder + "/template.jinja"), "template.jinja");
    const std::string cases = read_file(folder + "/cases.jsonl");
    int texts = 0;
    for (std::size_t from = 0, end = 0; from < cases.size(); from = end + 1) {
      end = cases.find('\n', from);
      const Json c = Json::parse(std::string_view(cases).substr(from, end - from), "cases.jsonl");
      SCOPED_TRACE(c.at("case").as_string());
      if (const Json* text = c.find("text")) {
        ++texts;
        EXPECT_EQ(t.render(c.at("variables"), kNow), text->as_string());
      } else {
        EXPECT_TRUE(c.at("refused").as_bool());
        EXPECT_THROW(t.render(c.at("variables"), kNow), Error);
      }
    }
    EXPECT_GE(texts, 5);
  }
}

TEST(ChatTemplateGolden, ComesWithTheTokenizer) {
  const auto t =
      ChatTemplate::load(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/qwen3");
  ASSERT_TRUE(t.has_value());
  const Json messages = Json::parse(
      R"([{"role":"system","content":"s"},{"role":"user","content":"Hi"}])", "messages");
  EXPECT_EQ(t->render(Json::Object{{"messages", messages}, {"add_generation_prompt", true}}),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(t->render(Json::Object{{"messages", messages}}),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
  ASSERT_NE(t->token("eos_token"), nullptr);
  EXPECT_EQ(*t->token("eos_token"), "<|im_end|>");
  EXPECT_EQ(t->token("bos_token"), nullptr);  // null in the file
  const auto none =
      ChatTemplate::load(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/gpt2");
  EXPECT_FALSE(none.has_value());
}

}  // namespace
}  // namespace subquad
