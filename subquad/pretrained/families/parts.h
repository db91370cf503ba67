// What several families share.
#pragma once

#include <string>

#include "subquad/pretrained/family.h"

namespace subquad {

// Our names of block `i`: "blocks.3.".
inline std::string block(std::int64_t i) { return "blocks." + std::to_string(i) + "."; }

// Embedding, final norm and head, tied or not. `rows`: of the embedding.
struct OuterNames {
  std::string embedding, final_norm, head;
};
void add_outer(Published& p, const OuterNames& names, bool tied, std::int64_t rows);

// SwiGLU of block i from matrices gate, up (F,D) and down (D,F).
void add_swiglu(WeightMap& map, std::int64_t i, const std::string& gate, const std::string& up,
                const std::string& down, std::int64_t d, std::int64_t hidden);

// q, k, v and o projections of block i, `prefix` + "q_proj.weight" and so on.
struct AttentionSizes {
  std::int64_t d_model, heads, kv_heads, head_dim;
};
void add_attention(WeightMap& map, std::int64_t i, const std::string& prefix,
                   const AttentionSizes& a, bool qkv_bias, bool out_bias);

// A dimension of a matrix that the configuration does not state exactly. Errors: format unless it is
// from 1 to 2^24.
std::int64_t matrix_dimension(const WeightFiles& files, const std::string& name, int dimension);

// Fails if so many experts (`key`) in so many blocks are more than the files can hold, before they are
// spelled out: each is a tensor at least.
void check_experts(const PublishedConfig& c, const WeightFiles& files, const char* key,
                   std::int64_t count, std::size_t blocks);

// The heads of a Transformer: num_attention_heads, num_key_value_heads, head_dim.
AttentionSizes read_attention_sizes(const PublishedConfig& c, std::int64_t d_model);
// rope_parameters, or rope_theta with rope_scaling: default, linear and llama3, and a partial width.
// Anything else is refused by name.
void read_rope(const PublishedConfig& c, std::int64_t head_dim, Json& options);

// The words of layer_types, one a layer, each "linear" or "full"; "mamba" and "linear_attention"
// are the first, "attention" and "full_attention" the second. `fallback(i)`: without layer_types.
enum class LayerType : std::uint8_t { linear, full };
std::vector<LayerType> read_layer_types(const PublishedConfig& c, std::int64_t layers,
                                        LayerType (*fallback)(const PublishedConfig&,
                                                              std::int64_t));

}  // namespace subquad
