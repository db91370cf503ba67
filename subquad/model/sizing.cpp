#include "subquad/model/sizing.h"

#include <algorithm>
#include <cmath>

#include "subquad/model/sizing_parts.h"

namespace subquad {
namespace sizing {

ModelConfig config_of(const Draft& draft, const SizingRequest& r, std::int64_t mlp_hidden) {
  ModelConfig c;
  c.vocabulary = r.vocabulary;
  c.classes = r.classes;
  c.d_model = r.d_model;
  c.heads = r.heads;
  c.layers = draft.layers;
  c.mlp_hidden = mlp_hidden;
  c.mixer_options = draft.options;
  c.patches = r.patches;
  return c;
}

SizedArm measure(const Draft& draft, const SizingRequest& r, std::int64_t mlp_hidden) {
  ParameterPlan plan;
  SizedArm s;
  s.arm = draft.arm;
  s.config = config_of(draft, r, mlp_hidden);
  s.note = draft.note;
  const Model model(s.config, plan);
  s.parameters = plan.parameter_count();
  s.training_macs_per_token =
      3 * model.cost(r.train_length).macs / static_cast<double>(r.train_length);
  for (std::int64_t depth : kDepths) s.state_bytes.push_back(model.state_bytes(depth));
  return s;
}

namespace {

Draft draft_of(const std::string& arm, const SizingRequest& r) {
  Draft d{arm, arm_layers(arm, r.blocks), r.mixer_options};
  if (r.recipe != "uniform") return d;
  for (const char* kind :
       {"mlstm", "slstm", "mamba2", "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"}) {
    if (!d.options[kind].contains("conv")) d.options[kind]["conv"] = 4;
  }
  return d;
}

std::vector<Draft> drafts_of(const std::vector<std::string>& arms, const SizingRequest& r) {
  std::vector<Draft> drafts;
  for (const std::string& arm : arms) drafts.push_back(draft_of(arm, r));
  if (r.match == Match::state) match_states(drafts, r);
  return drafts;
}

// What the MLP width is solved for; more MLP never makes it smaller.
double quantity(const SizedArm& s, const SizingRequest& r) {
  return r.match == Match::flops ? s.training_macs_per_token : static_cast<double>(s.parameters);
}

SizedArm solve_width(const Draft& draft, const SizingRequest& r, double target) {
  std::int64_t lo = 2, hi = 64 * r.d_model;
  while (hi - lo > 2) {  // smallest width that reaches the target
    const std::int64_t middle = (lo + hi) / 4 * 2;
    (quantity(measure(draft, r, middle), r) >= target ? hi : lo) = middle;
  }
  const SizedArm low = measure(draft, r, lo), high = measure(draft, r, hi);
  const double below = std::abs(quantity(low, r) - target),
               above = std::abs(quantity(high, r) - target);
  const SizedArm& best = below <= above ? low : high;
  const double off = std::min(below, above) / target;
  require(off <= 0.01, ErrorCode::invalid_argument, "arm ", draft.arm,
          " cannot be matched: nearest is ", quantity(best, r), ", target ", target, " (",
          100 * off, " % off, wanted at most 1 %); choose a larger parameter budget");
  return best;
}

// The request with the first width, from its own on, at which every arm reaches the parameters with
// an MLP of at most 4 d_model.
SizingRequest widened(const std::vector<std::string>& arms, SizingRequest r) {
  constexpr std::int64_t kMlpFactor = 4, kLargest = 1 << 16;
  const auto all_reach = [&] {
    const std::vector<Draft> drafts = drafts_of(arms, r);
    return std::all_of(drafts.begin(), drafts.end(), [&](const Draft& d) {
      return measure(d, r, kMlpFactor * r.d_model).parameters >= r.parameters;
    });
  };
  while (!all_reach()) {
    const std::int64_t step = 16 * r.heads;
    r.d_model = (r.d_model / step + 1) * step;
    require(r.d_model <= kLargest, ErrorCode::invalid_argument, r.parameters,
            " parameters need a model wider than ", kLargest, "; give more blocks");
  }
  return r;
}

}  // namespace
}  // namespace sizing

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
  using namespace sizing;
  const bool given = request.parameters > 0 &&
                     (request.match == Match::parameters || request.match == Match::state);
  const SizingRequest r = given ? widened(arms, request) : request;
  const std::vector<Draft> drafts = drafts_of(arms, r);
  if (r.match == Match::time) return match_times(drafts, r);
  double target = given ? static_cast<double>(r.parameters) : 0;
  for (const Draft& d : drafts) {
    if (!given) target = std::max(target, quantity(measure(d, r, r.d_model), r));
  }
  std::vector<SizedArm> sized;
  for (const Draft& d : drafts) sized.push_back(solve_width(d, r, target));
  return sized;
}

}  // namespace subquad
