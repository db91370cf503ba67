// Models of ours written as published ones, and published ones written again.
#include "subquad/pretrained/export.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/pretrained/pretrained.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

struct Target {
  std::string folder;
  explicit Target(const std::string& name = "exported") : folder(temporary_path(name)) {
    std::filesystem::remove_all(folder);
  }
  ~Target() { std::filesystem::remove_all(folder); }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
};

ModelConfig config_of(const std::vector<std::string>& layers, const std::string& options) {
  ModelConfig c;
  c.vocabulary = c.classes = 40;
  c.d_model = 16;
  c.heads = 2;
  c.mlp_hidden = 24;
  c.layers = layers;
  c.mixer_options = Json::parse(options, "options");
  return c;
}

std::string exported(const ModelConfig& c, const std::string& folder,
                     const std::string& family = "") {
  ParameterPlan plan;
  const Model model(c, plan);
  const ParameterStore store(plan, DType::f32, 3);
  return export_model(model, store, folder, family);  // reads back and compares by itself
}

TEST(Export, OurArmsThatExistElsewhere) {
  const std::string gdn = "gated_deltanet", negative = "gated_deltanet[-1,1]", att = "attention";
  const struct {
    std::vector<std::string> layers;
    const char *options, *family;
  } cases[] = {
      {{att, att}, "{}", "llama"},
      {{att}, R"({"attention":{"heads":4,"kv_heads":2,"head_dim":6,"rope_theta":500.0}})", "llama"},
      {{att}, R"({"attention":{"qkv_bias":true,"out_bias":true}})", "llama"},
      {{att}, R"({"attention":{"qk_norm":true}})", "qwen3"},
      {{gdn, gdn}, "{}", "gated_deltanet"},
      {{gdn},
       R"({"gated_deltanet":{"value_heads":4,"head_dim":6,"value_dim":9,"gate":"sigmoid"}})",
       "gated_deltanet"},
      {{gdn}, R"({"gated_deltanet":{"output_gate":false,"conv":3}})", "gated_deltanet"},
      {{negative, att}, R"({"attention":{"window":5,"qkv_bias":true}})", "gated_deltanet"},
  };
  for (const auto& t : cases) {
    for (const bool tied : {false, true}) {
      SCOPED_TRACE(std::string(t.family) + " " + t.options);
      const Target to;
      ModelConfig c = config_of(t.layers, t.options);
      c.tied = tied;
      EXPECT_EQ(exported(c, to.folder), t.family);
      EXPECT_EQ(Json::read(to.folder + "/config.json").at("tie_word_embeddings").as_bool(), tied);
      EXPECT_EQ(open_pretrained(to.folder)->files->contains("lm_head.weight"), !tied);
    }
  }
}

TEST(Export, PublishedFilesAreWrittenAgainBitForBit) {
  for (const char* model : {"llama_sharded", "qwen3", "gdn_fla", "gdn_fla_negeig", "gdn_fla_hybrid",
                            "mamba2_hf", "mamba2_hf_groups", "mamba2_hf_dtlimit", "xlstm_hf"}) {
    const Target to;
    const auto p = open_pretrained(kCases + model);
    const ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
    p->load(store);
    EXPECT_EQ(export_model(*p->model, store, to.folder), p->family->name);
    const auto back = open_pretrained(to.folder);
    ASSERT_EQ(back->files->names(), p->files->names());
    for (const std::string& name : p->files->names()) {
      const auto n = static_cast<std::size_t>(p->files->entry(name).shape.numel());
      std::vector<float> a(n), b(n);
      p->files->read_elements<float>(name, 0, 1, a);
      back->files->read_elements<float>(name, 0, 1, b);
      ASSERT_EQ(std::memcmp(a.data(), b.data(), n * sizeof(float)), 0) << model << " " << name;
    }
  }
}

// From the layouts of their authors to those of transformers: other names, the same model.
TEST(Export, SiblingLayoutsOfTransformers) {
  for (const auto& [model, family] :
       {std::pair{"mamba2_statespaces", "mamba2"}, {"xlstm_large_fused", "xlstm"}}) {
    const Target to;
    const auto p = open_pretrained(kCases + model);
    const ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
    p->load(store);
    EXPECT_EQ(export_model(*p->model, store, to.folder), family);  // compares by itself
    EXPECT_EQ(Json::read(to.folder + "/config.json").at("model_type").as_string(), family);
  }
}

TEST(Export, ConfigurationsSayIdsAndDtype) {
  ParameterPlan plan;
  const ModelConfig c = config_of({"attention"}, "{}");
  const Model model(c, plan);
  const ParameterStore store(plan, DType::f32, 3);
  const auto written = [&](const ExportFacts& facts) {
    const Target to;
    export_model(model, store, to.folder, "llama", facts);
    return Json::read(to.folder + "/config.json");
  };
  const Json none = written({});
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    ASSERT_NE(none.find(key), nullptr) << key << " would be the library's default";
    EXPECT_TRUE(none.at(key).is_null()) << key;
  }
  EXPECT_EQ(none.at("dtype").as_string(), "float32");
  EXPECT_FALSE(none.contains("max_position_embeddings"));
  const Json all =
      written({.dtype = DType::bf16, .special = {.begin = 0, .ends = {2}}, .positions = 512});
  EXPECT_EQ(all.at("bos_token_id").as_int(), 0);
  EXPECT_EQ(all.at("eos_token_id").as_int(), 2);
  EXPECT_EQ(all.at("max_position_embeddings").as_int(), 512);
  for (const char* key : {"dtype", "torch_dtype"})
    EXPECT_EQ(all.at(key).as_string(), "bfloat16") << key;
  EXPECT_EQ(written({.special = {.begin = 1, .ends = {2, 3}}}).at("eos_token_id").dump(), "[2,3]");
}

TEST(Export, OtherWeightsTakeOnlyTheFilesOfTheModel) {
  const Target from("source"), to;
  std::filesystem::copy(kCases + "llama_sharded", from.folder);
  for (const char* name : {"tokenizer.json", "pytorch_model.bin", "model.gguf", "original.pth"})
    write_file_atomically(from.folder + "/" + name, "{}");
  const auto p = open_pretrained(from.folder);
  const ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
  p->load(store);
  export_like(*p, store, to.folder);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(to.folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"config.json", "generation_config.json",
                                             "model.safetensors", "tokenizer.json"}));
}

TEST(Export, WhatNoLayoutCanSayIsRefusedWithReasons) {
  const auto message = [](ModelConfig c, const std::string& family = "") -> std::string {
    const Target to;
    try {
      exported(c, to.folder, family);
      return "accepted";
    } catch (const Error& e) {
      EXPECT_FALSE(std::filesystem::exists(to.folder));
      return e.what();
    }
  };
  const auto expect = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(message(config_of({"mlstm"}, "{}")), "exists in no published layout");
  expect(message(config_of({"mlstm"}, "{}")), "llama: the layout has attention layers only");
  expect(message(config_of({"mlstm"}, R"({"mlstm":{"conv":0}})"), "xlstm"),
         "no logits without a soft cap");
  ModelConfig capped = config_of({"mlstm"}, R"({"mlstm":{"conv":0,"gate_soft_cap":15.0}})");
  capped.logit_soft_cap = 30;
  expect(message(capped, "xlstm"), "width of 16, wanted a multiple of 64");
  capped.d_model = 64;
  expect(message(capped, "xlstm"), "accepted");
  expect(message(config_of({"mamba2"}, "{}"), "mamba2"), "the layout has no MLPs");
  ModelConfig bare = config_of({"mamba2"}, "{}");
  bare.mlp_hidden = 0;
  expect(message(bare, "mamba2"), "second eps of norms");
  bare.norm_eps = 1e-5;
  expect(message(bare, "mamba2"), "accepted");
  bare.layers = {"mamba2[-1,1]"};
  expect(message(bare, "mamba2"), "no layers but Mamba-2");
  expect(message(config_of({"gated_deltanet"}, R"({"gated_deltanet":{"conv":0}})")),
         "no layers without a convolution");
  expect(message(config_of({"gated_deltanet"}, R"({"gated_deltanet":{"erase":false}})")),
         "gated_deltanet: the layout has no layers without it");
  expect(message(config_of({"gated_deltanet"}, R"({"gated_deltanet":{"channel_decay":true}})")),
         "no decay per key channel");
  expect(message(config_of({"kda"}, "{}")), "exists in no published layout");
  expect(message(config_of({"attention"}, R"({"attention":{"rope":false}})")),
         "without rotary positions");
  expect(message(config_of({"attention"}, R"({"attention":{"window":4}})")), "no window");
  expect(message(config_of({"gated_deltanet", "gated_deltanet[-1,1]"}, "{}")), "one write range");
  ModelConfig no_mlp = config_of({"attention"}, "{}");
  no_mlp.mlp_hidden = 0;
  expect(message(no_mlp), "SwiGLU of one width");
  ModelConfig classes = config_of({"attention"}, "{}");
  classes.classes = 3;
  expect(message(classes), "classes");
  expect(message(config_of({"attention"}, "{}"), "gpt2"),
         "no layout \"gpt2\" is written; wanted llama");
  expect(message(config_of({"attention"}, "{}"), "gated_deltanet"), "has Gated DeltaNet layers");
  const auto llama3 = open_pretrained(kCases + "llama3_bf16");
  expect(message(llama3->published.config), "stretched positions");
  const Target to;
  exported(config_of({"attention"}, "{}"), to.folder);
  EXPECT_THROW(exported(config_of({"attention"}, "{}"), to.folder), Error) << "nothing is replaced";
  std::filesystem::remove(to.folder + "/config.json");
  try {
    exported(config_of({"attention"}, "{}"), to.folder);
    FAIL() << "weights were replaced";
  } catch (const Error& e) {
    expect(e.what(), "holds model.safetensors already");
  }
}

}  // namespace
}  // namespace subquad
