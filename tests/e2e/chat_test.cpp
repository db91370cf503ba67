// Conversations in the terminal: `generate --chat`.
#include "subquad/base/file.h"
#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/data/tokenizer/definition.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

// A golden model that speaks bytes, with a template of its own.
void make_model(const Folder& f, const std::string& chat_template) {
  const std::string golden = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/qwen3/";
  for (const char* name : {"config.json", "model.safetensors"})
    fs::copy_file(golden + name, f / name);
  TokenizerDefinition d;
  for (int b = 0; b < 256; ++b)
    d.vocabulary.emplace_back(letter_of(static_cast<std::uint8_t>(b)), b);
  d.pattern = WordPattern::gpt2;
  write_file_atomically(f / "tokenizer.json", tokenizer_json(d).dump());
  if (!chat_template.empty()) write_file_atomically(f / "chat_template.jinja", chat_template);
}

// What the program writes to its standard output.
std::string said(const std::string& input, const std::string& arguments) {
  const Outcome o = run_line("printf '" + input + "' | " + quoted(SUBQUAD_PROGRAM) +
                             " generate --temperature 0 --tokens 6 " + arguments + " 2>/dev/null");
  EXPECT_EQ(o.code, 0) << o.text;
  return o.text;
}

constexpr const char* kTemplate =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

// An answer is the greedy continuation of what the template writes.
TEST(Chat, AnswersAreContinuationsOfTheRenderedConversation) {
  const Folder f("chat");
  make_model(f, kTemplate);
  const std::string model = "--model " + f.path();
  const auto continued = [&](const std::string& prompt) {
    const std::string all = said("", model + " '" + prompt + "'");
    EXPECT_EQ(all.substr(0, prompt.size()), prompt);
    return all.substr(prompt.size());
  };
  const std::string first = continued("[system]s[user]Hi[assistant]");
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(said("", model + " --chat --system s Hi"), first + "\n");
  // Two turns: the template sees the first answer, and the state goes on from what was read.
  const std::string both = said("Hi\\nAnd?\\n", model + " --chat --system s");
  EXPECT_TRUE(both.starts_with(first + "\n")) << both;
  EXPECT_GT(both.size(), first.size() + 1);
  // A template that forgets answers: the second turn reads its conversation from the start.
  write_file_atomically(f / "chat_template.jinja",
                        "[{{ messages | selectattr('role', 'equalto', 'user') | "
                        "map(attribute='content') | join('|') }}]");
  const std::string one = continued("[Hi]"), two = continued("[Hi|And?]");
  EXPECT_EQ(said("Hi\\nAnd?\\n", model + " --chat"), one + "\n" + two + "\n");
}

// A line ends being read where it is too long, and bytes that are no UTF-8 become U+FFFD in every
// message.
TEST(Chat, WhatIsTypedIsChecked) {
  const Folder f("chat-input");
  make_model(f, kTemplate);
  const std::string model = " generate --temperature 0 --tokens 2 --chat --model " + f.path();
  expect(run_line("head -c 4194304 /dev/zero | tr '\\0' x | " + quoted(SUBQUAD_PROGRAM) + model +
                  " 2>&1"),
         2, {"more than 1048576 bytes"});
  EXPECT_EQ(said("", "--model " + f.path() + " --chat --system \"$(printf '\\377')\" Hi"),
            said("", "--model " + f.path() + " --chat --system '\xEF\xBF\xBD' Hi"));
}

TEST(Chat, ModelsWithoutATemplateSaySo) {
  const Folder f("chat-none");
  make_model(f, "");
  const Outcome none = run_program("generate --model " + f.path() + " --chat Hi");
  EXPECT_EQ(none.code, 1) << none.text;
  EXPECT_NE(none.text.find("no chat template"), std::string::npos) << none.text;
  write_file_atomically(f / "chat_template.jinja", "{{ messages | groupby('role') }}");
  const Outcome refused = run_program("generate --model " + f.path() + " --chat Hi");
  EXPECT_EQ(refused.code, 1) << refused.text;
  EXPECT_NE(refused.text.find("chat_template.jinja line 1, column 15: the filter groupby"),
            std::string::npos)
      << refused.text;
  write_file_atomically(f / "chat_template.jinja",
                        "{{ raise_exception('no ' ~ messages[0].role) }}");
  const Outcome raised = run_program("generate --model " + f.path() + " --chat Hi");
  EXPECT_EQ(raised.code, 1) << raised.text;
  EXPECT_NE(raised.text.find("no user"), std::string::npos) << raised.text;
  const Outcome fork = run_program("generate --model " + f.path() + " --chat Hi --fork 2");
  EXPECT_EQ(fork.code, 2) << fork.text;
  const Outcome system = run_program("generate --model " + f.path() + " --system s Hi");
  EXPECT_EQ(system.code, 2) << system.text;
}

}  // namespace
}  // namespace subquad
