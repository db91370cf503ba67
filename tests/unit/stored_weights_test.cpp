// Weights used as the files store them, and our own layout with packed ones.
#include "subquad/pretrained/stored_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/model/engine.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/quant/pack.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

Tensor some_ids(const Model& model) {
  const Tensor ids({1, 7}, DType::i32);
  for (std::int64_t i = 0; i < 7; ++i)
    ids.data<std::int32_t>()[i] = static_cast<std::int32_t>(5 * i % model.config().vocabulary);
  return ids;
}

Tensor logits(const Model& model, ParameterStore& store) {
  Engine engine;
  Context cx = engine.context(store);
  return model.logits(cx, some_ids(model), {}, nullptr).value;
}

// Every published case: the same numbers as from a copy in f32.
TEST(StoredWeights, AreTheLoadedOnes) {
  std::size_t cases = 0;
  for (const auto& entry : fs::directory_iterator(kCases)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory()) continue;
    ++cases;
    const auto p = open_pretrained(entry.path().string());
    ParameterStore copy = ParameterStore::zeros(p->plan, DType::f32), stored = p->weights();
    p->load(copy);
    std::int32_t index = 0;
    for (const ParamInfo& info : p->plan.all()) {
      const ParamId id{index++};
      EXPECT_TRUE(same_bits(copy.value(id), exact_value(stored, id))) << name << " " << info.name;
    }
    const Tensor a = logits(*p->model, copy), b = logits(*p->model, stored);
    for (std::int64_t i = 0; i < a.numel(); ++i)
      ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-4) << name;
  }
  EXPECT_GE(cases, 18U);
}

// Nothing is copied: two stores show the same bytes, and a bf16 file stays bf16.
TEST(StoredWeights, AreTheFilesBytes) {
  const auto p = open_pretrained(kCases + "llama3_bf16");
  const ParameterStore a = p->weights(), b = p->weights();
  std::size_t runs = 0;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(p->plan.all().size()); ++i) {
    if (!a.packed({i})) continue;
    for (std::size_t r = 0; r < a.packed({i})->runs().size(); ++r, ++runs) {
      const auto &one = a.packed({i})->runs()[r], &other = b.packed({i})->runs()[r];
      EXPECT_EQ(one.packing, Packing::bf16);
      EXPECT_EQ(one.codes.raw(), other.codes.raw())
          << p->plan.all()[static_cast<std::size_t>(i)].name;
    }
  }
  EXPECT_GE(runs, 8U);
  EXPECT_LT(a.bytes(), p->plan.parameter_count() * 5 / 2);
}

// A packed model in a folder of its own, which a test may damage.
class Packed {
 public:
  explicit Packed(Packing packing, const std::string& name = "gdn_fla")
      : folder_(temporary_path("packed")) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    const auto p = open_pretrained(kCases + name);
    ThreadPool threads(2);
    ParameterStore small = packed_store(p->weights(), packing, threads);
    logits_ = subquad::logits(*p->model, small);
    tensors_ = named_weights(small);
    config_ = own_configuration({.model = p->model->config(),
                                 .packing = packing,
                                 .vocabulary = p->published.vocabulary,
                                 .bytes = false,
                                 .special = p->special});
    write();
  }
  ~Packed() { fs::remove_all(folder_); }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;

  void write() const {
    write_safetensors(folder_ + "/model.safetensors", tensors_);
    write_file_atomically(folder_ + "/config.json", config_.dump());
  }
  Tensor& tensor(const std::string& end) {
    return std::find_if(tensors_.begin(), tensors_.end(),
                        [&](const auto& t) { return t.first.ends_with(end); })
        ->second;
  }
  void expect_refused(const std::vector<std::string>& parts) const {
    try {
      open_pretrained(folder_)->weights();
      ADD_FAILURE() << "opened; wanted an error with " << parts[0];
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::format || e.code() == ErrorCode::unsupported) << e.what();
      for (const std::string& part : parts)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
            << "wanted \"" << part << "\" in: " << e.what();
    }
  }

  std::string folder_;
  Tensor logits_;
  NamedTensors tensors_;
  Json config_;
};

TEST(OwnLayout, KeepsSpecialIds) {
  const Packed m(Packing::bf16, "llama_sharded");
  const auto p = open_pretrained(m.folder_);
  EXPECT_EQ(p->special.begin, 1);
  EXPECT_EQ(p->special.ends, (std::vector<std::int32_t>{2}));
}

TEST(OwnLayout, ReadsBackBitForBit) {
  for (const Packing packing : {Packing::bf16, Packing::int8, Packing::int4}) {
    for (const char* name : {"gdn_fla", "xlstm_neurips", "mamba2_hf", "qwen3_next", "gpt2"}) {
      const Packed m(packing, name);
      const auto p = open_pretrained(m.folder_);
      EXPECT_STREQ(p->family->name, "subquad");
      ParameterStore store = p->weights();
      EXPECT_TRUE(same_bits(logits(*p->model, store), m.logits_)) << name;
      if (packing == Packing::bf16) continue;
      try {
        ParameterStore copy = ParameterStore::zeros(p->plan, DType::f32);
        p->load(copy);
        ADD_FAILURE() << "loaded for training";
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::unsupported);
        EXPECT_NE(std::string(e.what()).find("cannot be trained"), std::string::npos) << e.what();
      }
    }
  }
}

TEST(OwnLayout, DamagedOnesAreRefused) {
  {
    Packed m(Packing::int8);
    std::erase_if(m.tensors_, [](const auto& t) { return t.first == "embedding.weight.scale"; });
    m.write();
    m.expect_refused({"model.safetensors", "embedding.weight.scale is missing"});
  }
  {
    Packed m(Packing::int8);
    m.tensor("embedding.weight.scale") = Tensor::zeros({3, 1}, DType::f32);
    m.write();
    m.expect_refused({"embedding.weight.scale", "of shape (3, 1), wanted f32 of shape"});
  }
  {
    Packed m(Packing::int4);
    m.tensor("embedding.weight") = Tensor::zeros({4, 64}, DType::u8);
    m.write();
    m.expect_refused({"tensor embedding.weight of shape (4, 64)", "int4 codes of"});
  }
  {
    Packed m(Packing::int8);  // codes where no product reads them
    m.tensor("final_norm.weight") = Tensor::zeros(m.tensor("final_norm.weight").shape(), DType::i8);
    m.write();
    m.expect_refused({"final_norm.weight"});
  }
  {
    Packed m(Packing::int8);
    std::erase_if(m.tensors_,
                  [](const auto& t) { return t.first.ends_with("in_proj.weight.rows.1"); });
    m.write();
    m.expect_refused({"in_proj.weight.rows.0"});
  }
  {
    Packed m(Packing::int8);
    m.config_["format_version"] = 2;
    m.write();
    m.expect_refused({"config.json", "format_version 2"});
  }
  {
    Packed m(Packing::int8);
    m.config_["model"]["d_model"] = std::int64_t{1} << 30;
    m.write();
    m.expect_refused({"config.json", "d_model"});
  }
  {
    Packed m(Packing::int8);
    m.config_["vocab_size"] = 1000000;
    m.write();
    m.expect_refused({"config.json", "vocab_size 1000000 of a model with"});
  }
  {
    Packed m(Packing::int8);
    m.config_["model"] = "large";
    m.write();
    m.expect_refused({"config.json"});
  }
}

// Only our own layout may hold codes: elsewhere they mean something else.
TEST(OwnLayout, CodesInPublishedLayoutsAreRefused) {
  const std::string folder = temporary_path("codes");
  fs::remove_all(folder);
  fs::copy(kCases + "qwen3", folder);
  NamedTensors tensors;
  {
    const Safetensors from(folder + "/model.safetensors");
    for (const auto& [name, e] : from.entries()) {
      if (name == "model.embed_tokens.weight") {
        tensors.emplace_back(name, Tensor::zeros(e.shape, DType::i8));
        tensors.emplace_back(name + ".scale", Tensor::zeros({e.shape[0], 1}, DType::f32));
      } else {
        tensors.emplace_back(name, from.read(name));
      }
    }
  }
  write_safetensors(folder + "/model.safetensors", tensors);
  EXPECT_THROW(open_pretrained(folder), Error);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace subquad
