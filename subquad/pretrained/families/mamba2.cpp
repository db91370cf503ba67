// Mamba-2 with the names of transformers, and as state-spaces released it. In both: no MLP, one
// gated norm of groups, the projection's rows z | x | B | C | dt.
#include <algorithm>

#include "subquad/mixer/common/option_reader.h"
#include "subquad/pretrained/export.h"
#include "subquad/pretrained/families/mamba2_layer.h"
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

constexpr double kNoLimit = 1e300;

Published with_layers(const PublishedConfig& c, const Mamba2Sizes& s, std::int64_t layers,
                      const std::string& embedding, std::int64_t rows, bool tied) {
  Published p;
  ModelConfig& m = p.config;
  m.d_model = s.d_model;
  m.heads = s.heads;
  m.mlp_hidden = 0;
  m.norm_eps = s.norm_eps;
  m.layers.assign(static_cast<std::size_t>(layers), "mamba2");
  m.mixer_options["mamba2"] = mamba2_options(c, s);
  add_outer(p, {embedding, "backbone.norm_f.weight", "lm_head.weight"}, tied, rows);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string theirs = "backbone.layers." + std::to_string(i) + ".";
    p.weights.push_back(
        {block(i) + "mixer_norm.weight", {Piece::whole(theirs + "norm.weight", {s.d_model})}});
    add_mamba2_layer(p.weights, i, theirs + "mixer.", s);
  }
  return p;
}

Published transformers(const PublishedConfig& c, const WeightFiles&) {
  c.one_of("hidden_act", {"silu", "swish"});
  Mamba2Sizes s;
  s.d_model = c.size("hidden_size");
  s.expand = c.size("expand", 2);
  s.head_dim = c.size("head_dim", 64);
  s.heads = c.divided(s.expand * s.d_model, s.head_dim, "expand * hidden_size");
  c.check(c.size("num_heads", s.heads) == s.heads, "num_heads ", c.size("num_heads", s.heads),
          ", wanted expand * hidden_size / head_dim = ", s.heads);
  s.state = c.size("state_size", 128);
  s.groups = c.size("n_groups", 8);
  s.conv = c.size("conv_kernel", 4);
  s.bias = c.flag("use_bias", false);
  s.conv_bias = c.flag("use_conv_bias", true);
  s.norm_eps = c.number("layer_norm_epsilon", 1e-5);
  Published p = with_layers(c, s, c.layers("num_hidden_layers"), "backbone.embeddings.weight",
                            c.size("vocab_size"), c.flag("tie_word_embeddings", false));
  p.vocabulary = c.size("vocab_size");
  return p;
}

Published state_spaces(const PublishedConfig& c, const WeightFiles&) {
  const PublishedConfig ssm = c.part("ssm_cfg");
  const std::string layer = ssm.word("layer", "Mamba1");
  ssm.check(layer == "Mamba2", "layer \"", layer, "\" is not supported, wanted Mamba2",
            ssm.contains("layer") ? "" : " (without a layer the model is Mamba-1)");
  c.only("rms_norm", true);
  const Json* attention = c.find("attn_layer_idx");
  c.check(!attention || attention->size() == 0, "attn_layer_idx: attention layers of this layout ",
          "are not supported");
  c.check(c.count("d_intermediate", 0) == 0, "d_intermediate ", c.count("d_intermediate", 0),
          " is not supported, wanted 0 (no MLP)");
  for (const char* key : {"rmsnorm", "norm_before_gate", "D_has_hdim"}) {
    ssm.only(key, std::string_view(key) == "rmsnorm");
  }
  ssm.check(!ssm.contains("d_ssm"), "d_ssm is not supported");
  Mamba2Sizes s;
  s.d_model = c.size("d_model");
  s.expand = ssm.size("expand", 2);
  s.head_dim = ssm.size("headdim", 64);
  s.heads = ssm.divided(s.expand * s.d_model, s.head_dim, "expand * d_model");
  s.state = ssm.size("d_state", 128);
  s.groups = ssm.size("ngroups", 1);
  s.conv = ssm.size("d_conv", 4);
  s.bias = ssm.flag("bias", false);
  s.conv_bias = ssm.flag("conv_bias", true);
  s.limits = "dt_limit";
  const std::int64_t vocabulary = c.size("vocab_size"),
                     multiple = c.size("pad_vocab_size_multiple", 8);
  Published p = with_layers(ssm, s, c.layers("n_layer"), "backbone.embedding.weight",
                            (vocabulary + multiple - 1) / multiple * multiple,
                            c.flag("tie_embeddings", true));
  p.vocabulary = vocabulary;
  return p;
}

Json configuration(const ModelConfig& m, const ExportFacts& facts) {
  const auto says = [](Condition ok, const char* what) {
    require(ok, ErrorCode::unsupported, "the layout has no ", what);
  };
  says(std::all_of(m.layers.begin(), m.layers.end(),
                   [](const std::string& kind) { return kind == "mamba2"; }),
       "layers but Mamba-2");
  require_plain(m, {.mlp = false});
  const Json* options = m.mixer_options.find("mamba2");
  const Json given = options ? *options : Json();
  OptionReader r(given, "mamba2");
  Json c = configuration_base(m, facts, "mamba2", "Mamba2ForCausalLM");
  const std::int64_t expand = r.get("expand", std::int64_t{2}), inner = expand * m.d_model,
                     head = r.get("head_dim", inner / m.heads);
  c["expand"] = expand;
  c["head_dim"] = head;
  c["num_heads"] = inner / head;
  c["state_size"] = r.get("state", std::int64_t{32});
  c["n_groups"] = r.get("groups", std::int64_t{1});
  c["conv_kernel"] = r.get("conv", std::int64_t{4});
  says(c.at("conv_kernel").as_int() >= 1, "layers without a convolution");
  c["use_bias"] = r.get("bias", false);
  c["use_conv_bias"] = r.get("conv_bias", true);
  c["layer_norm_epsilon"] = m.norm_eps;
  says(r.get("norm_eps", 1e-5) == m.norm_eps, "second eps of norms");
  const double low = r.get("dt_low", 0.0), high = r.get("dt_high", kNoLimit);
  if (low > 0 || high < kNoLimit)
    c["time_step_limit"] = Json::Array{
        Json(low), high < kNoLimit ? Json(high) : Json(Json::Object{{"__float__", "Infinity"}})};
  for (const char* key : {"decay", "tied_gates"}) says(r.get(key, true), "layers without it");
  for (const char* key : {"signed_decay", "erase", "exponential_input", "normalizer"})
    says(!r.get(key, false), "such switches of the recurrence");
  r.finish();
  return c;
}

}  // namespace

Json mamba2_options(const PublishedConfig& c, const Mamba2Sizes& s) {
  Json o = Json::object();
  o["expand"] = s.expand;
  o["head_dim"] = s.head_dim;
  o["state"] = s.state;
  o["groups"] = s.groups;
  o["conv"] = s.conv;
  o["bias"] = s.bias;
  o["conv_bias"] = s.conv_bias;
  o["norm_eps"] = s.norm_eps;
  if (c.contains(s.limits)) {
    const std::vector<double> limits = c.numbers(s.limits);
    c.check(limits.size() == 2, s.limits, ": got ", limits.size(), " numbers, wanted two");
    o["dt_low"] = limits[0];
    o["dt_high"] = std::min(kNoLimit, limits[1]);
  }
  return o;
}

void add_mamba2_layer(WeightMap& map, std::int64_t i, const std::string& prefix,
                      const Mamba2Sizes& s) {
  const std::int64_t inner = s.heads * s.head_dim, channels = inner + 2 * s.groups * s.state,
                     rows = inner + channels + s.heads;
  const std::string ours = block(i) + "mixer.";
  const auto add = [&](const char* name, const char* theirs, Shape shape) {
    map.push_back({ours + name, {Piece::whole(prefix + theirs, shape)}});
  };
  add("in_proj.weight", "in_proj.weight", {rows, s.d_model});
  add("conv.weight", "conv1d.weight", {channels, 1, s.conv});
  if (s.conv_bias) add("conv.bias", "conv1d.bias", {channels});
  add("A_log", "A_log", {s.heads});
  add("dt_bias", "dt_bias", {s.heads});
  add("D_skip", "D", {s.heads});
  add("norm.weight", "norm.weight", {inner});
  add("out_proj.weight", "out_proj.weight", {s.d_model, inner});
  if (!s.bias) return;
  add("in_proj.bias", "in_proj.bias", {rows});
  add("out_proj.bias", "out_proj.bias", {s.d_model});
}

const Family kMamba2 = {
    "mamba2", "Mamba-2 with the names of transformers",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "mamba2"; }, transformers,
    configuration};

const Family kMamba2StateSpaces = {
    "mamba2_state_spaces", "Mamba-2 as state-spaces released it (ssm_cfg)",
    [](const PublishedConfig& c) { return c.contains("ssm_cfg") && !c.contains("model_type"); },
    state_spaces};

}  // namespace subquad
