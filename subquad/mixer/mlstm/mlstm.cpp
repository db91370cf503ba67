#include "subquad/mixer/mlstm/mlstm.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/linear_switches.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, dk, dv, conv;
  bool conv_silu, output_silu, center;
  double soft_cap, norm_eps;
  LinearSwitches switches;

  Config(const MixerSetup& setup) : d_model(setup.d_model) {
    OptionReader r(setup.options, "mlstm");
    heads = r.get("heads", setup.heads);
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
    switches = read_linear_switches(r, {.core = {.exponential_input = true,
                                                 .normalizer = true,
                                                 .scale = 1 / std::sqrt(static_cast<double>(dk)),
                                                 .eps = r.number("eps", 1e-6, 0, 1)}});
    r.finish();
    require(switches.decay || !switches.tied_gates, ErrorCode::invalid_argument,
            "mlstm: got tied_gates without decay, wanted decay (the input gate is 1 - f)");
    require(conv >= 0 && conv <= 64, ErrorCode::invalid_argument, "mlstm conv width ", conv,
            ", wanted 0 to 64");
  }
};

class Mlstm final : public Mixer {
 public:
  Mlstm(const MixerSetup& setup, ParameterPlan& plan) : c_(setup) {
    const std::int64_t d = c_.d_model, H = c_.heads, values = H * c_.dv;
    channels_ = 2 * H * c_.dk;
    // q k | v | i | f | o; a tied or absent gate has no rows of its own
    parts_ = {{channels_},
              {values},
              {c_.switches.tied_gates ? 0 : H},
              {c_.switches.decay ? H : 0},
              {values}};
    const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(d)));
    for (const ProjectionPart& part : parts_) rows_ += part.width;
    in_ = plan.declare("in_proj.weight", {rows_, d}, fan_in, true);
    plan.keep_exact(in_, channels_ + values, parts_[2].width + parts_[3].width);
    if (parts_[2].width) {
      parts_[2].bias = plan.declare("gate_i.bias", {H}, Init::normal(0.1), false);
    }
    if (parts_[3].width) {
      parts_[3].bias = plan.declare("gate_f.bias", {H}, Init::linspace(3, 6), false);
    }
    if (c_.conv) {
      const double bound = 1 / std::sqrt(static_cast<double>(c_.conv));
      conv_ = plan.declare("conv.weight", {channels_, c_.conv}, Init::uniform(-bound, bound), true);
      conv_bias_ = plan.declare("conv.bias", {channels_}, Init::zeros(), false);
    }
    norm_ = plan.declare("norm.weight", {values}, Init::ones(), false);
    out_ = plan.declare("out_proj.weight", {d, values},
                        Init::normal(1 / std::sqrt(static_cast<double>(values))), true);
  }

  StateSpec state_spec() const override {
    StateSpec spec;
    add_linear_memory(spec, c_.switches.core, c_.heads, c_.dk, c_.dv);
    if (c_.conv > 1) spec.push_back({"conv", {c_.conv - 1, channels_}});
    return spec;
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], H = c_.heads;
    const Spans spans(segments, B, T);
    const auto in = linear_split(cx, x, in_, parts_);
    const std::vector<std::int64_t> halves = {H * c_.dk, H * c_.dk};
    const auto q_k =
        c_.conv ? short_conv_split(cx, in[0], conv_, conv_bias_, c_.conv_silu, spans,
                                   state && c_.conv > 1 ? &(*state)["conv"] : nullptr, halves)
                : split_last(cx, in[0], halves);
    const Var gate_f = parts_[3].width ? soft_cap(cx, in[3], c_.soft_cap) : Var{};
    // Tied: i = 1 - f = sigmoid(-gate_f).
    const Var gate_i =
        c_.switches.tied_gates ? scale(cx, gate_f, -1) : soft_cap(cx, in[2], c_.soft_cap);
    const bool exponential = c_.switches.core.exponential_input;
    const Var write = !exponential             ? unary(cx, Unary::sigmoid, gate_i)
                      : c_.switches.tied_gates ? unary(cx, Unary::log_sigmoid, gate_i)
                                               : gate_i;
    const Var q = reshape(cx, q_k[0], {B, T, H, c_.dk}), k = reshape(cx, q_k[1], {B, T, H, c_.dk});
    const bool unit = c_.switches.core.erase;  // the delta rule needs unit keys
    const Var h = linear_core(cx,
                              {.q = unit ? l2_norm(cx, q, 1e-6) : q,
                               .k = unit ? l2_norm(cx, k, 1e-6) : k,
                               .v = reshape(cx, in[1], {B, T, H, c_.dv}),
                               .decay = c_.switches.decay ? unary(cx, Unary::log_sigmoid, gate_f)
                                                          : Var{cx.zeros({B, T, H})},
                               .write = write},
                              spans, c_.switches.core, state);
    const Var normed = norm(cx, h, norm_, {}, {.eps = c_.norm_eps, .center = c_.center});
    const Var flat = reshape(cx, normed, {B, T, H * c_.dv});
    return linear(cx, gated(cx, c_.output_silu ? Unary::silu : Unary::sigmoid, in[4], flat), out_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), T = static_cast<double>(tokens),
               H = static_cast<double>(c_.heads);
    const double projections = d * static_cast<double>(rows_ + parts_[1].width);
    const double conv = static_cast<double>(c_.conv * channels_);
    return {
        .macs = T * (projections + conv + H * linear_core_macs(c_.switches.core, c_.dk, c_.dv)),
        .executed_macs = T * (projections + conv) +
                         H * linear_core_executed_macs(c_.switches.core, tokens, c_.dk, c_.dv, 1)};
  }

 private:
  Config c_;
  std::vector<ProjectionPart> parts_;
  std::int64_t channels_ = 0, rows_ = 0;
  ParamId in_, conv_, conv_bias_, norm_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_mlstm(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Mlstm>(setup, plan);
}

}  // namespace subquad
