#include "subquad/mixer/attention/attention.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/attention/cache.h"
#include "subquad/mixer/attention/core.h"
#include "subquad/mixer/common/option_reader.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, kv_heads, head_dim, window;
  bool use_rope, qk_norm, qk_norm_plus_one, output_gate, qkv_bias, out_bias;
  double norm_eps, scale;
  RopeOptions rope;

  Config(const MixerSetup& setup) : d_model(setup.d_model) {
    OptionReader r(setup.options, "attention");
    heads = r.get("heads", setup.heads);
    kv_heads = r.get("kv_heads", heads);
    require(heads >= 1, ErrorCode::invalid_argument, "attention: ", heads, " heads");
    const bool own_size = setup.options.is_object() && setup.options.contains("head_dim");
    head_dim = r.get("head_dim", own_size ? std::int64_t{0}
                                          : exact_division(d_model, heads,
                                                           "attention d_model without head_dim"));
    window = r.get("window", std::int64_t{0});
    use_rope = r.get("rope", true);
    rope.theta = r.number("rope_theta", 10000, 1, 1e300);
    rope.dims = r.get("rope_dims", head_dim);
    rope.interleaved = r.get("rope_interleaved", false);
    qk_norm = r.get("qk_norm", false);
    qk_norm_plus_one = r.get("qk_norm_plus_one", false);
    rope.scaling.factor = r.number("rope_factor", 1, 1e-6, 1e6);
    rope.scaling.low = r.number("rope_low_frequency", 1, 1e-6, 1e6);
    rope.scaling.high = r.number("rope_high_frequency", 4, 1e-6, 1e6);
    rope.scaling.original_length = r.get("rope_original_length", std::int64_t{0});
    output_gate = r.get("output_gate", false);
    qkv_bias = r.get("qkv_bias", false);
    out_bias = r.get("out_bias", false);
    norm_eps = r.number("norm_eps", 1e-6, 0, 1);
    scale = r.number("scale", 1 / std::sqrt(std::max(1.0, static_cast<double>(head_dim))), 0, 1e6);
    r.finish();
    require(rope.scaling.original_length >= 0 && rope.scaling.low < rope.scaling.high,
            ErrorCode::invalid_argument, "attention: rope_original_length ",
            rope.scaling.original_length, ", rope_low_frequency ", rope.scaling.low,
            ", rope_high_frequency ", rope.scaling.high,
            ", wanted a length of 0 (no bands) or more and low below high");
    exact_division(heads, kv_heads, "attention heads");
    require(head_dim > 0 && window >= 0, ErrorCode::invalid_argument, "attention: head_dim ",
            head_dim, ", window ", window, ", wanted a head_dim of 1 or more and a window of 0 ",
            "(none) or more");
    require(!use_rope || (rope.dims > 0 && rope.dims % 2 == 0 && rope.dims <= head_dim),
            ErrorCode::invalid_argument, "attention: rope_dims ", rope.dims, " of head_dim ",
            head_dim, ", wanted an even number of at most head_dim (or rope = false)");
  }
};

class Attention final : public Mixer {
 public:
  Attention(const MixerSetup& setup, ParameterPlan& plan) : c_(setup) {
    const std::int64_t d = c_.d_model, q = c_.heads * c_.head_dim, kv = c_.kv_heads * c_.head_dim;
    parts_ = {{q}, {kv}, {kv}, {c_.output_gate ? q : 0}};
    in_ = plan.declare("in_proj.weight", {q + 2 * kv + parts_[3].width, d},
                       Init::normal(1 / std::sqrt(static_cast<double>(d))), true);
    if (c_.qk_norm) {
      const Init start = c_.qk_norm_plus_one ? Init::zeros() : Init::ones();
      q_norm_ = plan.declare("q_norm.weight", {c_.head_dim}, start, false);
      k_norm_ = plan.declare("k_norm.weight", {c_.head_dim}, start, false);
    }
    out_ = plan.declare("out_proj.weight", {d, q},
                        Init::normal(1 / std::sqrt(static_cast<double>(q))), true);
    if (c_.qkv_bias) {
      const ParamId bias = plan.declare("qkv.bias", {q + 2 * kv}, Init::zeros(), false);
      parts_[0] = {q, bias, 0};
      parts_[1] = {kv, bias, q};
      parts_[2] = {kv, bias, q + kv};
    }
    if (c_.out_bias) out_bias_ = plan.declare("out_proj.bias", {d}, Init::zeros(), false);
  }

  StateSpec state_spec() const override {
    return {{"k", {c_.kv_heads, c_.head_dim}, true}, {"v", {c_.kv_heads, c_.head_dim}, true}};
  }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1];
    const Spans spans(segments, B, T);
    const auto in = linear_split(cx, x, in_, parts_);
    Var q = reshape(cx, in[0], {B, T, c_.heads, c_.head_dim});
    Var k = reshape(cx, in[1], {B, T, c_.kv_heads, c_.head_dim});
    Var v = reshape(cx, in[2], {B, T, c_.kv_heads, c_.head_dim});
    if (c_.qk_norm) {
      const NormOptions options{.eps = c_.norm_eps, .plus_one = c_.qk_norm_plus_one};
      q = norm(cx, q, q_norm_, {}, options);
      k = norm(cx, k, k_norm_, {}, options);
    }
    if (c_.use_rope) {
      const std::int64_t first = state ? state->positions() : segments.first_position;
      q = rope(cx, q, c_.rope, spans, first);
      k = rope(cx, k, c_.rope, spans, first);
    }
    std::int64_t keys = -1;
    if (state) {
      require_full_rows(spans);
      keys = state->positions() + T;
      k = append_to_cache(cx, (*state)["k"], k, state->positions());
      v = append_to_cache(cx, (*state)["v"], v, state->positions());
      state->advance(T);
    }
    const Var o = attention_core(cx, q, k, v, spans, c_.scale, c_.window, keys);
    const Var flat = reshape(cx, o, {B, T, c_.heads * c_.head_dim});
    return linear(cx, c_.output_gate ? gated(cx, Unary::sigmoid, in[3], flat) : flat, out_,
                  out_bias_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), T = static_cast<double>(tokens);
    const double projections =
        d * static_cast<double>(parts_[0].width * 2 + parts_[1].width * 2 + parts_[3].width);
    const auto H = static_cast<double>(c_.heads);
    return {.macs = T * projections + H * attention_core_macs(tokens, c_.window, c_.head_dim),
            .executed_macs =
                T * projections + H * attention_core_executed_macs(tokens, c_.window, c_.head_dim)};
  }

 private:
  Config c_;
  std::vector<ProjectionPart> parts_;
  ParamId in_, q_norm_, k_norm_, out_, out_bias_;
};

}  // namespace

std::unique_ptr<Mixer> make_attention(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<Attention>(setup, plan);
}

}  // namespace subquad
