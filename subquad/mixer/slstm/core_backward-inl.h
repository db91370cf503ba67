// The sLSTM backward through time of one tile and head, with the tile's part of dR.
#if defined(SUBQUAD_MIXER_SLSTM_CORE_BACKWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_SLSTM_CORE_BACKWARD_INL_H
#undef SUBQUAD_MIXER_SLSTM_CORE_BACKWARD_INL_H
#else
#define SUBQUAD_MIXER_SLSTM_CORE_BACKWARD_INL_H
#endif

#include "subquad/mixer/slstm/core_task-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::slstm {

constexpr std::int64_t kRing = 128;  // (h_{t-1}, dp) pairs that wait for one product into dR
constexpr std::int64_t kSkew = 16;   // floats between ring rows, or they share few sets of L1

// Where each slot finds what a backward step needs, units padded, and leaves what it makes.
struct StepRows {
  const float *saved[kSlstmTileRows], *c0[kSlstmTileRows], *n0[kSlstmTileRows], *h0[kSlstmTileRows],
      *h[kSlstmTileRows], *dh[kSlstmTileRows];
  float* dx[kSlstmTileRows];
  std::int64_t dx_gate;                               // floats between the gates of dx
  std::int64_t saved_back, h_back, dh_back, dx_back;  // what to prefetch lies so far before
};

// One step back of `active` slots. Into the ring go h_{t-1} (ring_h) and the gradients of the
// pre-activations [gate][unit] (ring_dp); dx takes the latter too, where it takes whole vectors.
// The state [dh dc dn dm][slot][unit] goes from after the step to before it, dh without its
// recurrent part. Without kDm nothing but h matters: the stabiliser cancels in c / n, so that dm =
// c dc + n dn at every step and no gradient passes through the maximum.
template <bool kDm>
HWY_NOINLINE void step_gradients(const StepRows& x, std::int64_t active, std::int64_t P,
                                 float* state, float* ring_h, float* ring_dp) {
  const V one = vm::set(1.0F);
  float *dh = state, *dc = dh + kSlstmTileRows * P, *dn = dc + kSlstmTileRows * P,
        *dm = dn + kSlstmTileRows * P;
  for (std::int64_t s = 0; s < active; ++s, dh += P, dc += P, dn += P, dm += P) {
    const float *saved = x.saved[s], *c0 = x.c0[s], *n0 = x.n0[s], *h0 = x.h0[s], *h = x.h[s],
                *more_dh = x.dh[s];
    float *dx = x.dx[s], *dp = ring_dp + s * (4 * P + kSkew), *keep_h = ring_h + s * (P + kSkew);
    prefetch(saved - x.saved_back, 7 * P);
    prefetch(h - x.h_back, P);
    if (more_dh != nullptr) prefetch(more_dh - x.dh_back, P);
    for (std::int64_t g = 0; dx != nullptr && g < 4; ++g) {
      prefetch(dx - x.dx_back + g * x.dx_gate, P);
    }
    for (std::int64_t u = 0; u < P; u += vm::kWidth) {
      const V i = at(saved + u), f = at(saved + P + u), z = at(saved + 2 * P + u);
      const V o = at(saved + 3 * P + u), n = at(saved + 5 * P + u), h1 = at(h + u);
      V gradient = at(dh + u);
      if (more_dh != nullptr) gradient = hn::Add(gradient, at(more_dh + u));
      const V over_n = hn::Div(gradient, n);
      const V to_c = hn::MulAdd(over_n, o, at(dc + u)),
              to_n = hn::NegMulAdd(over_n, h1, at(dn + u));
      V to_i = hn::Mul(i, hn::MulAdd(z, to_c, to_n));
      V to_l = hn::Mul(f, hn::MulAdd(at(c0 + u), to_c, hn::Mul(at(n0 + u), to_n)));
      if constexpr (kDm) {
        const V to_m = hn::Sub(at(dm + u), hn::Add(to_i, to_l));
        const auto from_input = hn::Ge(i, one);
        to_i = hn::Add(to_i, hn::IfThenElseZero(from_input, to_m));
        to_l = hn::Add(to_l, hn::IfThenZeroElse(from_input, to_m));
        put(to_l, dm + u);
      }
      const V d_f = hn::Mul(to_l, at(saved + 6 * P + u));
      const V d_z = hn::Mul(hn::Mul(i, to_c), hn::NegMulAdd(z, z, one));
      const V d_o = hn::Mul(hn::Mul(gradient, h1), hn::Sub(one, o));
      put(at(h0 + u), keep_h + u);
      put(to_i, dp + u);
      put(d_f, dp + P + u);
      put(d_z, dp + 2 * P + u);
      put(d_o, dp + 3 * P + u);
      if (dx != nullptr) {
        put(to_i, dx + u);
        put(d_f, dx + x.dx_gate + u);
        put(d_z, dx + 2 * x.dx_gate + u);
        put(d_o, dx + 3 * x.dx_gate + u);
      }
      put(hn::Mul(f, to_c), dc + u);
      put(hn::Mul(f, to_n), dn + u);
    }
  }
}

// One head of one tile, backward. Scratch: packed Rᵀ, gradient state [dh dc dn dm][slot][unit],
// the ring of h_{t-1} and dp, and the inputs of a step [slot][7 + 5][unit] where tensors cannot be
// read in place.
struct BackwardTask : Task {
  const SlstmBackward<float>& g;
  const SlstmForward<float>& a;
  float *dR, *db;  // the task's own part, [d][gate][unit] and [gate][unit]
  Columns Rt;
  float *state, *ring_h, *ring_dp, *zeros, *stage;
  bool has_dm;
  std::int64_t waiting = 0;
  static constexpr std::int64_t kStaged = 12;

  static std::int64_t floats(std::int64_t D) {
    const std::int64_t P = padded(D);
    return 4 * P * P + kSlstmTileRows * 4 * P + kRing * (5 * P + 2 * kSkew) + 4 * P +
           kSlstmTileRows * kStaged * P;
  }
  static std::int64_t part_floats(std::int64_t D) { return 4 * (D + 1) * padded(D); }

  BackwardTask(const SlstmBackward<float>& g, const RowTile& tile, std::int64_t head,
               float* scratch, float* part)
      : Task(g.f, tile, head), g(g), a(g.f), dR(part), db(part + 4 * D * P) {
    Rt = pack_backward(*this, a.R.at(head), scratch);
    state = scratch + 4 * P * P;
    ring_h = state + kSlstmTileRows * 4 * P;
    ring_dp = ring_h + kRing * (P + kSkew);
    zeros = ring_dp + kRing * (4 * P + kSkew);
    stage = zeros + 4 * P;
    has_dm = g.dc_final || g.dn_final || g.dm_final || g.dm_initial;
    std::fill_n(part, part_floats(D), 0.0F);
    std::fill_n(state, kSlstmTileRows * 4 * P, 0.0F);
    std::fill_n(zeros, 4 * P + kSlstmTileRows * kStaged * P, 0.0F);
    for (std::int64_t s = 0; s < kSlstmTileRows; ++s) {  // so that lanes past D divide by one
      std::fill_n(stage + (s * kStaged + 5) * P, P, 1.0F);
    }
  }

  float* field(std::int64_t f, std::int64_t slot) const {
    return state + (f * kSlstmTileRows + slot) * P;
  }
  void load_gradients() const {
    const View<const float, 3>* from[] = {&g.dh_final, &g.dc_final, &g.dn_final, &g.dm_final};
    for (std::int64_t s = 0; s < tile.count; ++s) {
      for (std::int64_t f = 0; f < 4; ++f) {
        if (*from[f]) std::copy_n(from[f]->at(row(s), head), D, field(f, s));
      }
    }
  }
  void store_gradients() const {
    const View<float, 3>* to[] = {&g.dh_initial, &g.dc_initial, &g.dn_initial, &g.dm_initial};
    for (std::int64_t s = 0; s < tile.count; ++s) {
      for (std::int64_t f = 0; f < 4; ++f) {
        if (*to[f]) std::copy_n(field(f, s), D, to[f]->at(row(s), head));
      }
    }
  }
  // Slot s of step t; `start`: no step of this row precedes (its state is the initial one, or zero
  // after a reset).
  void find(std::int64_t s, std::int64_t t, bool start, bool reset, StepRows& x) const {
    const std::int64_t b = row(s);
    x.saved[s] = a.saved.at(b, t, head);
    x.h[s] = a.h.at(b, t, head);
    x.dh[s] = g.dh ? g.dh.at(b, t, head) : nullptr;
    x.dx[s] = direct ? g.dx.at(b, t, head) : nullptr;
    x.c0[s] = x.n0[s] = x.h0[s] = zeros;
    if (!start) {
      x.c0[s] = a.saved.at(b, t - 1, head, 4);
      x.n0[s] = a.saved.at(b, t - 1, head, 5);
      x.h0[s] = a.h.at(b, t - 1, head);
    } else if (!reset) {
      if (a.c_initial) x.c0[s] = a.c_initial.at(b, head);
      if (a.n_initial) x.n0[s] = a.n_initial.at(b, head);
      if (a.h_initial) x.h0[s] = a.h_initial.at(b, head);
    }
    if (direct) return;
    float* to = stage + s * kStaged * P;
    copy_rows(x.saved[s], D, 7, D, to, P);
    x.saved[s] = to;
    to += 7 * P;
    for (const float** p : {&x.c0[s], &x.n0[s], &x.h0[s], &x.h[s], &x.dh[s]}) {
      if (*p != nullptr) *p = std::copy_n(*p, D, to) - D;
      to += P;
    }
  }
  // From the rows of step t + 1 to those of step t, both inside a stretch.
  void back(std::int64_t active, StepRows& x) const {
    for (std::int64_t s = 0; s < active; ++s) {
      x.saved[s] -= a.saved.stride(1);
      x.c0[s] -= a.saved.stride(1);
      x.n0[s] -= a.saved.stride(1);
      x.h0[s] -= a.h.stride(1);
      x.h[s] -= a.h.stride(1);
      x.dx[s] -= g.dx.stride(1);
      if (g.dh) x.dh[s] -= g.dh.stride(1);
    }
  }

  // The rows of step t in x: found, or moved there from those of step t + 1.
  void locate(std::int64_t t, const Stretch& stretch, StepRows& x) const {
    if (direct && t > stretch.begin && t + 1 < stretch.end) return back(stretch.active, x);
    for (std::int64_t s = 0; s < stretch.active; ++s) {
      const bool reset = stretch.reset[static_cast<std::size_t>(s)];
      find(s, t, t == stretch.begin && (t == 0 || reset), reset, x);
    }
    const bool more = direct && t - 1 > stretch.begin;
    x.dx_gate = g.dx.stride(3);
    x.saved_back = more ? 2 * a.saved.stride(1) : 0;
    x.h_back = more ? 2 * a.h.stride(1) : 0;
    x.dh_back = more && g.dh ? g.dh.stride(1) : 0;
    x.dx_back = more ? g.dx.stride(1) : 0;
  }

  void step(const StepRows& x, std::int64_t t, std::int64_t active) {
    float *h = ring_h + waiting * (P + kSkew), *dp = ring_dp + waiting * (4 * P + kSkew);
    if (has_dm) {
      step_gradients<true>(x, active, P, state, h, dp);
    } else {
      step_gradients<false>(x, active, P, state, h, dp);
    }
    for (std::int64_t s = 0; !direct && s < active; ++s) {
      copy_rows(dp + s * (4 * P + kSkew), P, 4, D, g.dx.at(row(s), t, head), g.dx.stride(3));
    }
    product({active, dp, 4 * P + kSkew, 1, zeros, 0, nullptr, nullptr, field(0, 0), P}, Rt);
    waiting += active;
    if (waiting + kSlstmTileRows > kRing) flush();
  }

  // dR += (h_{t-1})ᵀ dp over the ring.
  void flush() {
    const std::int64_t h_stride = P + kSkew, dp_stride = 4 * P + kSkew;
    product({D, ring_h, 1, h_stride, dR, 4 * P, nullptr, nullptr, dR, 4 * P},
            {ring_dp, waiting, 4 * P / vm::kWidth, slstm_product::kPanel, dp_stride});
    if (g.db) {
      for (std::int64_t k = 0; k < waiting; ++k) {
        const float* dp = ring_dp + k * dp_stride;
        for (std::int64_t c = 0; c < 4 * P; c += vm::kWidth)
          put(hn::Add(at(db + c), at(dp + c)), db + c);
      }
    }
    waiting = 0;
  }

  void run() {
    load_gradients();
    for (std::int64_t s = 0; s < tile.count; ++s) {
      for (std::int64_t t = length(s); t < a.x.dim(1); ++t) {
        for (std::int64_t gate = 0; gate < 4; ++gate) {
          std::fill_n(g.dx.at(row(s), t, head, gate), D, 0.0F);
        }
      }
    }
    for (std::size_t i = tile.stretches.size(); i-- > 0;) {
      const Stretch& s = tile.stretches[i];
      StepRows x;
      for (std::int64_t t = s.end; t-- > s.begin;) {
        locate(t, s, x);
        step(x, t, s.active);
      }
      for (std::int64_t slot = 0; slot < s.active; ++slot) {
        for (std::int64_t f = 0; s.reset[static_cast<std::size_t>(slot)] && f < 4; ++f) {
          std::fill_n(field(f, slot), P, 0.0F);
        }
      }
    }
    if (waiting > 0) flush();
    store_gradients();
  }
};

}  // namespace subquad::HWY_NAMESPACE::slstm
HWY_AFTER_NAMESPACE();

#endif
