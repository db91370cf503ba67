#include "subquad/mixer/slstm/slstm.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/option_reader.h"
#include "subquad/mixer/slstm/core.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, head_dim, conv;
  bool exponential_forget, center, output_projection, powerlaw;
  double recurrent_deviation, norm_eps;

  Config(const MixerSetup& setup) : d_model(setup.d_model), heads(setup.heads) {
    OptionReader r(setup.options, "slstm");
    head_dim = exact_division(d_model, heads, "slstm width");
    conv = r.get("conv", std::int64_t{0});
    exponential_forget = r.get("exponential_forget", false);
    recurrent_deviation =
        r.get("recurrent_deviation", 0.5) / std::sqrt(static_cast<double>(head_dim));
    powerlaw = r.choice("forget_bias", "linspace", {"linspace", "powerlaw"}) == "powerlaw";
    norm_eps = r.number("norm_eps", 1e-5, 0, 1);
    center = r.get("norm_center", true);
    output_projection = r.get("output_projection", true);
    r.finish();
    require(conv >= 0 && conv <= 64, ErrorCode::invalid_argument, "slstm conv width ", conv,
            ", wanted 0 to 64");
  }
};

constexpr const char* kFields[] = {"h", "c", "n", "m"};

class Slstm final : public Mixer {
 public:
  Slstm(const MixerSetup& setup, ParameterPlan& plan) : c_(setup) {
    const std::int64_t d = c_.d_model, H = c_.heads, D = c_.head_dim;
    const Init fan_in = Init::normal(1 / std::sqrt(static_cast<double>(d)));
    if (c_.conv) {
      const double bound = 1 / std::sqrt(static_cast<double>(c_.conv));
      conv_ = plan.declare("conv.weight", {d, c_.conv}, Init::uniform(-bound, bound), true);
      conv_bias_ = plan.declare("conv.bias", {d}, Init::zeros(), false);
      // The convolved branch feeds the input and forget gates, the plain one z and o.
      in_conv_ = plan.declare("in_proj_conv.weight", {2 * d, d}, fan_in, true);
      in_ = plan.declare("in_proj.weight", {2 * d, d}, fan_in, true);
    } else {
      in_ =
          plan.declare("in_proj.weight", {4 * d, d}, fan_in, true);  // per gate i f z o, then head
    }
    R_ =
        plan.declare("recurrent.weight", {H, D, 4, D}, Init::normal(c_.recurrent_deviation), false);
    // Only the forget gate has a bias that starts away from zero; the input gate's has no effect at
    // all (it cancels in c / n), so neither is learned jointly with the others.
    forget_bias_ = plan.declare(
        "forget.bias", {H, D},
        c_.powerlaw ? Init{Init::Kind::powerlaw, -5, 12, 1.6} : Init::linspace(0, 4), false);
    zo_bias_ = plan.declare("zo.bias", {2 * d}, Init::zeros(), false);
    norm_ = plan.declare("norm.weight", {d}, Init::ones(), false);
    if (c_.output_projection) out_ = plan.declare("out_proj.weight", {d, d}, fan_in, true);
  }

  StateSpec state_spec() const override {
    StateSpec spec;
    for (const char* field : kFields) spec.push_back({field, {c_.heads, c_.head_dim}});
    if (c_.conv > 1) spec.push_back({"conv", {c_.conv - 1, c_.d_model}});
    return spec;
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], H = c_.heads, D = c_.head_dim,
                       d = c_.d_model;
    const Spans spans(segments, B, T);
    Var i_f, z_o;
    if (c_.conv) {
      const Var xc = short_conv(cx, x, conv_, conv_bias_, true, spans,
                                state && c_.conv > 1 ? &(*state)["conv"] : nullptr);
      i_f = linear(cx, xc, in_conv_);
      z_o = linear(cx, x, in_);
    } else {
      const auto in = split_last(cx, linear(cx, x, in_), std::vector<std::int64_t>{2 * d, 2 * d});
      i_f = in[0];
      z_o = in[1];
    }
    const auto gates = split_last(cx, i_f, std::vector<std::int64_t>{d, d});
    const auto inputs =
        split_last(cx, add_bias(cx, z_o, zo_bias_), std::vector<std::int64_t>{d, d});
    const Var by_head[4] = {reshape(cx, gates[0], {B, T, H, D}),
                            reshape(cx, add_bias(cx, gates[1], forget_bias_), {B, T, H, D}),
                            reshape(cx, inputs[0], {B, T, H, D}),
                            reshape(cx, inputs[1], {B, T, H, D})};
    const Var pre = reshape(cx, concat_last(cx, by_head), {B, T, H, 4, D});
    SlstmState memory;
    if (state) memory = {(*state)["h"], (*state)["c"], (*state)["n"], (*state)["m"]};
    const Var h =
        slstm_core(cx, pre, R_, {}, spans, c_.exponential_forget, state ? &memory : nullptr);
    if (state) {
      (*state)["h"] = memory.h;
      (*state)["c"] = memory.c;
      (*state)["n"] = memory.n;
      (*state)["m"] = memory.m;
      state->advance(T);
    }
    const Var y =
        reshape(cx, norm(cx, h, norm_, {}, {.eps = c_.norm_eps, .center = c_.center}), {B, T, d});
    return c_.output_projection ? linear(cx, y, out_) : y;
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model);
    const double per_token = d * d * (c_.output_projection ? 5 : 4) +
                             static_cast<double>(c_.conv) * d +
                             static_cast<double>(c_.heads) * slstm_core_macs(c_.head_dim);
    return {.macs = static_cast<double>(tokens) * per_token,
            .executed_macs = static_cast<double>(tokens) * per_token};
  }

 private:
  Config c_;
  ParamId conv_, conv_bias_, in_conv_, in_, R_, forget_bias_, zo_bias_, norm_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_slstm(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Slstm>(setup, plan);
}

}  // namespace subquad
