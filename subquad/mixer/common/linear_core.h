// linear_core: the one recurrence behind mLSTM, Mamba-2 and Gated DeltaNet (and GLA,
// DeltaNet, KDA).
//
//   S'_t = a_t S_{t-1}                         a_t = exp(decay_t), or decay_t itself if signed_decay
//   u_t  = w_t v_t - S'_tᵀ (e_t k_t)           write, minus what is read back if `erase`
//   S_t  = S'_t + k_t u_tᵀ
//   o_t  = scale S_tᵀ q_t                      read after write
//
// with the switches (configuration, because studies ask which of them makes a model win):
//   exponential_input  w_t = exp(write_t); S is kept scaled by exp(-m_t),
//                      m_t = max(decay_t + m_{t-1}, write_t), m_0 = 0 unless given
//   normalizer         n_t = a_t n_{t-1} + w_t k_t,
//                      o_t = scale S_tᵀ q_t / (max(|scale n_tᵀ q_t|, floor) + eps),
//                      floor = exp(-m_t) if exponential_input, else 1
//   erase              e_t = erase_t if that view is present, otherwise w_t (GDN: both on k)
//   signed_decay       decay_t is the transition itself, in [-1, 1] (negative eigenvalues)
//
// Shapes:  q, k (B,T,Hk,Dk)   v, o (B,T,H,Dv)
//          H is a multiple of Hk; value head h reads key head h/(H/Hk)
//          decay (B,T,H,1) or per channel (B,T,H,Dk)    write (B,T,H,1) or (B,T,H,Dv)
//          erase (B,T,H,1) or (B,T,H,Dk)    S (B,H,Dk,Dv)   n (B,H,Dk)   m (B,H)
// Ranges:  decay <= 0 unless signed_decay; any T >= 1; any spans. Padding: o = 0, gradients 0.
// Source:  the mixers' READMEs; the shared chunk algebra is derived in docs/linear_core.md
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

struct LinearCoreOptions {
  bool exponential_input = false;
  bool normalizer = false;
  bool erase = false;
  bool signed_decay = false;
  double scale = 1;
  double eps = 0;
};

template <class T>
struct LinearCoreForward {
  static constexpr std::string_view kOp = "linear_core";
  View<const T, 4> q, k, v, decay, write, erase;  // erase may be absent
  View<const T, 4> S_initial;                     // absent: zero
  View<const T, 3> n_initial;
  View<const T, 2> m_initial;
  const Spans* spans = nullptr;
  LinearCoreOptions options;
  View<T, 4> o, S_final;  // final states may be absent
  View<T, 3> n_final;
  View<T, 2> m_final;
};

// Gradients of everything, by recomputing the forward chunk by chunk: nothing is saved in between.
template <class T>
struct LinearCoreBackward {
  static constexpr std::string_view kOp = "linear_core_backward";
  LinearCoreForward<T> f;          // inputs as in the forward; outputs unused
  View<const T, 4> d_o, dS_final;  // each may be absent: zero
  View<const T, 3> dn_final;
  View<const T, 2> dm_final;
  // Written completely (not accumulated); shapes as the inputs. dq, dk are summed over shared
  // heads.
  View<T, 4> dq, dk, dv, ddecay, dwrite, derase;  // derase absent if erase is
  View<T, 4> dS_initial;                          // initial-state gradients may be absent
  View<T, 3> dn_initial;
  View<T, 2> dm_initial;
};

struct LinearCoreInputs {
  Var q, k, v;       // (B,T,Hk,Dk) (B,T,Hk,Dk) (B,T,H,Dv)
  Var decay, write;  // (B,T,H) or with a channel dimension (B,T,H,C)
  Var erase{};       // optional
};
struct LinearCoreState {  // Vars of a State, or empty
  Var S{}, n{}, m{};
};

// The differentiable op. `state` (may be null) is read and replaced.
Var linear_core(Context& cx, const LinearCoreInputs& in, const Spans& spans,
                const LinearCoreOptions& options, LinearCoreState* state);

// Multiply-adds of the recurrence, per token and value head: every multiplication of the literal
// recurrence, with the addition that follows it if there is one. Gates, exponentials, divisions and
// additions alone are not counted. Law L8 counts them by running the reference.
double linear_core_macs(const LinearCoreOptions& options, std::int64_t dk, std::int64_t dv);
// Multiply-adds of the f32 forward over `tokens` positions, per value head: small products tile by
// tile as this machine's vectors run them (padding and masked parts of tiles included), or the step
// where the core steps. Row work is not counted, but for the pairs of a decay per channel. Heads of a group share q kᵀ and k kᵀ, as they do
// once the batch has 8 (row, key head) pairs; with a decay per channel they share nothing.
double linear_core_executed_macs(const LinearCoreOptions& options, std::int64_t tokens,
                                 std::int64_t dk, std::int64_t dv, std::int64_t heads_per_key,
                                 bool channel_decay = false);

void add_linear_core_reference(KernelTable& table);  // f32 and f64, every switch
void add_linear_core_cpu(KernelTable& table);  // f32 chunkwise SIMD; added before the reference

}  // namespace subquad
