// The xLSTM language model of the NeurIPS 2024 paper, as NX-AI's package saves it: mLSTM blocks with
// an up-projection and no MLP, sLSTM blocks with a GELU-gated one. Norms store w - 1.
#include <algorithm>

#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

struct Sizes {
  std::int64_t d, mlstm_heads, slstm_heads, mlstm_conv, slstm_conv, qkv_block;
};

void add_mlstm(WeightMap& map, std::int64_t i, const std::string& theirs, const Sizes& s,
               std::int64_t I) {
  const std::string ours = block(i) + "mixer.", cell = theirs + "mlstm_cell.";
  const std::int64_t d = s.d, H = s.mlstm_heads, b = s.qkv_block;
  const auto add = [&](const char* name, const std::string& published, Shape shape) {
    map.push_back({ours + name, {Piece::whole(published, shape)}});
  };
  add("up_proj.weight", theirs + "proj_up.weight", {2 * I, d});
  add("conv.weight", theirs + "conv1d.conv.weight", {I, 1, s.mlstm_conv});
  add("conv.bias", theirs + "conv1d.conv.bias", {I});
  for (const char* name : {"q_proj.weight", "k_proj.weight", "v_proj.weight"})
    add(name, theirs + name, {I / b, b, b});
  map.push_back({ours + "gates.weight",
                 {Piece::whole(cell + "igate.weight", {H, 3 * I}),
                  Piece::whole(cell + "fgate.weight", {H, 3 * I})}});
  add("gate_i.bias", cell + "igate.bias", {H});
  add("gate_f.bias", cell + "fgate.bias", {H});
  add("norm.weight", cell + "outnorm.weight", {I});
  add("skip", theirs + "learnable_skip", {I});
  add("down_proj.weight", theirs + "proj_down.weight", {d, I});
}

void add_slstm(WeightMap& map, std::int64_t i, const std::string& theirs, const Sizes& s,
               const Shape& recurrent) {
  const std::string ours = block(i) + "mixer.";
  const std::int64_t d = s.d, H = s.slstm_heads, D = d / H;
  map.push_back(
      {ours + "conv.weight", {Piece::whole(theirs + "conv1d.conv.weight", {d, 1, s.slstm_conv})}});
  map.push_back({ours + "conv.bias", {Piece::whole(theirs + "conv1d.conv.bias", {d})}});
  // What the package calls fgate feeds the input gate, its igate the forget gate.
  for (const auto& [name, gate] : {std::pair{"gate_i.weight", "fgate.weight"},
                                   {"gate_f.weight", "igate.weight"},
                                   {"gate_z.weight", "zgate.weight"},
                                   {"gate_o.weight", "ogate.weight"}}) {
    map.push_back({ours + name, {Piece::whole(theirs + gate, {H, D, D})}});
  }
  // R is stored (head, in, gate, out) by the CUDA back end and (head, gate, out, in) by the plain
  // one, the biases (head, gate, unit) and (gate, head, unit). The shape of R says which it was.
  const bool cuda = recurrent == Shape{H, D, 4 * D};
  const std::string R = theirs + "slstm_cell._recurrent_kernel_", b = theirs + "slstm_cell._bias_";
  map.push_back(
      {ours + "recurrent.weight",
       {cuda ? Piece::whole(R, {H, D, 4 * D})
             : Piece{R, {H, 4 * D, D}, 0, {{H, 4 * D * D}, {D, 1}, {4, D * D}, {D, D}}}}});
  std::int64_t gate = 0;
  for (const char* name : {"i.bias", "forget.bias", "z.bias", "o.bias"}) {
    map.push_back({ours + name,
                   {cuda ? Piece{b, {4 * d}, gate * D, {{H, 4 * D}, {D, 1}}}
                         : Piece{b, {4 * d}, gate * d, {{d, 1}}}}});
    ++gate;
  }
  map.push_back({ours + "norm.weight", {Piece::whole(theirs + "group_norm.weight", {d})}});
}

// The MLP of an sLSTM block; its width is that of the files.
std::int64_t add_mlp(WeightMap& map, std::int64_t i, const std::string& outer,
                     const WeightFiles& files, std::int64_t d) {
  const std::string down = outer + "ffn.proj_down.weight";
  const std::int64_t hidden = matrix_dimension(files, down, 1);
  map.push_back({block(i) + "mlp_norm.weight", {Piece::whole(outer + "ffn_norm.weight", {d})}});
  map.push_back(
      {block(i) + "mlp.in.weight", {Piece::whole(outer + "ffn.proj_up.weight", {2 * hidden, d})}});
  map.push_back({block(i) + "mlp.out.weight", {Piece::whole(down, {d, hidden})}});
  return hidden;
}

// Which blocks are sLSTM.
std::vector<bool> read_placement(const PublishedConfig& c, std::int64_t blocks) {
  std::vector<bool> slstm(static_cast<std::size_t>(blocks), !c.contains("mlstm_block"));
  const Json* at = c.find("slstm_at");
  if (!at) return slstm;
  if (at->is_string()) {
    c.check(at->as_string() == "all", "slstm_at: got \"", at->as_string(),
            "\", wanted a list or \"all\"");
    return std::vector<bool>(slstm.size(), true);
  }
  c.check(at->is_array(), "slstm_at: got ", at->type_name(), ", wanted a list or \"all\"");
  for (const Json& i : at->as_array()) {
    c.check(i.is_int() && i.as_int() >= 0 && i.as_int() < blocks, "slstm_at: got ", i.dump(),
            ", wanted 0 to ", blocks - 1);
    slstm[static_cast<std::size_t>(i.as_int())] = true;
  }
  return slstm;
}

void set_options(ModelConfig& m, const Sizes& s, std::int64_t inner) {
  Json& mlstm = m.mixer_options["mlstm_block"];
  mlstm["heads"] = s.mlstm_heads;
  mlstm["conv"] = s.mlstm_conv;
  mlstm["qkv_block"] = s.qkv_block;
  mlstm["norm_plus_one"] = true;
  if (inner) mlstm["inner"] = inner;
  Json& slstm = m.mixer_options["slstm"];
  slstm["heads"] = s.slstm_heads;
  slstm["conv"] = s.slstm_conv;
  slstm["gates"] = "headwise";
  slstm["input_bias"] = true;
  slstm["norm_plus_one"] = true;
  slstm["output_projection"] = false;
}

Published describe(const PublishedConfig& c, const WeightFiles& files) {
  c.only("bias", false);
  c.only("add_post_blocks_norm", true);
  const PublishedConfig mlstm = c.part("mlstm_block").part("mlstm"),
                        slstm = c.part("slstm_block").part("slstm"),
                        ffn = c.part("slstm_block").part("feedforward");
  ffn.one_of("act_fn", {"gelu"});
  ffn.one_of("ff_type", {"ffn_gated"});
  slstm.only("group_norm_weight", true);
  Published p;
  ModelConfig& m = p.config;
  const Sizes s{.d = m.d_model = c.size("embedding_dim"),
                .mlstm_heads = mlstm.size("num_heads", 4),
                .slstm_heads = slstm.size("num_heads", 4),
                .mlstm_conv = mlstm.size("conv1d_kernel_size", 4),
                .slstm_conv = slstm.size("conv1d_kernel_size", 4),
                .qkv_block = mlstm.size("qkv_proj_blocksize", 4)};
  m.heads = s.mlstm_heads;
  m.norm = "layer";
  m.norm_plus_one = true;
  m.norm_eps = 1e-5;
  m.mlp = "geglu";
  const std::int64_t blocks = c.layers("num_blocks");
  const std::vector<bool> is_slstm = read_placement(c, blocks);
  p.vocabulary = c.size("vocab_size");
  add_outer(
      p, {"token_embedding.weight", "xlstm_block_stack.post_blocks_norm.weight", "lm_head.weight"},
      c.flag("tie_weights", false), p.vocabulary);
  m.mlp_hidden = 0;
  std::int64_t inner = 0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::string outer = "xlstm_block_stack.blocks." + std::to_string(i) + ".",
                      theirs = outer + "xlstm.";
    p.weights.push_back(
        {block(i) + "mixer_norm.weight", {Piece::whole(outer + "xlstm_norm.weight", {s.d})}});
    std::int64_t hidden = 0;
    if (is_slstm[static_cast<std::size_t>(i)]) {
      c.divided(s.d, s.slstm_heads, "embedding_dim");
      add_slstm(p.weights, i, theirs, s,
                files.entry(theirs + "slstm_cell._recurrent_kernel_").shape);
      if (c.part("slstm_block").contains("feedforward"))
        hidden = add_mlp(p.weights, i, outer, files, s.d);
    } else {
      const std::string down = theirs + "proj_down.weight";
      const std::int64_t width = matrix_dimension(files, down, 1);
      require(inner == 0 || width == inner, ErrorCode::format, files.file_of(down), ": tensor ",
              down, " has ", width, " columns, wanted ", inner, " as in the blocks before");
      inner = width;
      c.divided(inner, s.qkv_block, "width of tensor " + down);
      add_mlstm(p.weights, i, theirs, s, inner);
    }
    m.layers.emplace_back(is_slstm[static_cast<std::size_t>(i)] ? "slstm" : "mlstm_block");
    m.mlp_widths.push_back(hidden);
  }
  set_options(m, s, inner);
  return p;
}

}  // namespace

const Family kXlstmNeurips = {
    "xlstm_neurips", "xLSTM[a:b] of the NeurIPS 2024 paper, as NX-AI's package saves it",
    [](const PublishedConfig& c) {
      return !c.contains("model_type") && (c.contains("mlstm_block") || c.contains("slstm_block"));
    },
    describe};

}  // namespace subquad
