// Asking, scoring and training on models through the program.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "subquad/io/json.h"
#include "subquad/io/safetensors.h"
#include "subquad/model/engine.h"
#include "subquad/pretrained/export.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

// Standard output alone.
std::string output(const std::string& arguments, const std::string& environment = "") {
  const Outcome o =
      run_line(environment + " " + quoted(SUBQUAD_PROGRAM) + " " + arguments + " 2>/dev/null");
  EXPECT_EQ(o.code, 0) << arguments;
  return o.text;
}

std::string text_of_sources() {
  std::string text;
  for (const char* name : {"/README.md", "/CONTRIBUTING.md", "/docs/architecture.md",
                           "/docs/formats.md", "/docs/forecasting.md", "/docs/linear_core.md"}) {
    std::ifstream in(std::string(SUBQUAD_SOURCE_DIR) + name);
    text.append(std::istreambuf_iterator<char>(in), {});
  }
  return text;
}

// A Llama with random weights and a tokenizer that was trained on this project's pages.
void make_model_with_tokenizer(const Folder& f, const std::string& folder) {
  ParameterPlan plan;
  const Model model({.vocabulary = 320,
                     .classes = 320,
                     .d_model = 32,
                     .heads = 2,
                     .mlp_hidden = 64,
                     .layers = {"attention", "attention"}},
                    plan);
  const ParameterStore store(plan, DType::f32, 5);
  export_model(model, store, folder, "llama");
  std::ofstream(f / "pages.txt") << text_of_sources();
  ASSERT_EQ(run_program("tokenizer train " + quoted(f / "pages.txt") + " --text --vocabulary 300 " +
                            "--out " + quoted(folder + "/tokenizer.json"),
                        "SUBQUAD_DATA=" + quoted(f / "cache"))
                .code,
            0);
}

TEST(Serving, ASavedStateGoesOnAsIfNothingHadHappened) {
  const Folder f("serving-state");
  for (const char* model : {"gdn_fla_hybrid", "mamba2_hf"}) {
    const std::string start = "generate --model " + kCases + model,
                      how = " --temperature 0.9 --seed 11 --repetition-penalty 1.3";
    const std::string whole = output(start + " '5 6 7'" + how + " --tokens 16"),
                      first = output(start + " '5 6 7'" + how + " --tokens 6 --save-state " +
                                     (f / "a")),
                      rest = output(start + " ''" + how + " --tokens 10 --load-state " + (f / "a"));
    EXPECT_EQ(first.substr(0, first.size() - 1) + " " + rest, whole) << model;
    // The prompt alone, then forked.
    output(start + " '5 6 7' --tokens 0 --save-state " + (f / "b"));
    const std::string two = output(start + " ''" + how + " --tokens 16 --load-state " + (f / "b") +
                                   " --fork 2"),
                      second = output(start +
                                      " '5 6 7' --temperature 0.9 --seed 12 "
                                      "--repetition-penalty 1.3 --tokens 16");
    EXPECT_NE(two.find(whole.substr(0, whole.size() - 1)), std::string::npos) << two;
    EXPECT_NE(two.find(second.substr(0, second.size() - 1)), std::string::npos) << two;
  }
  const Outcome wrong =
      run_program("generate --model " + kCases + "gdn_fla '' --load-state " + (f / "a"));
  EXPECT_EQ(wrong.code, 1);
  EXPECT_NE(wrong.text.find("state of another model"), std::string::npos) << wrong.text;
  const Outcome both = run_program("generate --model " + kCases + "gdn_fla '1' --fork 2 " +
                                   "--save-state " + (f / "c"));
  EXPECT_EQ(both.code, 2);
  EXPECT_FALSE(std::filesystem::exists(f / "c"));
  const Outcome cost = run_program("generate --model " + kCases + "gdn_fla '1 2' --fork 3");
  EXPECT_NE(cost.text.find("fork into 3:"), std::string::npos) << cost.text;
  EXPECT_NE(cost.text.find("peak memory"), std::string::npos) << cost.text;
}

TEST(Serving, StopStringsEndTheTextBeforeThem) {
  const Folder f("serving-stops");
  const std::string model = f / "model";
  make_model_with_tokenizer(f, model);
  const std::string start = "generate --model " + model + " 'The state ' --tokens 60 --seed 4";
  const std::string whole = output(start);
  const std::string prompt = "The state ";
  ASSERT_TRUE(whole.starts_with(prompt));
  // Some bytes out of its middle, not at a token's border in particular.
  std::size_t at = prompt.size() + (whole.size() - prompt.size()) / 2;
  while (at + 3 < whole.size() &&
         (static_cast<unsigned char>(whole[at]) >= 0x80 ||
          static_cast<unsigned char>(whole[at + 1]) >= 0x80 || whole[at] == '\''))
    ++at;
  const std::string stop = whole.substr(at, 2);
  ASSERT_EQ(stop.size(), 2u);
  ASSERT_EQ(stop.find('\''), std::string::npos);
  const std::string cut = output(start + " --stop " + quoted(stop) + " --stop 'never said'");
  EXPECT_EQ(cut, whole.substr(0, whole.find(stop, prompt.size())));
  EXPECT_EQ(run_program("generate --model " + kCases + "qwen3 '1' --stop x").code, 2);
}

TEST(Serving, EvaluateScoresTextsAndChoices) {
  const Folder f("serving-evaluate");
  std::ofstream(f / "a.txt") << "some text";
  std::ofstream(f / "q.jsonl") << "{\"context\": \"1 + 1 =\", \"choices\": [\"2\", \"3\"], "
                                  "\"answer\": 0}\n";
  const std::string start = "evaluate --model " + kCases + "mamba2_hf --bytes";
  const Json j = Json::parse(
      output(start + " --text " + (f / "a.txt") + " --choices " + (f / "q.jsonl") + " --json"),
      "output");
  EXPECT_EQ(j.at("text").at("bytes").as_int(), 9);
  EXPECT_GT(j.at("text").at("bits_per_byte").as_double(), 1);
  EXPECT_EQ(j.at("text").at("compared_tokens").as_int(), 9);
  EXPECT_EQ(j.at("choices").at("log_likelihoods")[0].size(), 2u);
  const double right = j.at("choices").at("log_likelihoods")[0][0].as_double(),
               wrong = j.at("choices").at("log_likelihoods")[0][1].as_double();
  EXPECT_EQ(j.at("choices").at("acc").as_double(), right > wrong ? 1 : 0);
  // Attention gets windows unless told otherwise.
  const Outcome windows =
      run_program("evaluate --model " + kCases + "qwen3 --bytes --text " + (f / "a.txt"));
  EXPECT_NE(windows.text.find("windows of 2048 tokens, 1024"), std::string::npos) << windows.text;
  const std::pair<std::string, const char*> cases[] = {
      {start, "no task of its own"},
      {start + " --text " + (f / "a.txt") + " --execution fast", "wanted chunkwise"},
      {start + " --text " + (f / "a.txt") + " --stride 5", "without windows"},
      {"evaluate", "wanted a run folder"}};
  for (const auto& [command, part] : cases) {
    const Outcome o = run_program(command);
    EXPECT_EQ(o.code, 2) << command << "\n" << o.text;
    EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
  }
  EXPECT_EQ(run_program("evaluate --model " + kCases + "qwen3 --text " + (f / "a.txt")).code, 1);
  EXPECT_EQ(run_program(start + " --text " + (f / "none.txt")).code, 1);
}

double bits_per_byte(const std::string& arguments) {
  return Json::parse(output("evaluate --json --execution chunkwise " + arguments), "output")
      .at("text")
      .at("bits_per_byte")
      .as_double();
}

// Published layout in, trained on bytes, out again in the same layout, and asked.
TEST(Serving, APublishedModelIsTrainedOnAndExported) {
  const Folder f("serving-continue");
  std::ofstream(f / "pages.txt") << text_of_sources();
  const std::string environment = "SUBQUAD_DATA=" + quoted(f / "cache");
  // Three with a layout that our own models are never written in, one of them with two names of
  // tensors and bf16 weights, one with experts.
  for (const char* name : {"xlstm_hf", "llama3_bf16", "kimi_linear"}) {
    const std::string run = f / std::string(name), model = f / (std::string(name) + "-out");
    const std::string train = "train --init " + kCases + name + " --task text --data " +
                              (f / "pages.txt") + " --tokens 40000 --learning-rate 0.01 --out " +
                              run;
    const Outcome o = run_program(train, environment);
    ASSERT_EQ(o.code, 0) << o.text;
    EXPECT_EQ(output("convert " + run + " " + model).substr(0, model.size()), model);
    const std::string text = " --bytes --text " + (f / "pages.txt") + " --window 256";
    const double before = bits_per_byte("--model " + kCases + name + text),
                 after = bits_per_byte("--model " + model + text);
    EXPECT_LT(after, 0.6 * before) << name;
    EXPECT_LT(after, 5) << name;  // 8 is guessing
    // The run is asked in text, its export in ids: the same bytes.
    std::string want;
    for (const unsigned char c : output("generate " + run + " 'The ' --tokens 8 --temperature 0"))
      want += (want.empty() ? "" : " ") + std::to_string(c);
    const std::string got =
        output("generate --model " + model + " '84 104 101 32' --tokens 8 --temperature 0");
    EXPECT_NE(("84 104 101 32 " + got).find(want), std::string::npos) << want << "\n" << got;
    // Trained already: the same command does nothing new; another model is not this run.
    EXPECT_EQ(run_program(train, environment).code, 0);
    EXPECT_EQ(
        run_program("train --init " + kCases + "qwen3 --task text --data " + (f / "pages.txt") +
                        " --tokens 40000 --learning-rate 0.01 --out " + run,
                    environment)
            .code,
        2);
  }
}

TEST(Serving, ATokenizerComesWithTheModelAndGoesWithIt) {
  const Folder f("serving-tokens");
  const std::string model = f / "model", run = f / "run", out = f / "out",
                    environment = "SUBQUAD_DATA=" + quoted(f / "cache");
  make_model_with_tokenizer(f, model);
  const Outcome o =
      run_program("train --init " + model + " --task text --data " + (f / "pages.txt") +
                      " --tokens 40000 --learning-rate 0.01 --out " + run,
                  environment);
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_NE(o.text.find("bits_per_byte"), std::string::npos) << o.text;
  ASSERT_EQ(run_program("convert " + run + " " + out).code, 0);
  const std::string text = " --text " + (f / "pages.txt") + " --window 256";
  EXPECT_LT(bits_per_byte("--model " + out + text), 0.8 * bits_per_byte("--model " + model + text));
  EXPECT_EQ(bits_per_byte("--model " + out + text), bits_per_byte(run + text));
  const std::string how = " 'The ' --tokens 20 --temperature 0";
  EXPECT_EQ(output("generate " + run + how), output("generate --model " + out + how));
  // The copy in the run folder is what the run's configuration names, or nothing is trained.
  std::filesystem::remove_all(run + "/checkpoints");
  std::filesystem::remove(run + "/result.json");
  std::filesystem::copy_file(out + "/model.safetensors", run + "/init/model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  const Outcome swapped = run_program("train --run " + run, environment);
  EXPECT_EQ(swapped.code, 1);
  EXPECT_NE(swapped.text.find("other weights"), std::string::npos) << swapped.text;
  const Outcome bad = run_program("train --init " + model + " --task parity --out " + (f / "no"));
  EXPECT_EQ(bad.code, 2) << bad.text;
  EXPECT_FALSE(std::filesystem::exists(f / "no"));
  std::filesystem::remove(model + "/tokenizer.json");
  EXPECT_EQ(run_program("train --init " + kCases + "mamba2_statespaces --task text --data " +
                        (f / "pages.txt") + " --out " + (f / "no"))
                .code,
            2);  // 250 ids and no tokenizer
}

}  // namespace
}  // namespace subquad
