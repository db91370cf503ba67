#include "subquad/mixer/slstm/slstm.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/option_reader.h"
#include "subquad/mixer/slstm/core.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, head_dim, conv;
  bool exponential_forget, center, plus_one, output_projection, powerlaw, headwise, input_bias;
  double recurrent_deviation, norm_eps;

  Config(const MixerSetup& setup) : d_model(setup.d_model) {
    OptionReader r(setup.options, "slstm");
    heads = r.get("heads", setup.heads);
    head_dim = exact_division(d_model, heads, "slstm width");
    conv = r.get("conv", std::int64_t{0});
    exponential_forget = r.get("exponential_forget", false);
    recurrent_deviation =
        r.get("recurrent_deviation", 0.5) / std::sqrt(static_cast<double>(head_dim));
    headwise = r.choice("gates", "dense", {"dense", "headwise"}) == "headwise";
    powerlaw = r.choice("forget_bias", "linspace", {"linspace", "powerlaw"}) == "powerlaw";
    norm_eps = r.number("norm_eps", 1e-5, 0, 1);
    center = r.get("norm_center", true);
    plus_one = r.get("norm_plus_one", false);
    input_bias = r.get("input_bias", false);
    output_projection = r.get("output_projection", true);
    r.finish();
    require(conv >= 0 && conv <= 64, ErrorCode::invalid_argument, "slstm conv width ", conv,
            ", wanted 0 to 64");
  }
};

constexpr std::string_view kGates = "ifzo";
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
    }
    if (c_.headwise) {
      const Init per_head = Init::normal(1 / std::sqrt(static_cast<double>(D)));
      for (std::size_t i = 0; i < kGates.size(); ++i) {
        gate_[i] =
            plan.declare(std::string("gate_") + kGates[i] + ".weight", {H, D, D}, per_head, true);
      }
    } else if (c_.conv) {
      // The convolved branch feeds the input and forget gates, the plain one z and o.
      in_conv_ = plan.declare("in_proj_conv.weight", {2 * d, d}, fan_in, true);
      in_ = plan.declare("in_proj.weight", {2 * d, d}, fan_in, true);
    } else {
      in_ =
          plan.declare("in_proj.weight", {4 * d, d}, fan_in, true);  // per gate i f z o, then head
    }
    R_ =
        plan.declare("recurrent.weight", {H, D, 4, D}, Init::normal(c_.recurrent_deviation), false);
    // Only the forget gate has a bias that starts away from zero; the input gate's shifts m and
    // cancels in c / n, so only files that hold one ask for it.
    if (c_.input_bias) input_bias_ = plan.declare("i.bias", {d}, Init::zeros(), false);
    forget_bias_ = plan.declare(
        "forget.bias", {H, D},
        c_.powerlaw ? Init{Init::Kind::powerlaw, -5, 12, 1.6} : Init::linspace(0, 4), false);
    z_bias_ = plan.declare("z.bias", {d}, Init::zeros(), false);
    o_bias_ = plan.declare("o.bias", {d}, Init::zeros(), false);
    norm_ = plan.declare("norm.weight", {d}, c_.plus_one ? Init::zeros() : Init::ones(), false);
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
    const Var xc = c_.conv ? short_conv(cx, x, conv_, conv_bias_, true, spans,
                                        state && c_.conv > 1 ? &(*state)["conv"] : nullptr)
                           : x;
    Var pre;  // (B,T,4 d), gates i f z o
    if (c_.headwise) {
      Var gates[4];
      for (std::size_t i = 0; i < 4; ++i) gates[i] = head_linear(cx, i < 2 ? xc : x, gate_[i]);
      pre = concat_last(cx, gates);
    } else if (c_.conv) {
      const Var halves[] = {linear(cx, xc, in_conv_), linear(cx, x, in_)};
      pre = concat_last(cx, halves);
    } else {
      pre = linear(cx, x, in_);
    }
    SlstmState memory;
    if (state) memory = {(*state)["h"], (*state)["c"], (*state)["n"], (*state)["m"]};
    const Var h = slstm_core(
        cx, reshape(cx, pre, {B, T, 4, H, D}), R_,
        SlstmBiases{.forget = forget_bias_, .z = z_bias_, .o = o_bias_, .input = input_bias_},
        spans, c_.exponential_forget, state ? &memory : nullptr);
    if (state) {
      (*state)["h"] = memory.h;
      (*state)["c"] = memory.c;
      (*state)["n"] = memory.n;
      (*state)["m"] = memory.m;
      state->advance(T);
    }
    const Var y = reshape(
        cx,
        norm(cx, h, norm_, {}, {.eps = c_.norm_eps, .center = c_.center, .plus_one = c_.plus_one}),
        {B, T, d});
    return c_.output_projection ? linear(cx, y, out_) : y;
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model);
    const double gates = 4 * d * static_cast<double>(c_.headwise ? c_.head_dim : c_.d_model);
    const double per_token = gates + (c_.output_projection ? d * d : 0) +
                             static_cast<double>(c_.conv) * d +
                             static_cast<double>(c_.heads) * slstm_core_macs(c_.head_dim);
    return {.macs = static_cast<double>(tokens) * per_token,
            .executed_macs = static_cast<double>(tokens) * per_token};
  }

 private:
  Config c_;
  ParamId conv_, conv_bias_, in_conv_, in_, gate_[4], R_, input_bias_, forget_bias_, z_bias_,
      o_bias_, norm_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_slstm(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Slstm>(setup, plan);
}

}  // namespace subquad
