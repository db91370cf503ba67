// Chunkwise forward of one (row, key head) task. Per chunk of C tokens:
//   keys   pack q k, k transposed; qk = q kᵀ (and kk = k kᵀ) on lower tiles     shared by the heads
//   head   gates, pairs = D.qk;  erase: u = solve(w v - w from_start (k S), n)   else u = w v
//          o = (from_start (q S) + pairs u) / denominator                          one fused sweep
//          S = carry S + kᵀ (to_end u);   norm likewise with w in place of u
// With factored gates v is packed times column and o unpacked times row, and D drops out. What a
// zero state would add, and states nobody reads, are left out.
// Roofline: C (Dk + Dv) / 2 + 2 Dk Dv multiply-adds for 4 (2 Dk + 2 Dv) bytes: arithmetic.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_FORWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_FORWARD_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_FORWARD_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_FORWARD_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/linear_gates-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct LinearTask {
  std::int64_t b, key_head, first_head;  // first value head
  std::int64_t part;  // of B rows of H / heads parts; the key head if groups are not split
};

inline LinearTask linear_task(const LinearPlan& p, std::int64_t task) {
  const std::int64_t per_row = p.H / p.heads;
  const std::int64_t first = task % per_row * p.heads;
  return {task / per_row, first / p.group, first, task % per_row};
}

// Zeroes the rows of x (B,T,heads,D) at the positions of row b that no span covers.
inline void zero_padding(const View<float, 4>& x, std::int64_t b, std::int64_t head,
                         std::span<const Span> spans) {
  std::int64_t next = 0;
  const auto clear_until = [&](std::int64_t end) HWY_ATTR {
    for (; next < end; ++next) zero(x.at(b, next, head), x.dim(3));
  };
  for (const Span& s : spans) {
    clear_until(s.begin);
    next = s.end;
  }
  clear_until(x.dim(1));
}

template <class Plan, class T>
HWY_INLINE void ask_for(const View<T, 4>& x, std::int64_t b, std::int64_t h, const LinearChunk& c,
                        LinearWorkspace<Plan>& s) {
  if (x) s.ahead.add(x.at(b, c.begin, h), x.stride(1), c.size, x.dim(3));
}

// Rows of one cache line are asked for between the products, whose tiles are no calls then; rows of
// two showed nothing to gain.
template <class Plan>
HWY_INLINE void take_ahead(const Plan& p, LinearWorkspace<Plan>& s) {
  if constexpr (Plan::kDk == 16) {
    s.ahead.template take<16>(p.chunk, [](const float* x) { __builtin_prefetch(x, 0, 2); });
  }
}

// What the forward of a chunk reads, and where its outputs go.
template <class Plan>
inline void ask_for_inputs(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                           const LinearChunk& c, bool outputs, LinearWorkspace<Plan>& s) {
  if constexpr (Plan::kDk > 16) return;
  s.ahead.clear();
  ask_for(f.k, task.b, task.key_head, c, s);
  if (outputs) ask_for(f.q, task.b, task.key_head, c, s);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    ask_for(f.v, task.b, task.first_head + r, c, s);
    if (outputs) ask_for(f.o, task.b, task.first_head + r, c, s);
  }
}

// c (C,C) = a kᵀ on lower tiles, kᵀ from s.kt.
template <class Plan>
inline void key_scores(const Plan& p, std::int64_t padded, const float* a, float* c,
                       LinearWorkspace<Plan>& s) {
  constexpr GemmForm kForm{.lower = true, .cols = Plan::kChunk};
  small_gemm<kForm>(
      {.rows = padded, .cols = padded, .c = c, .ldc = p.chunk, .macs = &s.macs, .ahead = &s.ahead},
      GemmTerm<>{.a = a, .row_stride = p.dk, .b = s.kt, .ldb = p.chunk, .depth = p.dk});
}

// k of a chunk and, where they are needed without outputs, kᵀ and kk.
template <class Plan>
inline void pack_keys(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                      const LinearChunk& c, LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const std::int64_t padded = p.padded(c.size);
  pack_rows(f.k.at(task.b, c.begin, task.key_head), f.k.stride(1), c.size, p.Dk, padded, p.dk,
            nullptr, 1, kept.k);
  if (!p.erase) return;
  transpose(kept.k, padded, p.dk, s.kt, p.chunk);
  key_scores(p, padded, kept.k, kept.kk, s);
}

// q scaled, kᵀ unless it is there, and their product.
template <class Plan>
inline void pack_queries(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                         const LinearChunk& c, const LinearKept<Plan>& kept, bool transposed,
                         LinearWorkspace<Plan>& s) {
  const std::int64_t padded = p.padded(c.size);
  pack_rows(f.q.at(task.b, c.begin, task.key_head), f.q.stride(1), c.size, p.Dk, padded, p.dk,
            nullptr, p.scale, s.q);
  if (!transposed) transpose(kept.k, padded, p.dk, s.kt, p.chunk);
  key_scores(p, padded, s.q, s.qk, s);
}

// Solves for what is written where the memory is read first; u holds w v.
template <class Plan>
inline void solve_writes(const Plan& p, const LinearChunk& c, const LinearGates<Plan>& g,
                         const float* k, const float* S, float* u, LinearWorkspace<Plan>& s) {
  constexpr GemmForm kForm{.solve = Solve::forward, .cols = Plan::kDv};
  small_gemm<kForm>({.rows = p.padded(c.size),
                     .cols = p.dv,
                     .c = u,
                     .ldc = p.dv,
                     .old = u,
                     .old_scale = 1,
                     .macs = &s.macs,
                     .n = s.n,
                     .ldn = p.chunk},
                    GemmTerm<>{.a = k,
                               .row_stride = p.dk,
                               .b = S,
                               .ldb = p.dv,
                               .depth = c.fresh ? 0 : p.dk,
                               .row_scale = g.erase_scale},
                    GemmTerm<Reach::before_block>{
                        .a = s.n, .row_stride = p.chunk, .b = u, .ldb = p.dv, .depth = c.size});
}

// Gates and what is written: u = w v, or with erase w v minus what is read back.
template <class Plan>
inline void make_writes(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                        std::int64_t r, const LinearChunk& c, LinearKept<Plan>& kept, bool outputs,
                        LinearWorkspace<Plan>& s) {
  const std::int64_t h = task.first_head + r;
  LinearGates<Plan>& g = kept.gates[r];
  float* u = kept.u + r * p.chunk * p.dv;
  make_gates(p, c.size, f.decay.at(task.b, c.begin, h), f.decay.stride(1),
             f.write.at(task.b, c.begin, h), f.write.stride(1), s.m[r], s.prefix, g);
  s.m[r] = g.m_next;
  pack_rows(f.v.at(task.b, c.begin, h), f.v.stride(1), c.size, p.Dv, p.padded(c.size), p.dv, g.w_in,
            1, u);
  if (outputs || p.erase) make_pair_matrices(p, c.size, outputs, kept.kk, g, s);
  if (p.erase) solve_writes(p, c, g, kept.k, kept.S + r * p.dk * p.dv, u, s);
}

// Whether rows of a product can be stored to the caller's tensor at once, without scratch.
template <class Plan>
HWY_INLINE bool stores_directly(const Plan& p, std::int64_t n, std::int64_t cols,
                                std::int64_t padded_cols) {
  return Plan::kChunk > 0 && n == p.padded(n) && cols == padded_cols;
}

template <class Plan>
inline void read_out(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                     std::int64_t r, const LinearChunk& c, const LinearKept<Plan>& kept,
                     LinearWorkspace<Plan>& s) {
  LinearGates<Plan>& g = kept.gates[r];
  if (p.normalizer) finish_denominators(p, c.size, c.fresh, kept.norm + r * p.dk, g, s);
  float* o = f.o.at(task.b, c.begin, task.first_head + r);
  const bool direct = stores_directly(p, c.size, p.Dv, p.dv);
  constexpr GemmForm kForm{.cols = Plan::kDv};
  small_gemm<kForm>({.rows = p.padded(c.size),
                     .cols = p.dv,
                     .c = direct ? o : s.o,
                     .ldc = direct ? f.o.stride(1) : p.dv,
                     .row_scale = g.out,
                     .macs = &s.macs,
                     .ahead = &s.ahead},
                    GemmTerm<>{.a = s.q,
                               .row_stride = p.dk,
                               .b = kept.S + r * p.dk * p.dv,
                               .ldb = p.dv,
                               .depth = c.fresh ? 0 : p.dk,
                               .row_scale = g.from_start},
                    GemmTerm<Reach::until_block>{.a = s.pairs,
                                                 .row_stride = p.chunk,
                                                 .b = kept.u + r * p.chunk * p.dv,
                                                 .ldb = p.dv,
                                                 .depth = c.size});
  if (!direct) unpack_rows(s.o, p.dv, c.size, p.Dv, nullptr, 1, o, f.o.stride(1));
}

// S and norm after the chunk; `next` may be `kept`.
template <class Plan>
inline void advance_state(const Plan& p, std::int64_t r, const LinearChunk& c,
                          const LinearKept<Plan>& kept, LinearKept<Plan>& next,
                          LinearWorkspace<Plan>& s) {
  const F32 d;
  const LinearGates<Plan>& g = kept.gates[r];
  const float* u = kept.u + r * p.chunk * p.dv;
  if (!g.factored) {
    scale_matrix_rows(u, c.size, p.dv, g.to_end, s.o);
    u = s.o;
  }
  const float carry = c.fresh ? 0.0f : g.carry;
  constexpr GemmForm kForm{.cols = Plan::kDv};
  small_gemm<kForm>(
      {.rows = p.dk,
       .cols = p.dv,
       .c = next.S + r * p.dk * p.dv,
       .ldc = p.dv,
       .old = kept.S + r * p.dk * p.dv,
       .old_scale = carry,
       .macs = &s.macs,
       .ahead = &s.ahead},
      GemmTerm<>{
          .a = kept.k, .row_stride = 1, .k_stride = p.dk, .b = u, .ldb = p.dv, .depth = c.size});
  if (!p.normalizer) return;
  float* weights = s.read_norm;  // not needed any more
  for (std::int64_t i = 0; i < p.padded(c.size); i += kLanes) {
    hn::Store(hn::Mul(hn::Load(d, g.to_end + i), hn::Load(d, g.w_in + i)), d, weights + i);
  }
  sum_weighted_rows(weights, kept.k, c.size, p.dk, carry, kept.norm + r * p.dk, 1,
                    next.norm + r * p.dk);
}

template <class Plan>
inline void zero_states(const Plan& p, LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  zero(kept.S, p.heads * p.dk * p.dv);
  zero(kept.norm, p.heads * p.dk);
  zero(s.m, p.heads);
}

template <class Plan>
inline void load_states(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                        LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  zero_states(p, kept, s);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    const std::int64_t h = task.first_head + r;
    if (f.S_initial) {
      pack_rows(f.S_initial.at(task.b, h), f.S_initial.stride(2), p.Dk, p.Dv, p.dk, p.dv, nullptr,
                1, kept.S + r * p.dk * p.dv);
    }
    if (f.n_initial && p.normalizer) {
      pack_row(f.n_initial.at(task.b, h), p.Dk, p.dk, 1, kept.norm + r * p.dk);
    }
    if (f.m_initial && p.exponential) s.m[r] = *f.m_initial.at(task.b, h);
  }
}

inline bool starts_from_zero(const LinearCoreForward<float>& f) {
  return !f.S_initial && !f.n_initial;
}

template <class Plan>
inline void store_states(const Plan& p, const View<float, 4>& S, const View<float, 3>& n,
                         const View<float, 2>& m, const LinearTask& task, const float* from_S,
                         const float* from_norm, const float* from_m) {
  for (std::int64_t r = 0; r < p.heads; ++r) {
    const std::int64_t h = task.first_head + r;
    if (S) {
      unpack_rows(from_S + r * p.dk * p.dv, p.dv, p.Dk, p.Dv, nullptr, 1, S.at(task.b, h),
                  S.stride(2));
    }
    if (n) unpack_rows(from_norm + r * p.dk, p.dk, 1, p.Dk, nullptr, 1, n.at(task.b, h), 0);
    if (m) *m.at(task.b, h) = from_m[r];
  }
}

// The same for the first chunk of a task that follows, if one does (next >= 0).
template <class Plan>
inline void ask_for_task(const Plan& p, const LinearCoreForward<float>& f, std::int64_t next,
                         bool outputs, LinearWorkspace<Plan>& s) {
  if (next < 0) return;
  const LinearTask task = linear_task(p, next);
  const auto spans = f.spans->row(task.b);
  if (spans.empty()) return;
  const LinearChunk first{spans[0].begin, HWY_MIN(p.chunk, spans[0].size()), false, false, false};
  ask_for_inputs(p, f, task, first, outputs, s);
}

template <class Plan>
inline std::int64_t forward_task(const Plan& p, const LinearCoreForward<float>& f,
                                 std::int64_t index, std::int64_t next, Scratch& scratch) {
  const LinearTask task = linear_task(p, index);
  const auto spans = f.spans->row(task.b);
  const std::int64_t chunks = count_linear_chunks(spans, p.chunk);
  LinearWorkspace<Plan>& s = take_workspace(p, false, chunks, scratch);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    zero_padding(f.o, task.b, task.first_head + r, spans);
  }
  list_linear_chunks(p, spans, starts_from_zero(f), f.S_final || f.n_final, s.chunks);
  LinearKept<Plan>& kept = s.kept[0];
  load_states(p, f, task, kept, s);
  for (std::int64_t i = 0; i < chunks; ++i) {
    const LinearChunk& c = s.chunks[i];
    if (c.reset) zero_states(p, kept, s);
    if (i + 1 < chunks) {
      ask_for_inputs(p, f, task, s.chunks[i + 1], true, s);
    } else {
      ask_for_task(p, f, next, true, s);
    }
    pack_keys(p, f, task, c, kept, s);
    take_ahead(p, s);
    pack_queries(p, f, task, c, kept, p.erase, s);
    take_ahead(p, s);
    for (std::int64_t r = 0; r < p.heads; ++r) {
      make_writes(p, f, task, r, c, kept, true, s);
      take_ahead(p, s);
      read_out(p, f, task, r, c, kept, s);
      take_ahead(p, s);
      if (!c.last) advance_state(p, r, c, kept, kept, s);
    }
  }
  store_states(p, f.S_final, f.n_final, f.m_final, task, kept.S, kept.norm, s.m);
  return s.macs;
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
