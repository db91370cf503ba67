// Llama and Qwen3: pre-norm Transformers with rotary positions, grouped key-value heads and SwiGLU.
// Qwen3 normalises queries and keys per head and has no biases.
#include <algorithm>

#include "subquad/pretrained/export.h"
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

Published describe(const PublishedConfig& c, bool qwen) {
  c.one_of("hidden_act", {"silu", "swish"});
  c.only("mlp_bias", false);
  c.only("use_sliding_window", false);
  Published p;
  ModelConfig& m = p.config;
  const std::int64_t d = m.d_model = c.size("hidden_size"), layers = c.layers("num_hidden_layers");
  const AttentionSizes a = read_attention_sizes(c, d);
  for (const LayerType type : read_layer_types(
           c, layers, [](const PublishedConfig&, std::int64_t) { return LayerType::full; })) {
    c.check(type == LayerType::full, "layer_types: linear attention in a Transformer");
  }
  m.heads = a.heads;
  m.mlp_hidden = c.size("intermediate_size");
  m.norm_eps = c.number("rms_norm_eps", 1e-6);
  m.layers.assign(static_cast<std::size_t>(layers), "attention");
  const bool bias = c.flag("attention_bias", false);
  Json& options = m.mixer_options["attention"];
  options["kv_heads"] = a.kv_heads;
  options["head_dim"] = a.head_dim;
  options["norm_eps"] = m.norm_eps;
  options["qk_norm"] = qwen;
  options["qkv_bias"] = bias;
  options["out_bias"] = bias;
  read_rope(c, a.head_dim, options);
  p.vocabulary = c.size("vocab_size");
  add_outer(p, {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"},
            c.flag("tie_word_embeddings", false), p.vocabulary);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string theirs = "model.layers." + std::to_string(i) + ".",
                      attention = theirs + "self_attn.", mlp = theirs + "mlp.";
    p.weights.push_back(
        {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "input_layernorm.weight", {d})}});
    p.weights.push_back({block(i) + "mlp_norm.weight",
                         {Piece::whole(theirs + "post_attention_layernorm.weight", {d})}});
    add_attention(p.weights, i, attention, a, bias, bias);
    for (const char* norm : {"q_norm.weight", "k_norm.weight"}) {
      if (qwen)
        p.weights.push_back(
            {block(i) + "mixer." + norm, {Piece::whole(attention + norm, {a.head_dim})}});
    }
    add_swiglu(p.weights, i, mlp + "gate_proj.weight", mlp + "up_proj.weight",
               mlp + "down_proj.weight", d, m.mlp_hidden);
    p.spare.push_back(attention + "rotary_emb.inv_freq");  // written by old releases, computed here
  }
  return p;
}

Json configuration(const ModelConfig& m, const ExportFacts& facts, bool qwen) {
  require_plain(m);
  require(std::all_of(m.layers.begin(), m.layers.end(),
                      [](const std::string& kind) { return kind == "attention"; }),
          ErrorCode::unsupported, "the layout has attention layers only");
  const PlainAttention a = plain_attention(m);
  require(a.window == 0, ErrorCode::unsupported, "the layout has no window");
  require(a.qkv_bias == a.out_bias, ErrorCode::unsupported,
          "the layout has biases in all projections of attention or in none");
  require(a.qk_norm == qwen, ErrorCode::unsupported, "the layout has ", qwen ? "" : "no ",
          "norms of queries and keys");
  require(!qwen || a.norm_eps == m.norm_eps, ErrorCode::unsupported,
          "the layout has one eps for all norms");
  Json c = configuration_base(m, facts, qwen ? "qwen3" : "llama",
                              qwen ? "Qwen3ForCausalLM" : "LlamaForCausalLM");
  c["num_attention_heads"] = a.heads;
  c["num_key_value_heads"] = a.kv_heads;
  c["head_dim"] = a.head_dim;
  c["rms_norm_eps"] = m.norm_eps;
  c["attention_bias"] = a.qkv_bias;
  c["rope_theta"] = a.rope_theta;
  return c;
}

}  // namespace

const Family kLlama = {
    "llama", "Llama: rotary positions, grouped heads, SwiGLU",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "llama"; },
    [](const PublishedConfig& c, const WeightFiles&) { return describe(c, false); },
    [](const ModelConfig& m, const ExportFacts& f) { return configuration(m, f, false); }};

const Family kQwen3 = {
    "qwen3", "Qwen3: Llama with a norm of queries and keys",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "qwen3"; },
    [](const PublishedConfig& c, const WeightFiles&) { return describe(c, true); },
    [](const ModelConfig& m, const ExportFacts& f) { return configuration(m, f, true); }};

}  // namespace subquad
