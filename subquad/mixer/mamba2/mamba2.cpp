#include "subquad/mixer/mamba2/mamba2.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/linear_switches.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, inner, heads, head_dim, N, groups, conv;
  bool bias, conv_bias;
  double dt_low, dt_high, norm_eps;
  LinearSwitches switches;

  Config(const MixerSetup& setup, bool negative) : d_model(setup.d_model) {
    OptionReader r(setup.options, negative ? "mamba2[-1,1]" : "mamba2");
    require(setup.heads >= 1, ErrorCode::invalid_argument, "mamba2: ", setup.heads, " heads");
    const auto expand = r.get("expand", std::int64_t{2});
    inner = expand * d_model;
    head_dim = r.get("head_dim", std::int64_t{inner / setup.heads});
    heads = exact_division(inner, head_dim, "mamba2 inner width");
    N = r.get("state", std::int64_t{32});
    groups = r.get("groups", std::int64_t{1});
    conv = r.get("conv", std::int64_t{4});
    dt_low = r.number("dt_low", 0, 0, 1e300);
    norm_eps = r.number("norm_eps", 1e-5, 0, 1);
    bias = r.get("bias", false);
    conv_bias = r.get("conv_bias", true);
    switches = read_linear_switches(
        r, {.core = {.signed_decay = r.get("signed_decay", negative)}, .tied_gates = true});
    // The delta rule is stable for writes of at most 1 on unit keys.
    dt_high = r.number("dt_high", switches.core.erase ? 1 : 1e300, 0, 1e300);
    r.finish();
    exact_division(heads, groups, "mamba2 heads");
    require(dt_low < dt_high, ErrorCode::invalid_argument, "mamba2: dt_low ", dt_low,
            ", wanted below dt_high ", dt_high);
    require(N > 0 && conv >= 0 && conv <= 64, ErrorCode::invalid_argument, "mamba2: state ", N,
            ", conv ", conv);
  }
};

class Mamba2 final : public Mixer {
 public:
  Mamba2(const MixerSetup& setup, ParameterPlan& plan, bool negative) : c_(setup, negative) {
    const std::int64_t d = c_.d_model;
    channels_ = c_.inner + 2 * c_.groups * c_.N;
    // z | x B C | dt | an own write gate, if it is not tied to the decay's dt
    own_write_ = !c_.switches.tied_gates || c_.switches.core.exponential_input;
    const bool dt = c_.switches.decay || !own_write_;
    parts_ = {{c_.inner}, {channels_}, {dt ? c_.heads : 0}, {own_write_ ? c_.heads : 0}};
    for (const ProjectionPart& part : parts_) rows_ += part.width;
    in_ = plan.declare("in_proj.weight", {rows_, d},
                       Init::normal(1 / std::sqrt(static_cast<double>(d))), true);
    plan.keep_exact(in_, parts_[0].width + parts_[1].width, parts_[2].width + parts_[3].width);
    if (c_.conv) {
      const double bound = 1 / std::sqrt(static_cast<double>(c_.conv));
      conv_ = plan.declare("conv.weight", {channels_, c_.conv}, Init::uniform(-bound, bound), true);
      if (c_.conv_bias) conv_bias_ = plan.declare("conv.bias", {channels_}, Init::zeros(), false);
    }
    if (c_.switches.decay)
      A_log_ = plan.declare("A_log", {c_.heads}, {Init::Kind::log_uniform, 1, 16}, false);
    if (dt)
      dt_bias_ = plan.declare("dt_bias", {c_.heads}, {Init::Kind::dt_bias, 1e-3, 1e-1}, false);
    D_skip_ = plan.declare("D_skip", {c_.heads}, Init::ones(), false);
    norm_ = plan.declare("norm.weight", {c_.inner}, Init::ones(), false);
    out_ = plan.declare("out_proj.weight", {d, c_.inner},
                        Init::normal(1 / std::sqrt(static_cast<double>(c_.inner))), true);
    if (c_.bias) {
      const ParamId bias = plan.declare("in_proj.bias", {rows_}, Init::zeros(), false);
      std::int64_t first = 0;
      for (ProjectionPart& part : parts_) {
        part.bias = bias;
        part.bias_first = first;
        first += part.width;
      }
      out_bias_ = plan.declare("out_proj.bias", {d}, Init::zeros(), false);
    }
  }

  StateSpec state_spec() const override {
    StateSpec spec;
    add_linear_memory(spec, c_.switches.core, c_.heads, c_.N, c_.head_dim);
    if (c_.conv > 1) spec.push_back({"conv", {c_.conv - 1, channels_}});
    return spec;
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], GN = c_.groups * c_.N;
    const Spans spans(segments, B, T);
    const auto in = linear_split(cx, x, in_, parts_);
    const std::vector<std::int64_t> parts = {c_.inner, GN, GN};
    const auto xbc =
        c_.conv ? short_conv_split(cx, in[1], conv_, conv_bias_, true, spans,
                                   state && c_.conv > 1 ? &(*state)["conv"] : nullptr, parts)
                : split_last(cx, unary(cx, Unary::silu, in[1]), parts);
    const Var v = reshape(cx, xbc[0], {B, T, c_.heads, c_.head_dim});
    const DecayGates gates = this->gates(cx, in[2], in[3]);
    const Var q = reshape(cx, xbc[2], {B, T, c_.groups, c_.N});
    const Var k = reshape(cx, xbc[1], {B, T, c_.groups, c_.N});
    const bool unit = c_.switches.core.erase;
    const Var y = linear_core(cx,
                              {.q = unit ? l2_norm(cx, q, 1e-6) : q,
                               .k = unit ? l2_norm(cx, k, 1e-6) : k,
                               .v = v,
                               .decay = gates.decay,
                               .write = gates.write},
                              spans, c_.switches.core, state);
    const Var skipped = reshape(cx, add_skip(cx, y, v, D_skip_), {B, T, c_.inner});
    const Var gated_y = gated_norm(cx, skipped, in[0], norm_,
                                   {.eps = c_.norm_eps, .groups = c_.groups, .gate_first = true});
    return linear(cx, gated_y, out_, out_bias_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), T = static_cast<double>(tokens),
               H = static_cast<double>(c_.heads);
    const double projections = d * static_cast<double>(c_.inner + rows_);
    const double conv = static_cast<double>(c_.conv * channels_);
    return {.macs = T * (projections + conv +
                         H * linear_core_macs(c_.switches.core, c_.N, c_.head_dim)),
            .executed_macs = T * (projections + conv) +
                             H * linear_core_executed_macs(c_.switches.core, tokens, c_.N,
                                                           c_.head_dim, c_.heads / c_.groups)};
  }

 private:
  DecayGates gates(Context& cx, const Var& dt, const Var& own_write) const {
    const LinearSwitches& s = c_.switches;
    const Unary bounded = s.core.erase ? Unary::sigmoid : Unary::softplus;
    DecayGates gates;
    if (s.decay) {
      gates = mamba2_gates(cx, dt, A_log_, dt_bias_, c_.dt_low, c_.dt_high, s.core.signed_decay);
    } else {
      gates.decay = Var{cx.zeros((own_write_ ? own_write : dt).shape())};
      if (!own_write_) gates.write = unary(cx, bounded, add_bias(cx, dt, dt_bias_));
    }
    if (own_write_) {
      gates.write = s.core.exponential_input ? own_write : unary(cx, bounded, own_write);
    }
    return gates;
  }

  Config c_;
  std::int64_t channels_ = 0, rows_ = 0;
  bool own_write_ = false;
  std::vector<ProjectionPart> parts_;
  ParamId in_, out_bias_, conv_, conv_bias_, A_log_, dt_bias_, D_skip_, norm_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_mamba2(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Mamba2>(setup, plan, false);
}

std::unique_ptr<Mixer> make_mamba2_negative(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Mamba2>(setup, plan, true);
}

}  // namespace subquad
