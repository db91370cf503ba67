// The xLSTM of the 7B model: mLSTM blocks with soft-capped gates and SwiGLU. Three layouts: with the
// names of transformers (config.json), and NX-AI's own (config.yaml), whose matrices are single or
// fused (q | k | v | o, i | f, gate | up).
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

struct Sizes {
  std::int64_t d, heads, queries, values, hidden;
};

void add_layer(WeightMap& map, std::int64_t i, const Sizes& s, bool fused) {
  const std::string theirs = "backbone.blocks." + std::to_string(i) + ".",
                    layer = theirs + "mlstm_layer.", ours = block(i) + "mixer.";
  const std::int64_t d = s.d, H = s.heads, q = s.queries, v = s.values;
  map.push_back(
      {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "norm_mlstm.weight", {d})}});
  map.push_back({block(i) + "mlp_norm.weight", {Piece::whole(theirs + "norm_ffn.weight", {d})}});
  // Ours: q | k | v | i | f | o.
  if (fused) {
    const Shape all{2 * q + 2 * v, d}, gates{2 * H, d};
    const std::string qkvo = layer + "qkv_opreact.weight", i_f = layer + "ifgate_preact.";
    map.push_back({ours + "in_proj.weight",
                   {Piece::rows(qkvo, all, 0, 2 * q + v), Piece::whole(i_f + "weight", gates),
                    Piece::rows(qkvo, all, 2 * q + v, v)}});
    map.push_back({ours + "gate_i.bias", {Piece::rows(i_f + "bias", {2 * H}, 0, H)}});
    map.push_back({ours + "gate_f.bias", {Piece::rows(i_f + "bias", {2 * H}, H, H)}});
    map.push_back({block(i) + "mlp.in.weight",
                   {Piece::whole(theirs + "ffn.proj_up_gate_z.weight", {2 * s.hidden, d})}});
    map.push_back({block(i) + "mlp.out.weight",
                   {Piece::whole(theirs + "ffn.proj_down.weight", {d, s.hidden})}});
  } else {
    map.push_back(
        {ours + "in_proj.weight",
         {Piece::whole(layer + "q.weight", {q, d}), Piece::whole(layer + "k.weight", {q, d}),
          Piece::whole(layer + "v.weight", {v, d}),
          Piece::whole(layer + "igate_preact.weight", {H, d}),
          Piece::whole(layer + "fgate_preact.weight", {H, d}),
          Piece::whole(layer + "ogate_preact.weight", {v, d})}});
    map.push_back({ours + "gate_i.bias", {Piece::whole(layer + "igate_preact.bias", {H})}});
    map.push_back({ours + "gate_f.bias", {Piece::whole(layer + "fgate_preact.bias", {H})}});
    add_swiglu(map, i, theirs + "ffn.proj_up_gate.weight", theirs + "ffn.proj_up.weight",
               theirs + "ffn.proj_down.weight", d, s.hidden);
  }
  map.push_back({ours + "norm.weight", {Piece::whole(layer + "multihead_norm.weight", {v})}});
  map.push_back({ours + "out_proj.weight", {Piece::whole(layer + "out_proj.weight", {d, v})}});
}

Published describe(const PublishedConfig& c, const WeightFiles& files) {
  c.only("use_bias", false);
  c.only("add_out_norm", true);
  c.one_of("weight_mode", {"single", "fused"});
  const bool fused = c.word("weight_mode", "single") == "fused", hub = c.contains("model_type");
  Published p;
  ModelConfig& m = p.config;
  Sizes s{};
  s.d = c.contains("embedding_dim") ? c.size("embedding_dim") : c.size("hidden_size");
  s.heads = c.size("num_heads");
  // As the published code does: the product in double, cut.
  const auto d = static_cast<double>(s.d);
  s.queries = c.cut(d * c.number("qk_dim_factor", 0.5), "hidden_size * qk_dim_factor");
  s.values = c.cut(d * c.number("v_dim_factor", 1), "hidden_size * v_dim_factor");
  c.divided(s.queries, s.heads, "query width");
  c.divided(s.values, s.heads, "value width");
  const std::int64_t layers =
      c.layers(c.contains("num_blocks") ? "num_blocks" : "num_hidden_layers");
  // The width of the MLP is a rounded product; the files say how it was rounded.
  s.hidden = m.mlp_hidden = matrix_dimension(files, "backbone.blocks.0.ffn.proj_down.weight", 1);
  m.d_model = s.d;
  m.heads = s.heads;
  m.norm_eps = c.number("norm_eps", 1e-6);
  m.logit_soft_cap = c.number("output_logit_soft_cap", 30);
  m.layers.assign(static_cast<std::size_t>(layers), "mlstm");
  Json& options = m.mixer_options["mlstm"];
  options["qk_factor"] = static_cast<double>(s.queries) / static_cast<double>(s.d);
  options["v_factor"] = static_cast<double>(s.values) / static_cast<double>(s.d);
  options["conv"] = 0;
  options["gate_soft_cap"] = c.number("gate_soft_cap", 15);
  options["norm_eps"] = m.norm_eps;
  options["eps"] = c.number("eps", 1e-6);
  p.vocabulary = c.size("vocab_size");
  add_outer(p,
            {hub ? "backbone.embeddings.weight" : "embedding.weight", "backbone.out_norm.weight",
             "lm_head.weight"},
            c.flag("tie_word_embeddings", false), p.vocabulary);
  for (std::int64_t i = 0; i < layers; ++i) add_layer(p.weights, i, s, fused);
  return p;
}

}  // namespace

const Family kXlstmLarge = {
    "xlstm", "xLSTM of the 7B model: mLSTM blocks with soft caps and SwiGLU",
    [](const PublishedConfig& c) {
      return c.word("model_type", "") == "xlstm" ||
             (!c.contains("model_type") && c.contains("num_blocks") && c.contains("qk_dim_factor"));
    },
    describe};

}  // namespace subquad
