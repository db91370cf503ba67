// TiRex, a forecaster: sLSTM blocks without convolution and output projection, SwiGLU, patch
// embeddings with a linear path. Read from config.json and safetensors files; the names may carry
// the published prefix "block_stack.".
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

// A residual MLP: hidden, output and residual layers.
void add_patch_mlp(WeightMap& map, const std::string& ours, const std::string& theirs,
                   std::int64_t ins, std::int64_t hidden, std::int64_t outs) {
  const auto add = [&](const char* name, std::int64_t to, std::int64_t from) {
    const std::string layer = theirs + "." + name + "_layer";
    map.push_back({ours + "." + name + ".weight", {Piece::whole(layer + ".weight", {to, from})}});
    map.push_back({ours + "." + name + ".bias", {Piece::whole(layer + ".bias", {to})}});
  };
  add("hidden", hidden, ins);
  add("output", outs, hidden);
  add("residual", outs, ins);
}

void add_slstm(WeightMap& map, std::int64_t i, const std::string& theirs, std::int64_t d,
               std::int64_t H) {
  const std::string ours = block(i) + "mixer.";
  const std::int64_t D = d / H;
  // What the package calls fgate feeds the input gate, its igate the forget gate.
  for (const auto& [name, gate] : {std::pair{"gate_i.weight", "fgate.weight"},
                                   {"gate_f.weight", "igate.weight"},
                                   {"gate_z.weight", "zgate.weight"},
                                   {"gate_o.weight", "ogate.weight"}})
    map.push_back({ours + name, {Piece::whole(theirs + gate, {H, D, D})}});
  map.push_back({ours + "recurrent.weight",
                 {Piece::whole(theirs + "slstm_cell._recurrent_kernel_", {H, D, 4 * D})}});
  std::int64_t gate = 0;
  for (const char* name : {"i.bias", "forget.bias", "z.bias", "o.bias"}) {
    map.push_back({ours + name,
                   {Piece{theirs + "slstm_cell._bias_", {4 * d}, gate * D, {{H, 4 * D}, {D, 1}}}}});
    ++gate;
  }
  map.push_back({ours + "norm.weight", {Piece::whole(theirs + "group_norm.weight", {d})}});
}

PatchSpec patches_of(const PublishedConfig& c) {
  PatchSpec p;
  p.length = c.size("input_patch_size");
  c.check(c.size("output_patch_size") == p.length, "output_patch_size ",
          c.size("output_patch_size"), ", wanted the input_patch_size, ", p.length);
  p.context = c.size("train_ctx_len");
  p.padded = true;
  p.encoding = PatchEncoding::standard;
  p.levels = c.numbers("quantiles");
  p.check();
  return p;
}

Published describe(const PublishedConfig& c, const WeightFiles& files) {
  c.only("nan_mask_value", Json(0));
  const PublishedConfig blocks = c.part("block_kwargs");
  Published p;
  ModelConfig& m = p.config;
  const std::int64_t d = m.d_model = blocks.size("embedding_dim");
  m.heads = blocks.size("num_heads");
  blocks.divided(d, m.heads, "embedding_dim");
  m.patches = patches_of(c);
  m.patch_hidden = c.size("input_ff_dim");
  m.vocabulary = m.patches.features();
  m.classes = m.patches.outputs();
  Json& slstm = m.mixer_options["slstm"];
  slstm["gates"] = "headwise";
  slstm["input_bias"] = true;
  slstm["norm_plus_one"] = true;
  slstm["output_projection"] = false;
  add_patch_mlp(p.weights, "embedding", "input_patch_embedding", m.vocabulary, m.patch_hidden, d);
  const std::string prefix = files.contains("block_stack.out_norm.weight") ? "block_stack." : "";
  const std::int64_t count = blocks.layers("num_blocks");
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string theirs = prefix + "blocks." + std::to_string(i) + ".";
    if (i == 0)  // other blocks of another width are refused
      m.mlp_hidden = matrix_dimension(files, theirs + "ffn.proj_up.weight", 0);
    p.weights.push_back(
        {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "norm_slstm.weight", {d})}});
    add_slstm(p.weights, i, theirs + "slstm_layer.", d, m.heads);
    p.weights.push_back(
        {block(i) + "mlp_norm.weight", {Piece::whole(theirs + "norm_ffn.weight", {d})}});
    add_swiglu(p.weights, i, theirs + "ffn.proj_up_gate.weight", theirs + "ffn.proj_up.weight",
               theirs + "ffn.proj_down.weight", d, m.mlp_hidden);
    m.layers.emplace_back("slstm");
  }
  p.weights.push_back({"final_norm.weight", {Piece::whole(prefix + "out_norm.weight", {d})}});
  add_patch_mlp(p.weights, "head", "output_patch_embedding", d, m.patch_hidden, m.classes);
  p.vocabulary = m.vocabulary;
  return p;
}

}  // namespace

const Family kTirex = {"tirex", "TiRex forecasters of NX-AI: sLSTM over patches, quantile heads",
                       [](const PublishedConfig& c) {
                         return c.word("model_type", "") == "tirex" ||
                                (!c.contains("model_type") && c.contains("input_patch_size") &&
                                 c.contains("block_kwargs"));
                       },
                       describe};

}  // namespace subquad
