#include "subquad/autograd/ops.h"
#include "subquad/backend/sequence.h"

namespace subquad {
namespace {

struct GateSetup {
  double lo = 0, hi = 1e300;
  bool signed_decay = false;
  double write_range = 1;
  bool write = true;
};

DecayGates gates(Context& cx, std::string_view op, const Var& raw, const Var& b, ParamId A_log,
                 ParamId bias, const GateSetup& setup) {
  const std::int64_t heads = raw.shape()[-1], n = raw.shape().rows();
  const std::int64_t rates = cx.params.value(A_log).numel();
  require(rates > 0 && heads % rates == 0 && (rates == heads || !setup.write) &&
              cx.params.value(bias).numel() == heads && (!b.value || b.shape() == raw.shape()),
          ErrorCode::shape_mismatch, op, " of shape ", raw.shape(), " with A_log of ", rates,
          " elements and a bias of ", cx.params.value(bias).numel());
  const auto flat = [n, heads](const Tensor& t) { return t ? t.reshaped({n, heads}) : t; };
  const auto arguments = [=]<class T>(Context& cx, T) {
    return GatesForward<T>{flat(raw.value).template view<const T, 2>(),
                           flat(b.value).template view<const T, 2>(),
                           cx.params.value(A_log).view<const T, 1>(),
                           cx.params.value(bias).view<const T, 1>(),
                           setup.lo,
                           setup.hi,
                           setup.signed_decay,
                           setup.write_range,
                           {},
                           {}};
  };
  std::vector<Tensor> outputs = {cx.empty(raw.shape())};
  if (setup.write) outputs.push_back(cx.empty(raw.shape()));
  with_scalar(cx.dtype(), [&]<class T>() {
    auto args = arguments(cx, T());
    args.decay = flat(outputs[0]).template view<T, 2>();
    if (setup.write) args.write = flat(outputs[1]).template view<T, 2>();
    cx.run(args);
  });
  auto vars = cx.record(op, std::move(outputs), [=](Context& cx, std::span<const Tensor> d) {
    const Tensor draw = cx.empty(raw.shape()), db = b.value ? cx.empty(raw.shape()) : Tensor();
    with_scalar(cx.dtype(), [&]<class T>() {
      cx.run(GatesBackward<T>{arguments(cx, T()), flat(d[0]).template view<const T, 2>(),
                              flat(setup.write ? d[1] : Tensor()).template view<const T, 2>(),
                              flat(draw).template view<T, 2>(), flat(db).template view<T, 2>(),
                              cx.params.grad(A_log).view<T, 1>(),
                              cx.params.grad(bias).view<T, 1>()});
    });
    cx.add_grad(raw, draw);
    cx.add_grad(b, db);
  });
  return {vars[0], setup.write ? vars[1] : Var{}};
}

}  // namespace

DecayGates mamba2_gates(Context& cx, const Var& dt_raw, ParamId A_log, ParamId dt_bias, double lo,
                        double hi, bool signed_decay) {
  return gates(cx, "mamba2_gates", dt_raw, {}, A_log, dt_bias,
               {.lo = lo, .hi = hi, .signed_decay = signed_decay});
}

Var channel_decay(Context& cx, const Var& a, ParamId A_log, ParamId dt_bias) {
  return gates(cx, "channel_decay", a, {}, A_log, dt_bias, {.write = false}).decay;
}

DecayGates gdn_gates(Context& cx, const Var& a, const Var& b, ParamId A_log, ParamId dt_bias,
                     double write_range) {
  return gates(cx, "gdn_gates", a, b, A_log, dt_bias, {.write_range = write_range});
}

}  // namespace subquad
