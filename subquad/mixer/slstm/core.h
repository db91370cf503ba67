// slstm_core: the scalar LSTM with exponential gating and block-diagonal recurrence, any length.
// Per head, with y_0 = h_initial and the four pre-activations p_g = x_g + R_gᵀ h_{t-1} + b_g:
//   m_t = p_i                        where n_{t-1} = 0 (per unit: the first step)
//         max(p_i, l)                elsewhere, l = m_{t-1} + log sigmoid(p_f), or m_{t-1} + p_f
//   i = exp(p_i - m_t)   f = exp(l - m_t)   z = tanh(p_z)   o = sigmoid(p_o)
//   c_t = f c_{t-1} + i z    n_t = f n_{t-1} + i    h_t = o c_t / n_t
// Shapes:  x (B,T,H,4,D), gate order i f z o, any strides but the last
//          R (H,D_in,4,D_out)   b (H,4,D)   h (B,T,H,D)   states h c n m (B,H,D)
// Saved:   h, and `saved` (B,T,H,7,D): i f z o c n after gating, and d log f / d p_f
// Source:  Beck et al. 2024 (arXiv 2405.04517), Appendix A
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

template <class T>
struct SlstmForward {
  static constexpr std::string_view kOp = "slstm_core";
  View<const T, 5> x;
  View<const T, 4> R;                                           // (H,D_in,4,D_out)
  View<const T, 3> b;                                           // (H,4,D); absent: zero
  View<const T, 3> h_initial, c_initial, n_initial, m_initial;  // absent: zero
  const Spans* spans = nullptr;
  bool exponential_forget = false;                // f = exp(p_f) instead of sigmoid (paper form)
  View<T, 4> h;                                   // (B,T,H,D)
  View<T, 3> h_final, c_final, n_final, m_final;  // may be absent
  View<T, 5> saved;                               // absent: no backward will follow
};

template <class T>
struct SlstmBackward {
  static constexpr std::string_view kOp = "slstm_core_backward";
  SlstmForward<T> f;    // inputs, h and `saved` as the forward left them
  View<const T, 4> dh;  // absent: zero
  View<const T, 3> dh_final, dc_final, dn_final, dm_final;    // absent: zero
  View<T, 5> dx;                                              // written
  View<T, 4> dR;                                              // accumulated into
  View<T, 3> db;                                              // accumulated into; may be absent
  View<T, 3> dh_initial, dc_initial, dn_initial, dm_initial;  // may be absent
};

struct SlstmState {
  Var h{}, c{}, n{}, m{};
};

// x (B,T,H,4,D); b (H,4,D) or absent.
Var slstm_core(Context& cx, const Var& x, ParamId R, ParamId b, const Spans& spans,
               bool exponential_forget, SlstmState* state);

// The same on x (B,T,4,H,D), as one projection leaves it: no copy of x is made for each head.
// Biases of H D floats; the input gate's, which cancels in c / n, may be absent.
struct SlstmBiases {
  ParamId forget, z, o, input{};
};
Var slstm_core(Context& cx, const Var& x, ParamId R, const SlstmBiases& biases, const Spans& spans,
               bool exponential_forget, SlstmState* state);

// Multiply-adds per token and head, forward: products, each with the addition that follows it if
// there is one; not the exponentials, divisions and comparisons of the gates.
double slstm_core_macs(std::int64_t head_dim);

void add_slstm_core_reference(KernelTable& table);
void add_slstm_core_cpu(KernelTable& table);

}  // namespace subquad
