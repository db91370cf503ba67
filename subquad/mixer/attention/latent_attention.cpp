#include "subquad/mixer/attention/latent_attention.h"

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/attention/cache.h"
#include "subquad/mixer/attention/core.h"
#include "subquad/mixer/common/option_reader.h"

namespace subquad {
namespace {

struct Config {
  std::int64_t d_model, heads, head_dim, shared_dim, value_dim, latent;
  double norm_eps, scale;

  Config(const MixerSetup& setup) : d_model(setup.d_model) {
    OptionReader r(setup.options, "latent_attention");
    heads = r.get("heads", setup.heads);
    require(heads >= 1, ErrorCode::invalid_argument, "latent_attention: ", heads, " heads");
    head_dim = r.get("head_dim", std::max<std::int64_t>(d_model / heads, 1));
    shared_dim = r.get("shared_dim", head_dim / 2);
    value_dim = r.get("value_dim", head_dim);
    latent = r.get("latent", 4 * head_dim);
    norm_eps = r.number("norm_eps", 1e-6, 0, 1);
    require(head_dim > 0 && value_dim > 0 && latent > 0 && shared_dim >= 0,
            ErrorCode::invalid_argument, "latent_attention: head_dim ", head_dim, ", value_dim ",
            value_dim, ", latent ", latent, ", shared_dim ", shared_dim,
            ", wanted 1 or more, and a shared_dim of 0 (none) or more");
    scale = r.number("scale", 1 / std::sqrt(static_cast<double>(head_dim + shared_dim)), 0, 1e6);
    r.finish();
  }
  std::int64_t key_dim() const { return latent + shared_dim; }  // of what is cached
};

class LatentAttention final : public Mixer {
 public:
  LatentAttention(const MixerSetup& setup, ParameterPlan& plan) : c_(setup) {
    const std::int64_t d = c_.d_model, H = c_.heads;
    const auto fan_in = [](std::int64_t ins) {
      return Init::normal(1 / std::sqrt(static_cast<double>(ins)));
    };
    parts_ = {{H * c_.head_dim}, {H * c_.shared_dim}, {c_.latent}, {c_.shared_dim}};
    for (const ProjectionPart& part : parts_) rows_ += part.width;
    in_ = plan.declare("in_proj.weight", {rows_, d}, fan_in(d), true);
    norm_ = plan.declare("latent_norm.weight", {c_.latent}, Init::ones(), false);
    // By head: queries into the latent space, and values out of it.
    query_ = plan.declare("query_up.weight", {H, c_.latent, c_.head_dim}, fan_in(c_.latent), true);
    value_ = plan.declare("value_up.weight", {H, c_.value_dim, c_.latent}, fan_in(c_.latent), true);
    out_ = plan.declare("out_proj.weight", {d, H * c_.value_dim}, fan_in(H * c_.value_dim), true);
  }

  StateSpec state_spec() const override { return {{"latent", {1, c_.key_dim()}, true}}; }

  Var forward(Context& cx, const Var& x, const Segments& segments, State* state) const override {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], H = c_.heads;
    const Spans spans(segments, B, T);
    const auto in = linear_split(cx, x, in_, parts_);
    Var q = reshape(cx, head_linear(cx, in[0], query_), {B, T, H, c_.latent});
    Var k = reshape(cx, norm(cx, in[2], norm_, {}, {.eps = c_.norm_eps}), {B, T, 1, c_.latent});
    if (c_.shared_dim) {
      const Var queries[] = {q, reshape(cx, in[1], {B, T, H, c_.shared_dim})},
                keys[] = {k, reshape(cx, in[3], {B, T, 1, c_.shared_dim})};
      q = concat_last(cx, queries);
      k = concat_last(cx, keys);
    }
    std::int64_t filled = -1;
    if (state) {
      require_full_rows(spans);
      filled = state->positions() + T;
      k = append_to_cache(cx, (*state)["latent"], k, state->positions());
      state->advance(T);
    }
    const Var o = attention_core_of_keys(cx, q, k, c_.latent, spans, c_.scale, filled);
    const Var values = head_linear(cx, reshape(cx, o, {B, T, H * c_.latent}), value_);
    return linear(cx, values, out_);
  }

  Cost cost(std::int64_t tokens) const override {
    const auto d = static_cast<double>(c_.d_model), T = static_cast<double>(tokens);
    const auto H = static_cast<double>(c_.heads);
    const double projections = d * static_cast<double>(rows_ + c_.heads * c_.value_dim) +
                               H * static_cast<double>(c_.latent * (c_.head_dim + c_.value_dim));
    return {.macs = T * projections + H * attention_core_macs(tokens, 0, c_.key_dim(), c_.latent),
            .executed_macs = T * projections +
                             H * attention_core_executed_macs(tokens, 0, c_.key_dim(), c_.latent)};
  }

 private:
  Config c_;
  std::int64_t rows_ = 0;
  std::vector<ProjectionPart>
      parts_;  // by head the own part of queries, the shared one; latent, key
  ParamId in_, norm_, query_, value_, out_;
};

}  // namespace

std::unique_ptr<Mixer> make_latent_attention(const MixerSetup& setup, ParameterPlan& plan) {
  return std::make_unique<LatentAttention>(setup, plan);
}

}  // namespace subquad
