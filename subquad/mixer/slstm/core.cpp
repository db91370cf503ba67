#include "subquad/mixer/slstm/core.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace subquad {
namespace {

using States = std::array<Var, 4>;  // h c n m

// x or dx as (B,T,H,4,D), whichever order it is stored in.
template <class T>
View<T, 5> by_head(const Tensor& x, bool gates_first) {
  auto v = x.view<T, 5>();
  if (gates_first) {
    std::swap(v.dims[2], v.dims[3]);
    std::swap(v.strides[2], v.strides[3]);
  }
  return v;
}

// Where the biases live: one tensor (H,4,D), three, or nowhere.
struct Biases {
  ParamId joint;
  SlstmBiases separate;
  bool gates_first;  // with them x is (B,T,4,H,D)

  std::array<ParamId, 4> by_gate() const {
    return {separate.input, separate.forget, separate.z, separate.o};
  }
  // fn(ours, theirs) for the D floats of every head and gate that has one.
  template <class Fn>
  void for_each(std::int64_t H, std::int64_t D, Fn&& fn) const {
    for (std::size_t gate = separate.input ? 0 : 1; gate < 4; ++gate) {
      for (std::int64_t h = 0; h < H; ++h) {
        fn((h * 4 + static_cast<std::int64_t>(gate)) * D, by_gate()[gate], h * D);
      }
    }
  }
  Tensor values(Context& cx, std::int64_t H, std::int64_t D) const {
    if (!gates_first) return joint ? cx.params.value(joint) : Tensor();
    const Tensor b = Tensor::zeros({H, 4, D}, cx.dtype());
    with_scalar(cx.dtype(), [&]<class T>() {
      for_each(H, D, [&](std::int64_t ours, ParamId id, std::int64_t theirs) {
        std::copy_n(cx.params.value(id).data<T>() + theirs, D, b.data<T>() + ours);
      });
    });
    return b;
  }
  // db accumulates in the parameters' gradients: at once, or through add_gradients.
  Tensor gradients(Context& cx, std::int64_t H, std::int64_t D) const {
    if (!gates_first) return joint ? cx.params.grad(joint) : Tensor();
    return Tensor::zeros({H, 4, D}, cx.dtype());
  }
  template <class T>
  void add_gradients(Context& cx, const Tensor& db, std::int64_t H, std::int64_t D) const {
    if (!gates_first) return;
    for_each(H, D, [&](std::int64_t ours, ParamId id, std::int64_t theirs) {
      T* to = cx.params.grad(id).data<T>() + theirs;
      for (std::int64_t u = 0; u < D; ++u) to[u] += db.data<T>()[ours + u];
    });
  }
};

template <class T>
SlstmForward<T> arguments(Context& cx, const Var& x, ParamId R, const Tensor& b, bool gates_first,
                          const States& initial, const Spans* spans, bool exponential_forget) {
  SlstmForward<T> f;
  f.x = by_head<const T>(x.value, gates_first);
  f.R = cx.params.value(R).view<const T, 4>();
  f.b = b.view<const T, 3>();
  f.h_initial = initial[0].value.view<const T, 3>();
  f.c_initial = initial[1].value.view<const T, 3>();
  f.n_initial = initial[2].value.view<const T, 3>();
  f.m_initial = initial[3].value.view<const T, 3>();
  f.spans = spans;
  f.exponential_forget = exponential_forget;
  return f;
}

Var run(Context& cx, const Var& x, ParamId R, const Biases& biases, const Spans& spans,
        bool exponential_forget, SlstmState* state) {
  const Shape& s = x.shape();
  const Shape r = cx.params.value(R).shape();
  const bool gates_first = biases.gates_first;
  require(s.rank == 5 && s[gates_first ? 2 : 3] == 4, ErrorCode::shape_mismatch, "slstm_core: x ",
          s, ", wanted ", gates_first ? "(B,T,4,H,D)" : "(B,T,H,4,D)");
  const std::int64_t H = s[gates_first ? 3 : 2], D = s[4];
  require(r == (Shape{H, D, 4, D}), ErrorCode::shape_mismatch, "slstm_core: x ", s, ", R ", r,
          ", wanted (H,D,4,D)");
  require(spans.batch() == s[0] && spans.length() == s[1], ErrorCode::shape_mismatch,
          "slstm_core: spans of ", spans.batch(), " x ", spans.length());
  const Shape unit{s[0], H, D};
  States initial;
  if (state) initial = {state->h, state->c, state->n, state->m};
  for (const Var& v : initial) {
    require(!v.value || v.shape() == unit, ErrorCode::shape_mismatch, "slstm_core: state of shape ",
            v.shape(), ", wanted ", unit);
  }
  const auto shared = std::make_shared<const Spans>(spans);
  const Tensor b = biases.values(cx, H, D);
  const Tensor saved = cx.tape ? cx.empty({s[0], s[1], H, 7, D}) : Tensor();
  std::vector<Tensor> outputs = {cx.empty({s[0], s[1], H, D})};
  for (int i = 0; state && i < 4; ++i) outputs.push_back(cx.empty(unit));
  with_scalar(cx.dtype(), [&]<class T>() {
    auto f = arguments<T>(cx, x, R, b, gates_first, initial, shared.get(), exponential_forget);
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
        const Tensor dx = cx.empty(x.shape()), db = biases.gradients(cx, H, D);
        std::array<Tensor, 4> d_initial;
        for (std::size_t i = 0; i < 4; ++i) {
          if (initial[i].node >= 0) d_initial[i] = cx.empty(unit);
        }
        with_scalar(cx.dtype(), [&]<class T>() {
          SlstmBackward<T> a;
          a.f = arguments<T>(cx, x, R, b, gates_first, initial, shared.get(), exponential_forget);
          a.f.h = h.view<T, 4>();
          a.f.saved = saved.view<T, 5>();
          a.dh = d[0].view<const T, 4>();
          if (d.size() > 1) {
            a.dh_final = d[1].view<const T, 3>();
            a.dc_final = d[2].view<const T, 3>();
            a.dn_final = d[3].view<const T, 3>();
            a.dm_final = d[4].view<const T, 3>();
          }
          a.dx = by_head<T>(dx, gates_first);
          a.dR = cx.params.grad(R).view<T, 4>();
          a.db = db.view<T, 3>();
          a.dh_initial = d_initial[0].view<T, 3>();
          a.dc_initial = d_initial[1].view<T, 3>();
          a.dn_initial = d_initial[2].view<T, 3>();
          a.dm_initial = d_initial[3].view<T, 3>();
          cx.run(a);
          biases.add_gradients<T>(cx, db, H, D);
        });
        cx.add_grad(x, dx);
        for (std::size_t i = 0; i < 4; ++i) cx.add_grad(initial[i], d_initial[i]);
      });
  if (state) *state = {vars[1], vars[2], vars[3], vars[4]};
  return vars[0];
}

}  // namespace

Var slstm_core(Context& cx, const Var& x, ParamId R, ParamId b, const Spans& spans,
               bool exponential_forget, SlstmState* state) {
  return run(cx, x, R, {b, {}, false}, spans, exponential_forget, state);
}

Var slstm_core(Context& cx, const Var& x, ParamId R, const SlstmBiases& biases, const Spans& spans,
               bool exponential_forget, SlstmState* state) {
  return run(cx, x, R, {{}, biases, true}, spans, exponential_forget, state);
}

double slstm_core_macs(std::int64_t head_dim) {
  const auto d = static_cast<double>(head_dim);
  return 4 * d * d + 4 * d;  // R h; f c, i z, f n and o (c / n)
}

}  // namespace subquad
