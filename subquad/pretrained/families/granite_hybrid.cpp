// Granite 4 without experts: Mamba-2 and attention layers, an MLP in each block, and four constant
// multipliers.
#include "subquad/pretrained/families/mamba2_layer.h"
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

Mamba2Sizes read_mamba(const PublishedConfig& c, std::int64_t d, double norm_eps) {
  Mamba2Sizes s;
  s.d_model = d;
  s.expand = c.size("mamba_expand", 2);
  s.heads = c.size("mamba_n_heads", 128);
  const Json* head = c.find("mamba_d_head");
  s.head_dim = head && head->is_int()
                   ? c.size("mamba_d_head")
                   : c.divided(s.expand * d, s.heads, "mamba_expand * hidden_size");
  c.check(s.heads * s.head_dim == s.expand * d,
          "mamba_n_heads * mamba_d_head = ", s.heads * s.head_dim,
          ", wanted mamba_expand * hidden_size = ", s.expand * d);
  s.state = c.size("mamba_d_state", 256);
  s.groups = c.size("mamba_n_groups", 1);
  s.conv = c.size("mamba_d_conv", 4);
  s.bias = c.flag("mamba_proj_bias", false);
  s.conv_bias = c.flag("mamba_conv_bias", true);
  s.norm_eps = norm_eps;
  return s;
}

void add_block(Published& p, std::int64_t i, bool attention, const AttentionSizes& a,
               const Mamba2Sizes& s) {
  const std::int64_t d = p.config.d_model, F = p.config.mlp_hidden;
  const std::string theirs = "model.layers." + std::to_string(i) + ".",
                    mlp = theirs + "shared_mlp.";
  p.weights.push_back(
      {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "input_layernorm.weight", {d})}});
  p.weights.push_back({block(i) + "mlp_norm.weight",
                       {Piece::whole(theirs + "post_attention_layernorm.weight", {d})}});
  if (attention) {
    add_attention(p.weights, i, theirs + "self_attn.", a, false, false);
  } else {
    add_mamba2_layer(p.weights, i, theirs + "mamba.", s);
  }
  // Rows gate | up, as ours.
  p.weights.push_back(
      {block(i) + "mlp.in.weight", {Piece::whole(mlp + "input_linear.weight", {2 * F, d})}});
  p.weights.push_back(
      {block(i) + "mlp.out.weight", {Piece::whole(mlp + "output_linear.weight", {d, F})}});
}

Published describe(const PublishedConfig& c, const WeightFiles&) {
  c.one_of("hidden_act", {"silu", "swish"});
  c.only("attention_bias", false);
  c.check(c.count("num_local_experts", 0) == 0, "num_local_experts ",
          c.count("num_local_experts", 0), " is not supported, wanted 0 (a dense model)");
  c.one_of("position_embedding_type", {"rope", "nope"});
  Published p;
  ModelConfig& m = p.config;
  const std::int64_t d = m.d_model = c.size("hidden_size"), layers = c.layers("num_hidden_layers");
  m.mlp_hidden = c.size("shared_intermediate_size", 1024);
  m.norm_eps = c.number("rms_norm_eps", 1e-6);
  m.embedding_scale = c.number("embedding_multiplier", 1);
  m.residual_scale = c.number("residual_multiplier", 1);
  const double scaling = c.number("logits_scaling", 1);
  c.check(scaling > 0, "logits_scaling ", scaling, ", wanted above 0");
  m.logit_scale = 1 / scaling;
  const AttentionSizes a = read_attention_sizes(c, d);
  m.heads = a.heads;
  const Mamba2Sizes s = read_mamba(c, d, m.norm_eps);
  const auto types = read_layer_types(
      c, layers, [](const PublishedConfig&, std::int64_t) { return LayerType::linear; });
  m.mixer_options["mamba2"] = mamba2_options(c, s);
  Json& options = m.mixer_options["attention"];
  options["kv_heads"] = a.kv_heads;
  options["head_dim"] = a.head_dim;
  options["scale"] = c.number("attention_multiplier", 1);
  const bool rope = c.word("position_embedding_type", "nope") == "rope";
  options["rope"] = rope;
  if (rope) read_rope(c, a.head_dim, options);
  p.vocabulary = c.size("vocab_size");
  add_outer(p, {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"},
            c.flag("tie_word_embeddings", false), p.vocabulary);
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool attention = types[static_cast<std::size_t>(i)] == LayerType::full;
    m.layers.emplace_back(attention ? "attention" : "mamba2");
    add_block(p, i, attention, a, s);
  }
  return p;
}

}  // namespace

const Family kGraniteHybrid = {
    "granitemoehybrid", "Granite 4 without experts: Mamba-2 and attention",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "granitemoehybrid"; },
    describe};

}  // namespace subquad
