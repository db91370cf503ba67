#include "subquad/nn/mlp.h"

#include <cmath>

#include "subquad/autograd/ops.h"

namespace subquad {

MlpKind mlp_kind_named(const std::string& name) {
  if (name == "swiglu") return MlpKind::swiglu;
  if (name == "geglu") return MlpKind::geglu;
  require(name == "gelu_tanh", ErrorCode::invalid_argument, "mlp \"", name,
          "\", wanted swiglu, geglu or gelu_tanh");
  return MlpKind::gelu_tanh;
}

Mlp::Mlp(MlpKind kind, std::int64_t d_model, std::int64_t hidden, ParameterPlan& plan)
    : kind_(kind) {
  const bool gated = kind != MlpKind::gelu_tanh;
  const std::int64_t wide = (gated ? 2 : 1) * hidden;  // rows gate | up
  in_ = plan.declare("in.weight", {wide, d_model},
                     Init::normal(1 / std::sqrt(static_cast<double>(d_model))), true);
  out_ = plan.declare("out.weight", {d_model, hidden},
                      Init::normal(1 / std::sqrt(static_cast<double>(hidden))), true);
  if (!gated) {
    in_bias_ = plan.declare("in.bias", {wide}, Init::zeros(), false);
    out_bias_ = plan.declare("out.bias", {d_model}, Init::zeros(), false);
  }
  macs_ = static_cast<double>(wide + hidden) * static_cast<double>(d_model);
}

Var Mlp::forward(Context& cx, const Var& x) const {
  const Var wide = linear(cx, x, in_, in_bias_);
  Var inner;
  switch (kind_) {
    case MlpKind::swiglu: inner = gated_halves(cx, Unary::silu, wide); break;
    case MlpKind::geglu: inner = gated_halves(cx, Unary::gelu, wide); break;
    case MlpKind::gelu_tanh: inner = unary(cx, Unary::gelu_tanh, wide); break;
  }
  return linear(cx, inner, out_, out_bias_);
}

}  // namespace subquad
