// The xLSTM of the 7B model: mLSTM blocks with soft-capped gates and SwiGLU. Three layouts: with the
// names of transformers (config.json), and NX-AI's own (config.yaml), whose matrices are single or
// fused (q | k | v | o, i | f, gate | up).
#include <algorithm>
#include <cmath>

#include "subquad/mixer/common/option_reader.h"
#include "subquad/pretrained/export.h"
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

// Null: none, as in the published code.
double soft_cap(const PublishedConfig& c, const char* key, double fallback) {
  const Json* value = c.json().find(key);
  return value && value->is_null() ? 0 : c.number(key, fallback);
}

// A rounded product; where there are files, they say how it was rounded.
std::int64_t mlp_width(const PublishedConfig& c, const WeightFiles& files, std::int64_t d) {
  if (files.folder().empty()) {
    const auto multiple = static_cast<double>(c.size("ffn_round_up_to_multiple_of", 64));
    const double wanted = static_cast<double>(d) * c.number("ffn_proj_factor", 2.667);
    return c.cut(std::floor((wanted + multiple - 1) / multiple) * multiple, "MLP width");
  }
  return matrix_dimension(files, "backbone.blocks.0.ffn.proj_down.weight", 1);
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
  s.hidden = m.mlp_hidden = mlp_width(c, files, s.d);
  m.d_model = s.d;
  m.heads = s.heads;
  m.norm_eps = c.number("norm_eps", 1e-6);
  m.logit_soft_cap = soft_cap(c, "output_logit_soft_cap", 30);
  m.layers.assign(static_cast<std::size_t>(layers), "mlstm");
  Json& options = m.mixer_options["mlstm"];
  options["qk_factor"] = static_cast<double>(s.queries) / static_cast<double>(s.d);
  options["v_factor"] = static_cast<double>(s.values) / static_cast<double>(s.d);
  options["conv"] = 0;
  options["gate_soft_cap"] = soft_cap(c, "gate_soft_cap", 15);
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

// The factor whose product with `width`, cut, is `wanted`.
double factor_of(std::int64_t wanted, std::int64_t width) {
  const auto w = static_cast<double>(width);
  double factor = static_cast<double>(wanted) / w;
  while (std::floor(w * factor) < static_cast<double>(wanted)) factor = std::nextafter(factor, 1e9);
  return factor;
}

// transformers' cache has query and value widths rounded up to multiples of 64: with others its
// models do not generate.
void write_widths(const ModelConfig& m, OptionReader& r, Json& c) {
  for (const char* key : {"qk", "v"}) {
    const std::string option = std::string(key) + "_factor";
    const auto width = exact_product(r.get(option.c_str(), 1.0), m.d_model, option.c_str());
    require(width % 64 == 0, ErrorCode::unsupported, "the layout has no ", option,
            " with a width of ", width, ", wanted a multiple of 64");
    c[std::string(key) + "_dim_factor"] = factor_of(width, m.d_model);
  }
  c["ffn_proj_factor"] = factor_of(m.mlp_hidden, m.d_model);
  c["ffn_round_up_to_multiple_of"] = 1;
}

Json configuration(const ModelConfig& m, const ExportFacts& facts) {
  const auto says = [](Condition ok, const char* what) {
    require(ok, ErrorCode::unsupported, "the layout has no ", what);
  };
  says(std::all_of(m.layers.begin(), m.layers.end(),
                   [](const std::string& kind) { return kind == "mlstm"; }),
       "layers but mLSTM");
  require_plain(m, {.soft_cap = true});
  says(!m.tied, "head that is the embedding");
  const Json* options = m.mixer_options.find("mlstm");
  const Json given = options ? *options : Json();
  OptionReader r(given, "mlstm");
  Json c = configuration_base(m, facts, "xlstm", "xLSTMForCausalLM");
  c["embedding_dim"] = m.d_model;
  c["num_blocks"] = static_cast<std::int64_t>(m.layers.size());
  c["num_heads"] = r.get("heads", m.heads);
  write_widths(m, r, c);
  says(r.get("conv", std::int64_t{4}) == 0, "convolution");
  r.get("conv_silu", false);
  c["gate_soft_cap"] = r.get("gate_soft_cap", 0.0);
  says(c.at("gate_soft_cap").as_double() > 0, "gates without a soft cap");
  c["output_logit_soft_cap"] = m.logit_soft_cap;
  c["norm_eps"] = m.norm_eps;
  says(r.get("norm_eps", 1e-6) == m.norm_eps, "second eps of norms");
  c["eps"] = r.get("eps", 1e-6);
  c["weight_mode"] = "single";
  c["autocast_kernel_dtype"] = c.at("dtype");
  says(r.get("norm_center", true), "norms of heads without a mean");
  says(r.get("output_gate", std::string("sigmoid")) == "sigmoid", "output gate but sigmoid");
  for (const char* key : {"decay", "exponential_input", "normalizer"})
    says(r.get(key, true), "layers without it");
  for (const char* key : {"erase", "tied_gates"})
    says(!r.get(key, false), "such switches of the recurrence");
  r.finish();
  return c;
}

}  // namespace

const Family kXlstmLarge = {
    "xlstm", "xLSTM of the 7B model: mLSTM blocks with soft caps and SwiGLU",
    [](const PublishedConfig& c) {
      return c.word("model_type", "") == "xlstm" ||
             (!c.contains("model_type") && c.contains("num_blocks") && c.contains("qk_dim_factor"));
    },
    describe, configuration};

}  // namespace subquad
