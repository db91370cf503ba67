// Qwen3-Next and the text model of Qwen3.5: Gated DeltaNet and gated attention layers. All norms but
// the gated one store w - 1. Qwen3-Next interleaves the projection's rows by key head and has
// experts; Qwen3.5 keeps them apart and has none.
#include <algorithm>

#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

struct Delta {
  std::int64_t d, heads, value_heads, key, value, conv;
  bool interleaved;
};

void add_delta_layer(WeightMap& map, std::int64_t i, const std::string& theirs, const Delta& s) {
  const std::int64_t d = s.d, H = s.heads, HV = s.value_heads, K = s.key, R = HV / H, keys = H * K,
                     values = HV * s.value, per_key = R * s.value;
  const std::string ours = block(i) + "mixer.";
  MappedParameter in{ours + "in_proj.weight", {}};  // ours: q | k | v | z | a | b
  if (s.interleaved) {
    const std::string qkvz = theirs + "in_proj_qkvz.weight", ba = theirs + "in_proj_ba.weight";
    const Shape big{2 * keys + 2 * values, d}, small{2 * HV, d};
    in.pieces = {Piece::grouped_rows(qkvz, big, H, 0, K),
                 Piece::grouped_rows(qkvz, big, H, K, K),
                 Piece::grouped_rows(qkvz, big, H, 2 * K, per_key),
                 Piece::grouped_rows(qkvz, big, H, 2 * K + per_key, per_key),
                 Piece::grouped_rows(ba, small, H, R, R),
                 Piece::grouped_rows(ba, small, H, 0, R)};
  } else {
    in.pieces = {Piece::whole(theirs + "in_proj_qkv.weight", {2 * keys + values, d}),
                 Piece::whole(theirs + "in_proj_z.weight", {values, d}),
                 Piece::whole(theirs + "in_proj_a.weight", {HV, d}),
                 Piece::whole(theirs + "in_proj_b.weight", {HV, d})};
  }
  map.push_back(std::move(in));
  const auto add = [&](const char* name, const char* published, Shape shape) {
    map.push_back({ours + name, {Piece::whole(theirs + published, shape)}});
  };
  add("conv.weight", "conv1d.weight", {2 * keys + values, 1, s.conv});
  add("A_log", "A_log", {HV});
  add("dt_bias", "dt_bias", {HV});
  add("norm.weight", "norm.weight", {s.value});
  add("out_proj.weight", "out_proj.weight", {d, values});
}

void add_gated_attention(WeightMap& map, std::int64_t i, const std::string& theirs,
                         const AttentionSizes& a) {
  const std::int64_t d = a.d_model, D = a.head_dim, q = a.heads * D, kv = a.kv_heads * D;
  const std::string ours = block(i) + "mixer.", query = theirs + "q_proj.weight";
  // Rows of a head: query, then gate. Ours: q | k | v | gate.
  map.push_back({ours + "in_proj.weight",
                 {Piece::grouped_rows(query, {2 * q, d}, a.heads, 0, D),
                  Piece::whole(theirs + "k_proj.weight", {kv, d}),
                  Piece::whole(theirs + "v_proj.weight", {kv, d}),
                  Piece::grouped_rows(query, {2 * q, d}, a.heads, D, D)}});
  map.push_back({ours + "q_norm.weight", {Piece::whole(theirs + "q_norm.weight", {D})}});
  map.push_back({ours + "k_norm.weight", {Piece::whole(theirs + "k_norm.weight", {D})}});
  map.push_back({ours + "out_proj.weight", {Piece::whole(theirs + "o_proj.weight", {d, q})}});
}

void add_experts(Published& p, std::int64_t i, const std::string& mlp) {
  const ExpertsConfig& e = p.config.experts;
  const std::int64_t d = p.config.d_model;
  const std::string ours = block(i) + "experts.";
  const auto swiglu = [&](const std::string& to, const std::string& from, std::int64_t hidden) {
    p.weights.push_back({to + "in.weight",
                         {Piece::whole(from + "gate_proj.weight", {hidden, d}),
                          Piece::whole(from + "up_proj.weight", {hidden, d})}});
    p.weights.push_back(
        {to + "out.weight", {Piece::whole(from + "down_proj.weight", {d, hidden})}});
  };
  p.weights.push_back({ours + "router.weight", {Piece::whole(mlp + "gate.weight", {e.count, d})}});
  for (std::int64_t n = 0; n < e.count; ++n) {
    swiglu(ours + std::to_string(n) + ".", mlp + "experts." + std::to_string(n) + ".", e.hidden);
  }
  swiglu(ours + "shared.", mlp + "shared_expert.", e.shared_hidden);
  p.weights.push_back(
      {ours + "shared_gate.weight", {Piece::whole(mlp + "shared_expert_gate.weight", {1, d})}});
}

// Which layers have experts, and of what size.
void read_experts(const PublishedConfig& c, const WeightFiles& files, std::int64_t layers,
                  ModelConfig& m) {
  const std::int64_t experts = c.count("num_experts", 0), step = c.size("decoder_sparse_step", 1);
  if (experts == 0) return;
  m.experts = {.count = experts,
               .active = c.size("num_experts_per_tok"),
               .hidden = c.size("moe_intermediate_size"),
               .shared_hidden = c.size("shared_expert_intermediate_size"),
               .shared_gate = true,
               .normalise = c.flag("norm_topk_prob", true)};
  std::vector<std::int64_t> dense;
  if (c.contains("mlp_only_layers")) dense = c.integers("mlp_only_layers");
  for (std::int64_t i = 0; i < layers; ++i) {
    if ((i + 1) % step == 0 && std::find(dense.begin(), dense.end(), i) == dense.end())
      m.expert_blocks.push_back(i);
  }
  check_experts(c, files, "num_experts", experts, m.expert_blocks.size());
}

LayerType by_interval(const PublishedConfig& c, std::int64_t i) {
  return (i + 1) % c.size("full_attention_interval", 4) == 0 ? LayerType::full : LayerType::linear;
}

void set_options(const PublishedConfig& c, const Delta& s, const AttentionSizes& a,
                 ModelConfig& m) {
  Json& delta = m.mixer_options["gated_deltanet"];
  delta["heads"] = s.heads;
  delta["value_heads"] = s.value_heads;
  delta["head_dim"] = s.key;
  delta["value_dim"] = s.value;
  delta["conv"] = s.conv;
  delta["norm_eps"] = m.norm_eps;
  Json& attention = m.mixer_options["attention"];
  attention["kv_heads"] = a.kv_heads;
  attention["head_dim"] = a.head_dim;
  attention["norm_eps"] = m.norm_eps;
  for (const char* key : {"qk_norm", "qk_norm_plus_one", "output_gate"}) attention[key] = true;
  read_rope(c, a.head_dim, attention);
}

void add_block(Published& p, std::int64_t i, bool full, const Delta& s, const AttentionSizes& a) {
  const std::int64_t d = p.config.d_model;
  const std::string theirs = "model.layers." + std::to_string(i) + ".", mlp = theirs + "mlp.";
  p.weights.push_back(
      {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "input_layernorm.weight", {d})}});
  p.weights.push_back({block(i) + "mlp_norm.weight",
                       {Piece::whole(theirs + "post_attention_layernorm.weight", {d})}});
  if (full) {
    add_gated_attention(p.weights, i, theirs + "self_attn.", a);
  } else {
    add_delta_layer(p.weights, i, theirs + "linear_attn.", s);
  }
  if (p.config.has_experts(i)) {
    add_experts(p, i, mlp);
  } else {
    add_swiglu(p.weights, i, mlp + "gate_proj.weight", mlp + "up_proj.weight",
               mlp + "down_proj.weight", d, p.config.mlp_hidden);
  }
}

Published describe(const PublishedConfig& c, const WeightFiles& files, bool next) {
  c.one_of("hidden_act", {"silu", "swish"});
  c.only("attention_bias", false);
  c.only("attn_output_gate", true);
  Published p;
  ModelConfig& m = p.config;
  const std::int64_t d = m.d_model = c.size("hidden_size"), layers = c.layers("num_hidden_layers");
  m.mlp_hidden = c.size("intermediate_size");
  m.norm_eps = c.number("rms_norm_eps", 1e-6);
  m.norm_plus_one = true;
  if (next) read_experts(c, files, layers, m);
  const AttentionSizes a = read_attention_sizes(c, d);
  const Delta s{.d = d,
                .heads = c.size("linear_num_key_heads"),
                .value_heads = c.size("linear_num_value_heads"),
                .key = c.size("linear_key_head_dim"),
                .value = c.size("linear_value_head_dim"),
                .conv = c.size("linear_conv_kernel_dim", 4),
                .interleaved = next};
  c.divided(s.value_heads, s.heads, "linear_num_value_heads");
  m.heads = a.heads;
  set_options(c, s, a, m);
  p.vocabulary = c.size("vocab_size");
  add_outer(p, {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"},
            c.flag("tie_word_embeddings", false), p.vocabulary);
  const auto types = read_layer_types(c, layers, by_interval);
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool full = types[static_cast<std::size_t>(i)] == LayerType::full;
    m.layers.emplace_back(full ? "attention" : "gated_deltanet");
    add_block(p, i, full, s, a);
  }
  return p;
}

}  // namespace

const Family kQwen3Next = {
    "qwen3_next", "Qwen3-Next: Gated DeltaNet and gated attention, experts",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "qwen3_next"; },
    [](const PublishedConfig& c, const WeightFiles& f) { return describe(c, f, true); }};

const Family kQwen35 = {
    "qwen3_5_text", "the text model of Qwen3.5: Gated DeltaNet and gated attention",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "qwen3_5_text"; },
    [](const PublishedConfig& c, const WeightFiles& f) { return describe(c, f, false); }};

}  // namespace subquad
