// subquad tokenizer, as a user runs it.
#include <fstream>

#include "subquad/base/file.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

std::string golden(const std::string& name) {
  return quoted(std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/tokenizers/" + name);
}

TEST(TokenizerProgram, TrainsTheSameFileOnAnyNumberOfThreadsAndUsesIt) {
  const Folder f("tokenizer");
  const std::string source = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/subquad/data"),
                    cache = "SUBQUAD_DATA=" + quoted(f / "cache");
  const auto train = [&](const char* threads, const std::string& out) {
    return run_program("tokenizer train " + source + " --vocabulary 600 --threads " + threads +
                           " --out " + quoted(f / out),
                       cache);
  };
  expect(train("1", "one.json"), 0, {"600 tokens", "bytes per token", "SHA-256"});
  expect(train("3", "three.json"), 0, {"600 tokens"});
  EXPECT_EQ(read_file(f / "one.json"), read_file(f / "three.json"));
  const std::string model = quoted(f / "one.json"), text = f / "any.bin";
  write_file_atomically(text,
                        std::string("def f(x):\n\xFF\xE2\x82 caf\xC3\xA9\0<|endoftext|>\n", 34));
  const Outcome back =
      run_line(quoted(SUBQUAD_PROGRAM) + " tokenizer encode " + model + " " + quoted(text) + " | " +
               quoted(SUBQUAD_PROGRAM) + " tokenizer decode " + model);
  EXPECT_EQ(back.code, 0);
  EXPECT_EQ(back.text, read_file(text));
  expect(run_program("tokenizer encode " + model + " --string 'a<|endoftext|>' --pieces"), 0,
         {"0 \"<|endoftext|>\""});
  expect(run_program("tokenizer decode " + model + " --skip-special 0 0"), 0, {});
  expect(run_program("tokenizer bench " + model + " " + quoted(text) + " --seconds 0"), 0,
         {"MB/s", "bytes per token"});
  expect(run_program("tokenizer bench " + model + " " + quoted(text) + " --seconds 0 --json"), 0,
         {"\"encode_warm_mb_per_second\":"});
}

TEST(TokenizerProgram, InfoAndSpecialTokens) {
  expect(run_program("tokenizer info " + golden("llama3")), 0,
         {"llama3", "1111", "<|begin_of_text|>", "special"});
  expect(run_program("tokenizer info " + golden("qwen3/tokenizer.json") + " --json"), 0,
         {"\"words\":\"qwen2\"", "\"nfc\":true"});
  EXPECT_EQ(
      run_program("tokenizer encode " + golden("llama3") + " --string '' --add-special </dev/null")
          .text,
      "1100\n");
}

TEST(TokenizerProgram, SaysWhatIsWrong) {
  const Folder f("tokenizer-bad");
  write_file_atomically(f / "cut.json", "{\"version\": \"1.0\", \"model\": {");
  expect(run_program("tokenizer"), 2, {"usage", "train"});
  expect(run_program("tokenizer --help"), 0, {"encode", "bench"});
  expect(run_program("tokenizer train --help"), 0, {"--vocabulary", "Example"});
  expect(run_program("tokenizer encod x"), 2, {"did you mean \"encode\""});
  expect(run_program("tokenizer info " + quoted(f / "cut.json")), 1,
         {"cut.json", "not valid JSON"});
  expect(run_program("tokenizer info " + quoted(f / "none")), 1, {"none"});
  expect(run_program("tokenizer decode " + golden("gpt2") + " 12 900000"), 2, {"900000", "901"});
  expect(run_program("tokenizer decode " + golden("gpt2") + " 12 x7"), 2, {"x7", "ids"});
  expect(run_program("tokenizer encode " + golden("gpt2") + " a.txt --string b"), 2, {"--string"});
  expect(run_program("tokenizer encode " + golden("gpt2") + " some_text"), 1,
         {"goes behind --string"});
  expect(run_program("tokenizer train " + quoted(f.path()) + " --vocabulary 100"), 2,
         {"--vocabulary", "got 100"});
  expect(run_program("tokenizer train " + quoted(f.path()) + " --pattern gpt9"), 2,
         {"gpt9", "llama3"});
}

}  // namespace
}  // namespace subquad
