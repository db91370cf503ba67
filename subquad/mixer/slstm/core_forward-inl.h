// The sLSTM forward: pre-activations of all rows of a tile, then their gates, position by position.
#if defined(SUBQUAD_MIXER_SLSTM_CORE_FORWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_SLSTM_CORE_FORWARD_INL_H
#undef SUBQUAD_MIXER_SLSTM_CORE_FORWARD_INL_H
#else
#define SUBQUAD_MIXER_SLSTM_CORE_FORWARD_INL_H
#endif

#include <vector>

#include "subquad/mixer/slstm/core_gates-inl.h"
#include "subquad/mixer/slstm/core_task-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::slstm {
namespace gates = slstm_gates;

constexpr std::int64_t kPackSteps = 4;  // fewer steps read R where it lies

// Gates of `active` slots in two passes. The first needs the pre-activations [slot][gate][unit]
// alone: l = m + log f replaces f in place, and z and o are opened, in place too unless `saved`
// says where each slot keeps its values for the backward sweep.
HWY_NOINLINE void open_gates(const gates::Constants& k, std::int64_t active, std::int64_t P,
                             bool exponential_forget, const float* m, float* p, float* const* saved,
                             const float* const* x, std::int64_t x_ahead, std::int64_t x_gate) {
  for (std::int64_t s = 0; s < active; ++s, p += 4 * P, m += P) {
    for (std::int64_t g = 0; g < 4; ++g) prefetch(x[s] + x_ahead + g * x_gate, P);
    float *keep = saved != nullptr ? saved[s] : nullptr, *opened = keep != nullptr ? keep : p;
    for (std::int64_t u = 0; u < P; u += vm::kWidth) {
      gates::LogSigmoid f{at(p + P + u), k.one};
      if (!exponential_forget) f = gates::log_sigmoid(k, f.value);
      const V z = gates::tanh(k, at(p + 2 * P + u)), o = gates::sigmoid(k, at(p + 3 * P + u));
      put(hn::Add(at(m + u), f.value), p + P + u);
      put(z, opened + 2 * P + u);
      put(o, opened + 3 * P + u);
      if (keep != nullptr) put(f.slope, keep + 6 * P + u);
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
    const float* opened = keep != nullptr ? keep : p;
    if (keep != nullptr) prefetch(keep + saved_ahead, 7 * P);
    prefetch(out[s] + out_ahead, P);
    for (std::int64_t u = 0; u < P; u += vm::kWidth) {
      const V p_i = at(p + u), l = at(p + P + u);
      const V z = at(opened + 2 * P + u), o = at(opened + 3 * P + u);
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
  // Where the slots lie in the tensors at one position.
  struct Rows {
    const float* x[kSlstmTileRows];
    float *h[kSlstmTileRows], *saved[kSlstmTileRows];
  };

  const SlstmForward<float>& a;
  Columns R;
  const float* bias = nullptr;
  float *pre, *state, *stage;
  gates::Constants constants;
  std::vector<std::int64_t> x_vector;  // where vector j of [gate][unit] lies in x

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
    std::fill_n(state, kSlstmTileRows * 4 * P, 0.0F);
    if (!direct) {  // lanes past D are never written
      std::fill_n(pre, kSlstmTileRows * 4 * P, 0.0F);
      std::fill_n(stage, kSlstmTileRows * 8 * P, 0.0F);
    }
    for (std::int64_t c = 0; c < 4 * P; c += vm::kWidth) {
      x_vector.push_back(c / P * a.x.stride(3) + c % P);
    }
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

  // The rows of the slots at position t.
  Rows rows_at(std::int64_t t, std::int64_t active) const {
    Rows r;
    for (std::int64_t s = 0; s < active; ++s) {
      r.x[s] = a.x.at(row(s), t, head);
      r.h[s] = a.h.at(row(s), t, head);
      if (a.saved) r.saved[s] = a.saved.at(row(s), t, head);
    }
    return r;
  }
  void advance(Rows& r, std::int64_t active) const {
    for (std::int64_t s = 0; s < active; ++s) {
      r.x[s] += a.x.stride(1);
      r.h[s] += a.h.stride(1);
      if (a.saved) r.saved[s] += a.saved.stride(1);
    }
  }

  // One position of the first `active` slots; `more` positions follow.
  void step(const Rows& r, std::int64_t active, bool more) const {
    slstm_product::Rows x{active, field(0, 0), P, 1, pre, 4 * P, nullptr, bias, pre, 4 * P};
    if (direct && tile.consecutive) {
      x.init = r.x[0];
      x.init_stride = a.x.stride(0);
      x.init_vector = x_vector.data();
    } else {
      for (std::int64_t s = 0; s < active; ++s)
        copy_rows(r.x[s], a.x.stride(3), 4, D, pre + s * 4 * P, P);
    }
    product(x, R);
    Rows staged;
    for (std::int64_t s = 0; !direct && s < active; ++s) {
      staged.saved[s] = stage + s * 8 * P;
      staged.h[s] = staged.saved[s] + 7 * P;
    }
    const Rows& to = direct ? r : staged;
    const bool ahead = direct && more;
    open_gates(constants, active, P, a.exponential_forget, field(3, 0), pre,
               a.saved ? to.saved : nullptr, r.x, more ? a.x.stride(1) : 0, a.x.stride(3));
    update(constants, active, P, pre, state, a.saved ? to.saved : nullptr, to.h,
           ahead ? a.saved.stride(1) : 0, ahead ? a.h.stride(1) : 0);
    for (std::int64_t s = 0; !direct && s < active; ++s) {
      std::copy_n(to.h[s], D, r.h[s]);
      if (a.saved) copy_rows(to.saved[s], P, 7, D, r.saved[s], D);
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
      Rows r = rows_at(s.begin, s.active);
      for (std::int64_t t = s.begin; t < s.end; ++t, advance(r, s.active)) {
        step(r, s.active, t + 1 < s.end);
      }
    }
    store_state();
    for (std::int64_t s = 0; s < tile.count; ++s) {
      for (std::int64_t t = length(s); t < a.x.dim(1); ++t) {
        std::fill_n(a.h.at(row(s), t, head), D, 0.0F);
      }
    }
  }
};

}  // namespace subquad::HWY_NAMESPACE::slstm
HWY_AFTER_NAMESPACE();

#endif
