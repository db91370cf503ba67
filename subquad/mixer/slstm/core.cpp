#include "subquad/mixer/slstm/core.h"

#include <array>
#include <memory>

namespace subquad {
namespace {

using States = std::array<Var, 4>;  // h c n m

template <class T>
SlstmForward<T> arguments(Context& cx, const Var& x, ParamId R, ParamId b, const States& initial,
                          const Spans* spans, bool exponential_forget) {
  SlstmForward<T> f;
  f.x = x.value.view<const T, 5>();
  f.R = cx.params.value(R).view<const T, 4>();
  if (b) f.b = cx.params.value(b).view<const T, 3>();
  f.h_initial = initial[0].value.view<const T, 3>();
  f.c_initial = initial[1].value.view<const T, 3>();
  f.n_initial = initial[2].value.view<const T, 3>();
  f.m_initial = initial[3].value.view<const T, 3>();
  f.spans = spans;
  f.exponential_forget = exponential_forget;
  return f;
}

}  // namespace

Var slstm_core(Context& cx, const Var& x, ParamId R, ParamId b, const Spans& spans,
               bool exponential_forget, SlstmState* state) {
  const Shape& s = x.shape();
  const Shape r = cx.params.value(R).shape();
  require(s.rank == 5 && s[3] == 4 && r == (Shape{s[2], s[4], 4, s[4]}), ErrorCode::shape_mismatch,
          "slstm_core: x ", s.text(), ", R ", r.text(), ", wanted (B,T,H,4,D) and (H,D,4,D)");
  require(spans.batch() == s[0] && spans.length() == s[1], ErrorCode::shape_mismatch,
          "slstm_core: spans of ", spans.batch(), " x ", spans.length());
  const Shape unit{s[0], s[2], s[4]};
  States initial;
  if (state) initial = {state->h, state->c, state->n, state->m};
  for (const Var& v : initial) {
    require(!v.value || v.shape() == unit, ErrorCode::shape_mismatch, "slstm_core: state of shape ",
            v.value ? v.shape().text() : "", ", wanted ", unit.text());
  }
  const auto shared = std::make_shared<const Spans>(spans);
  const Tensor saved = cx.tape ? cx.empty({s[0], s[1], s[2], 7, s[4]}) : Tensor();
  std::vector<Tensor> outputs = {cx.empty({s[0], s[1], s[2], s[4]})};
  for (int i = 0; state && i < 4; ++i) outputs.push_back(cx.empty(unit));
  with_scalar(cx.dtype(), [&]<class T>() {
    auto f = arguments<T>(cx, x, R, b, initial, shared.get(), exponential_forget);
    f.h = outputs[0].view<T, 4>();
    f.saved = saved.view<T, 5>();
    if (state) {
      f.h_final = outputs[1].view<T, 3>();
      f.c_final = outputs[2].view<T, 3>();
      f.n_final = outputs[3].view<T, 3>();
      f.m_final = outputs[4].view<T, 3>();
    }
    cx.run(f);
  });
  const Tensor h = outputs[0];
  auto vars =
      cx.record("slstm_core", std::move(outputs), [=](Context& cx, std::span<const Tensor> d) {
        const Tensor dx = cx.empty(x.shape());
        std::array<Tensor, 4> d_initial;
        for (std::size_t i = 0; i < 4; ++i) {
          if (initial[i].node >= 0) d_initial[i] = cx.empty(unit);
        }
        with_scalar(cx.dtype(), [&]<class T>() {
          SlstmBackward<T> a;
          a.f = arguments<T>(cx, x, R, b, initial, shared.get(), exponential_forget);
          a.f.h = h.view<T, 4>();
          a.f.saved = saved.view<T, 5>();
          a.dh = d[0].view<const T, 4>();
          if (d.size() > 1) {
            a.dh_final = d[1].view<const T, 3>();
            a.dc_final = d[2].view<const T, 3>();
            a.dn_final = d[3].view<const T, 3>();
            a.dm_final = d[4].view<const T, 3>();
          }
          a.dx = dx.view<T, 5>();
          a.dR = cx.params.grad(R).view<T, 4>();
          if (b) a.db = cx.params.grad(b).view<T, 3>();
          a.dh_initial = d_initial[0].view<T, 3>();
          a.dc_initial = d_initial[1].view<T, 3>();
          a.dn_initial = d_initial[2].view<T, 3>();
          a.dm_initial = d_initial[3].view<T, 3>();
          cx.run(a);
        });
        cx.add_grad(x, dx);
        for (std::size_t i = 0; i < 4; ++i) cx.add_grad(initial[i], d_initial[i]);
      });
  if (state) *state = {vars[1], vars[2], vars[3], vars[4]};
  return vars[0];
}

double slstm_core_macs(std::int64_t head_dim) {
  const auto d = static_cast<double>(head_dim);
  return 4 * d * d + 4 * d;  // R h; f c, i z, f n and o (c / n)
}

}  // namespace subquad
