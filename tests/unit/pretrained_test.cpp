// Published models that are damaged, or ask for what we do not have: one clear error each, naming
// the file and the tensor or key.
#include "subquad/pretrained/pretrained.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "subquad/base/file.h"
#include "subquad/base/rng.h"
#include "subquad/io/yaml.h"
#include "tests/support/support.h"
#include "tests/unit/published_copy.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

TEST(Pretrained, WholeCopiesOpen) {
  EXPECT_NO_THROW(open_pretrained(Copy("llama_sharded").folder()));
  EXPECT_NO_THROW(open_pretrained(Copy("qwen3").folder()));
}

TEST(Pretrained, NoModelFolder) {
  const auto message = [](const std::string& folder) -> std::string {
    try {
      open_pretrained(folder);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_NE(message("/nowhere/at/all").find("no such folder"), std::string::npos);
  const Copy c("qwen3");
  fs::remove(c / "model.safetensors");
  c.expect_refused({c.folder(), "holds no weights"});
  write_file_atomically(c / "pytorch_model.bin", "PK");
  c.expect_refused({c.folder(), "pickle", "save_file"});
  fs::remove(c / "config.json");
  c.expect_refused({c.folder(), "neither config.json nor config.yaml"});
}

TEST(Pretrained, Configurations) {
  const Copy c("qwen3");
  const std::string path = c / "config.json", good = read_file(path);
  const auto refused = [&](const std::string& key, Json value,
                           const std::vector<std::string>& parts) {
    c.set("config.json", key, std::move(value));
    c.expect_refused(parts);
    write_file_atomically(path, good);
  };
  refused("hidden_size", "32", {"config.json", "hidden_size", "a string", "an integer"});
  refused("hidden_size", 0, {"config.json", "hidden_size", "got 0", "wanted 1 to"});
  refused("hidden_size", std::int64_t{1} << 40, {"config.json", "hidden_size", "wanted 1 to"});
  refused("num_hidden_layers", Json(), {"config.json", "num_hidden_layers", "missing"});
  refused("num_hidden_layers", 1000000, {"config.json", "num_hidden_layers", "wanted 1 to 4096"});
  refused("num_hidden_layers", 3, {"layer_types", "wanted one for each of 3 layers"});
  refused("hidden_act", "relu", {"config.json", "hidden_act", "relu", "silu"});
  refused("use_sliding_window", true, {"config.json", "use_sliding_window"});
  refused("tie_word_embeddings", false, {"lm_head.weight is missing", "(256, 32)"});
  refused("model_type", "qwen4", {"config.json", "qwen4", "supported are llama, qwen3"});
  refused("model_type", "mamba", {"config.json", "selective scan of Mamba-1"});
  refused("model_type", Json(), {"config.json", "no model_type"});
  refused("rope_parameters", Json::parse(R"({"rope_type":"yarn"})", "test"),
          {"config.json", "rope_parameters", "yarn", "llama3"});
  refused("num_attention_heads", 1 << 24, {"o_proj.weight", "(32, 268435456)"});
  refused("num_key_value_heads", 3, {"model.safetensors", "k_proj.weight", "(48, 32)"});
  write_file_atomically(path, good.substr(0, good.size() / 2));
  c.expect_refused({"config.json", "JSON"});
  write_file_atomically(path, "{\"model_type\":\"qwen3\",\"model_type\":\"llama\"}");
  c.expect_refused({"config.json", "model_type", "twice"});
  write_file_atomically(path, "[1]");
  c.expect_refused({"config.json", "wanted an object"});
}

TEST(Pretrained, Tensors) {
  const Copy c("qwen3");
  const std::string file = "model.safetensors", good = read_file(c / file);
  const auto refused = [&](auto&& change, const std::vector<std::string>& parts) {
    c.rewrite(file, change);
    c.expect_refused(parts);
    write_file_atomically(c / file, good);
  };
  const auto at = [](NamedTensors& t, const std::string& name) {
    return std::find_if(t.begin(), t.end(), [&](const auto& e) { return e.first == name; });
  };
  refused([&](NamedTensors& t) { t.erase(at(t, kUp)); }, {c.folder(), kUp, "missing", "(48, 32)"});
  refused(
      [&](NamedTensors& t) {
        t.emplace_back("model.layers.0.mlp.up_proj.bias", Tensor::zeros({48}, DType::f32));
      },
      {file, "up_proj.bias", "no place", "qwen3"});
  refused(
      [&](NamedTensors& t) {
        at(t, kUp)->second = Tensor::zeros({32, 48}, DType::f32);
      },
      {file, kUp, "(32, 48)", "wanted (48, 32)"});
  refused(
      [&](NamedTensors& t) {
        at(t, kUp)->second = Tensor::zeros({48, 32}, DType::i32);
      },
      {file, kUp, "i32", "wanted f64"});
  // A tied model whose files hold another head.
  refused(
      [&](NamedTensors& t) {
        t.emplace_back("lm_head.weight", Tensor::zeros({256, 32}, DType::f32));
      },
      {file, "lm_head.weight", "differs", "model.embed_tokens.weight"});
  c.rewrite(file, [&](NamedTensors& t) {
    t.emplace_back("lm_head.weight", at(t, "model.embed_tokens.weight")->second);
  });
  EXPECT_NO_THROW(open_pretrained(c.folder())) << "the same twice is no contradiction";
  write_file_atomically(c / file, good.substr(0, good.size() - 5));
  c.expect_refused({file, "truncated"});
  write_file_atomically(c / file, good + "more");
  c.expect_refused({file, "data section"});
  write_file_atomically(c / file, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f") + good.substr(8));
  c.expect_refused({file, "header"});
}

TEST(Pretrained, AWeightThatIsNoNumberIsNamed) {
  const Copy c("qwen3");
  EXPECT_NO_THROW(open_pretrained(c.folder())->files->require_finite());
  c.rewrite("model.safetensors", [](NamedTensors& t) {
    for (auto& [name, tensor] : t) {
      if (name == "model.norm.weight") {
        tensor = Tensor::zeros(tensor.shape(), DType::f32);
        tensor.data<float>()[5] = -std::numeric_limits<float>::infinity();
      }
    }
  });
  try {
    open_pretrained(c.folder())->files->require_finite();
    ADD_FAILURE() << "wanted an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::numeric);
    for (const char* part : {"model.safetensors", "model.norm.weight", "element 5 is -inf"})
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(Pretrained, Shards) {
  const Copy c("llama_sharded");
  const std::string index = "model.safetensors.index.json", good = read_file(c / index),
                    first = "model-00001-of-00002.safetensors",
                    second = "model-00002-of-00002.safetensors";
  const auto refused = [&](const std::string& tensor, Json file,
                           const std::vector<std::string>& parts) {
    c.set(index, tensor, std::move(file), "weight_map");
    c.expect_refused(parts);
    write_file_atomically(c / index, good);
  };
  for (const char* name : {"../secret.safetensors", "/etc/passwd", "a\\b", "..", ""})
    refused("lm_head.weight", name, {index, "file name", name});
  refused("lm_head.weight", "model-00003-of-00002.safetensors", {"00003", "cannot be read"});
  refused("lm_head.weight", first, {index, "lm_head.weight is not in", first});
  refused("lm_head.weight", 7, {index, "an integer", "a string"});
  refused("no.such.tensor", first, {index, "no.such.tensor", "is not in"});
  Json json = Json::parse(good, index);
  Json fewer = Json::object();
  for (const auto& [tensor, file] : json.at("weight_map").as_object())
    if (tensor != "lm_head.weight") fewer[tensor] = file;
  json["weight_map"] = fewer;
  write_file_atomically(c / index, json.dump());
  c.expect_refused({second, "lm_head.weight", "not in the index"});
  write_file_atomically(c / index, good);
  c.set(index, "total_size", 5, "metadata");
  EXPECT_EQ(open_pretrained(c.folder())->files->warnings().size(), 1U);
  // A link that leads out of the folder.
  const std::string outside = temporary_path("outside.safetensors");
  fs::rename(c / second, outside);
  fs::create_symlink(outside, c / second);
  c.expect_refused({second, "a link out of the folder"});
  fs::remove(outside);
}

// Neither how much memory is taken nor how long we wait is the folder's choice.
TEST(Pretrained, DevicesAndPipesAreNoFiles) {
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
    const Copy device("qwen3"), pipe("qwen3");
    fs::remove(device / name);
    fs::create_symlink("/dev/zero", device / name);
    device.expect_refused({name});
    fs::remove(pipe / name);
    ASSERT_EQ(::mkfifo((pipe / name).c_str(), 0600), 0);
    pipe.expect_refused({name, "regular file"});
  }
  const Copy values("llama_sharded");
  std::string many = R"({"weight_map":{"a":[0)";
  for (int i = 0; i < 1 << 20; ++i) many += ",0";
  write_file_atomically(values / "model.safetensors.index.json", many + "]}}");
  values.expect_refused({"model.safetensors.index.json", "more than 1048576 values"});
  write_file_atomically(values / "model.safetensors.index.json",
                        R"({"weight_map":{"a":)" + std::string(100000, '[') + "}}");
  values.expect_refused({"model.safetensors.index.json", "nested deeper than 64"});
}

// Whatever a byte of the three texts becomes, opening and loading succeeds or fails with an Error.
TEST(Pretrained, DamagedBytesNeverDoMoreThanFail) {
  const Copy c("llama_sharded");
  int refused = 0;
  for (const char* name :
       {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"}) {
    const std::string good = read_file(c / name);
    const auto size = static_cast<std::uint64_t>(std::min<std::size_t>(good.size(), 2000));
    const Rng rng{1, stream_id(name)};
    for (std::uint64_t i = 0; i < 150; ++i) {
      std::string bad = good;
      const auto where = static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(size), 0, i));
      bad[where] = "0987654321-.,:{}[]\"\\\xff aeE"[rng.below(25, 1, i)];
      std::ofstream(c / name, std::ios::binary) << bad;
      try {
        const auto p = open_pretrained(c.folder());
        p->load(ParameterStore::zeros(p->plan, DType::f32));
      } catch (const Error& e) {
        EXPECT_NE(e.code(), ErrorCode::internal) << e.what();
        ++refused;
      }
    }
    std::ofstream(c / name, std::ios::binary) << good;
  }
  EXPECT_GT(refused, 200);
}

TEST(Pretrained, FilesOfTheHubsCacheAreLinksToItsBlobs) {
  const Copy c("qwen3");
  const fs::path model = temporary_path("hub"), revision = model / "snapshots/abc";
  fs::remove_all(model);
  fs::create_directories(revision);
  fs::create_directories(model / "blobs");
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::rename(c / name, model / "blobs" / name);
    fs::create_symlink(fs::path("../../blobs") / name, revision / name);
  }
  EXPECT_NO_THROW(open_pretrained(revision.string()));
  fs::remove_all(model);
}

TEST(Pretrained, EverySettingThatChangesTheArithmeticIsRefused) {
  const struct {
    const char *model, *inside, *key, *value;
  } cases[] = {
      {"xlstm_hf", "", "use_bias", "true"},
      {"xlstm_hf", "", "add_out_norm", "false"},
      {"xlstm_hf", "", "weight_mode", "\"mixed\""},
      {"mamba2_hf", "", "num_heads", "9"},
      {"mamba2_hf", "", "time_step_limit", "[0.0]"},
      {"mamba2_statespaces", "ssm_cfg", "layer", "\"Mamba1\""},
      {"mamba2_statespaces", "ssm_cfg", "norm_before_gate", "true"},
      {"mamba2_statespaces", "ssm_cfg", "d_ssm", "16"},
      {"mamba2_statespaces", "", "attn_layer_idx", "[1]"},
      {"mamba2_statespaces", "", "d_intermediate", "64"},
      {"gdn_fla", "", "attnres_block_size", "4"},
      {"gdn_fla", "", "use_short_conv", "false"},
      {"gdn_fla", "", "output_gate_activation", "\"relu\""},
      {"gdn_fla", "", "expand_v", "1.51"},
      {"gdn_fla_hybrid", "attn", "layers", "[7]"},
      {"qwen3_next", "", "attention_bias", "true"},
      {"qwen3_next", "", "num_experts", "16777216"},
      {"qwen3_next", "", "mlp_only_layers", "[\"one\"]"},
      {"mamba2_hf", "", "time_step_limit", "[\"low\",1]"},
      {"gdn_fla", "", "expand_v", "1e300"},
      {"xlstm_hf", "", "qk_dim_factor", "1e300"},
      {"xlstm_hf", "", "v_dim_factor", "-1e300"},
      {"qwen3_5", "", "layer_types", "[\"linear_attention\",\"odd\",\"full_attention\"]"},
      {"gpt2", "", "activation_function", "\"relu\""},
      {"gpt2", "", "scale_attn_by_inverse_layer_idx", "true"},
      {"granite_hybrid", "", "num_local_experts", "8"},
      {"granite_hybrid", "", "logits_scaling", "0.0"},
      {"xlstm_neurips", "", "bias", "true"},
      {"xlstm_neurips", "", "slstm_at", "[9]"},
      {"llama_sharded", "", "mlp_bias", "true"},
  };
  for (const auto& t : cases) {
    SCOPED_TRACE(std::string(t.model) + " " + t.key);
    const Copy c(t.model);
    c.set("config.json", t.key, Json::parse(t.value, "test"), t.inside);
    c.expect_refused({"config.json", t.key});
  }
}

TEST(Pretrained, AWidthThatIsAProductIsBounded) {
  const Copy c("gdn_fla");
  c.set("config.json", "intermediate_size", Json());
  c.set("config.json", "hidden_ratio", 1e300);
  c.expect_refused({"config.json", "hidden_ratio", "wanted 1 to 16777216"});
}

TEST(Pretrained, LevelsOfAForecasterAreNumbers) {
  const Copy c("qwen3");
  write_file_atomically(c / "config.json",
                        R"({"model_type":"tirex","input_patch_size":2,"output_patch_size":2,
      "train_ctx_len":8,"input_ff_dim":4,"quantiles":[0.5,"high"],
      "block_kwargs":{"embedding_dim":4,"num_heads":1,"num_blocks":1}})");
  c.expect_refused({"config.json", "quantiles", "a string"});
}

// Blocks of two widths, each of them whole: a layout that has one.
TEST(Pretrained, BlocksOfTwoWidthsAreTheFilesFault) {
  const Copy c("xlstm_neurips");
  const std::string down = "xlstm_block_stack.blocks.2.xlstm.proj_down.weight";
  c.rewrite("model.safetensors", [&](NamedTensors& t) {
    for (auto& [name, tensor] : t) {
      if (name == down) tensor = Tensor::zeros({32, 32}, DType::f32);
    }
  });
  c.expect_refused({"model.safetensors", down, "32 columns", "wanted 64"});
}

// Experts that no file holds are not described: 1 KB of text took gigabytes.
TEST(Pretrained, ExpertsOfOurOwnLayoutAreInTheFiles) {
  const Copy c("qwen3");
  ModelConfig m;
  m.layers.assign(64, "attention");
  m.experts = {.count = 65536, .active = 1, .hidden = 1};
  for (std::int64_t i = 0; i < 64; ++i) m.expert_blocks.push_back(i);
  const auto write = [&] {
    write_file_atomically(c / "config.json",
                          own_configuration({m, Packing::f32, m.vocabulary, true, {}}).dump());
  };
  write();
  c.expect_refused({"config.json", "model.experts.count 65536 in 64 layers", "tensors"});
  m.experts.count = 1;
  m.expert_blocks = {3, 3};
  write();
  c.expect_refused({"config.json", "expert_blocks: 3 twice"});
}

TEST(Pretrained, UnknownKeysOfOurOwnLayoutAreNamed) {
  const Copy c("qwen3");
  const auto refused = [&](const std::string& key, const std::string& part) {
    ModelConfig m;
    m.layers = {"mlstm"};
    Json json = own_configuration({m, Packing::f32, m.vocabulary, true, {}});
    json["model"][key] = 1;
    write_file_atomically(c / "config.json", json.dump());
    try {
      open_pretrained(c.folder());
      ADD_FAILURE() << "opened";
    } catch (const Error& e) {
      const std::string text = e.what();
      EXPECT_NE(text.find(part), std::string::npos) << text;
      EXPECT_EQ(text.find("\"\""), std::string::npos) << text;
      EXPECT_LT(text.size(), 5000U);
    }
  };
  refused("layerz", "did you mean \"layers\"");
  refused("zzz", "unknown model key \"zzz\"");
  refused(std::string(8 << 20, 'q'), "bytes left out");
}

TEST(Pretrained, ALineOfTheListGivesEveryFamilyAName) {
  std::vector<std::string> names;
  for (const Family* f : all_families()) names.emplace_back(f->name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_GE(names.size(), 11U);
}

TEST(Pretrained, EndIdsComeFromTheGenerationConfigurationAsOneOrAList) {
  EXPECT_EQ(open_pretrained(kCases + "llama3_bf16")->special.ends,
            (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(open_pretrained(kCases + "qwen3")->special.ends, (std::vector<std::int32_t>{2}));
  EXPECT_TRUE(open_pretrained(kCases + "mamba2_statespaces")->special.ends.empty());
  const Copy c("qwen3");
  c.set("generation_config.json", "eos_token_id", "two");
  c.expect_refused({"generation_config.json", "eos_token_id", "two"});
  std::ofstream(c / "generation_config.json") << std::string((64 << 20) + 1, ' ');
  c.expect_refused({"generation_config.json", "wanted at most"});
}

TEST(Pretrained, ANullSoftCapOfXlstmIsNone) {
  const Copy c("xlstm_hf");
  c.set("config.json", "output_logit_soft_cap", Json());
  c.set("config.json", "gate_soft_cap", Json());
  const ModelConfig m = open_pretrained(c.folder())->published.config;
  EXPECT_EQ(m.logit_soft_cap, 0);
  EXPECT_EQ(m.mixer_options.at("mlstm").at("gate_soft_cap").as_double(), 0);
}

TEST(Pretrained, PaddedVocabulary) {
  const auto p = open_pretrained(kCases + "mamba2_statespaces");
  EXPECT_EQ(p->published.vocabulary, 250);
  EXPECT_EQ(p->published.config.vocabulary, 256);
}

// Names may only be written as they were read: what is loaded and written back is the file.
TEST(Pretrained, WeightsWrittenBackAreTheFilesBitForBit) {
  for (const char* model : {"llama_sharded", "qwen3", "mamba2_hf_groups", "mamba2_statespaces",
                            "xlstm_hf", "xlstm_large_fused", "xlstm_neurips", "gdn_fla_hybrid",
                            "qwen3_next", "qwen3_5", "gpt2", "granite_hybrid"}) {
    const auto p = open_pretrained(kCases + model);
    ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
    p->load(store);
    const NamedTensors back = published_tensors(p->published.weights, p->plan, store.flat_values());
    EXPECT_EQ(back.size(), p->files->names().size()) << model;
    for (const auto& [name, tensor] : back) {
      std::vector<float> stored(static_cast<std::size_t>(tensor.numel()));
      p->files->read_elements<float>(name, 0, 1, stored);
      ASSERT_EQ(tensor.shape(), p->files->entry(name).shape) << model << " " << name;
      ASSERT_EQ(std::memcmp(stored.data(), tensor.raw(), stored.size() * sizeof(float)), 0)
          << model << " " << name;
    }
  }
}

TEST(Pretrained, ModelConfigurationsSurviveJson) {
  for (const char* model :
       {"llama3_bf16", "xlstm_neurips", "qwen3_next", "gpt2", "granite_hybrid"}) {
    const ModelConfig c = open_pretrained(kCases + model)->published.config;
    EXPECT_EQ(ModelConfig::from_json(Json::parse(c.to_json().dump(), model)).to_json(), c.to_json())
        << model;
  }
  EXPECT_FALSE(ModelConfig{}.to_json().contains("norm")) << "only what differs is written";
  Json wrong = ModelConfig{}.to_json();
  wrong["layers"].push_back("mlstm");
  wrong["positions"] = "many";
  try {
    ModelConfig::from_json(wrong);
    ADD_FAILURE() << "positions may be a word";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("positions"), std::string::npos) << e.what();
  }
}

TEST(Yaml, ReadsWhatConfigurationsHold) {
  const Json v = parse_yaml(
      "a: 3\nb: 1.0e-06\nc: true\nd: null\ne: text with words\nf: \"12\"\ng:\n- 1\n- 2\n"
      "h:\n  i: .inf\n  j: [x, -4]\nk: {l: 0.5}\nm: -3\nn: 1.2.3\n",
      "test");
  EXPECT_EQ(v.at("a").as_int(), 3);
  EXPECT_EQ(v.at("b").as_double(), 1e-6);
  EXPECT_TRUE(v.at("c").as_bool());
  EXPECT_TRUE(v.at("d").is_null());
  EXPECT_EQ(v.at("e").as_string(), "text with words");
  EXPECT_EQ(v.at("f").as_string(), "12");
  EXPECT_EQ(v.at("g")[1].as_int(), 2);
  EXPECT_GT(v.at("h").at("i").as_double(), 1e300);
  EXPECT_EQ(v.at("h").at("j")[1].as_int(), -4);
  EXPECT_EQ(v.at("k").at("l").as_double(), 0.5);
  EXPECT_EQ(v.at("m").as_int(), -3);
  EXPECT_EQ(v.at("n").as_string(), "1.2.3");
  EXPECT_TRUE(parse_yaml("", "test").is_null());
  EXPECT_EQ(read_yaml(kCases + "xlstm_neurips/config.yaml"),
            Json::read(kCases + "xlstm_neurips/config.json"));
}

TEST(Yaml, RefusesWithTheLine) {
  const std::pair<std::string, const char*> cases[] = {
      {"a: 1\na: 2\n", "line 2: key \"a\" appears twice"},
      {"a: &x 1\nb: *x\n", "line 2: alias *x"},
      {"a: !!python/object 1\n", "line 1: tag"},
      {"a: [1, 2\n", "not valid YAML"},
      {"a: 1\n--- \nb: 2\n", "second document"},
      {"? [1, 2]\n: 3\n", "no scalar"},
      {std::string(100, '['), "nested deeper"},
      {std::string(70000, ' '), "bytes"},
      {std::string("a: \xff\n"), "not valid YAML"},
  };
  for (const auto& [text, part] : cases) {
    try {
      parse_yaml(text, "c.yaml");
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("c.yaml"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace subquad
