// Published models through the program.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "subquad/data/tokenizer/unicode.h"
#include "subquad/io/safetensors.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

TEST(Published, InfoShowsArchitectureParametersAndState) {
  Outcome o = run_program("info " + kCases + "qwen3_next");
  EXPECT_EQ(o.code, 0) << o.text;
  for (const char* part :
       {"qwen3_next", "parameters   61340", "3 x gated_deltanet 1 x attention", "state bytes"})
    EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
  o = run_program("info " + kCases + "mamba2_statespaces");
  for (const char* part : {"250 ids, padded to 256 rows", "tied to the embedding"})
    EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
  o = run_program("info " + kCases + "kimi_linear");
  for (const char* part : {"parameters   52176", "2 x kda 1 x latent_attention"})
    EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
}

// The greedy continuation of a golden case, up to the model's end id.
TEST(Published, GenerateContinuesIds) {
  for (const char* model : {"llama3_bf16", "xlstm_hf", "gdn_fla", "kimi_linear"}) {
    const Safetensors expected(kCases + model + "/expected.safetensors");
    const Tensor ids = expected.read("input_ids"), greedy = expected.read("greedy");
    std::string prompt, want;
    for (std::int64_t t = 0; t < ids.shape()[1]; ++t)
      prompt += std::to_string(ids.data<std::int64_t>()[t]) + " ";
    const std::vector<std::int64_t> ends = std::string(model) == "llama3_bf16"
                                               ? std::vector<std::int64_t>{2, 3}
                                               : std::vector<std::int64_t>{2};
    for (std::int64_t t = 0; t < greedy.shape()[1]; ++t) {
      const std::int64_t id = greedy.data<std::int64_t>()[t];
      want += (t ? " " : "") + std::to_string(id);
      if (std::find(ends.begin(), ends.end(), id) != ends.end()) break;
    }
    const Outcome o = run_program("generate --model " + kCases + model + " '" + prompt +
                                  "' --tokens 24 --temperature 0");
    EXPECT_EQ(o.code, 0) << o.text;
    EXPECT_NE(o.text.find(want), std::string::npos) << model << ": wanted " << want << " in\n"
                                                    << o.text;
  }
}

// Where all weights are read, one that is no number is named before anything is made of it; where they
// are read in place, its output ends the generation.
TEST(Published, AWeightThatIsNoNumberEndsEveryCommand) {
  const Folder f("no-number");
  const std::string model = f / "model", weights = model + "/model.safetensors";
  std::filesystem::copy(kCases + "qwen3", model);
  NamedTensors tensors;
  {
    const Safetensors from(weights);
    for (const auto& [name, entry] : from.entries()) tensors.emplace_back(name, from.read(name));
  }
  for (auto& [name, tensor] : tensors) {
    if (name != "model.norm.weight") continue;
    const Tensor bad = Tensor::zeros(tensor.shape(), DType::f32);
    bad.data<float>()[5] = std::nanf("");
    tensor = bad;
  }
  write_safetensors(weights, tensors);
  std::ofstream text(f / "text.txt");
  for (int i = 0; i < 4000; ++i) text << "line " << i << " of a text\n";
  text.close();
  const std::string named = "model.safetensors: tensor model.norm.weight";
  for (const auto& [command, part] : {std::pair{"quantize " + model + " " + (f / "int8"), named},
                                      std::pair{"train --init " + model + " --task text --data " +
                                                    (f / "text.txt") + " --out " + (f / "run"),
                                                named},
                                      std::pair{"generate --model " + model + " '1 2 3' --tokens 4",
                                                std::string("info MODEL --check")}}) {
    const Outcome o = run_program(command, "SUBQUAD_DATA=" + subquad::quoted(f / "cache"));
    EXPECT_EQ(o.code, 1) << command << "\n" << o.text;
    EXPECT_NE(o.text.find(part), std::string::npos) << command << "\n" << o.text;
  }
  EXPECT_FALSE(std::filesystem::exists(f / "int8"));
  EXPECT_FALSE(std::filesystem::exists(f / "run"));
}

// Text in and out is the ids in and out, encoded and decoded.
TEST(Published, AModelWithATokenizerSpeaksText) {
  const Folder f("speaks");
  const std::string model = subquad::quoted(f / "model"),
                    program = subquad::quoted(SUBQUAD_PROGRAM);
  std::filesystem::copy(kCases + "llama_sharded", f / "model",
                        std::filesystem::copy_options::recursive);
  ASSERT_EQ(
      run_program("tokenizer train " + subquad::quoted(std::string(SUBQUAD_SOURCE_DIR) + "/app") +
                      " --vocabulary 257 --out " + subquad::quoted(f / "model/tokenizer.json"),
                  "SUBQUAD_DATA=" + subquad::quoted(f / "cache"))
          .code,
      0);
  const auto output = [&](const std::string& arguments) {
    const Outcome o = run_line(program + " " + arguments + " 2>/dev/null");
    EXPECT_EQ(o.code, 0) << arguments;
    return o.text;
  };
  const std::string prompt = "for i in x", how = " --tokens 12 --temperature 0";
  std::string ids = output("tokenizer encode " + model + " --string " + subquad::quoted(prompt));
  std::replace(ids.begin(), ids.end(), '\n', ' ');
  const std::string said = output("generate --model " + model + " --ids " + subquad::quoted(ids) +
                                  how),
                    text = output("tokenizer decode " + model + " --skip-special " + said);
  EXPECT_FALSE(said.empty());
  EXPECT_EQ(output("generate --model " + model + " " + subquad::quoted(prompt) + how),
            prompt + replace_invalid_utf8(text));
}

TEST(Published, ATrainedRunBecomesAModelThatContinuesAlike) {
  const Folder f("convert");
  const std::string run = f / "run", model = f / "model";
  const std::string train =
      "train --arm gated_deltanet --task mqar --d-model 32 --heads 2 "
      "--tokens 2048 --out " +
      run;
  ASSERT_EQ(run_program(train).code, 0);
  const Outcome o = run_program("convert " + run + " " + model);
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_NE(o.text.find("gated_deltanet"), std::string::npos) << o.text;
  const std::string rest = " '3 1 4 1 5' --tokens 12 --temperature 0 2>/dev/null";
  const Outcome before = run_line(quoted(SUBQUAD_PROGRAM) + " generate " + run + rest),
                after = run_line(quoted(SUBQUAD_PROGRAM) + " generate --model " + model + rest);
  EXPECT_EQ(before.code, 0);
  EXPECT_FALSE(before.text.empty());
  EXPECT_EQ(before.text, after.text);
  EXPECT_EQ(run_program("convert " + run + " " + model).code, 2) << "nothing is replaced";
  EXPECT_EQ(run_program("convert " + run + " " + (f / "other") + " --to llama").code, 1);
}

// A run of train --init in another layout: with its tokenizer, ids and the dtype it is stored in.
TEST(Published, AContinuedModelInAnotherLayout) {
  const Folder f("convert-init");
  speaking_model("llama_sharded", f / "model");
  expect(run_program("train --task code --init " + quoted(f / "model") + " --tokens 2048 --data " +
                         quoted(std::string(SUBQUAD_SOURCE_DIR) + "/app") + " --out " +
                         quoted(f / "run"),
                     "SUBQUAD_DATA=" + quoted(f / "cache")),
         0, {});
  expect(run_program("convert " + quoted(f / "run") + " " + quoted(f / "bf16") +
                     " --to llama --dtype bf16"),
         0, {"llama"});
  const Json c = Json::read(f / "bf16/config.json");
  EXPECT_EQ(c.at("bos_token_id").as_int(), 1);
  EXPECT_EQ(c.at("eos_token_id").as_int(), 2);
  EXPECT_EQ(c.at("torch_dtype").as_string(), "bfloat16");
  EXPECT_EQ(c.at("max_position_embeddings").as_int(), 2048);
  EXPECT_EQ(content(f / "bf16/tokenizer.json"), content(f / "model/tokenizer.json"));
  expect(run_program("generate --model " + quoted(f / "bf16") + " 'def ' --tokens 4"), 0, {"def "});
  // A published model is no run.
  expect(run_program("convert " + quoted(f / "model") + " " + quoted(f / "no")), 2,
         {"is no run folder", "published model", "quantize", "train --init"});
}

// GPT-2's case has 256 learned positions.
TEST(Published, LearnedPositionsEnd) {
  const Folder f("positions");
  const std::string model = "--model " + kCases + "gpt2", state = f / "state";
  std::string prompt;
  for (int i = 0; i < 250; ++i) prompt += std::to_string(i) + " ";
  for (const std::string& how : {" --save-state " + quoted(state), std::string(" --fork 2")}) {
    const Outcome o =
        run_program("generate " + model + " '" + prompt + "' --tokens 100 --temperature 0" + how);
    expect(o, 0, {"learned positions are used up", "after 256 positions", "tokens/s"});
  }
  expect(run_program("generate " + model + " --load-state " + quoted(state) + " --tokens 5"), 0,
         {"learned positions are used up", "wrote 1 tokens"});
  // As many as fit are no reason for a note.
  const Outcome all =
      run_program("generate " + model + " '" + prompt + "' --tokens 7 --temperature 0");
  expect(all, 0, {"wrote 7 tokens"});
  EXPECT_EQ(all.text.find("used up"), std::string::npos) << all.text;
  const std::string text = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/CONTRIBUTING.md");
  expect(run_program("evaluate " + model + " --bytes --text " + text), 0,
         {"windows of 256 tokens, 128 of them scored"});
  write(f / "q.jsonl",
        R"({"context": ")" + std::string(400, 'x') + R"(", "choices": ["a", "b"], "answer": 0})");
  expect(run_program("evaluate " + model + " --bytes --choices " + quoted(f / "q.jsonl")), 0,
         {"1 questions"});
}

TEST(Published, GenerateNamesWhatIsMissing) {
  const std::string model = "generate --model " + kCases + "qwen3 ";
  const std::pair<std::string, const char*> cases[] = {
      {model + "hello", "no tokenizer"},
      {model + "300", "wanted ids from 0 to 255"},
      {model, "prompt is empty"},
      {model + "run '1 2'", "wanted one of them"},
      {"generate", "run folder and a prompt"},
      {"generate --model /nowhere 'Hi' --stop ''", "--stop: got an empty text"},
      {"generate --modell x 1", "did you mean --model"},
  };
  for (const auto& [command, part] : cases) {
    const Outcome o = run_program(command);
    EXPECT_EQ(o.code, 2) << command << "\n" << o.text;
    EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
  }
  EXPECT_EQ(run_program("generate --model /nowhere 1").code, 1);
}

}  // namespace
}  // namespace subquad
