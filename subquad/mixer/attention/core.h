// attention_core: causal softmax attention with a streaming softmax, memory linear in T.
//   s_ij = scale q_i·k_j     o_i = sum_j softmax_j(s_ij) v_j     lse_i = log sum_j exp s_ij
// Query i of a row stands at key index past + i, past = Tk - Tq (the cached prefix). It sees keys
// j <= past + i of its own document (span) only, and with a window w only j > past + i - w.
// A first span without reset includes the cached keys; a span with reset does not.
// Shapes:  q (B,Tq,Hq,D)   k (B,Tk,Hkv,D)   v (B,Tk,Hkv,Dv)   o (B,Tq,Hq,Dv)
//          Hq is a multiple of Hkv, head h reads h/(Hq/Hkv)
//          lse (B,Tq,Hq). Spans index the Tq new positions.
// Source:  Dao 2023 (arXiv 2307.08691) for the tiling
#pragma once

#include "subquad/autograd/tape.h"

namespace subquad {

template <class T>
struct AttentionForward {
  static constexpr std::string_view kOp = "attention_core";
  View<const T, 4> q, k, v;
  const Spans* spans = nullptr;
  double scale = 1;
  std::int64_t window = 0;  // 0 = unlimited; w counts the query's own position
  View<T, 4> o;
  View<T, 3> lse;
};

template <class T>
struct AttentionBackward {
  static constexpr std::string_view kOp = "attention_core_backward";
  AttentionForward<T> f;  // inputs, o and lse as the forward left them
  View<const T, 4> d_o;
  View<T, 4> dq, dk, dv;  // written; dk, dv summed over the query heads of a group
};

// `keys`: how many rows of k and v are filled, for caches with room to grow (-1: all; others need
// no tape).
Var attention_core(Context& cx, const Var& q, const Var& k, const Var& v, const Spans& spans,
                   double scale, std::int64_t window, std::int64_t keys = -1);
// The same where a key's first `value_dim` features are its value, so that one cache holds both.
Var attention_core_of_keys(Context& cx, const Var& q, const Var& k, std::int64_t value_dim,
                           const Spans& spans, double scale, std::int64_t keys = -1);

// Multiply-adds per query head of `tokens` positions in one document, head size D for q and k, Dv for
// v (0: D, too), window w (0: none). A product counts, with the addition that follows it if there is
// one.
//   recurrent: D + Dv + 1 per visible (query, key) pair: the score, its scale, the weighted value
double attention_core_macs(std::int64_t tokens, std::int64_t window, std::int64_t head_dim,
                           std::int64_t value_dim = 0);
//   executed: tiles of kAttentionQueryTile queries in bands of keys as wide as the machine's
//   vectors (core_tiles.h), so masked pairs inside the bands on the diagonal and at the window's
//   edge are paid for, and Dv is rounded up to whole vectors where it is a column
double attention_core_executed_macs(std::int64_t tokens, std::int64_t window, std::int64_t head_dim,
                                    std::int64_t value_dim = 0);
constexpr std::int64_t kAttentionQueryTile = 64;

void add_attention_core_reference(KernelTable& table);
void add_attention_core_cpu(KernelTable& table);

}  // namespace subquad
