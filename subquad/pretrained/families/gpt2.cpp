// GPT-2: LayerNorms with biases, learned positions, matrices stored (in,out), no gate in the MLP.
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

Published describe(const PublishedConfig& c, const WeightFiles& files) {
  c.one_of("activation_function", {"gelu_new", "gelu_pytorch_tanh"});
  c.only("scale_attn_weights", true);
  c.only("scale_attn_by_inverse_layer_idx", false);
  c.only("add_cross_attention", false);
  Published p;
  ModelConfig& m = p.config;
  const std::int64_t d = m.d_model = c.size("n_embd"), layers = c.layers("n_layer");
  m.heads = c.size("n_head");
  m.mlp_hidden = c.size("n_inner", 4 * d);
  m.mlp = "gelu_tanh";
  m.norm = "layer";
  m.norm_bias = true;
  m.norm_eps = c.number("layer_norm_epsilon", 1e-5);
  m.positions = c.size("n_positions", 1024);
  m.layers.assign(static_cast<std::size_t>(layers), "attention");
  c.divided(d, m.heads, "n_embd");
  Json& options = m.mixer_options["attention"];
  options["rope"] = false;
  options["qkv_bias"] = true;
  options["out_bias"] = true;
  p.vocabulary = c.size("vocab_size");
  // The first releases have no prefix.
  const std::string top = files.contains("wte.weight") ? "" : "transformer.";
  add_outer(p, {top + "wte.weight", top + "ln_f.weight", "lm_head.weight"},
            c.flag("tie_word_embeddings", true), p.vocabulary);
  p.weights.push_back({"positions.weight", {Piece::whole(top + "wpe.weight", {m.positions, d})}});
  p.weights.push_back({"final_norm.bias", {Piece::whole(top + "ln_f.bias", {d})}});
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string theirs = top + "h." + std::to_string(i) + ".";
    const auto vector = [&](const char* ours, const char* name, std::int64_t size) {
      p.weights.push_back({block(i) + ours, {Piece::whole(theirs + name, {size})}});
    };
    const auto matrix = [&](const char* ours, const char* name, std::int64_t in, std::int64_t out) {
      p.weights.push_back({block(i) + ours, {Piece::transposed(theirs + name, {in, out})}});
    };
    vector("mixer_norm.weight", "ln_1.weight", d);
    vector("mixer_norm.bias", "ln_1.bias", d);
    vector("mlp_norm.weight", "ln_2.weight", d);
    vector("mlp_norm.bias", "ln_2.bias", d);
    matrix("mixer.in_proj.weight", "attn.c_attn.weight", d, 3 * d);  // columns q | k | v
    vector("mixer.qkv.bias", "attn.c_attn.bias", 3 * d);
    matrix("mixer.out_proj.weight", "attn.c_proj.weight", d, d);
    vector("mixer.out_proj.bias", "attn.c_proj.bias", d);
    matrix("mlp.in.weight", "mlp.c_fc.weight", d, m.mlp_hidden);
    vector("mlp.in.bias", "mlp.c_fc.bias", m.mlp_hidden);
    matrix("mlp.out.weight", "mlp.c_proj.weight", m.mlp_hidden, d);
    vector("mlp.out.bias", "mlp.c_proj.bias", d);
    for (const char* mask : {"attn.bias", "attn.masked_bias"}) p.spare.push_back(theirs + mask);
  }
  return p;
}

}  // namespace

const Family kGpt2 = {"gpt2", "GPT-2: LayerNorm, learned positions, GELU",
                      [](const PublishedConfig& c) { return c.word("model_type", "") == "gpt2"; },
                      describe};

}  // namespace subquad
