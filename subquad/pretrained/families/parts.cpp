#include "subquad/pretrained/families/parts.h"

namespace subquad {

void add_outer(Published& p, const OuterNames& names, bool tied, std::int64_t rows) {
  const std::int64_t d = p.config.d_model;
  p.config.vocabulary = p.config.classes = rows;
  p.config.tied = tied;
  p.weights.push_back({"embedding.weight", {Piece::whole(names.embedding, {rows, d})}});
  p.weights.push_back({"final_norm.weight", {Piece::whole(names.final_norm, {d})}});
  if (tied) {
    p.aliases.emplace_back(names.embedding, names.head);
  } else {
    p.weights.push_back({"head.weight", {Piece::whole(names.head, {rows, d})}});
  }
}

void add_swiglu(WeightMap& map, std::int64_t i, const std::string& gate, const std::string& up,
                const std::string& down, std::int64_t d, std::int64_t hidden) {
  map.push_back({block(i) + "mlp.in.weight",
                 {Piece::whole(gate, {hidden, d}), Piece::whole(up, {hidden, d})}});
  map.push_back({block(i) + "mlp.out.weight", {Piece::whole(down, {d, hidden})}});
}

void add_attention(WeightMap& map, std::int64_t i, const std::string& prefix,
                   const AttentionSizes& a, bool qkv_bias, bool out_bias) {
  const std::int64_t d = a.d_model, q = a.heads * a.head_dim, kv = a.kv_heads * a.head_dim;
  const std::string ours = block(i) + "mixer.";
  map.push_back({ours + "in_proj.weight",
                 {Piece::whole(prefix + "q_proj.weight", {q, d}),
                  Piece::whole(prefix + "k_proj.weight", {kv, d}),
                  Piece::whole(prefix + "v_proj.weight", {kv, d})}});
  map.push_back({ours + "out_proj.weight", {Piece::whole(prefix + "o_proj.weight", {d, q})}});
  if (qkv_bias) {
    map.push_back(
        {ours + "qkv.bias",
         {Piece::whole(prefix + "q_proj.bias", {q}), Piece::whole(prefix + "k_proj.bias", {kv}),
          Piece::whole(prefix + "v_proj.bias", {kv})}});
  }
  if (out_bias) {
    map.push_back({ours + "out_proj.bias", {Piece::whole(prefix + "o_proj.bias", {d})}});
  }
}

std::int64_t matrix_dimension(const WeightFiles& files, const std::string& name, int dimension) {
  constexpr std::int64_t kLargest = 1 << 24;
  const Shape s = files.entry(name).shape;
  require(s.rank == 2 && s[dimension] >= 1 && s[dimension] <= kLargest, ErrorCode::format,
          files.file_of(name), ": tensor ", name, " of shape ", s, ", wanted a matrix with 1 to ",
          kLargest, dimension == 0 ? " rows" : " columns");
  return s[dimension];
}

void check_experts(const PublishedConfig& c, const WeightFiles& files, const char* key,
                   std::int64_t count, std::size_t blocks) {
  const std::size_t tensors = files.names().size();
  c.check(blocks == 0 || count <= static_cast<std::int64_t>(tensors / blocks), key, " ", count,
          " in ", blocks, " layers, but ", files.folder(), " holds ", tensors, " tensors");
}

AttentionSizes read_attention_sizes(const PublishedConfig& c, std::int64_t d_model) {
  const std::int64_t heads = c.size("num_attention_heads");
  return {.d_model = d_model,
          .heads = heads,
          .kv_heads = c.size("num_key_value_heads", heads),
          .head_dim = c.contains("head_dim") ? c.size("head_dim")
                                             : c.divided(d_model, heads, "hidden_size")};
}

void read_rope(const PublishedConfig& c, std::int64_t head_dim, Json& options) {
  const bool joined = c.contains("rope_parameters");
  const PublishedConfig rope = c.part(joined ? "rope_parameters" : "rope_scaling");
  const double theta = (joined ? rope : c).number("rope_theta", 10000);
  const double part = rope.number("partial_rotary_factor", c.number("partial_rotary_factor", 1));
  const std::string type = rope.word("rope_type", rope.word("type", "default"));
  rope.check(type == "default" || type == "linear" || type == "llama3", "rope_type \"", type,
             "\" is not supported, wanted default, linear or llama3");
  options["rope_theta"] = theta;
  rope.check(part > 0 && part <= 1, "partial_rotary_factor ", part, ", wanted above 0 to 1");
  if (part != 1) {
    options["rope_dims"] = static_cast<std::int64_t>(part * static_cast<double>(head_dim));
  }
  if (type == "default") return;
  options["rope_factor"] = rope.number("factor", 1);
  if (type == "linear") return;
  options["rope_low_frequency"] = rope.number("low_freq_factor", 1);
  options["rope_high_frequency"] = rope.number("high_freq_factor", 4);
  options["rope_original_length"] = rope.size("original_max_position_embeddings");
}

std::vector<LayerType> read_layer_types(const PublishedConfig& c, std::int64_t layers,
                                        LayerType (*fallback)(const PublishedConfig&,
                                                              std::int64_t)) {
  std::vector<LayerType> types;
  const Json* list = c.find("layer_types");
  if (!list) {
    for (std::int64_t i = 0; i < layers; ++i) types.push_back(fallback(c, i));
    return types;
  }
  c.check(
      list->is_array() && static_cast<std::int64_t>(list->size()) == layers, "layer_types: got ",
      list->is_array() ? std::to_string(list->size()) + " words" : std::string(list->type_name()),
      ", wanted one for each of ", layers, " layers");
  for (const Json& word : list->as_array()) {
    const std::string type = word.is_string() ? word.as_string() : word.dump();
    const bool linear = type == "linear_attention" || type == "mamba",
               full = type == "full_attention" || type == "attention";
    c.check(linear || full, "layer_types: \"", type,
            "\" is not supported, wanted linear_attention or full_attention");
    types.push_back(linear ? LayerType::linear : LayerType::full);
  }
  return types;
}

}  // namespace subquad
