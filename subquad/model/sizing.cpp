#include "subquad/model/sizing.h"

#include <algorithm>
#include <cmath>

namespace subquad {
namespace {

ModelConfig config_of(const std::string& arm, const SizingRequest& r, std::int64_t mlp_hidden) {
  ModelConfig c;
  c.vocabulary = r.vocabulary;
  c.classes = r.classes;
  c.d_model = r.d_model;
  c.heads = r.heads;
  c.layers = arm_layers(arm, r.blocks);
  c.mlp_hidden = mlp_hidden;
  c.mixer_options = r.mixer_options;
  if (r.recipe == "uniform") {
    for (const char* kind :
         {"mlstm", "slstm", "mamba2", "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"}) {
      if (!c.mixer_options[kind].contains("conv")) c.mixer_options[kind]["conv"] = 4;
    }
  }
  return c;
}

SizedArm measure(const std::string& arm, const ModelConfig& config, const SizingRequest& r) {
  ParameterPlan plan;
  const Model model(config, plan);
  SizedArm s{arm, config, plan.parameter_count(), 0, {}};
  s.training_macs_per_token =
      3 * model.cost(r.train_length).macs / static_cast<double>(r.train_length);
  for (std::int64_t depth : kDepths) s.state_bytes.push_back(model.state_bytes(depth));
  return s;
}

// The quantity to be matched; more MLP never makes it smaller.
double quantity(const SizedArm& s, const SizingRequest& r) {
  switch (r.match) {
    case Match::parameters: return static_cast<double>(s.parameters);
    case Match::flops: return s.training_macs_per_token;
    case Match::time:
      require(r.seconds_per_token != nullptr, ErrorCode::invalid_argument,
              "match = \"time\" needs a measurement of the arms' speed");
      return r.seconds_per_token(s.config);
    case Match::state: return static_cast<double>(s.state_bytes[1]);
  }
  return 0;
}

}  // namespace

Match match_from(const std::string& name) {
  const std::vector<std::string> names = {"parameters", "flops", "time", "state"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Match>(i);
  }
  const std::string near = nearest_key(name, names);
  fail(ErrorCode::invalid_argument, "match = \"", name,
       "\", wanted parameters, flops, time or state",
       near.empty() ? "" : "; did you mean \"" + near + "\"?");
}

std::vector<SizedArm> size_arms(const std::vector<std::string>& arms,
                                const SizingRequest& request) {
  SizingRequest r = request;
  std::vector<SizedArm> sized;
  if (r.match == Match::state) {
    // State size follows from heads and head sizes alone; the MLP width is then solved for
    // parameters, and the report shows how far the states are apart.
    r.match = Match::parameters;
  }
  double target = static_cast<double>(r.parameters);
  if (r.parameters == 0 || r.match != Match::parameters) {
    target = 0;
    for (const std::string& arm : arms) {
      target = std::max(target, quantity(measure(arm, config_of(arm, r, r.d_model), r), r));
    }
  }
  for (const std::string& arm : arms) {
    std::int64_t lo = 2, hi = 64 * r.d_model;
    while (hi - lo >
           2) {  // smallest width that reaches the target; the quantity grows with the width
      const std::int64_t middle = (lo + hi) / 4 * 2;
      (quantity(measure(arm, config_of(arm, r, middle), r), r) >= target ? hi : lo) = middle;
    }
    SizedArm low = measure(arm, config_of(arm, r, lo), r),
             high = measure(arm, config_of(arm, r, hi), r);
    const bool take_low =
        std::abs(quantity(low, r) - target) <= std::abs(quantity(high, r) - target);
    sized.push_back(take_low ? low : high);
    const double off = std::abs(quantity(sized.back(), r) - target) / target;
    require(off <= 0.01 || r.match == Match::time, ErrorCode::invalid_argument, "arm ", arm,
            " cannot be matched: nearest is ", quantity(sized.back(), r), ", target ", target, " (",
            100 * off, " % off, wanted at most 1 %); choose a larger parameter budget");
  }
  return sized;
}

}  // namespace subquad
