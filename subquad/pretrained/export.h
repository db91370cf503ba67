// Trained models written as published ones, where their architecture exists there.
#pragma once

#include <string>

#include "subquad/pretrained/pretrained.h"

namespace subquad {

// Writes config.json and model.safetensors to `folder`, which is created and must not hold a model
// yet, then opens them again and compares every weight bit for bit, and the outputs of a few inputs.
// Returns the family. `family` "": the first of the list that fits. Weights in f32 are as stored, in
// bf16 rounded to the nearest.
// Errors: what each layout cannot say about this model.
std::string export_model(const Model& model, const ParameterStore& store, const std::string& folder,
                         const std::string& family = "", const ExportFacts& facts = {});

// Other weights for the model of `source`, whose files (model_files.h) are copied but for its weights:
// any family that is read. Written and verified as above, in f32, as one model.safetensors.
void export_like(const Pretrained& source, const ParameterStore& store, const std::string& folder);

// For Family::configuration. Fails unless blocks, norms and head are those of a plain pre-norm
// model: RMS norms, SwiGLU of one width in every block, no scales, as many classes as ids; or with
// these exceptions.
struct PlainModel {
  bool mlp = true, soft_cap = false;  // of the logits
};
void require_plain(const ModelConfig& model, const PlainModel& plain = {});
// What a model's attention layers are beyond the defaults; fails for options that neither Llama nor
// its relatives can say.
struct PlainAttention {
  std::int64_t heads, kv_heads, head_dim, window;
  bool qkv_bias, out_bias, qk_norm;
  double norm_eps, rope_theta;
};
PlainAttention plain_attention(const ModelConfig& model);
// Keys that every configuration file has. Special ids that the model has not are null: left out, they
// would be what the reader's library takes for granted.
Json configuration_base(const ModelConfig& model, const ExportFacts& facts, const char* type,
                        const char* architecture);

}  // namespace subquad
