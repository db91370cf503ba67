#include "subquad/mixer/mlstm_block/mlstm_block.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/linear_switches.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, inner, head_dim, conv, qkv_block;
  bool plus_one;
  double norm_eps;
  LinearCoreOptions core;

  Config(const MixerSetup& setup) : d_model(setup.d_model) {
    OptionReader r(setup.options, "mlstm_block");
    heads = r.get("heads", setup.heads);
    inner = r.get("inner", 2 * d_model);
    conv = r.get("conv", std::int64_t{4});
    qkv_block = r.get("qkv_block", std::int64_t{4});
    norm_eps = r.number("norm_eps", 1e-5, 0, 1);
    plus_one = r.get("norm_plus_one", false);
    const double eps = r.number("eps", 1e-6, 0, 1);
    r.finish();
    head_dim = exact_division(inner, heads, "mlstm_block inner width");
    exact_division(inner, qkv_block, "mlstm_block inner width (blocks of q, k and v)");
    require(conv >= 1 && conv <= 64, ErrorCode::invalid_argument, "mlstm_block conv width ", conv,
            ", wanted 1 to 64");
    core = {.exponential_input = true,
            .normalizer = true,
            .scale = 1 / std::sqrt(static_cast<double>(head_dim)),
            .eps = eps};
  }
};

class MlstmBlock final : public Mixer {
 public:
  MlstmBlock(const MixerSetup& setup, ParameterPlan& plan) : c_(setup) {
    const std::int64_t d = c_.d_model, I = c_.inner, H = c_.heads, b = c_.qkv_block;
    const auto fan = [](std::int64_t n) {
      return Init::normal(1 / std::sqrt(static_cast<double>(n)));
    };
    up_ = plan.declare("up_proj.weight", {2 * I, d}, fan(d), true);  // rows u | z
    const double bound = 1 / std::sqrt(static_cast<double>(c_.conv));
    conv_ = plan.declare("conv.weight", {I, c_.conv}, Init::uniform(-bound, bound), true);
    conv_bias_ = plan.declare("conv.bias", {I}, Init::zeros(), false);
    q_ = plan.declare("q_proj.weight", {I / b, b, b}, fan(b), true);
    k_ = plan.declare("k_proj.weight", {I / b, b, b}, fan(b), true);
    v_ = plan.declare("v_proj.weight", {I / b, b, b}, fan(b), true);
    gates_ = plan.declare("gates.weight", {2 * H, 3 * I}, fan(3 * I), true);  // rows i | f
    plan.keep_exact(gates_, 0, 2 * H);
    parts_ = {{H, plan.declare("gate_i.bias", {H}, Init::normal(0.1), false)},
              {H, plan.declare("gate_f.bias", {H}, Init::linspace(3, 6), false)}};
    norm_ = plan.declare("norm.weight", {I}, c_.plus_one ? Init::zeros() : Init::ones(), false);
    skip_ = plan.declare("skip", {I}, Init::ones(), false);
    down_ = plan.declare("down_proj.weight", {d, I}, fan(I), true);
  }

  StateSpec state_spec() const override {
    StateSpec spec;
    add_linear_memory(spec, c_.core, c_.heads, c_.head_dim, c_.head_dim);
    if (c_.conv > 1) spec.push_back({"conv", {c_.conv - 1, c_.inner}});
    return spec;
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], I = c_.inner;
    const Spans spans(segments, B, T);
    const ProjectionPart halves[] = {{I}, {I}};
    const auto u_z = linear_split(cx, x, up_, halves);
    const Var c = short_conv(cx, u_z[0], conv_, conv_bias_, true, spans,
                             state && c_.conv > 1 ? &(*state)["conv"] : nullptr);
    const Var qkv[] = {head_linear(cx, c, q_), head_linear(cx, c, k_), head_linear(cx, u_z[0], v_)};
    const auto gates = linear_split(cx, concat_last(cx, qkv), gates_, parts_);
    const auto by_head = [&](const Var& a) {
      return reshape(cx, a, {B, T, c_.heads, c_.head_dim});
    };
    const Var h = linear_core(cx,
                              {.q = by_head(qkv[0]),
                               .k = by_head(qkv[1]),
                               .v = by_head(qkv[2]),
                               .decay = unary(cx, Unary::log_sigmoid, gates[1]),
                               .write = gates[0]},
                              spans, c_.core, state);
    const Var normed =
        norm(cx, h, norm_, {}, {.eps = c_.norm_eps, .center = true, .plus_one = c_.plus_one});
    const Var skipped = add(cx, reshape(cx, normed, {B, T, I}), mul_weight(cx, c, skip_));
    return linear(cx, gated(cx, Unary::silu, u_z[1], skipped), down_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), I = static_cast<double>(c_.inner),
               H = static_cast<double>(c_.heads), T = static_cast<double>(tokens);
    const double per_token = 3 * d * I + 3 * I * static_cast<double>(c_.qkv_block) + 6 * H * I +
                             I * static_cast<double>(c_.conv);
    return {.macs = T * (per_token + H * linear_core_macs(c_.core, c_.head_dim, c_.head_dim)),
            .executed_macs = T * per_token + H * linear_core_executed_macs(
                                                     c_.core, tokens, c_.head_dim, c_.head_dim, 1)};
  }

 private:
  Config c_;
  std::vector<ProjectionPart> parts_;
  ParamId up_, conv_, conv_bias_, q_, k_, v_, gates_, norm_, skip_, down_;
};

}  // namespace

std::unique_ptr<Mixer> make_mlstm_block(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<MlstmBlock>(setup, plan);
}

}  // namespace subquad
