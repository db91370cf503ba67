#include "subquad/mixer/mlstm/mlstm.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/linear_core.h"
#include "subquad/mixer/common/option_reader.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, dk, dv, conv;
  bool conv_silu, output_silu, sigmoid_input, center;
  double soft_cap, norm_eps;
  LinearCoreOptions core;

  Config(const MixerSetup& setup) : d_model(setup.d_model), heads(setup.heads) {
    OptionReader r(setup.options, "mlstm");
    const double qk_factor = r.number("qk_factor", 1, 1e-3, 64),
                 v_factor = r.number("v_factor", 1, 1e-3, 64);
    dk = exact_division(exact_product(qk_factor, d_model, "mlstm qk_factor"), heads,
                        "mlstm query width");
    dv = exact_division(exact_product(v_factor, d_model, "mlstm v_factor"), heads,
                        "mlstm value width");
    conv = r.get("conv", std::int64_t{4});
    conv_silu = r.get("conv_silu", false);
    soft_cap = r.number("gate_soft_cap", 0, 0, 1e6);
    norm_eps = r.number("norm_eps", 1e-6, 0, 1);
    center = r.get("norm_center", true);
    output_silu = r.choice("output_gate", "sigmoid", {"sigmoid", "silu"}) == "silu";
    sigmoid_input = r.get("sigmoid_input", false);
    core.exponential_input = !sigmoid_input;
    core.normalizer = r.get("normalizer", true);
    core.erase = r.get("erase", false);
    core.eps = r.number("eps", 1e-6, 0, 1);
    core.scale = 1 / std::sqrt(static_cast<double>(dk));
    r.finish();
    require(conv >= 0 && conv <= 64, ErrorCode::invalid_argument, "mlstm conv width ", conv,
            ", wanted 0 to 64");
  }
};

class Mlstm final : public Mixer {
 public:
  Mlstm(const MixerSetup& setup, ParameterPlan& plan) : c_(setup) {
    const std::int64_t d = c_.d_model, H = c_.heads, values = H * c_.dv;
    widths_ = {2 * H * c_.dk, values, 2 * H, values};  // q k | v | i f | o
    const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(d)));
    in_ = plan.declare("in_proj.weight", {widths_[0] + widths_[1] + widths_[2] + widths_[3], d},
                       fan_in, true);
    i_bias_ = plan.declare("gate_i.bias", {H}, Init::normal(0.1), false);
    f_bias_ = plan.declare("gate_f.bias", {H}, Init::linspace(3, 6), false);
    if (c_.conv) {
      const double bound = 1 / std::sqrt(static_cast<double>(c_.conv));
      conv_ =
          plan.declare("conv.weight", {widths_[0], c_.conv}, Init::uniform(-bound, bound), true);
      conv_bias_ = plan.declare("conv.bias", {widths_[0]}, Init::zeros(), false);
    }
    norm_ = plan.declare("norm.weight", {values}, Init::ones(), false);
    out_ = plan.declare("out_proj.weight", {d, values},
                        Init::normal(1 / std::sqrt(static_cast<double>(values))), true);
  }

  StateSpec state_spec() const override {
    StateSpec spec = {{"S", {c_.heads, c_.dk, c_.dv}}};
    if (c_.core.normalizer) spec.push_back({"n", {c_.heads, c_.dk}});
    if (c_.core.exponential_input) spec.push_back({"m", {c_.heads}});
    if (c_.conv > 1) spec.push_back({"conv", {c_.conv - 1, widths_[0]}});
    return spec;
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], H = c_.heads;
    const Spans spans(segments, B, T);
    const auto in = split_last(cx, linear(cx, x, in_), widths_);
    const Var qk = c_.conv ? short_conv(cx, in[0], conv_, conv_bias_, c_.conv_silu, spans,
                                        state && c_.conv > 1 ? &(*state)["conv"] : nullptr)
                           : in[0];
    const auto q_k = split_last(cx, qk, std::vector<std::int64_t>{H * c_.dk, H * c_.dk});
    const auto gates = split_last(cx, in[2], std::vector<std::int64_t>{H, H});
    const Var gate_i = soft_cap(cx, add_bias(cx, gates[0], i_bias_), c_.soft_cap);
    const Var gate_f = soft_cap(cx, add_bias(cx, gates[1], f_bias_), c_.soft_cap);
    LinearCoreState memory;
    if (state) {
      memory.S = (*state)["S"];
      if (c_.core.normalizer) memory.n = (*state)["n"];
      if (c_.core.exponential_input) memory.m = (*state)["m"];
    }
    const Var h =
        linear_core(cx,
                    {.q = reshape(cx, q_k[0], {B, T, H, c_.dk}),
                     .k = reshape(cx, q_k[1], {B, T, H, c_.dk}),
                     .v = reshape(cx, in[1], {B, T, H, c_.dv}),
                     .decay = unary(cx, Unary::log_sigmoid, gate_f),
                     .write = c_.sigmoid_input ? unary(cx, Unary::sigmoid, gate_i) : gate_i},
                    spans, c_.core, state ? &memory : nullptr);
    if (state) {
      (*state)["S"] = memory.S;
      if (c_.core.normalizer) (*state)["n"] = memory.n;
      if (c_.core.exponential_input) (*state)["m"] = memory.m;
      state->advance(T);
    }
    const Var normed = norm(cx, h, norm_, {}, {.eps = c_.norm_eps, .center = c_.center});
    const Var flat = reshape(cx, normed, {B, T, H * c_.dv});
    return linear(cx, gated(cx, c_.output_silu ? Unary::silu : Unary::sigmoid, in[3], flat), out_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), T = static_cast<double>(tokens),
               H = static_cast<double>(c_.heads);
    const double projections =
        d * static_cast<double>(widths_[0] + widths_[1] + widths_[2] + widths_[3] + widths_[1]);
    const double conv = static_cast<double>(c_.conv * widths_[0]);
    return {.macs = T * (projections + conv + H * linear_core_macs(c_.core, c_.dk, c_.dv)),
            .executed_macs = T * (projections + conv) +
                             H * linear_core_executed_macs(c_.core, tokens, c_.dk, c_.dv, 1)};
  }

 private:
  Config c_;
  std::vector<std::int64_t> widths_;
  ParamId in_, i_bias_, f_bias_, conv_, conv_bias_, norm_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_mlstm(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Mlstm>(setup, plan);
}

}  // namespace subquad
