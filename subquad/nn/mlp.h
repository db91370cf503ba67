// The feed-forward layer of a block.
//   swiglu     W_out (silu(a) * b)            [a | b] = W_in x
//   geglu      W_out (gelu(a) * b), erf form  the same
//   gelu_tanh  W_out gelu(W_in x + b_in) + b_out, the tanh form (GPT-2)
#pragma once

#include <string>

#include "subquad/autograd/tape.h"

namespace subquad {

enum class MlpKind : std::uint8_t { swiglu, geglu, gelu_tanh };
MlpKind mlp_kind_named(const std::string& name);

class Mlp {
 public:
  Mlp() = default;
  // Declares in.weight, out.weight and with gelu_tanh their biases under the plan's prefix.
  Mlp(MlpKind kind, std::int64_t d_model, std::int64_t hidden, ParameterPlan& plan);
  Var forward(Context& cx, const Var& x) const;  // x (...,D) -> (...,D)
  double macs() const { return macs_; }          // multiply-adds of one position

 private:
  MlpKind kind_ = MlpKind::swiglu;
  ParamId in_, out_, in_bias_, out_bias_;
  double macs_ = 0;
};

}  // namespace subquad
