#include "subquad/pretrained/export.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "subquad/backend/bf16.h"
#include "subquad/base/file.h"
#include "subquad/mixer/common/option_reader.h"
#include "subquad/model/engine.h"
#include "subquad/pretrained/model_files.h"

namespace subquad {
namespace {

void refuse_unless(Condition ok, const char* what) {
  require(ok, ErrorCode::unsupported, "the layout has no ", what);
}

struct Choice {
  const Family* family = nullptr;
  Json configuration;
};

Choice choose(const ModelConfig& model, const std::string& wanted, const ExportFacts& facts) {
  std::string reasons, names;
  for (const Family* f : all_families()) {
    if (!f->configuration) continue;
    names += (names.empty() ? "" : ", ") + std::string(f->name);
    if (!wanted.empty() && wanted != f->name) continue;
    try {
      return {f, f->configuration(model, facts)};
    } catch (const Error& e) {
      if (e.code() != ErrorCode::unsupported) throw;
      reasons += std::string(reasons.empty() ? "" : "; ") + f->name + ": " + e.what();
    }
  }
  require(!reasons.empty(), ErrorCode::invalid_argument, "no layout \"", wanted,
          "\" is written; wanted ", names);
  fail(ErrorCode::unsupported, "this model exists in no published layout that is written (",
       reasons, ")");
}

Tensor inputs_of(const ModelConfig& config) {
  constexpr std::int64_t kPositions = 9;
  if (config.forecasts()) {
    const Tensor tokens({1, kPositions, config.vocabulary}, DType::f32);
    float x = 0;
    for (float& value : tokens.host<float>()) value = (x = x > 1 ? -1 : x + 0.0625F);
    return tokens;
  }
  const Tensor ids({1, kPositions}, DType::i32);
  for (std::int64_t i = 0; i < kPositions; ++i)
    ids.data<std::int32_t>()[i] = static_cast<std::int32_t>(7 * i % config.vocabulary);
  return ids;
}

Tensor logits_of(const Model& model, ParameterStore& store) {
  const Tensor ids = inputs_of(model.config());
  Engine engine;
  Context cx = engine.context(store);
  return model.logits(cx, ids, {}, nullptr).value;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
}

// Tensors whose values are bf16 numbers, stored as such.
NamedTensors as_bf16(NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) {
    const Tensor half(tensor.shape(), DType::bf16);
    auto* to = static_cast<std::uint16_t*>(half.raw());
    for (const float x : tensor.host<float>())
      *to++ = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);
    tensor = half;
  }
  return tensors;
}

void write_weights(const std::string& folder, const WeightMap& map, const ParameterStore& store,
                   DType dtype = DType::f32) {
  NamedTensors tensors = published_tensors(map, store.plan(), store.flat_values());
  if (dtype == DType::bf16) tensors = as_bf16(std::move(tensors));
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}});
}

void verify(const Model& model, const ParameterStore& store, const WeightMap& map,
            const std::string& folder) {
  const auto back = open_pretrained(folder);
  ParameterStore read = ParameterStore::zeros(back->plan, DType::f32);
  back->load(read);
  const NamedTensors ours = published_tensors(map, store.plan(), store.flat_values()),
                     theirs =
                         published_tensors(back->published.weights, back->plan, read.flat_values());
  bool same = ours.size() == theirs.size();
  for (std::size_t i = 0; same && i < ours.size(); ++i)
    same = ours[i].first == theirs[i].first && same_bits(ours[i].second, theirs[i].second);
  ParameterStore source = ParameterStore::zeros(store.plan(), DType::f32);
  source.copy_values_from(store);
  require(same && same_bits(logits_of(model, source), logits_of(*back->model, read)),
          ErrorCode::internal, folder, ": the model that was read back is another one");
}

}  // namespace

std::string export_model(const Model& model, const ParameterStore& given, const std::string& folder,
                         const std::string& family, const ExportFacts& facts) {
  const DType dtype = facts.dtype;
  require(dtype == DType::f32 || dtype == DType::bf16, ErrorCode::invalid_argument, "weights as ",
          name_of(dtype), ", wanted f32 or bf16");
  ParameterStore store = ParameterStore::zeros(given.plan(), DType::f32);
  store.copy_values_from(given);
  if (dtype == DType::bf16) {
    for (float& x : store.flat_values().host<float>()) x = round_to_bf16(x);
  }
  const Choice choice = choose(model.config(), family, facts);
  const Published p = choice.family->describe({choice.configuration, "config.json"}, WeightFiles());
  check_complete(p.weights, store.plan());
  create_model_folder(folder);
  write_weights(folder, p.weights, store, dtype);
  write_file_atomically(folder + "/config.json", choice.configuration.dump(2) + "\n");
  verify(model, store, p.weights, folder);
  return choice.family->name;
}

void export_like(const Pretrained& source, const ParameterStore& store, const std::string& folder) {
  create_model_folder(folder);
  write_weights(folder, source.published.weights, store);
  // The configuration's own bytes, whatever it says beside what is read.
  copy_model_files(source.files->folder(), folder, [](const std::string& name) {
    return is_model_file(name) && !is_weights_file(name);
  });
  verify(*source.model, store, source.published.weights, folder);
}

void require_plain(const ModelConfig& m, const PlainModel& plain) {
  refuse_unless(m.norm == "rms" && !m.norm_plus_one && !m.norm_bias, "such norms");
  const bool same = m.mlp_widths.empty() && m.expert_blocks.empty();
  if (plain.mlp) {
    refuse_unless(m.mlp == "swiglu" && same && m.mlp_hidden > 0,
                  "such MLPs, wanted SwiGLU of one width in every block");
  } else {
    refuse_unless(same && m.mlp_hidden == 0, "MLPs");
  }
  refuse_unless(m.positions == 0, "learned positions");
  refuse_unless(m.embedding_scale == 1 && m.residual_scale == 1 && m.logit_scale == 1, "scales");
  refuse_unless((m.logit_soft_cap > 0) == plain.soft_cap,
                plain.soft_cap ? "logits without a soft cap" : "soft cap of the logits");
  refuse_unless(m.classes == m.vocabulary, "classes that are not the ids of the vocabulary");
}

PlainAttention plain_attention(const ModelConfig& m) {
  const Json* options = m.mixer_options.find("attention");
  const Json given = options ? *options : Json();
  OptionReader r(given, "attention");
  PlainAttention a{};
  a.heads = r.get("heads", m.heads);
  a.kv_heads = r.get("kv_heads", a.heads);
  a.head_dim = r.get("head_dim", m.d_model / a.heads);
  a.window = r.get("window", std::int64_t{0});
  a.qkv_bias = r.get("qkv_bias", false);
  a.out_bias = r.get("out_bias", false);
  a.qk_norm = r.get("qk_norm", false);
  a.norm_eps = r.get("norm_eps", 1e-6);
  a.rope_theta = r.get("rope_theta", 10000.0);
  refuse_unless(r.get("rope", true), "attention without rotary positions");
  refuse_unless(r.get("rope_dims", a.head_dim) == a.head_dim, "partial rotary positions");
  refuse_unless(!r.get("rope_interleaved", false), "interleaved rotary positions");
  refuse_unless(r.get("rope_factor", 1.0) == 1, "stretched positions that are written");
  r.get("rope_low_frequency", 1.0);
  r.get("rope_high_frequency", 4.0);
  r.get("rope_original_length", std::int64_t{0});
  refuse_unless(!r.get("output_gate", false), "output gate of attention");
  refuse_unless(!r.get("qk_norm_plus_one", false), "norms that store w - 1");
  const double standard = 1 / std::sqrt(static_cast<double>(a.head_dim));
  refuse_unless(r.get("scale", standard) == standard, "own scale of the scores");
  r.finish();
  return a;
}

Json configuration_base(const ModelConfig& m, const ExportFacts& facts, const char* type,
                        const char* architecture) {
  Json c = Json::object();
  c["architectures"] = Json::Array{Json(architecture)};
  c["model_type"] = type;
  c["vocab_size"] = m.vocabulary;
  c["hidden_size"] = m.d_model;
  if (m.mlp_hidden > 0) c["intermediate_size"] = m.mlp_hidden;
  c["num_hidden_layers"] = static_cast<std::int64_t>(m.layers.size());
  c["hidden_act"] = "silu";
  c["tie_word_embeddings"] = m.tied;
  if (facts.positions > 0) c["max_position_embeddings"] = facts.positions;
  const auto id = [](std::int32_t value) { return Json(std::int64_t{value}); };
  const SpecialIds& special = facts.special;
  Json ends = Json::array();
  for (const std::int32_t end : special.ends) ends.push_back(id(end));
  c["bos_token_id"] = special.begin >= 0 ? id(special.begin) : Json();
  c["eos_token_id"] = special.ends.empty()       ? Json()
                      : special.ends.size() == 1 ? id(special.ends[0])
                                                 : std::move(ends);
  c["pad_token_id"] = Json();
  // The old name of the key and the new one.
  for (const char* key : {"torch_dtype", "dtype"})
    c[key] = facts.dtype == DType::bf16 ? "bfloat16" : "float32";
  return c;
}

}  // namespace subquad
