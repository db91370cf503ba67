// Packed models through the program.
#include <filesystem>

#include "subquad/io/json.h"
#include "subquad/io/safetensors.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

TEST(Quantize, PacksReportsAndGenerates) {
  const Folder f("quantize");
  for (const std::string weights : {"bf16", "int8", "int4"}) {
    const std::string to = f / weights;
    const Outcome o = run_program("quantize " + kCases + "gdn_fla " + quoted(to) + " --weights " +
                                  weights + " --threads 2");
    EXPECT_EQ(o.code, 0) << o.text;
    for (const char* part : {"mixer.in_proj", "mlp.out", "worst", "(f32)"})
      EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
    const Outcome said =
        run_program("generate --model " + quoted(to) + " '1 5 9' --tokens 8 --temperature 0");
    EXPECT_EQ(said.code, 0) << said.text;
    EXPECT_NE(said.text.find("tokens/s"), std::string::npos) << said.text;
    EXPECT_EQ(run_program("info " + quoted(to)).code, 0);
    // Not on top of another model, whole or not, and not twice.
    EXPECT_EQ(run_program("quantize " + kCases + "qwen3 " + quoted(to)).code, 2);
    std::filesystem::create_directories(f / "part" + weights);
    write(f / "part" + weights + "/model.safetensors", "precious");
    expect(run_program("quantize " + kCases + "qwen3 " + quoted(f / "part" + weights)), 2,
           {"holds model.safetensors already"});
    EXPECT_EQ(content(f / "part" + weights + "/model.safetensors"), "precious");
    const Outcome twice =
        run_program("quantize " + quoted(to) + " " + quoted(f / "twice" + weights));
    EXPECT_EQ(twice.code, weights == "bf16" ? 0 : 2) << twice.text;
    if (weights != "bf16") EXPECT_NE(twice.text.find("already"), std::string::npos) << twice.text;
  }
  EXPECT_LT(std::filesystem::file_size(f / "int4/model.safetensors"),
            std::filesystem::file_size(f / "bf16/model.safetensors"));
}

// A run of a byte task keeps its bytes, and the text is scored before and after.
TEST(Quantize, ARunIsScoredOnText) {
  const Folder f("quantize-run");
  const Outcome t = run_program("train --task code --arm mlstm --tokens 4096 --data " +
                                    quoted(std::string(SUBQUAD_SOURCE_DIR) + "/app") + " --out " +
                                    quoted(f / "run"),
                                "SUBQUAD_DATA=" + quoted(f / "cache"));
  ASSERT_EQ(t.code, 0) << t.text;
  const std::string text = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/README.md");
  const Outcome o = run_line(quoted(SUBQUAD_PROGRAM) + " quantize " + quoted(f / "run") + " " +
                             quoted(f / "int8") + " --json --text " + text);
  ASSERT_EQ(o.code, 0) << o.text;
  const Json report = Json::parse(o.text, "report");
  const double before = report.at("bits_per_byte_before").as_double(),
               after = report.at("bits_per_byte").as_double();
  EXPECT_GT(before, 1);
  EXPECT_LT(before, 9);
  EXPECT_NE(before, after);
  EXPECT_NEAR(before, after, 0.02);
  const Outcome said = run_program("generate --model " + quoted(f / "int8") + " 'def ' --tokens 4");
  EXPECT_EQ(said.code, 0) << said.text;
  const Outcome refused =
      run_program("quantize " + kCases + "gdn_fla " + quoted(f / "x") + " --text " + text);
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.text.find("no tokenizer.json"), std::string::npos) << refused.text;
}

// What a model needs for text comes along, of a run from the model that it continues; the scores
// before and after begin with the same id.
TEST(Quantize, ARunOfAPublishedModelKeepsItsTokenizerAndIds) {
  const Folder f("quantize-init");
  speaking_model("llama_sharded", f / "model");
  write(f / "model/chat_template.jinja", "{{ messages[0].content }}");
  const std::string data = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/app"),
                    text = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/CONTRIBUTING.md");
  expect(run_program("train --task code --init " + quoted(f / "model") + " --tokens 2048 --data " +
                         data + " --out " + quoted(f / "run"),
                     "SUBQUAD_DATA=" + quoted(f / "cache")),
         0, {});
  for (const std::string from : {"model", "run"}) {
    SCOPED_TRACE(from);
    const std::string to = f / from + "-bf16";
    const Outcome o = run_line(quoted(SUBQUAD_PROGRAM) + " quantize " + quoted(f / from) + " " +
                               quoted(to) + " --weights bf16 --json --text " + text);
    ASSERT_EQ(o.code, 0) << o.text;
    const Json report = Json::parse(o.text, "report"), config = Json::read(to + "/config.json");
    EXPECT_NEAR(report.at("bits_per_byte_before").as_double(),
                report.at("bits_per_byte").as_double(), 0.02);
    EXPECT_FALSE(config.at("text_is_bytes").as_bool());
    EXPECT_EQ(config.at("eos_token_id").dump(), "[2]");
    EXPECT_EQ(config.get("bos_token_id", -1), 1);
    for (const char* name : {"/tokenizer.json", "/chat_template.jinja"})
      EXPECT_EQ(content(to + name), content(f / "model" + name)) << name;
    expect(run_program("generate --model " + quoted(to) + " 'def ' --tokens 4"), 0, {"def "});
  }
  // The run and what is made of it begin a text alike.
  const auto bits = [&](const std::string& model) {
    const Outcome o = run_line(quoted(SUBQUAD_PROGRAM) + " evaluate " + model + " --json --text " +
                               text + " 2>/dev/null");
    EXPECT_EQ(o.code, 0) << o.text;
    return Json::parse(o.text, "scores").at("text").at("bits_per_byte").as_double();
  };
  expect(run_program("convert " + quoted(f / "run") + " " + quoted(f / "like")), 0, {});
  EXPECT_EQ(bits(quoted(f / "run")), bits("--model " + quoted(f / "like")));
}

TEST(Quantize, ARunWithFewerClassesThanIdsIsNoLanguageModel) {
  const Folder f("quantize-classes");
  expect(run_program("train --task selective_copying --arm mlstm --d-model 32 --blocks 1 "
                     "--tokens 2048 --out " +
                     quoted(f / "run")),
         0, {});
  expect(run_program("quantize " + quoted(f / "run") + " " + quoted(f / "x")), 1,
         {"16 ids and 14 classes"});
  EXPECT_FALSE(std::filesystem::exists(f / "x"));
}

}  // namespace
}  // namespace subquad
