// sLSTM in SIMD. Heads are independent over all time, so the task is (tile of up to 8 rows, head)
// for the whole sequence.
// Forward, per step: pre-activations = x + h R for all rows of the tile (R packed in panels, read
// once per step from L1 or L2), then the gates: first what depends on the pre-activations alone,
// then the state, so that many short chains are in flight instead of a few long ones.
// Backward, per step: gradients of the pre-activations, then dh = dp Rᵀ. The last kRing (h_{t-1},
// dp) pairs wait in scratch and go into the task's own dR as one product of inner size kRing; the
// dR of the tiles of a head are added in order at the end.
// Roofline: FMA for D >= 64 (24 D² per token and head, of which R's 16 D² bytes come from L2 once
// per step and tile); below, the gates (about 1.5 ns per unit and step forward on AVX2).
#include "subquad/mixer/slstm/core.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <array>

#include "subquad/mixer/slstm/row_tiles.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/slstm/core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/mixer/slstm/core_gates-inl.h"
#include "subquad/mixer/slstm/core_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
namespace gates = slstm_gates;
using slstm_product::Columns;
using slstm_product::kPanel;
using slstm_product::kSinglePanel;
using slstm_product::product;
using vm::V;

constexpr std::int64_t kRing = 128;     // pairs that wait for one product into dR
constexpr std::int64_t kSkew = 16;      // floats between ring rows, or they share few sets of L1
constexpr std::int64_t kPackSteps = 4;  // fewer steps read R where it lies

HWY_INLINE V at(const float* p) { return hn::LoadU(vm::F(), p); }
HWY_INLINE void put(V v, float* p) { hn::StoreU(v, vm::F(), p); }

// What the next step of a row will touch: rows lie far apart, which hides them from the hardware.
HWY_INLINE void prefetch(const float* p, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += 16) hwy::Prefetch(p + i);
}

std::int64_t padded(std::int64_t d) { return (d + vm::kWidth - 1) / vm::kWidth * vm::kWidth; }

// `count` rows of D floats, `to_stride` and `from_stride` apart.
void copy_rows(const float* from, std::int64_t from_stride, std::int64_t count, std::int64_t D,
               float* to, std::int64_t to_stride) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(from + i * from_stride, D, to + i * to_stride);
  }
}

// What both directions know about one task. Unit vectors in scratch are padded to whole vectors.
struct Task {
  std::int64_t head, D, P;
  bool direct;  // D = P: tensors are read and written in place
  const RowTile& tile;

  Task(const SlstmForward<float>& a, const RowTile& tile, std::int64_t head)
      : head(head), D(a.R.dim(1)), P(padded(D)), direct(D == P), tile(tile) {}
  std::int64_t row(std::int64_t slot) const { return tile.row[static_cast<std::size_t>(slot)]; }
  std::int64_t length(std::int64_t slot) const {
    return tile.length[static_cast<std::size_t>(slot)];
  }
  std::int64_t panel() const { return tile.count == 1 ? kSinglePanel : kPanel; }
};

// Fills packed columns: element (k,c) from source(k)[c], c in [0, D) of every group of P columns.
template <class Source>
void pack(const Columns& b, float* to, Source&& source) {
  for (std::int64_t j = 0; j < b.vectors;) {
    const std::int64_t width = b.width(j), n = width * vm::kWidth;
    for (std::int64_t k = 0; k < b.depth; ++k, to += n) source(k, j * vm::kWidth, n, to);
    j += width;
  }
}

// [d] x [gate][unit]
Columns pack_forward(const Task& w, const float* R, float* to) {
  const std::int64_t D = w.D, P = w.P;
  const Columns b{to, D, 4 * P / vm::kWidth, w.panel(), 0};
  pack(b, to, [&](std::int64_t d, std::int64_t column, std::int64_t n, float* line) {
    for (std::int64_t c = 0; c < n; c += vm::kWidth) {
      const std::int64_t gate = (column + c) / P, unit = (column + c) % P;
      put(vm::load(R + (d * 4 + gate) * D + unit, D - unit), line + c);
    }
  });
  return b;
}

// [gate][unit] x [d]
Columns pack_backward(const Task& w, const float* R, float* to) {
  const std::int64_t D = w.D, P = w.P;
  const Columns b{to, 4 * P, P / vm::kWidth, w.panel(), 0};
  pack(b, to, [&](std::int64_t k, std::int64_t column, std::int64_t n, float* line) {
    const std::int64_t gate = k / P, unit = k % P;
    for (std::int64_t c = 0; c < n; ++c) {
      const std::int64_t d = column + c;
      line[c] = d < D && unit < D ? R[(d * 4 + gate) * D + unit] : 0.0F;
    }
  });
  return b;
}

// Gates of `active` slots in two passes. The first needs the pre-activations [slot][gate][unit]
// alone and works in place: f becomes l = m + log f, and z and o are opened. `saved`: where each
// slot keeps its values for the backward sweep, or null.
HWY_NOINLINE void open_gates(const gates::Constants& k, std::int64_t active, std::int64_t P,
                             bool exponential_forget, const float* m, float* p, float* const* saved,
                             const float* const* next_x) {
  for (std::int64_t s = 0; s < active; ++s, p += 4 * P, m += P) {
    prefetch(next_x[s], 4 * P);
    float* keep = saved != nullptr ? saved[s] : nullptr;
    for (std::int64_t u = 0; u < P; u += vm::kWidth) {
      gates::LogSigmoid f{at(p + P + u), k.one};
      if (!exponential_forget) f = gates::log_sigmoid(k, f.value);
      const V z = gates::tanh(k, at(p + 2 * P + u)), o = gates::sigmoid(k, at(p + 3 * P + u));
      put(hn::Add(at(m + u), f.value), p + P + u);
      put(z, p + 2 * P + u);
      put(o, p + 3 * P + u);
      if (keep == nullptr) continue;
      put(z, keep + 2 * P + u);
      put(o, keep + 3 * P + u);
      put(f.slope, keep + 6 * P + u);
    }
  }
}

// The second makes the new state [h c n m][slot][unit]. Of i = exp(p_i - m) and f = exp(l - m) the
// larger is 1 and the other exp(-|p_i - l|). A NaN fails both comparisons and so gets into both.
HWY_NOINLINE void update(const gates::Constants& k, std::int64_t active, std::int64_t P,
                         const float* p, float* state, float* const* saved, float* const* out,
                         std::int64_t saved_ahead, std::int64_t out_ahead) {
  float *h = state, *c = h + kSlstmTileRows * P, *n = c + kSlstmTileRows * P,
        *m = n + kSlstmTileRows * P;
  for (std::int64_t s = 0; s < active; ++s, p += 4 * P) {
    float* keep = saved != nullptr ? saved[s] : nullptr;
    if (keep != nullptr) prefetch(keep + saved_ahead, 7 * P);
    prefetch(out[s] + out_ahead, P);
    for (std::int64_t u = 0; u < P; u += vm::kWidth) {
      const V p_i = at(p + u), l = at(p + P + u), z = at(p + 2 * P + u), o = at(p + 3 * P + u);
      const V c0 = at(c + s * P + u), n0 = at(n + s * P + u);
      const V lesser = gates::exp_minus_abs(k, hn::Sub(p_i, l));
      const auto from_input = hn::Or(hn::Ge(p_i, l), hn::Eq(n0, k.zero));
      const V i = hn::IfThenElse(from_input, k.one, lesser);
      const V f = hn::IfThenElse(hn::Ge(l, p_i), k.one, lesser);
      const V c1 = hn::MulAdd(f, c0, hn::Mul(i, z)), n1 = hn::MulAdd(f, n0, i);
      const V h1 = hn::Mul(o, hn::Div(c1, n1));
      put(hn::IfThenElse(from_input, p_i, l), m + s * P + u);
      put(c1, c + s * P + u);
      put(n1, n + s * P + u);
      put(h1, h + s * P + u);
      put(h1, out[s] + u);
      if (keep == nullptr) continue;
      put(i, keep + u);
      put(f, keep + P + u);
      put(c1, keep + 4 * P + u);
      put(n1, keep + 5 * P + u);
    }
  }
}

// One head of one tile, forward. Scratch: packed R, pre-activations [slot][gate][unit], state
// [h c n m][slot][unit], bias [gate][unit], and saved values and h [slot][7 + 1][unit] where
// tensors cannot be written in place.
struct ForwardTask : Task {
  const SlstmForward<float>& a;
  Columns R;
  const float* bias = nullptr;
  float *pre, *state, *stage;
  gates::Constants constants;

  float* field(std::int64_t f, std::int64_t slot) const {
    return state + (f * kSlstmTileRows + slot) * P;
  }
  static std::int64_t floats(std::int64_t D) {
    const std::int64_t P = padded(D);
    return 4 * D * P + 4 * P + kSlstmTileRows * (4 + 4 + 8) * P;
  }

  ForwardTask(const SlstmForward<float>& a, const RowTile& tile, std::int64_t head, float* scratch)
      : Task(a, tile, head), a(a) {
    gates::set(constants);
    float* own_bias = scratch + 4 * D * P;
    pre = own_bias + 4 * P;
    state = pre + kSlstmTileRows * 4 * P;
    stage = state + kSlstmTileRows * 4 * P;
    if (direct && tile.tokens() < kPackSteps * tile.count) {
      R = {a.R.at(head), D, 4 * P / vm::kWidth, panel(), 4 * D};
    } else {
      R = pack_forward(*this, a.R.at(head), scratch);
    }
    std::fill_n(pre, kSlstmTileRows * (4 + 4 + 8) * P, 0.0F);
    if (a.b && direct) bias = a.b.at(head);
    if (a.b && !direct) {
      std::fill_n(own_bias, 4 * P, 0.0F);
      copy_rows(a.b.at(head), D, 4, D, own_bias, P);
      bias = own_bias;
    }
  }

  void load_state() const {
    const View<const float, 3>* from[] = {&a.h_initial, &a.c_initial, &a.n_initial, &a.m_initial};
    for (std::int64_t f = 0; f < 4; ++f) {
      for (std::int64_t s = 0; *from[f] && s < tile.count; ++s) {
        std::copy_n(from[f]->at(row(s), head), D, field(f, s));
      }
    }
  }
  void store_state() const {
    const View<float, 3>* to[] = {&a.h_final, &a.c_final, &a.n_final, &a.m_final};
    for (std::int64_t f = 0; f < 4; ++f) {
      for (std::int64_t s = 0; *to[f] && s < tile.count; ++s) {
        std::copy_n(field(f, s), D, to[f]->at(row(s), head));
      }
    }
  }

  void step(std::int64_t t, std::int64_t active) const {
    slstm_product::Rows x{active, field(0, 0), P, 1, pre, 4 * P, bias, pre, 4 * P};
    float *saved[kSlstmTileRows], *h[kSlstmTileRows];
    const float* next_x[kSlstmTileRows];
    const bool more = t + 1 < a.x.dim(1);
    const bool keep = static_cast<bool>(a.saved), in_place = direct && tile.consecutive;
    for (std::int64_t s = 0; s < active; ++s) {
      h[s] = direct ? a.h.at(row(s), t, head) : stage + (s * 8 + 7) * P;
      next_x[s] = a.x.at(row(s), t + more, head);
      if (keep) saved[s] = direct ? a.saved.at(row(s), t, head) : stage + s * 8 * P;
      if (!in_place) copy_rows(a.x.at(row(s), t, head), D, 4, D, pre + s * 4 * P, P);
    }
    if (in_place) {
      x.init = a.x.at(row(0), t, head);
      x.init_stride = a.x.stride(0);
    }
    product(x, R);
    open_gates(constants, active, P, a.exponential_forget, field(3, 0), pre, keep ? saved : nullptr,
               next_x);
    update(constants, active, P, pre, state, keep ? saved : nullptr, h,
           more && direct && keep ? a.saved.stride(1) : 0, more && direct ? a.h.stride(1) : 0);
    for (std::int64_t s = 0; !direct && s < active; ++s) {
      std::copy_n(h[s], D, a.h.at(row(s), t, head));
      if (keep) copy_rows(saved[s], P, 7, D, a.saved.at(row(s), t, head), D);
    }
  }

  void run() const {
    load_state();
    for (const Stretch& s : tile.stretches) {
      for (std::int64_t slot = 0; slot < s.active; ++slot) {
        for (std::int64_t f = 0; s.reset[static_cast<std::size_t>(slot)] && f < 4; ++f) {
          std::fill_n(field(f, slot), P, 0.0F);
        }
      }
      for (std::int64_t t = s.begin; t < s.end; ++t) step(t, s.active);
    }
    store_state();
    for (std::int64_t s = 0; s < tile.count; ++s) {
      for (std::int64_t t = length(s); t < a.x.dim(1); ++t) {
        std::fill_n(a.h.at(row(s), t, head), D, 0.0F);
      }
    }
  }
};

// Where each slot finds what a backward step needs, units padded, and leaves what it makes.
struct StepRows {
  std::array<const float*, kSlstmTileRows> saved{}, c0{}, n0{}, h0{}, h{}, dh{};
  std::array<float*, kSlstmTileRows> dx{};
  std::int64_t saved_back = 0, h_back = 0, dh_back = 0, dx_back = 0;  // to the step after next
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
    const auto slot = static_cast<std::size_t>(s);
    const float *saved = x.saved[slot], *c0 = x.c0[slot], *n0 = x.n0[slot], *h0 = x.h0[slot],
                *h = x.h[slot], *more_dh = x.dh[slot];
    prefetch(saved - x.saved_back, 7 * P);
    prefetch(h - x.h_back, P);
    if (more_dh != nullptr) prefetch(more_dh - x.dh_back, P);
    if (x.dx[slot] != nullptr) prefetch(x.dx[slot] - x.dx_back, 4 * P);
    float *dx = x.dx[slot], *dp = ring_dp + s * (4 * P + kSkew), *keep_h = ring_h + s * (P + kSkew);
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
        put(d_f, dx + P + u);
        put(d_z, dx + 2 * P + u);
        put(d_o, dx + 3 * P + u);
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
    const auto slot = static_cast<std::size_t>(s);
    const std::int64_t b = row(s);
    x.saved[slot] = a.saved.at(b, t, head);
    x.h[slot] = a.h.at(b, t, head);
    x.dh[slot] = g.dh ? g.dh.at(b, t, head) : nullptr;
    x.dx[slot] = direct ? g.dx.at(b, t, head) : nullptr;
    x.c0[slot] = x.n0[slot] = x.h0[slot] = zeros;
    if (!start) {
      x.c0[slot] = a.saved.at(b, t - 1, head, 4);
      x.n0[slot] = a.saved.at(b, t - 1, head, 5);
      x.h0[slot] = a.h.at(b, t - 1, head);
    } else if (!reset) {
      if (a.c_initial) x.c0[slot] = a.c_initial.at(b, head);
      if (a.n_initial) x.n0[slot] = a.n_initial.at(b, head);
      if (a.h_initial) x.h0[slot] = a.h_initial.at(b, head);
    }
    if (direct) return;
    float* to = stage + s * kStaged * P;
    copy_rows(x.saved[slot], D, 7, D, to, P);
    x.saved[slot] = to;
    to += 7 * P;
    for (const float** p : {&x.c0[slot], &x.n0[slot], &x.h0[slot], &x.h[slot], &x.dh[slot]}) {
      if (*p != nullptr) *p = std::copy_n(*p, D, to) - D;
      to += P;
    }
  }

  void step(std::int64_t t, const Stretch& stretch) {
    const std::int64_t active = stretch.active;
    float *h = ring_h + waiting * (P + kSkew), *dp = ring_dp + waiting * (4 * P + kSkew);
    StepRows x;
    if (direct && t > 1) {
      x.saved_back = 2 * a.saved.stride(1), x.h_back = 2 * a.h.stride(1);
      x.dh_back = g.dh ? g.dh.stride(1) : 0, x.dx_back = g.dx.stride(1);
    }
    for (std::int64_t s = 0; s < active; ++s) {
      const bool reset = stretch.reset[static_cast<std::size_t>(s)];
      find(s, t, t == stretch.begin && (t == 0 || reset), reset, x);
    }
    if (has_dm) {
      step_gradients<true>(x, active, P, state, h, dp);
    } else {
      step_gradients<false>(x, active, P, state, h, dp);
    }
    for (std::int64_t s = 0; !direct && s < active; ++s) {
      copy_rows(dp + s * (4 * P + kSkew), P, 4, D, g.dx.at(row(s), t, head), D);
    }
    product({active, dp, 4 * P + kSkew, 1, zeros, 0, nullptr, field(0, 0), P}, Rt);
    waiting += active;
    if (waiting + kSlstmTileRows > kRing) flush();
  }

  // dR += (h_{t-1})ᵀ dp over the ring.
  void flush() {
    const std::int64_t h_stride = P + kSkew, dp_stride = 4 * P + kSkew;
    product({D, ring_h, 1, h_stride, dR, 4 * P, nullptr, dR, 4 * P},
            {ring_dp, waiting, 4 * P / vm::kWidth, kPanel, dp_stride});
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
        std::fill_n(g.dx.at(row(s), t, head), 4 * D, 0.0F);
      }
    }
    for (std::size_t i = tile.stretches.size(); i-- > 0;) {
      const Stretch& s = tile.stretches[i];
      for (std::int64_t t = s.end; t-- > s.begin;) step(t, s);
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

// Runs body(tile, head, index, scratch) for all tiles and heads. Below about half a million
// multiply-adds (gates converted) one task does them all: a fork-join would cost more.
template <class Body>
void for_each_task(const SlstmForward<float>& a, const std::vector<RowTile>& tiles,
                   ThreadPool& threads, Body&& body) {
  const std::int64_t H = a.x.dim(2), D = a.R.dim(1);
  const auto count = static_cast<std::int64_t>(tiles.size()) * H;
  const bool small = a.x.dim(0) * a.x.dim(1) * H * D * (4 * D + 200) < (1 << 19);
  const std::int64_t per_task = small ? count : 1;
  if (count == 0) return;
  threads.run(count / per_task, [&](std::int64_t task, Scratch& scratch) {
    for (std::int64_t i = task * per_task; i < (task + 1) * per_task; ++i) {
      body(tiles[static_cast<std::size_t>(i / H)], i % H, i, scratch);
    }
  });
}

void slstm_forward(const SlstmForward<float>& a, ThreadPool& threads) {
  const std::int64_t D = a.R.dim(1);
  const auto tiles = slstm_row_tiles(*a.spans, a.x.dim(2));
  for_each_task(a, tiles, threads,
                [&](const RowTile& tile, std::int64_t head, std::int64_t, Scratch& scratch) {
                  ForwardTask(a, tile, head, scratch.get<float>(ForwardTask::floats(D))).run();
                  scratch.count_macs(tile.tokens() * 4 * (D + 1) * D);
                });
}

void slstm_backward(const SlstmBackward<float>& g, ThreadPool& threads) {
  const std::int64_t H = g.f.x.dim(2), D = g.f.R.dim(1), P = padded(D);
  const auto tiles = slstm_row_tiles(*g.f.spans, H);
  const auto count = static_cast<std::int64_t>(tiles.size());
  const Tensor parts({count, H, BackwardTask::part_floats(D)}, DType::f32);
  const auto part = parts.view<float, 3>();
  for_each_task(g.f, tiles, threads,
                [&](const RowTile& tile, std::int64_t head, std::int64_t i, Scratch& scratch) {
                  BackwardTask(g, tile, head, scratch.get<float>(BackwardTask::floats(D)),
                               part.at(i / H, head))
                      .run();
                  scratch.count_macs(tile.tokens() * 8 * D * D);
                });
  threads.run(count * H * D * D < (1 << 17) ? 1 : H, [&](std::int64_t task, Scratch&) {
    const bool all = count * H * D * D < (1 << 17);
    for (std::int64_t head = task; head < (all ? H : task + 1); ++head) {
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t k = 0; k < 4 * (g.db ? D + 1 : D); ++k) {
          const float* from = part.at(i, head) + k * P;
          float* to = k < 4 * D ? g.dR.at(head) + k * D : g.db.at(head, k - 4 * D);
          for (std::int64_t u = 0; u < D; ++u) to[u] += from[u];
        }
      }
    }
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(slstm_forward);
HWY_EXPORT(slstm_backward);

}  // namespace

void add_slstm_core_cpu(KernelTable& table) {
  table.add(Impl<SlstmForward<float>>{"highway", nullptr,
                                      [](const SlstmForward<float>& a, ThreadPool& threads) {
                                        HWY_DYNAMIC_DISPATCH(slstm_forward)(a, threads);
                                      }});
  table.add(Impl<SlstmBackward<float>>{"highway", nullptr,
                                       [](const SlstmBackward<float>& a, ThreadPool& threads) {
                                         HWY_DYNAMIC_DISPATCH(slstm_backward)(a, threads);
                                       }});
}

}  // namespace subquad
#endif
