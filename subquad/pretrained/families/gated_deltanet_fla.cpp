// Gated DeltaNet as flash-linear-attention writes it, with attention layers in between if `attn`
// lists them.
#include <algorithm>

#include "subquad/mixer/common/option_reader.h"
#include "subquad/pretrained/export.h"
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

struct Sizes {
  std::int64_t d, heads, value_heads, key, value, conv;
  bool gate;
};

void add_delta_layer(WeightMap& map, std::int64_t i, const std::string& theirs, const Sizes& s) {
  const std::int64_t d = s.d, keys = s.heads * s.key, values = s.value_heads * s.value;
  const std::string ours = block(i) + "mixer.";
  // Ours: q | k | v | z | a | b.
  MappedParameter in{ours + "in_proj.weight",
                     {Piece::whole(theirs + "q_proj.weight", {keys, d}),
                      Piece::whole(theirs + "k_proj.weight", {keys, d}),
                      Piece::whole(theirs + "v_proj.weight", {values, d})}};
  if (s.gate) in.pieces.push_back(Piece::whole(theirs + "g_proj.weight", {values, d}));
  in.pieces.push_back(Piece::whole(theirs + "a_proj.weight", {s.value_heads, d}));
  in.pieces.push_back(Piece::whole(theirs + "b_proj.weight", {s.value_heads, d}));
  map.push_back(std::move(in));
  map.push_back({ours + "conv.weight",
                 {Piece::whole(theirs + "q_conv1d.weight", {keys, 1, s.conv}),
                  Piece::whole(theirs + "k_conv1d.weight", {keys, 1, s.conv}),
                  Piece::whole(theirs + "v_conv1d.weight", {values, 1, s.conv})}});
  map.push_back({ours + "A_log", {Piece::whole(theirs + "A_log", {s.value_heads})}});
  map.push_back({ours + "dt_bias", {Piece::whole(theirs + "dt_bias", {s.value_heads})}});
  map.push_back({ours + "norm.weight", {Piece::whole(theirs + "o_norm.weight", {s.value})}});
  map.push_back({ours + "out_proj.weight", {Piece::whole(theirs + "o_proj.weight", {d, values})}});
}

// The attention layers: {layers, num_heads, num_kv_heads, qkv_bias, window_size, rope_theta}.
struct Hybrid {
  std::vector<std::int64_t> layers;
  AttentionSizes sizes{};
  bool bias = false;
};

Hybrid read_hybrid(const PublishedConfig& c, std::int64_t d, std::int64_t layers, Json& mixers) {
  Hybrid h;
  const Json* attn = c.find("attn");
  if (!attn) return h;
  c.check(attn->is_object(), "attn: got ", attn->type_name(),
          ", wanted one object (several kinds of attention layers are not supported)");
  const PublishedConfig a = c.part("attn");
  const Json* list = a.find("layers");
  a.check(list && list->is_array(), "layers: wanted the list of attention layers");
  for (const Json& layer : list->as_array()) {
    a.check(layer.is_int() && layer.as_int() >= 0 && layer.as_int() < layers, "layers: got ",
            layer.dump(), ", wanted 0 to ", layers - 1);
    h.layers.push_back(layer.as_int());
  }
  const std::int64_t heads = a.size("num_heads");
  h.sizes = {d, heads, a.size("num_kv_heads", heads), a.divided(d, heads, "hidden_size")};
  h.bias = a.flag("qkv_bias", false);
  Json& o = mixers["attention"];
  o["heads"] = heads;
  o["kv_heads"] = h.sizes.kv_heads;
  o["head_dim"] = h.sizes.head_dim;
  o["qkv_bias"] = h.bias;
  o["window"] = a.count("window_size", 0);
  o["rope_theta"] = a.number("rope_theta", 10000);
  a.only("qk_norm", false);
  return h;
}

std::int64_t mlp_width(const PublishedConfig& c, std::int64_t d) {
  if (c.contains("intermediate_size")) return c.size("intermediate_size");
  const double wide = static_cast<double>(d) * c.number("hidden_ratio", 4) * 2 / 3;
  return (c.cut(wide, "hidden_size * hidden_ratio * 2 / 3") + 255) / 256 * 256;
}

Published describe(const PublishedConfig& c, const WeightFiles&) {
  c.one_of("hidden_act", {"swish", "silu"});
  c.only("use_short_conv", true);
  c.check(!c.contains("attnres_block_size"), "attnres_block_size is not supported, wanted null");
  c.one_of("output_gate_activation", {"swish", "silu", "sigmoid"});
  Published p;
  ModelConfig& m = p.config;
  Sizes s{};
  s.d = m.d_model = c.size("hidden_size");
  s.heads = m.heads = c.size("num_heads", 6);
  s.value_heads = c.size("num_v_heads", s.heads);
  s.key = c.size("head_dim", 256);
  const double value = static_cast<double>(s.key) * c.number("expand_v", 2);
  s.value = c.cut(value, "head_dim * expand_v");
  c.check(static_cast<double>(s.value) == value, "expand_v * head_dim = ", value,
          ", wanted a whole number");
  s.conv = c.size("conv_size", 4);
  s.gate = c.flag("use_gate", true);
  m.norm_eps = c.number("norm_eps", 1e-6);
  m.mlp_hidden = mlp_width(c, s.d);
  Json& o = m.mixer_options["gated_deltanet"];
  o["value_heads"] = s.value_heads;
  o["head_dim"] = s.key;
  o["value_dim"] = s.value;
  o["conv"] = s.conv;
  o["output_gate"] = s.gate;
  o["gate"] = c.word("output_gate_activation", "swish") == "sigmoid" ? "sigmoid" : "silu";
  o["write_range"] = c.flag("allow_neg_eigval", false) ? 2.0 : 1.0;
  o["norm_eps"] = m.norm_eps;
  const std::int64_t layers = c.layers("num_hidden_layers");
  const Hybrid hybrid = read_hybrid(c, s.d, layers, m.mixer_options);
  p.vocabulary = c.size("vocab_size");
  add_outer(p, {"model.embeddings.weight", "model.norm.weight", "lm_head.weight"},
            c.flag("tie_word_embeddings", false), p.vocabulary);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string theirs = "model.layers." + std::to_string(i) + ".", mlp = theirs + "mlp.";
    const bool attention =
        std::find(hybrid.layers.begin(), hybrid.layers.end(), i) != hybrid.layers.end();
    m.layers.emplace_back(attention ? "attention" : "gated_deltanet");
    p.weights.push_back(
        {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "attn_norm.weight", {s.d})}});
    p.weights.push_back(
        {block(i) + "mlp_norm.weight", {Piece::whole(theirs + "mlp_norm.weight", {s.d})}});
    if (attention) {
      add_attention(p.weights, i, theirs + "attn.", hybrid.sizes, hybrid.bias, false);
    } else {
      add_delta_layer(p.weights, i, theirs + "attn.", s);
    }
    add_swiglu(p.weights, i, mlp + "gate_proj.weight", mlp + "up_proj.weight",
               mlp + "down_proj.weight", s.d, m.mlp_hidden);
  }
  return p;
}

constexpr const char* kNegative = "gated_deltanet[-1,1]";

void write_delta_options(const ModelConfig& m, const std::string& kind, Json& c) {
  const Json* options = m.mixer_options.find(kind);
  const Json given = options ? *options : Json();
  OptionReader r(given, kind);
  const std::int64_t heads = r.get("heads", m.heads), key = r.get("head_dim", m.d_model / heads),
                     value = r.get("value_dim", key);
  const double expand = static_cast<double>(value) / static_cast<double>(key),
               range = r.get("write_range", kind == kNegative ? 2.0 : 1.0);
  const auto says = [&](bool ok, const char* what) {
    require(ok, ErrorCode::unsupported, "the layout has no ", what);
  };
  c["num_heads"] = heads;
  c["num_v_heads"] = r.get("value_heads", heads);
  c["head_dim"] = key;
  c["expand_v"] = expand;
  says(static_cast<double>(key) * expand == static_cast<double>(value), "such value size");
  c["conv_size"] = r.get("conv", std::int64_t{4});
  c["use_short_conv"] = true;
  says(c.at("conv_size").as_int() >= 1, "layers without a convolution");
  c["use_gate"] = r.get("output_gate", true);
  c["output_gate_activation"] = r.get("gate", std::string("silu")) == "silu" ? "swish" : "sigmoid";
  says(range == 1 || range == 2, "write range but 1 and 2");
  c["allow_neg_eigval"] = range == 2;
  says(!r.get("conv_bias", false), "bias of the convolution");
  says(r.get("norm_eps", 1e-6) == m.norm_eps, "second eps of norms");
  says(r.get("l2_eps", 1e-6) == 1e-6, "own eps of unit keys");
  says(!r.get("channel_decay", false), "decay per key channel");
  says(r.get("gate_rank", std::int64_t{0}) == 0 && r.get("decay_rank", std::int64_t{0}) == 0,
       "gates of low rank");
  for (const char* key_of : {"erase", "decay"}) says(r.get(key_of, true), "layers without it");
  for (const char* key_of : {"exponential_input", "normalizer", "tied_gates"})
    says(!r.get(key_of, false), "such switches of the recurrence");
  r.finish();
}

Json configuration(const ModelConfig& m, const ExportFacts& facts) {
  require_plain(m);
  std::string kind;
  Json attention = Json::array();
  for (std::size_t i = 0; i < m.layers.size(); ++i) {
    if (m.layers[i] == "attention") {
      attention.push_back(static_cast<std::int64_t>(i));
      continue;
    }
    require((m.layers[i] == "gated_deltanet" || m.layers[i] == kNegative) &&
                (kind.empty() || kind == m.layers[i]),
            ErrorCode::unsupported,
            "the layout has Gated DeltaNet of one write range, and attention");
    kind = m.layers[i];
  }
  require(!kind.empty(), ErrorCode::unsupported, "the layout has Gated DeltaNet layers");
  Json c = configuration_base(m, facts, "gated_deltanet", "GatedDeltaNetForCausalLM");
  c["hidden_act"] = "swish";
  c["norm_eps"] = m.norm_eps;
  write_delta_options(m, kind, c);
  if (attention.size() == 0) return c;
  const PlainAttention a = plain_attention(m);
  require(!a.qk_norm && !a.out_bias && a.heads * a.head_dim == m.d_model, ErrorCode::unsupported,
          "the layout has plain attention whose heads fill the width");
  Json& attn = c["attn"] = Json::object();
  attn["layers"] = std::move(attention);
  attn["num_heads"] = a.heads;
  attn["num_kv_heads"] = a.kv_heads;
  attn["qkv_bias"] = a.qkv_bias;
  attn["rope_theta"] = a.rope_theta;
  attn["window_size"] = a.window ? Json(a.window) : Json();
  return c;
}

}  // namespace

const Family kGatedDeltaNetFla = {
    "gated_deltanet", "Gated DeltaNet of flash-linear-attention, hybrids with attention included",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "gated_deltanet"; }, describe,
    configuration};

}  // namespace subquad
