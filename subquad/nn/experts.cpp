#include "subquad/nn/experts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/autograd/ops.h"

namespace subquad {

Json ExpertsConfig::to_json() const {
  Json j = Json::object();
  j["count"] = count;
  j["active"] = active;
  j["hidden"] = hidden;
  j["shared_hidden"] = shared_hidden;
  j["shared_gate"] = shared_gate;
  j["normalise"] = normalise;
  j["sigmoid_scores"] = sigmoid_scores;
  j["correction"] = correction;
  j["scale"] = scale;
  return j;
}

ExpertsConfig ExpertsConfig::from_json(const Json& json) {
  const Json known = ExpertsConfig{}.to_json();
  for (const auto& [key, value] : json.as_object()) {
    require(known.contains(key), ErrorCode::invalid_argument, "experts have no key \"", key, "\"");
  }
  ExpertsConfig c;
  c.count = json.at("count").as_int();
  c.active = json.at("active").as_int();
  c.hidden = json.at("hidden").as_int();
  c.shared_hidden = json.get("shared_hidden", c.shared_hidden);
  c.shared_gate = json.get("shared_gate", c.shared_gate);
  c.normalise = json.get("normalise", c.normalise);
  c.sigmoid_scores = json.get("sigmoid_scores", c.sigmoid_scores);
  c.correction = json.get("correction", c.correction);
  c.scale = json.get("scale", c.scale);
  return c;
}

Experts::Experts(const ExpertsConfig& config, std::int64_t d_model, ParameterPlan& plan)
    : config_(config), d_model_(d_model) {
  constexpr std::int64_t kMost = 65536, kWidest = 1 << 24;
  require(config.count >= 1 && config.count <= kMost && config.active >= 1 &&
              config.active <= config.count && config.hidden >= 1 && config.hidden <= kWidest &&
              config.shared_hidden >= 0 && config.shared_hidden <= kWidest,
          ErrorCode::invalid_argument, "experts: count ", config.count, ", active ", config.active,
          ", hidden ", config.hidden, ", shared_hidden ", config.shared_hidden, ", wanted 1 to ",
          kMost, " of which 1 to all are active, and widths to ", kWidest);
  const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(d_model)));
  router_ = plan.declare("router.weight", {config.count, d_model}, fan_in, true);
  plan.keep_exact(router_, 0, config.count);
  if (config.correction)
    correction_ = plan.declare("router.correction", {config.count}, Init::zeros(), false);
  const auto expert = [&](const std::string& name, std::int64_t hidden) {
    const std::string outer = plan.enter(name);
    Mlp mlp(MlpKind::swiglu, d_model, hidden, plan);
    plan.leave(outer);
    return mlp;
  };
  for (std::int64_t e = 0; e < config.count; ++e)
    experts_.push_back(expert(std::to_string(e), config.hidden));
  if (!config.shared_hidden) return;
  shared_.push_back(expert("shared", config.shared_hidden));
  if (!config.shared_gate) return;
  shared_gate_ = plan.declare("shared_gate.weight", {1, d_model}, fan_in, true);
  plan.keep_exact(shared_gate_, 0, 1);
}

Var Experts::forward(Context& cx, const Var& x) const {
  const std::int64_t N = x.shape().rows(), k = config_.active;
  const Var flat = reshape(cx, x, {N, d_model_});
  // While decoding, rows stay single positions for linear(): a row's bits do not depend on how many
  // others go to the same expert (law L3).
  const bool decoding = x.shape().rank >= 2 && x.shape()[-2] == 1;
  const auto each = [&](const Var& rows, auto&& layer) {  // (n,D) -> (n,width)
    if (!decoding) return layer(rows);
    const std::int64_t n = rows.shape()[0];
    const Var y = layer(reshape(cx, rows, {n, 1, d_model_}));
    return reshape(cx, y, {n, y.shape()[-1]});
  };
  const auto product = [&](ParamId w) {
    return each(flat, [&](const Var& rows) { return linear(cx, rows, w); });
  };
  const auto through = [&](const Mlp& mlp, const Var& rows) {
    return each(rows, [&](const Var& r) { return mlp.forward(cx, r); });
  };
  const Routing routing = route(cx, product(router_), correction_,
                                {.active = k,
                                 .sigmoid = config_.sigmoid_scores,
                                 .normalise = config_.normalise,
                                 .scale = config_.scale});
  std::vector<std::vector<std::int64_t>> entries(experts_.size());
  for (std::size_t i = 0; i < routing.expert.size(); ++i)
    entries[static_cast<std::size_t>(routing.expert[i])].push_back(static_cast<std::int64_t>(i));
  std::vector<WeightedRows> parts;
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    if (entries[e].empty()) continue;
    std::vector<std::int64_t> rows;
    for (const std::int64_t entry : entries[e]) rows.push_back(entry / k);
    const Var y = through(experts_[e], take_rows(cx, flat, std::move(rows)));
    parts.push_back({y, std::move(entries[e])});
  }
  Var y = combine_rows(cx, routing.weights, std::move(parts), d_model_);
  if (!shared_.empty()) {
    Var shared = through(shared_[0], flat);
    if (shared_gate_) {  // one number a row: a mixture of one
      std::vector<std::int64_t> all(static_cast<std::size_t>(N));
      std::iota(all.begin(), all.end(), std::int64_t{0});
      const Var gate = unary(cx, Unary::sigmoid, product(shared_gate_));
      shared = combine_rows(cx, gate, {{shared, std::move(all)}}, d_model_);
    }
    y = add(cx, y, shared);
  }
  return reshape(cx, y, x.shape());
}

double Experts::macs() const {
  const auto d = static_cast<double>(d_model_);
  double macs = d * static_cast<double>(config_.count + (config_.shared_gate ? 1 : 0)) +
                experts_[0].macs() * static_cast<double>(config_.active);
  if (!shared_.empty()) macs += shared_[0].macs();
  return macs;
}

}  // namespace subquad
