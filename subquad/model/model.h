// Model: embedding, pre-norm blocks of mixer + MLP, final norm, head. Immutable; holds no weights.
//   h = E[ids];  per block: h += mixer(norm(h));  h += mlp(norm(h));  logits = W norm(h)
// A forecaster's embedding and head are residual MLPs instead: h = F(token), quantiles = G(norm(h)).
// With the options that published models use: h = embedding_scale E[ids] + P[position];
// h += residual_scale (...);  logits = cap(W logit_scale norm(h)), cap(x) = c tanh(x / c).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "subquad/data/series/patches.h"
#include "subquad/io/json.h"
#include "subquad/mixer/all_mixers.h"
#include "subquad/nn/experts.h"
#include "subquad/nn/residual_mlp.h"

namespace subquad {

struct ModelConfig {
  std::int64_t vocabulary = 256;  // of a forecaster: numbers of a token
  std::int64_t classes = 256;     // of a forecaster: steps x levels of an output
  std::int64_t d_model = 64;
  std::int64_t heads = 4;
  std::int64_t mlp_hidden = 128;    // of SwiGLU: 3 d_model mlp_hidden weights; 0 = no MLP
  std::vector<std::string> layers;  // mixer kind of each block, in order
  Json mixer_options;               // {"mlstm": {...}}: options by kind
  bool tied = false;                // the head's weight is the embedding's; classes = vocabulary
  double norm_eps = 1e-6;

  // What published models have and ours do not. Written to a file only where it differs from these
  // defaults.
  std::string norm = "rms";              // or "layer"; of blocks and the final one
  bool norm_plus_one = false;            // the stored weight is w - 1
  bool norm_bias = false;                // with "layer"
  std::string mlp = "swiglu";            // or "geglu", "gelu_tanh": nn/mlp.h
  std::vector<std::int64_t> mlp_widths;  // per block, 0 = none; empty: mlp_hidden in all
  ExpertsConfig experts;                 // in place of the MLP of these blocks:
  std::vector<std::int64_t> expert_blocks;
  std::int64_t positions = 0;  // learned position embeddings; 0 = none
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  double logit_soft_cap = 0;  // 0 = none

  // Of a forecaster.
  PatchSpec patches = {};
  std::int64_t patch_hidden = 0;  // of both residual MLPs; 0: 2 d_model

  bool forecasts() const { return patches.length > 0; }
  bool has_experts(std::int64_t block) const;
  Json to_json() const;
  static ModelConfig from_json(const Json& json);  // unknown keys are errors
};

// The state of every block, in order.
using ModelState = std::vector<State>;

class Model {
 public:
  Model(const ModelConfig& config, ParameterPlan& plan);

  const ModelConfig& config() const { return config_; }
  // ids (B,T) i32, or tokens (B,T,features) f32 -> final normalised features (B,T,D), times
  // logit_scale. state: null = fresh and not kept.
  Var features(Context& cx, const Tensor& ids, const Segments& segments, ModelState* state) const;
  // Logits (...,classes), or quantiles by level and step, of features (...,D).
  Var head(Context& cx, const Var& features) const;
  // Both: (B,T,classes).
  Var logits(Context& cx, const Tensor& ids, const Segments& segments, ModelState* state) const;
  // The same of the last position only, (B,classes): what reading a prompt is for.
  Var last_logits(Context& cx, const Tensor& ids, ModelState& state) const;
  // Mean cross-entropy over scored targets (B,T), natural log; or their part of the mean over
  // `mean_over` positions. Of a forecaster: mean pinball loss over targets (B,T,length) that are not
  // NaN, or their part of the mean over `mean_over` of them.
  Var loss(Context& cx, const Tensor& ids, const Tensor& targets, const Segments& segments,
           std::int64_t mean_over = 0) const;

  ParamId head_weight() const { return head_; }
  double logit_soft_cap() const { return config_.logit_soft_cap; }
  ModelState new_state(std::int64_t batch, DType dtype) const;
  StateSpec block_state_spec(std::size_t block) const { return blocks_[block].mixer->state_spec(); }
  std::int64_t state_bytes(std::int64_t positions) const;  // one sequence, f32
  // Multiply-adds of one sequence of `tokens` positions, forward; training is three times that.
  Cost cost(std::int64_t tokens) const;

 private:
  struct Norm {
    ParamId weight, bias;
  };
  struct Block {
    std::unique_ptr<Mixer> mixer;
    Norm mixer_norm, mlp_norm;
    std::unique_ptr<Mlp> mlp;  // at most one of the two
    std::unique_ptr<Experts> experts;
    std::string name;
  };
  void declare_mlp(std::size_t index, Block& b, ParameterPlan& plan) const;
  Norm declare_norm(const std::string& name, ParameterPlan& plan) const;
  Block declare_block(std::size_t index, ParameterPlan& plan) const;
  Var normed(Context& cx, const Var& x, const Norm& n) const;
  void declare_patches(ParameterPlan& plan);
  Var embedded(Context& cx, const Tensor& ids, const Segments& segments,
               std::int64_t first_position) const;
  Var embedded_patches(Context& cx, const Tensor& tokens) const;
  ModelConfig config_;
  ParamId embedding_, positions_, head_;
  Norm final_norm_;
  ResidualMlp patch_in_, patch_out_;
  std::vector<Block> blocks_;
};

// "xlstm[1:1]", 4 -> {mlstm, slstm, mlstm, slstm}; "gated_deltanet:attention[3:1]", 4 -> three and
// one; a plain mixer kind repeats; "a,b,c" is an explicit list.
// Errors: a pattern that does not fit the blocks a whole number of times. Source of the ratio
// notation: Beck et al. 2024.
std::vector<std::string> arm_layers(const std::string& arm, std::int64_t blocks);

}  // namespace subquad
