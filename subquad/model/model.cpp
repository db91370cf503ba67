#include "subquad/model/model.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/ops.h"

namespace subquad {

namespace {

// Calls visit(key, member) for every member that only published models and forecasters change.
template <class Config, class Visit>
void visit_variants(Config& c, Visit&& visit) {
  visit("norm", c.norm);
  visit("norm_plus_one", c.norm_plus_one);
  visit("norm_bias", c.norm_bias);
  visit("mlp", c.mlp);
  visit("mlp_widths", c.mlp_widths);
  visit("experts", c.experts);
  visit("expert_blocks", c.expert_blocks);
  visit("positions", c.positions);
  visit("embedding_scale", c.embedding_scale);
  visit("residual_scale", c.residual_scale);
  visit("logit_scale", c.logit_scale);
  visit("logit_soft_cap", c.logit_soft_cap);
  visit("patches", c.patches);
  visit("patch_hidden", c.patch_hidden);
}

Json as_json(const std::vector<std::int64_t>& list) {
  Json out = Json::array();
  for (const std::int64_t v : list) out.push_back(v);
  return out;
}
Json as_json(const ExpertsConfig& experts) { return experts.to_json(); }
Json as_json(const PatchSpec& patches) { return patches.to_json(); }
template <class T>
Json as_json(const T& value) {
  return Json(value);
}

void read_into(const Json& from, std::string& to) { to = from.as_string(); }
void read_into(const Json& from, ExpertsConfig& to) { to = ExpertsConfig::from_json(from); }
void read_into(const Json& from, PatchSpec& to) { to = PatchSpec::from_json(from); }
void read_into(const Json& from, bool& to) { to = from.as_bool(); }
void read_into(const Json& from, double& to) { to = from.as_double(); }
void read_into(const Json& from, std::int64_t& to) { to = from.as_int(); }
void read_into(const Json& from, std::vector<std::int64_t>& to) {
  for (const Json& v : from.as_array()) to.push_back(v.as_int());
}

}  // namespace

bool ModelConfig::has_experts(std::int64_t block) const {
  return std::find(expert_blocks.begin(), expert_blocks.end(), block) != expert_blocks.end();
}

Json ModelConfig::to_json() const {
  Json j = Json::object();
  j["vocabulary"] = vocabulary;
  j["classes"] = classes;
  j["d_model"] = d_model;
  j["heads"] = heads;
  j["mlp_hidden"] = mlp_hidden;
  Json& list = j["layers"] = Json::array();
  for (const std::string& layer : layers) list.push_back(layer);
  j["mixer_options"] = mixer_options.is_null() ? Json::object() : mixer_options;
  j["tied"] = tied;
  j["norm_eps"] = norm_eps;
  Json defaults = Json::object();
  const ModelConfig standard;
  visit_variants(standard, [&](const char* key, const auto& v) { defaults[key] = as_json(v); });
  visit_variants(*this, [&](const char* key, const auto& v) {
    if (as_json(v) != defaults.at(key)) j[key] = as_json(v);
  });
  return j;
}

ModelConfig ModelConfig::from_json(const Json& json) {
  ModelConfig c;
  std::vector<std::string> known = {"vocabulary", "classes",       "d_model",
                                    "heads",      "mlp_hidden",    "layers",
                                    "tied",       "mixer_options", "norm_eps"};
  visit_variants(c, [&](const char* key, auto& to) {
    known.emplace_back(key);
    const Json* value = json.find(key);
    if (!value) return;
    try {
      read_into(*value, to);
    } catch (Error& e) {
      e.add_context(std::string("model key \"") + key + "\"");
      throw;
    }
  });
  for (const auto& [key, value] : json.as_object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_key(key, known);
    fail(ErrorCode::invalid_argument, "unknown model key \"", key, "\"",
         near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
  c.vocabulary = json.at("vocabulary").as_int();
  c.classes = json.at("classes").as_int();
  c.d_model = json.at("d_model").as_int();
  c.heads = json.at("heads").as_int();
  c.mlp_hidden = json.at("mlp_hidden").as_int();
  for (const Json& layer : json.at("layers").as_array()) c.layers.push_back(layer.as_string());
  if (const Json* options = json.find("mixer_options")) c.mixer_options = *options;
  c.tied = json.get("tied", c.tied);
  c.norm_eps = json.get("norm_eps", c.norm_eps);
  return c;
}

namespace {

constexpr std::int64_t kLargest = 1 << 24;

void check_width(const char* name, std::int64_t value, std::int64_t least) {
  require(value >= least && value <= kLargest, ErrorCode::invalid_argument, "model ", name, " ",
          value, ", wanted ", least, " to ", kLargest);
}

void check(const ModelConfig& c) {
  check_width("vocabulary", c.vocabulary, 1);
  check_width("classes", c.classes, 1);
  check_width("d_model", c.d_model, 1);
  check_width("heads", c.heads, 1);
  check_width("mlp_hidden", c.mlp_hidden, 0);
  check_width("positions", c.positions, 0);
  require(!c.layers.empty() && c.layers.size() <= 4096, ErrorCode::invalid_argument, "model has ",
          c.layers.size(), " layers, wanted 1 to 4096");
  require(c.mlp_widths.empty() || c.mlp_widths.size() == c.layers.size(),
          ErrorCode::invalid_argument, "model has ", c.mlp_widths.size(), " mlp_widths and ",
          c.layers.size(), " layers, wanted as many, or none");
  for (const std::int64_t width : c.mlp_widths) check_width("mlp_widths", width, 0);
  std::vector<bool> seen(c.layers.size());
  for (const std::int64_t block : c.expert_blocks) {
    require(block >= 0 && block < static_cast<std::int64_t>(c.layers.size()),
            ErrorCode::invalid_argument, "model expert_blocks: ", block, ", wanted 0 to ",
            c.layers.size() - 1);
    const auto at = static_cast<std::size_t>(block);
    require(!seen[at], ErrorCode::invalid_argument, "model expert_blocks: ", block,
            " twice, wanted each block once");
    seen[at] = true;
  }
  require(!c.tied || c.classes == c.vocabulary, ErrorCode::invalid_argument, "tied model with ",
          c.classes, " classes, wanted as many as the vocabulary, ", c.vocabulary);
  require(c.norm == "rms" || c.norm == "layer", ErrorCode::invalid_argument, "model norm \"",
          c.norm, "\", wanted rms or layer");
  require(!c.norm_bias || c.norm == "layer", ErrorCode::invalid_argument,
          "model with norm_bias and norm rms, wanted norm layer");
  if (!c.forecasts()) return;
  c.patches.check();
  check_width("patch_hidden", c.patch_hidden, 0);
  require(c.vocabulary == c.patches.features() && c.classes == c.patches.outputs(),
          ErrorCode::invalid_argument, "forecaster with ", c.vocabulary, " inputs and ", c.classes,
          " outputs a token, its patches have ", c.patches.features(), " and ",
          c.patches.outputs());
  require(!c.tied && c.positions == 0 && c.logit_soft_cap == 0 && c.embedding_scale == 1,
          ErrorCode::invalid_argument,
          "forecaster with tied, positions, embedding_scale or logit_soft_cap: those are of models "
          "of token ids");
}

}  // namespace

Model::Model(const ModelConfig& config, ParameterPlan& plan) : config_(config) {
  check(config);
  const std::int64_t d = config.d_model;
  const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(d)));
  if (config.forecasts()) {
    declare_patches(plan);
  } else {
    embedding_ = plan.declare("embedding.weight", {config.vocabulary, d},
                              config.tied ? fan_in : Init::normal(1), false);
  }
  if (config.positions) {
    positions_ = plan.declare("positions.weight", {config.positions, d}, Init::normal(0.1), false);
  }
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    blocks_.push_back(declare_block(i, plan));
  }
  final_norm_ = declare_norm("final_norm", plan);
  if (config.forecasts()) return;
  head_ = config.tied ? embedding_ : plan.declare("head.weight", {config.classes, d}, fan_in, true);
}

void Model::declare_patches(ParameterPlan& plan) {
  const std::int64_t d = config_.d_model,
                     hidden = config_.patch_hidden > 0 ? config_.patch_hidden : 2 * d;
  std::string outer = plan.enter("embedding");
  patch_in_ = ResidualMlp(config_.vocabulary, hidden, d, plan);
  plan.leave(outer);
  outer = plan.enter("head");
  patch_out_ = ResidualMlp(d, hidden, config_.classes, plan);
  plan.leave(outer);
}

Model::Norm Model::declare_norm(const std::string& name, ParameterPlan& plan) const {
  const std::int64_t d = config_.d_model;
  Norm n;
  n.weight = plan.declare(name + ".weight", {d},
                          config_.norm_plus_one ? Init::zeros() : Init::ones(), false);
  if (config_.norm_bias) n.bias = plan.declare(name + ".bias", {d}, Init::zeros(), false);
  return n;
}

Model::Block Model::declare_block(std::size_t index, ParameterPlan& plan) const {
  Block b;
  b.name = "blocks." + std::to_string(index);
  const std::string outer = plan.enter(b.name);
  b.mixer_norm = declare_norm("mixer_norm", plan);
  const std::string block = plan.enter("mixer");
  const std::string& kind = config_.layers[index];
  const Json* options = config_.mixer_options.find(kind);
  b.mixer = make_mixer(
      kind,
      {.d_model = config_.d_model, .heads = config_.heads, .options = options ? *options : Json()},
      plan);
  plan.leave(block);
  declare_mlp(index, b, plan);
  plan.leave(outer);
  return b;
}

void Model::declare_mlp(std::size_t index, Block& b, ParameterPlan& plan) const {
  const bool experts = config_.has_experts(static_cast<std::int64_t>(index));
  const std::int64_t width =
      config_.mlp_widths.empty() ? config_.mlp_hidden : config_.mlp_widths[index];
  if (!experts && width == 0) return;
  b.mlp_norm = declare_norm("mlp_norm", plan);
  const std::string inner = plan.enter(experts ? "experts" : "mlp");
  if (experts) {
    b.experts = std::make_unique<Experts>(config_.experts, config_.d_model, plan);
  } else {
    b.mlp = std::make_unique<Mlp>(mlp_kind_named(config_.mlp), config_.d_model, width, plan);
  }
  plan.leave(inner);
}

Var Model::normed(Context& cx, const Var& x, const Norm& n) const {
  return norm(cx, x, n.weight, n.bias,
              {.eps = config_.norm_eps,
               .center = config_.norm == "layer",
               .plus_one = config_.norm_plus_one});
}

Var Model::embedded(Context& cx, const Tensor& ids, const Segments& segments,
                    std::int64_t first_position) const {
  Var h = embedding(cx, ids, embedding_);
  if (config_.embedding_scale != 1) h = scale(cx, h, config_.embedding_scale);
  if (!positions_) return h;
  const std::int64_t B = ids.shape()[0], T = ids.shape()[1];
  const Spans spans(segments, B, T);
  const Tensor at = Tensor::zeros({B, T}, DType::i32);
  for (std::int64_t b = 0; b < B; ++b) {
    for (const Span& span : spans.row(b)) {
      const std::int64_t start = span.reset ? 0 : first_position + span.begin;
      require(start + span.size() <= config_.positions, ErrorCode::invalid_argument, "position ",
              start + span.size() - 1, " of a model with ", config_.positions,
              " learned positions; wanted a shorter sequence");
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        at.data<std::int32_t>()[b * T + t] = static_cast<std::int32_t>(start + t - span.begin);
      }
    }
  }
  return add(cx, h, embedding(cx, at, positions_));
}

Var Model::embedded_patches(Context& cx, const Tensor& tokens) const {
  require(tokens.dtype() == DType::f32 && tokens.shape().rank == 3 &&
              tokens.shape()[2] == config_.vocabulary,
          ErrorCode::shape_mismatch, "tokens of shape ", tokens.shape(), " and type ",
          name_of(tokens.dtype()), ", wanted (B,T,", config_.vocabulary, ") of f32");
  if (cx.dtype() == DType::f32) return patch_in_.forward(cx, {tokens});
  const Tensor x = cx.empty(tokens.shape());
  with_scalar(cx.dtype(),
              [&]<class T>() { std::copy_n(tokens.data<float>(), tokens.numel(), x.data<T>()); });
  return patch_in_.forward(cx, {x});
}

Var Model::features(Context& cx, const Tensor& ids, const Segments& segments,
                    ModelState* state) const {
  require(!state || state->size() == blocks_.size(), ErrorCode::invalid_argument, "state of ",
          state ? state->size() : 0, " blocks for a model of ", blocks_.size());
  const auto plus = [&](const Var& h, const Var& update) {
    return add(cx, h,
               config_.residual_scale == 1 ? update : scale(cx, update, config_.residual_scale));
  };
  Var h = config_.forecasts()
              ? embedded_patches(cx, ids)
              : embedded(cx, ids, segments,
                         state ? state->front().positions() : segments.first_position);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& b = blocks_[i];
    const Scope scope(cx, b.name);
    {
      const Scope inner(cx, "mixer");
      h = plus(h, b.mixer->forward(cx, normed(cx, h, b.mixer_norm), segments,
                                   state ? &(*state)[i] : nullptr));
    }
    if (!b.mlp && !b.experts) continue;
    const Scope inner(cx, b.mlp ? "mlp" : "experts");
    const Var u = normed(cx, h, b.mlp_norm);
    h = plus(h, b.mlp ? b.mlp->forward(cx, u) : b.experts->forward(cx, u));
  }
  const Var out = normed(cx, h, final_norm_);
  return config_.logit_scale == 1 ? out : scale(cx, out, config_.logit_scale);
}

Var Model::logits(Context& cx, const Tensor& ids, const Segments& segments,
                  ModelState* state) const {
  return head(cx, features(cx, ids, segments, state));
}

Var Model::head(Context& cx, const Var& features) const {
  if (config_.forecasts()) return patch_out_.forward(cx, features);
  return soft_cap(cx, linear(cx, features, head_), config_.logit_soft_cap);
}

Var Model::last_logits(Context& cx, const Tensor& ids, ModelState& state) const {
  const Tensor f = features(cx, ids, {}, &state).value;
  const std::int64_t B = f.shape()[0], T = f.shape()[1], D = f.shape()[2];
  const Tensor last = cx.empty({B, 1, D});
  with_scalar(cx.dtype(), [&]<class S>() {
    for (std::int64_t b = 0; b < B; ++b)
      std::copy_n(f.data<S>() + (b * T + T - 1) * D, D, last.data<S>() + b * D);
  });
  return {head(cx, {last}).value.reshaped({B, config_.classes})};
}

Var Model::loss(Context& cx, const Tensor& ids, const Tensor& targets, const Segments& segments,
                std::int64_t mean_over) const {
  if (config_.forecasts())
    return pinball(cx, logits(cx, ids, segments, nullptr), targets, config_.patches.levels,
                   mean_over);
  require(ids.shape() == targets.shape(), ErrorCode::shape_mismatch, "inputs ", ids.shape(),
          " and targets ", targets.shape());
  return linear_cross_entropy(cx, features(cx, ids, segments, nullptr), head_, {}, targets,
                              {.soft_cap = config_.logit_soft_cap, .mean_over = mean_over});
}

ModelState Model::new_state(std::int64_t batch, DType dtype) const {
  ModelState state;
  for (const Block& b : blocks_) state.emplace_back(b.mixer->state_spec(), batch, dtype);
  return state;
}

std::int64_t Model::state_bytes(std::int64_t positions) const {
  std::int64_t bytes = 0;
  for (const Block& b : blocks_) bytes += subquad::state_bytes(b.mixer->state_spec(), positions);
  return bytes;
}

Cost Model::cost(std::int64_t tokens) const {
  Cost total;
  const auto T = static_cast<double>(tokens), d = static_cast<double>(config_.d_model);
  for (const Block& b : blocks_) {
    const Cost c = b.mixer->cost(tokens);
    const double mlp = T * (b.mlp ? b.mlp->macs() : b.experts ? b.experts->macs() : 0);
    total.macs += c.macs + mlp;
    total.executed_macs += c.executed_macs + mlp;
  }
  const double head = T * (config_.forecasts() ? patch_in_.macs() + patch_out_.macs()
                                               : d * static_cast<double>(config_.classes));
  total.macs += head;
  total.executed_macs += head;
  return total;
}

}  // namespace subquad
