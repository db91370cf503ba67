#include "subquad/nn/residual_mlp.h"

#include <cmath>

#include "subquad/autograd/ops.h"

namespace subquad {

ResidualMlp::ResidualMlp(std::int64_t ins, std::int64_t hidden, std::int64_t outs,
                         ParameterPlan& plan)
    : macs_(static_cast<double>(hidden * (ins + outs) + ins * outs)) {
  const auto declare = [&](const std::string& name, std::int64_t to, std::int64_t from) {
    const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(from)));
    return Layer{plan.declare(name + ".weight", {to, from}, fan_in, true),
                 plan.declare(name + ".bias", {to}, Init::zeros(), false)};
  };
  hidden_ = declare("hidden", hidden, ins);
  output_ = declare("output", outs, hidden);
  residual_ = declare("residual", outs, ins);
}

Var ResidualMlp::forward(Context& cx, const Var& x) const {
  const Var h = unary(cx, Unary::relu, linear(cx, x, hidden_.weight, hidden_.bias));
  return add(cx, linear(cx, h, output_.weight, output_.bias),
             linear(cx, x, residual_.weight, residual_.bias));
}

}  // namespace subquad
