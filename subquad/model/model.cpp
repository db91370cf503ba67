#include "subquad/model/model.h"

#include <cmath>

#include "subquad/autograd/ops.h"

namespace subquad {

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
  return j;
}

ModelConfig ModelConfig::from_json(const Json& json) {
  const std::vector<std::string> known = {"vocabulary", "classes",       "d_model",
                                          "heads",      "mlp_hidden",    "layers",
                                          "tied",       "mixer_options", "norm_eps"};
  for (const auto& [key, value] : json.as_object()) {
    require(std::find(known.begin(), known.end(), key) != known.end(), ErrorCode::invalid_argument,
            "unknown model key \"", key, "\"; did you mean \"", nearest_key(key, known), "\"?");
  }
  ModelConfig c;
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

Model::Model(const ModelConfig& config, ParameterPlan& plan) : config_(config) {
  constexpr std::int64_t kLargest = 1 << 24;
  for (const auto& [name, value] : {std::pair{"vocabulary", config.vocabulary},
                                    {"classes", config.classes},
                                    {"d_model", config.d_model},
                                    {"heads", config.heads}}) {
    require(value >= 1 && value <= kLargest, ErrorCode::invalid_argument, "model ", name, " ",
            value, ", wanted 1 to ", kLargest);
  }
  require(config.mlp_hidden >= 0 && config.mlp_hidden <= kLargest, ErrorCode::invalid_argument,
          "model mlp_hidden ", config.mlp_hidden, ", wanted 0 (no MLP) to ", kLargest);
  require(!config.layers.empty() && config.layers.size() <= 4096, ErrorCode::invalid_argument,
          "model has ", config.layers.size(), " layers, wanted 1 to 4096");
  const std::int64_t d = config.d_model, F = config.mlp_hidden;
  const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(d)));
  require(!config.tied || config.classes == config.vocabulary, ErrorCode::invalid_argument,
          "tied model with ", config.classes, " classes, wanted as many as the vocabulary, ",
          config.vocabulary);
  embedding_ = plan.declare("embedding.weight", {config.vocabulary, d},
                            config.tied ? fan_in : Init::normal(1), false);
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    Block b;
    b.name = "blocks." + std::to_string(i);
    const std::string outer = plan.enter(b.name);
    b.mixer_norm = plan.declare("mixer_norm.weight", {d}, Init::ones(), false);
    const std::string block = plan.enter("mixer");
    const Json* options = config.mixer_options.find(config.layers[i]);
    b.mixer = make_mixer(
        config.layers[i],
        {.d_model = d, .heads = config.heads, .options = options ? *options : Json()}, plan);
    plan.leave(block);
    if (F > 0) {
      b.mlp_norm = plan.declare("mlp_norm.weight", {d}, Init::ones(), false);
      b.mlp_in = plan.declare("mlp.in.weight", {2 * F, d}, fan_in, true);  // rows gate | up
      b.mlp_out = plan.declare("mlp.out.weight", {d, F},
                               Init::normal(1 / std::sqrt(static_cast<double>(F))), true);
    }
    plan.leave(outer);
    blocks_.push_back(std::move(b));
  }
  final_norm_ = plan.declare("final_norm.weight", {d}, Init::ones(), false);
  head_ = config.tied ? embedding_ : plan.declare("head.weight", {config.classes, d}, fan_in, true);
}

Var Model::features(Context& cx, const Tensor& ids, const Segments& segments,
                    ModelState* state) const {
  require(!state || state->size() == blocks_.size(), ErrorCode::invalid_argument, "state of ",
          state ? state->size() : 0, " blocks for a model of ", blocks_.size());
  const NormOptions norm_options{.eps = config_.norm_eps};
  Var h = embedding(cx, ids, embedding_);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& b = blocks_[i];
    const Scope scope(cx, b.name);
    {
      const Scope inner(cx, "mixer");
      const Var mixed = b.mixer->forward(cx, norm(cx, h, b.mixer_norm, {}, norm_options), segments,
                                         state ? &(*state)[i] : nullptr);
      h = add(cx, h, mixed);
    }
    if (!b.mlp_norm) continue;
    const Scope inner(cx, "mlp");
    const Var wide = linear(cx, norm(cx, h, b.mlp_norm, {}, norm_options), b.mlp_in);
    h = add(cx, h, linear(cx, gated_halves(cx, Unary::silu, wide), b.mlp_out));
  }
  return norm(cx, h, final_norm_, {}, norm_options);
}

Var Model::logits(Context& cx, const Tensor& ids, const Segments& segments,
                  ModelState* state) const {
  return head(cx, features(cx, ids, segments, state));
}

Var Model::head(Context& cx, const Var& features) const { return linear(cx, features, head_); }

Var Model::loss(Context& cx, const Tensor& ids, const Tensor& targets, const Segments& segments,
                std::int64_t mean_over) const {
  require(ids.shape() == targets.shape(), ErrorCode::shape_mismatch, "inputs ", ids.shape(),
          " and targets ", targets.shape());
  return linear_cross_entropy(cx, features(cx, ids, segments, nullptr), head_, {}, targets,
                              {.mean_over = mean_over});
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
    const double mlp = 3 * d * static_cast<double>(config_.mlp_hidden) * T;
    total.macs += c.macs + mlp;
    total.executed_macs += c.executed_macs + mlp;
  }
  const double head = d * static_cast<double>(config_.classes) * T;
  total.macs += head;
  total.executed_macs += head;
  return total;
}

}  // namespace subquad
