#include "subquad/mixer/gated_deltanet/gated_deltanet.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/linear_switches.h"

namespace subquad {
namespace {

// What the kinds of this mixer differ in by default.
struct Published {
  const char* kind;
  double write_range = 1;
  bool channel_decay = false;  // KDA, with low ranks for decay and gate
};

struct Config {
  std::int64_t d_model, heads, value_heads, dk, dv, conv, decay_rank, gate_rank;
  bool conv_bias, output_gate, sigmoid_gate, channel_decay;
  double write_range, norm_eps, l2_eps;
  LinearSwitches switches;

  Config(const MixerSetup& setup, const Published& published) : d_model(setup.d_model) {
    OptionReader r(setup.options, published.kind);
    heads = r.get("heads", setup.heads);
    require(heads >= 1, ErrorCode::invalid_argument, published.kind, ": ", heads, " heads");
    value_heads = r.get("value_heads", heads);
    dk = r.get("head_dim", std::int64_t{d_model / heads});
    dv = r.get("value_dim", dk);
    conv = r.get("conv", std::int64_t{4});
    conv_bias = r.get("conv_bias", false);
    output_gate = r.get("output_gate", true);
    const bool kda = published.channel_decay;
    sigmoid_gate = r.choice("gate", kda ? "sigmoid" : "silu", {"silu", "sigmoid"}) == "sigmoid";
    write_range = r.number("write_range", published.write_range, 0, 2);
    channel_decay = r.get("channel_decay", kda);
    decay_rank = r.get("decay_rank", channel_decay ? dv : std::int64_t{0});
    gate_rank = r.get("gate_rank", kda ? dv : std::int64_t{0});
    norm_eps = r.number("norm_eps", 1e-6, 0, 1);
    l2_eps = r.number("l2_eps", 1e-6, 1e-30, 1);
    switches = read_linear_switches(
        r, {.core = {.erase = true, .scale = 1 / std::sqrt(static_cast<double>(dk))}});
    r.finish();
    require(switches.decay || !switches.tied_gates, ErrorCode::invalid_argument, published.kind,
            ": got tied_gates without decay, wanted decay (the write is 1 - a)");
    exact_division(value_heads, heads, "gated_deltanet value heads");
    require(dk > 0 && dv > 0 && conv >= 0 && conv <= 64, ErrorCode::invalid_argument,
            published.kind, ": head_dim ", dk, ", value_dim ", dv, ", conv ", conv);
    check_low_ranks(published.kind);
  }

  void check_low_ranks(const char* kind) {
    require(gate_rank >= 0 && decay_rank >= 0 && (channel_decay || decay_rank == 0),
            ErrorCode::invalid_argument, kind, ": gate_rank ", gate_rank, ", decay_rank ",
            decay_rank,
            ", wanted 0 (one matrix) or more, and a decay_rank beside channel_decay only");
    require(!channel_decay || (switches.decay && !switches.tied_gates &&
                               !switches.core.exponential_input && !switches.core.normalizer),
            ErrorCode::invalid_argument, kind,
            ": got channel_decay with tied_gates, exponential_input, normalizer or without decay, "
            "wanted a decay and a write of its own (these need one decay per head)");
    if (!output_gate) gate_rank = 0;
  }
};

class GatedDeltaNet final : public Mixer {
 public:
  GatedDeltaNet(const MixerSetup& setup, ParameterPlan& plan, const Published& published)
      : c_(setup, published) {
    const std::int64_t d = c_.d_model;
    keys_ = c_.heads * c_.dk;
    values_ = c_.value_heads * c_.dv;
    channels_ = 2 * keys_ + values_;
    decays_ = !c_.switches.decay ? 0 : c_.value_heads * (c_.channel_decay ? c_.dk : 1);
    // q k v | z | a | b; a tied or absent gate has no rows of its own, one of low rank has only so
    // many here
    parts_ = {{channels_},
              {!c_.output_gate ? 0
               : c_.gate_rank  ? c_.gate_rank
                               : values_},
              {c_.decay_rank ? c_.decay_rank : decays_},
              {c_.switches.tied_gates ? 0 : c_.value_heads}};
    for (const ProjectionPart& part : parts_) rows_ += part.width;
    in_ = plan.declare("in_proj.weight", {rows_, d},
                       Init::normal(1 / std::sqrt(static_cast<double>(d))), true);
    plan.keep_exact(in_, parts_[0].width + parts_[1].width, parts_[2].width + parts_[3].width);
    if (c_.gate_rank) gate_ = declare_low_rank("gate_proj.weight", values_, c_.gate_rank, plan);
    if (c_.decay_rank) {
      decay_ = declare_low_rank("decay_proj.weight", decays_, c_.decay_rank, plan);
      plan.keep_exact(decay_, 0, decays_);
    }
    if (c_.conv) {
      const double bound = 1 / std::sqrt(static_cast<double>(c_.conv));
      conv_ = plan.declare("conv.weight", {channels_, c_.conv}, Init::uniform(-bound, bound), true);
      if (c_.conv_bias) conv_bias_ = plan.declare("conv.bias", {channels_}, Init::zeros(), false);
    }
    if (c_.switches.decay) {
      const double slowest = c_.channel_decay ? 1 : 0;
      A_log_ =
          plan.declare("A_log", {c_.value_heads}, {Init::Kind::log_uniform, slowest, 16}, false);
      dt_bias_ = plan.declare("dt_bias", {decays_}, {Init::Kind::dt_bias, 1e-3, 1e-1}, false);
    }
    norm_ = plan.declare("norm.weight", {c_.dv}, Init::ones(), false);
    out_ = plan.declare("out_proj.weight", {d, values_},
                        Init::normal(1 / std::sqrt(static_cast<double>(values_))), true);
  }

  StateSpec state_spec() const override {
    StateSpec spec;
    add_linear_memory(spec, c_.switches.core, c_.value_heads, c_.dk, c_.dv);
    if (c_.conv > 1) spec.push_back({"conv", {c_.conv - 1, channels_}});
    return spec;
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1];
    const Spans spans(segments, B, T);
    const auto in = linear_split(cx, x, in_, parts_);
    const std::vector<std::int64_t> parts = {keys_, keys_, values_};
    const auto qkv =
        c_.conv ? short_conv_split(cx, in[0], conv_, conv_bias_, true, spans,
                                   state && c_.conv > 1 ? &(*state)["conv"] : nullptr, parts)
                : split_last(cx, unary(cx, Unary::silu, in[0]), parts);
    const DecayGates gates =
        this->gates(cx, c_.decay_rank ? linear(cx, in[2], decay_) : in[2], in[3]);
    const Var o =
        linear_core(cx,
                    {.q = l2_norm(cx, reshape(cx, qkv[0], {B, T, c_.heads, c_.dk}), c_.l2_eps),
                     .k = l2_norm(cx, reshape(cx, qkv[1], {B, T, c_.heads, c_.dk}), c_.l2_eps),
                     .v = reshape(cx, qkv[2], {B, T, c_.value_heads, c_.dv}),
                     .decay = gates.decay,
                     .write = gates.write},
                    spans, c_.switches.core, state);
    const Var y = c_.output_gate
                      ? gated_norm(cx, reshape(cx, o, {B, T, values_}),
                                   c_.gate_rank ? linear(cx, in[1], gate_) : in[1], norm_,
                                   {.eps = c_.norm_eps,
                                    .groups = c_.value_heads,
                                    .activation = c_.sigmoid_gate ? Unary::sigmoid : Unary::silu})
                      : reshape(cx, norm(cx, o, norm_, {}, {.eps = c_.norm_eps}), {B, T, values_});
    return linear(cx, y, out_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), T = static_cast<double>(tokens);
    const auto H = static_cast<double>(c_.value_heads);
    const double projections =
        d * static_cast<double>(rows_ + values_) +
        static_cast<double>(c_.gate_rank * values_ + c_.decay_rank * decays_);
    const double conv = static_cast<double>(c_.conv * channels_);
    return {.macs = T * (projections + conv + H * linear_core_macs(c_.switches.core, c_.dk, c_.dv)),
            .executed_macs = T * (projections + conv) +
                             H * linear_core_executed_macs(c_.switches.core, tokens, c_.dk, c_.dv,
                                                           c_.value_heads / c_.heads,
                                                           c_.channel_decay && c_.dk > 1)};
  }

 private:
  static ParamId declare_low_rank(const char* name, std::int64_t outs, std::int64_t rank,
                                  ParameterPlan& plan) {
    return plan.declare(name, {outs, rank}, Init::normal(1 / std::sqrt(static_cast<double>(rank))),
                        true);
  }

  DecayGates gates(Context& cx, const Var& a, const Var& b) const {
    const LinearSwitches& s = c_.switches;
    if (s.tied_gates) {  // write = range (1 - exp(decay))
      const Var decay = mamba2_gates(cx, a, A_log_, dt_bias_, 0, 1e300, false).decay;
      return {decay, scale(cx, unary(cx, Unary::one_minus_exp, decay), c_.write_range)};
    }
    const auto own_write = [&] {
      return s.core.exponential_input ? b : scale(cx, unary(cx, Unary::sigmoid, b), c_.write_range);
    };
    if (!s.decay) return {Var{cx.zeros(b.shape())}, own_write()};
    if (c_.channel_decay) {
      const Shape& t = a.shape();
      return {
          reshape(cx, channel_decay(cx, a, A_log_, dt_bias_), {t[0], t[1], c_.value_heads, c_.dk}),
          own_write()};
    }
    DecayGates gates = gdn_gates(cx, a, b, A_log_, dt_bias_, c_.write_range);
    if (s.core.exponential_input) gates.write = own_write();
    return gates;
  }

  Config c_;
  std::int64_t keys_ = 0, values_ = 0, channels_ = 0, decays_ = 0, rows_ = 0;
  std::vector<ProjectionPart> parts_;
  ParamId in_, gate_, decay_, conv_, conv_bias_, A_log_, dt_bias_, norm_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_gated_deltanet(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<GatedDeltaNet>(setup, plan, Published{"gated_deltanet"});
}

std::unique_ptr<Mixer> make_gated_deltanet_negative(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<GatedDeltaNet>(setup, plan, Published{"gated_deltanet[-1,1]", 2});
}

std::unique_ptr<Mixer> make_kda(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<GatedDeltaNet>(setup, plan, Published{"kda", 1, true});
}

}  // namespace subquad
