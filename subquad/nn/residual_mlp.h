// A feed-forward layer with a linear path beside it: y = W_o relu(W_h x + b_h) + b_o + W_r x + b_r.
// Source: the patch embeddings of Das et al. 2023 (TimesFM, arXiv 2310.10688).
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

class ResidualMlp {
 public:
  ResidualMlp() = default;
  // Declares hidden, output and residual, each with weight and bias, under the plan's prefix.
  ResidualMlp(std::int64_t ins, std::int64_t hidden, std::int64_t outs, ParameterPlan& plan);
  Var forward(Context& cx, const Var& x) const;  // x (...,ins) -> (...,outs)
  double macs() const { return macs_; }          // multiply-adds of one position

 private:
  struct Layer {
    ParamId weight, bias;
  };
  Layer hidden_, output_, residual_;
  double macs_ = 0;
};

}  // namespace subquad
