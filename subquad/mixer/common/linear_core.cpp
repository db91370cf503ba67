#include "subquad/mixer/common/linear_core.h"

#include <algorithm>
#include <memory>

namespace subquad {
namespace {

Tensor with_channel(const Tensor& t) {
  if (!t || t.shape().rank == 4) return t;
  return t.reshaped({t.shape()[0], t.shape()[1], t.shape()[2], 1});
}

void require_gate(const Var& gate, const char* name, const Shape& v, std::int64_t channels) {
  const Shape s = with_channel(gate.value).shape();
  require(s.rank == 4 && s[0] == v[0] && s[1] == v[1] && s[2] == v[2] &&
              (s[3] == 1 || s[3] == channels),
          ErrorCode::shape_mismatch, "linear_core: ", name, " of shape ", gate.shape(),
          " for values of shape ", v, ", wanted (B,T,H) or (B,T,H,", channels, ")");
}

void require_shapes(const LinearCoreInputs& in, const Spans& spans, const LinearCoreOptions& o,
                    const LinearCoreState* state) {
  const Shape &q = in.q.shape(), &k = in.k.shape(), &v = in.v.shape();
  require(q.rank == 4 && v.rank == 4 && q == k && q[0] == v[0] && q[1] == v[1] && q[2] > 0 &&
              v[2] % q[2] == 0,
          ErrorCode::shape_mismatch, "linear_core: q ", q, ", k ", k, ", v ", v,
          ", wanted q and k (B,T,Hk,Dk), v (B,T,H,Dv) with H a multiple of Hk");
  require_gate(in.decay, "decay", v, q[3]);
  require_gate(in.write, "write", v, v[3]);
  if (in.erase.value) require_gate(in.erase, "erase", v, q[3]);
  const bool scalar =
      with_channel(in.decay.value).shape()[3] == 1 && with_channel(in.write.value).shape()[3] == 1;
  require(scalar || (!o.exponential_input && !o.normalizer), ErrorCode::unsupported,
          "linear_core: an exponential input gate or a normalizer needs one decay and one write "
          "per head");
  require(scalar || !o.erase || in.erase.value || with_channel(in.write.value).shape()[3] == 1,
          ErrorCode::unsupported, "linear_core: a write per channel needs its own erase gate");
  require(!(o.signed_decay && o.exponential_input), ErrorCode::unsupported,
          "linear_core: signed_decay has no logarithm for an exponential input gate to work on");
  require(spans.batch() == v[0] && spans.length() == v[1], ErrorCode::shape_mismatch,
          "linear_core: spans of ", spans.batch(), " x ", spans.length(), " for values of shape ",
          v);
  if (!state) return;
  const auto check = [](const Var& s, const Shape& want, const char* name) {
    require(!s.value || s.shape() == want, ErrorCode::shape_mismatch, "linear_core: state ", name,
            " of shape ", s.shape(), ", wanted ", want);
  };
  check(state->S, {v[0], v[2], q[3], v[3]}, "S");
  check(state->n, {v[0], v[2], q[3]}, "n");
  check(state->m, {v[0], v[2]}, "m");
}

// Everything a forward or backward call needs from the op's inputs, held by value.
struct Call {
  LinearCoreInputs in;
  LinearCoreState initial;
  LinearCoreOptions options;
  std::shared_ptr<const Spans> spans;

  template <class T>
  LinearCoreForward<T> arguments() const {
    LinearCoreForward<T> f;
    f.q = in.q.value.view<const T, 4>();
    f.k = in.k.value.view<const T, 4>();
    f.v = in.v.value.view<const T, 4>();
    f.decay = with_channel(in.decay.value).view<const T, 4>();
    f.write = with_channel(in.write.value).view<const T, 4>();
    f.erase = with_channel(in.erase.value).view<const T, 4>();
    f.S_initial = initial.S.value.view<const T, 4>();
    f.n_initial = initial.n.value.view<const T, 3>();
    f.m_initial = initial.m.value.view<const T, 2>();
    f.spans = spans.get();
    f.options = options;
    return f;
  }
};

void backward(Context& cx, const Call& call, std::span<const Tensor> d) {
  const auto like = [&](const Var& x) { return x.value ? cx.empty(x.shape()) : Tensor(); };
  const LinearCoreInputs& in = call.in;
  const Tensor dq = like(in.q), dk = like(in.k), dv = like(in.v), ddecay = like(in.decay),
               dwrite = like(in.write), derase = like(in.erase);
  const Tensor dS = call.initial.S.node >= 0 ? like(call.initial.S) : Tensor();
  const Tensor dn = call.initial.n.node >= 0 ? like(call.initial.n) : Tensor();
  const Tensor dm = call.initial.m.node >= 0 ? like(call.initial.m) : Tensor();
  with_scalar(cx.dtype(), [&]<class T>() {
    LinearCoreBackward<T> g;
    g.f = call.arguments<T>();
    g.d_o = d[0].view<const T, 4>();
    if (d.size() > 1) {
      g.dS_final = d[1].view<const T, 4>();
      g.dn_final = d[2].view<const T, 3>();
      g.dm_final = d[3].view<const T, 2>();
    }
    g.dq = dq.view<T, 4>();
    g.dk = dk.view<T, 4>();
    g.dv = dv.view<T, 4>();
    g.ddecay = with_channel(ddecay).view<T, 4>();
    g.dwrite = with_channel(dwrite).view<T, 4>();
    g.derase = with_channel(derase).view<T, 4>();
    g.dS_initial = dS.view<T, 4>();
    g.dn_initial = dn.view<T, 3>();
    g.dm_initial = dm.view<T, 2>();
    cx.run(g);
  });
  cx.add_grad(in.q, dq);
  cx.add_grad(in.k, dk);
  cx.add_grad(in.v, dv);
  cx.add_grad(in.decay, ddecay);
  cx.add_grad(in.write, dwrite);
  cx.add_grad(in.erase, derase);
  cx.add_grad(call.initial.S, dS);
  cx.add_grad(call.initial.n, dn);
  cx.add_grad(call.initial.m, dm);
}

}  // namespace

Var linear_core(Context& cx, const LinearCoreInputs& in, const Spans& spans,
                const LinearCoreOptions& options, LinearCoreState* state) {
  require_shapes(in, spans, options, state);
  const Call call{in, state ? *state : LinearCoreState{}, options,
                  std::make_shared<const Spans>(spans)};
  const Shape &v = in.v.shape(), &q = in.q.shape();
  std::vector<Tensor> outputs = {cx.empty(v)};
  if (state) {
    outputs.push_back(cx.empty({v[0], v[2], q[3], v[3]}));
    outputs.push_back(options.normalizer ? cx.empty({v[0], v[2], q[3]})
                                         : Tensor::zeros({0}, cx.dtype()));
    outputs.push_back(options.exponential_input ? cx.empty({v[0], v[2]})
                                                : Tensor::zeros({0}, cx.dtype()));
  }
  with_scalar(cx.dtype(), [&]<class T>() {
    LinearCoreForward<T> f = call.arguments<T>();
    f.o = outputs[0].view<T, 4>();
    if (state) {
      f.S_final = outputs[1].view<T, 4>();
      if (options.normalizer) f.n_final = outputs[2].view<T, 3>();
      if (options.exponential_input) f.m_final = outputs[3].view<T, 2>();
    }
    cx.run(f);
  });
  auto vars = cx.record("linear_core", std::move(outputs),
                        [call](Context& cx, std::span<const Tensor> d) { backward(cx, call, d); });
  if (state) {
    state->S = vars[1];
    state->n = options.normalizer ? vars[2] : Var{};
    state->m = options.exponential_input ? vars[3] : Var{};
  }
  return vars[0];
}

double linear_core_macs(const LinearCoreOptions& options, std::int64_t dk, std::int64_t dv) {
  const auto k = static_cast<double>(dk), v = static_cast<double>(dv);
  // Decay, write and read touch every element of S once each; the erase term reads it once more.
  // Rows: w v, scale q; e k; a n + w k and n·q.
  return (options.erase ? 4 : 3) * k * v + v + k + (options.erase ? k : 0) +
         (options.normalizer ? 3 * k : 0);
}

}  // namespace subquad
