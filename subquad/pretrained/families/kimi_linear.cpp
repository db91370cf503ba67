// Kimi Linear: KDA and latent attention without positions, experts chosen by sigmoid scores. Read as
// its authors released it (linear_attn_config, mlp.*) and as transformers writes it (layer_types,
// block_sparse_moe.*).
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

// 1-based numbers of layers: marks each of them with `type`.
void mark_layers(const PublishedConfig& c, const char* key, LayerType type,
                 std::vector<LayerType>& types, std::vector<bool>& seen) {
  const Json* list = c.find(key);
  if (!list) return;
  const auto layers = static_cast<std::int64_t>(types.size());
  c.check(list->is_array(), key, ": got ", list->type_name(), ", wanted a list of layers");
  for (const Json& layer : list->as_array()) {
    c.check(layer.is_int() && layer.as_int() >= 1 && layer.as_int() <= layers, key, ": got ",
            layer.dump(), ", wanted 1 to ", layers);
    const auto i = static_cast<std::size_t>(layer.as_int() - 1);
    c.check(!seen[i], key, ": layer ", i + 1, " is listed twice");
    seen[i] = true;
    types[i] = type;
  }
}

std::vector<LayerType> layer_types(const PublishedConfig& c, const PublishedConfig& linear,
                                   std::int64_t layers) {
  if (c.contains("layer_types")) return read_layer_types(c, layers, nullptr);
  std::vector<LayerType> types(static_cast<std::size_t>(layers), LayerType::linear);
  std::vector<bool> seen(types.size(), false);
  mark_layers(linear, "kda_layers", LayerType::linear, types, seen);
  mark_layers(linear, "full_attn_layers", LayerType::full, types, seen);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    linear.check(static_cast<bool>(seen[i]), "layer ", i + 1,
                 " is in neither kda_layers nor full_attn_layers, wanted it in one of them");
  }
  return types;
}

struct Kda {
  std::int64_t d, heads, head_dim, conv;
};

Kda read_kda(const PublishedConfig& c, const PublishedConfig& linear, std::int64_t d) {
  linear.only("use_full_rank_gate", false);
  linear.check(!linear.contains("gate_lower_bound"),
               "gate_lower_bound is not supported, wanted it absent (decays without a bound)");
  if (c.contains("linear_head_dim"))
    return {d, c.size("linear_num_heads"), c.size("linear_head_dim"),
            c.size("linear_conv_kernel_dim", 4)};
  return {d, linear.size("num_heads"), linear.size("head_dim"),
          linear.size("short_conv_kernel_size", 4)};
}

void add_kda(WeightMap& map, std::int64_t i, const std::string& theirs, const Kda& s,
             const WeightFiles& files) {
  const std::int64_t d = s.d, K = s.head_dim, wide = s.heads * K;
  const std::string ours = block(i) + "mixer.";
  const auto matrix = [&](const char* name, std::int64_t rows, std::int64_t columns) {
    return Piece::whole(theirs + name, {rows, columns});
  };
  const auto taps = [&](const char* name) {
    return Piece::whole(theirs + name, {wide, 1, s.conv});
  };
  map.push_back({ours + "in_proj.weight",  // q | k | v | z | a | b, z and a of low rank
                 {matrix("q_proj.weight", wide, d), matrix("k_proj.weight", wide, d),
                  matrix("v_proj.weight", wide, d), matrix("g_a_proj.weight", K, d),
                  matrix("f_a_proj.weight", K, d), matrix("b_proj.weight", s.heads, d)}});
  map.push_back({ours + "gate_proj.weight", {matrix("g_b_proj.weight", wide, K)}});
  map.push_back({ours + "decay_proj.weight", {matrix("f_b_proj.weight", wide, K)}});
  map.push_back({ours + "conv.weight",
                 {taps("q_conv1d.weight"), taps("k_conv1d.weight"), taps("v_conv1d.weight")}});
  const Shape flat{s.heads}, padded{1, 1, s.heads, 1};
  const std::string rates = theirs + "A_log";
  const bool is_flat = files.contains(rates) && files.entry(rates).shape == flat;
  map.push_back({ours + "A_log", {Piece::whole(rates, is_flat ? flat : padded)}});
  map.push_back({ours + "dt_bias", {Piece::whole(theirs + "dt_bias", {wide})}});
  map.push_back({ours + "norm.weight", {Piece::whole(theirs + "o_norm.weight", {K})}});
  map.push_back({ours + "out_proj.weight", {matrix("o_proj.weight", d, wide)}});
}

struct Latent {
  std::int64_t d, heads, own, shared, value, latent;  // own and shared: parts of a key
};

Latent read_latent(const PublishedConfig& c, std::int64_t d) {
  c.check(!c.contains("q_lora_rank"),
          "q_lora_rank is not supported, wanted null (queries of full rank)");
  c.only("mla_use_nope", true);
  const std::int64_t heads = c.size("num_attention_heads");
  c.check(c.size("num_key_value_heads", heads) == heads, "num_key_value_heads ",
          c.size("num_key_value_heads", heads), ", wanted num_attention_heads, ", heads);
  return {.d = d,
          .heads = heads,
          .own = c.size("qk_nope_head_dim"),
          .shared = c.size("qk_rope_head_dim"),
          .value = c.size("v_head_dim"),
          .latent = c.size("kv_lora_rank")};
}

void add_latent(WeightMap& map, std::int64_t i, const std::string& theirs, const Latent& s) {
  const std::int64_t d = s.d, H = s.heads, per_query = s.own + s.shared, per_head = s.own + s.value;
  const std::string ours = block(i) + "mixer.", query = theirs + "q_proj.weight",
                    up = theirs + "kv_b_proj.weight";
  const Shape queries{H * per_query, d}, ups{H * per_head, s.latent};
  map.push_back({ours + "in_proj.weight",
                 {Piece::grouped_rows(query, queries, H, 0, s.own),
                  Piece::grouped_rows(query, queries, H, s.own, s.shared),
                  Piece::whole(theirs + "kv_a_proj_with_mqa.weight", {s.latent + s.shared, d})}});
  map.push_back(
      {ours + "latent_norm.weight", {Piece::whole(theirs + "kv_a_layernorm.weight", {s.latent})}});
  // Rows of a head: own part of the key, then value; the former transposed.
  map.push_back({ours + "query_up.weight",
                 {{.tensor = up,
                   .shape = ups,
                   .loops = {{H, per_head * s.latent}, {s.latent, 1}, {s.own, s.latent}}}}});
  map.push_back({ours + "value_up.weight", {Piece::grouped_rows(up, ups, H, s.own, s.value)}});
  map.push_back(
      {ours + "out_proj.weight", {Piece::whole(theirs + "o_proj.weight", {d, H * s.value})}});
}

bool is_sparse(const PublishedConfig& c, std::int64_t i) {
  const Json* list = c.find("mlp_layer_types");
  if (!list)
    return i >= c.count("first_k_dense_replace", 0) && i % c.size("moe_layer_freq", 1) == 0;
  const Json& word = list->as_array()[static_cast<std::size_t>(i)];
  const std::string type = word.is_string() ? word.as_string() : word.dump();
  c.check(type == "dense" || type == "sparse", "mlp_layer_types: \"", type,
          "\" is not supported, wanted dense or sparse");
  return type == "sparse";
}

void read_experts(const PublishedConfig& c, const WeightFiles& files, std::int64_t layers,
                  ModelConfig& m) {
  const std::int64_t experts = c.count("num_experts", 0);
  if (experts == 0) return;
  for (const char* groups : {"num_expert_group", "topk_group"}) {
    c.check(c.size(groups, 1) == 1, groups, " ", c.size(groups, 1),
            " is not supported, wanted 1 (experts in one group)");
  }
  c.one_of("moe_router_activation_func", {"sigmoid"});
  const std::int64_t hidden = c.size("moe_intermediate_size");
  m.experts = {.count = experts,
               .active = c.size("num_experts_per_token"),
               .hidden = hidden,
               .shared_hidden = hidden * c.count("num_shared_experts", 0),
               .normalise = c.flag("moe_renormalize", true),
               .sigmoid_scores = true,
               .correction = true,
               .scale = c.number("routed_scaling_factor", 1)};
  if (const Json* list = c.find("mlp_layer_types"))
    c.check(list->is_array() && static_cast<std::int64_t>(list->size()) == layers,
            "mlp_layer_types: wanted a word for each of ", layers, " layers");
  for (std::int64_t i = 0; i < layers; ++i) {
    if (is_sparse(c, i)) m.expert_blocks.push_back(i);
  }
  check_experts(c, files, "num_experts", experts, m.expert_blocks.size());
}

void add_experts(Published& p, std::int64_t i, const std::string& theirs) {
  const ExpertsConfig& e = p.config.experts;
  const std::int64_t d = p.config.d_model;
  const std::string ours = block(i) + "experts.";
  const auto swiglu = [&](const std::string& to, const std::string& gate, const std::string& up,
                          const std::string& down, std::int64_t hidden) {
    p.weights.push_back(
        {ours + to + ".in.weight",
         {Piece::whole(theirs + gate, {hidden, d}), Piece::whole(theirs + up, {hidden, d})}});
    p.weights.push_back({ours + to + ".out.weight", {Piece::whole(theirs + down, {d, hidden})}});
  };
  p.weights.push_back(
      {ours + "router.weight", {Piece::whole(theirs + "gate.weight", {e.count, d})}});
  p.weights.push_back({ours + "router.correction",
                       {Piece::whole(theirs + "gate.e_score_correction_bias", {e.count})}});
  for (std::int64_t n = 0; n < e.count; ++n) {
    const std::string own = "experts." + std::to_string(n) + ".";
    swiglu(std::to_string(n), own + "w1.weight", own + "w3.weight", own + "w2.weight", e.hidden);
  }
  if (e.shared_hidden)
    swiglu("shared", "shared_experts.gate_proj.weight", "shared_experts.up_proj.weight",
           "shared_experts.down_proj.weight", e.shared_hidden);
}

void set_options(const Kda& k, const Latent& a, ModelConfig& m) {
  Json& kda = m.mixer_options["kda"];
  kda["heads"] = k.heads;
  kda["head_dim"] = k.head_dim;
  kda["conv"] = k.conv;
  kda["norm_eps"] = m.norm_eps;
  Json& latent = m.mixer_options["latent_attention"];  // the eps of its norm is always 1e-6
  latent["heads"] = a.heads;
  latent["head_dim"] = a.own;
  latent["shared_dim"] = a.shared;
  latent["value_dim"] = a.value;
  latent["latent"] = a.latent;
}

void add_block(Published& p, std::int64_t i, bool full, const Kda& k, const Latent& a,
               const WeightFiles& files) {
  const std::int64_t d = p.config.d_model;
  const std::string theirs = "model.layers." + std::to_string(i) + ".",
                    sparse = theirs + "block_sparse_moe.", dense = theirs + "mlp.";
  p.weights.push_back(
      {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "input_layernorm.weight", {d})}});
  p.weights.push_back({block(i) + "mlp_norm.weight",
                       {Piece::whole(theirs + "post_attention_layernorm.weight", {d})}});
  if (full) {
    add_latent(p.weights, i, theirs + "self_attn.", a);
  } else {
    add_kda(p.weights, i, theirs + "self_attn.", k, files);
  }
  if (p.config.has_experts(i)) return add_experts(p, i, sparse);
  const std::string& mlp = files.contains(sparse + "gate_proj.weight") ? sparse : dense;
  add_swiglu(p.weights, i, mlp + "gate_proj.weight", mlp + "up_proj.weight",
             mlp + "down_proj.weight", d, p.config.mlp_hidden);
}

Published describe(const PublishedConfig& c, const WeightFiles& files) {
  c.one_of("hidden_act", {"silu", "swish"});
  c.only("attention_bias", false);
  c.check(c.count("num_nextn_predict_layers", 0) == 0, "num_nextn_predict_layers ",
          c.count("num_nextn_predict_layers", 0), " is not supported, wanted 0");
  Published p;
  ModelConfig& m = p.config;
  const std::int64_t d = m.d_model = c.size("hidden_size"), layers = c.layers("num_hidden_layers");
  const PublishedConfig linear = c.part("linear_attn_config");
  m.mlp_hidden = c.size("intermediate_size");
  m.norm_eps = c.number("rms_norm_eps", 1e-6);
  const Kda k = read_kda(c, linear, d);
  const Latent a = read_latent(c, d);
  m.heads = a.heads;
  read_experts(c, files, layers, m);
  set_options(k, a, m);
  p.vocabulary = c.size("vocab_size");
  add_outer(p, {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"},
            c.flag("tie_word_embeddings", false), p.vocabulary);
  const auto types = layer_types(c, linear, layers);
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool full = types[static_cast<std::size_t>(i)] == LayerType::full;
    m.layers.emplace_back(full ? "latent_attention" : "kda");
    add_block(p, i, full, k, a, files);
  }
  return p;
}

}  // namespace

const Family kKimiLinear = {
    "kimi_linear", "Kimi Linear: KDA and latent attention, experts",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "kimi_linear"; }, describe};

}  // namespace subquad
