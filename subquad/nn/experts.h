// A mixture of experts in place of a block's MLP: every position goes to the few experts that its
// scores choose.
//   score = softmax(x W_rᵀ), or sigmoid     chosen: the `active` largest of score + correction
//   y = scale sum_chosen w_e SwiGLU_e(x) + g SwiGLU_shared(x)
//   w_e = score_e, divided by the sum of the chosen ones if `normalise`;  g = 1 or sigmoid(x w_gᵀ)
// The correction only chooses and has no gradient.
// Limits: the experts of a batch run one after the other.
// Source: Shazeer et al. 2017 (arXiv 1701.06538); correction: Wang et al. 2024 (arXiv 2408.15664)
#pragma once

#include <vector>

#include "subquad/io/json.h"
#include "subquad/nn/mlp.h"

namespace subquad {

struct ExpertsConfig {
  std::int64_t count = 0, active = 1;          // count 0: no experts
  std::int64_t hidden = 0, shared_hidden = 0;  // of one expert; of the shared one, 0 = none
  bool shared_gate = false, normalise = true;
  bool sigmoid_scores = false, correction = false;
  double scale = 1;

  Json to_json() const;
  static ExpertsConfig from_json(const Json& json);  // unknown keys are errors
};

class Experts {
 public:
  // Declares router.weight (E,D), E.in.weight, E.out.weight, shared.* under the plan's prefix.
  Experts(const ExpertsConfig& config, std::int64_t d_model, ParameterPlan& plan);
  Var forward(Context& cx, const Var& x) const;  // x (...,D) -> (...,D)
  double macs() const;                           // multiply-adds of one position

 private:
  ExpertsConfig config_;
  std::int64_t d_model_;
  ParamId router_, correction_, shared_gate_;
  std::vector<Mlp> experts_, shared_;
};

}  // namespace subquad
