// Forecasters of our own: config.json holds the model's description, the tensors are the parameters
// by name.
#include "subquad/pretrained/families/parts.h"

namespace subquad {
namespace {

Published describe(const PublishedConfig& c, const WeightFiles&) {
  const Json* model = c.find("model");
  c.check(model && model->is_object(), "model: wanted the description of a forecaster");
  Published p;
  p.config = ModelConfig::from_json(*model);
  c.check(p.config.forecasts(), "model: wanted a forecaster, one with patches");
  ParameterPlan plan;
  const Model declared(p.config, plan);
  for (const ParamInfo& info : plan.all())
    p.weights.push_back({info.name, {Piece::whole(info.name, info.shape)}});
  p.vocabulary = p.config.vocabulary;
  return p;
}

Json configuration(const ModelConfig& model) {
  require(model.forecasts(), ErrorCode::unsupported, "the layout has no models of token ids");
  Json j = Json::object();
  j["model_type"] = "subquad";
  j["format"] = 1;
  j["model"] = model.to_json();
  return j;
}

}  // namespace

const Family kSubquad = {
    "subquad", "forecasters that subquad trained",
    [](const PublishedConfig& c) { return c.word("model_type", "") == "subquad"; }, describe,
    configuration};

}  // namespace subquad
