// Chunkwise forward of one (row, value head) task with a decay per key channel. The weight of token
// j in row i is then a vector, a_{j+1} ... a_i, which no product of two matrices makes without
// factors that overflow. So the keys themselves fade from row to row, K_j(i) = a_i . K_j(i-1), K_j(j)
// = k_j, and every row meets them as they are then. Per chunk of C = 16 tokens, with b_i = -w_i k_i
// where there is an erase term and s_i = a_1 ... a_i:
//   pairs_ij = q_i.K_j(i), j <= i     N_ij = b_i.K_j(i), j < i           C Dk (C/2) multiply-adds each
//   u = solve(w v + (b . s) S, N)     o = (q . s) S + pairs u     S = s_C . S + K(C)ᵀ u
// No division and no positive exponent: exact for any decay, zero and negative ones included. For
// heads of 128 the pairs cost a tenth of the products with the state, which is why C is small.
// Roofline: 3 Dk Dv + C (Dk + Dv) multiply-adds for 4 (3 Dk + 2 Dv) bytes: arithmetic.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/linear_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Scratch of a chunk; rows behind its last token are zero.
struct ChannelChunk {
  float *a, *q, *k, *b;              // (C,dk): decay, scale q, k, -w k
  float *q_start, *b_start, *k_end;  // (C,dk): q . s, b . s, K(C)
  float* carry;                      // (dk): s_C
  float *pairs, *n;                  // (C,C)
  float *w, *minus_w;                // (C)
  float *u, *o;                      // (C,dv)
  std::int64_t macs;

  void take(const LinearPlan& p, FloatArena& arena) {
    for (float** keys : {&a, &q, &k, &b, &q_start, &b_start, &k_end}) {
      *keys = arena.take(p.chunk * p.dk);
    }
    carry = arena.take(p.dk);
    for (float** square : {&pairs, &n}) *square = arena.take(p.chunk * p.chunk);
    for (float** row : {&w, &minus_w}) *row = arena.take(p.chunk);
    for (float** values : {&u, &o}) *values = arena.take(p.chunk * p.dv);
    macs = 0;
  }
};

// q, k, w, b, the decays, and w v in u.
inline void pack_channels(const LinearPlan& p, const LinearCoreForward<float>& f,
                          const LinearTask& task, const LinearChunk& c, ChannelChunk& s) {
  const F32 d;
  const std::int64_t t = c.begin, n = c.size, h = task.first_head;
  const auto pack_keys = [&](const View<const float, 4>& x, std::int64_t head, const float* rows,
                             float scale, float* to) HWY_ATTR {
    pack_rows(x.at(task.b, t, head), x.stride(1), n, p.Dk, p.chunk, p.dk, rows, scale, to);
  };
  for (std::int64_t i = 0; i < p.chunk; ++i) {
    s.w[i] = i < n ? *f.write.at(task.b, t + i, h) : 0.0f;
    s.minus_w[i] = -s.w[i];
  }
  pack_keys(f.q, task.key_head, nullptr, p.scale, s.q);
  pack_keys(f.k, task.key_head, nullptr, 1, s.k);
  if (p.erase) pack_keys(f.k, task.key_head, s.minus_w, 1, s.b);
  pack_keys(f.decay, h, nullptr, 1, s.a);
  for (std::int64_t i = 0; !p.is_signed && i < n * p.dk; i += kLanes) {
    hn::Store(vm::exp(hn::Load(d, s.a + i)), d, s.a + i);
  }
  pack_rows(f.v.at(task.b, t, h), f.v.stride(1), n, p.Dv, p.chunk, p.dv, s.w, 1, s.u);
}

// One row of pairs and N, four keys at a time; keys behind row i are zero still.
template <bool kErase>
HWY_INLINE void channel_pair_row(const LinearPlan& p, std::int64_t i, ChannelChunk& s) {
  const F32 d;
  const float *q = s.q + i * p.dk, *b = s.b + i * p.dk;
  for (std::int64_t j = 0; j <= i; j += 4) {
    const float* k = s.k_end + j * p.dk;
    VF q0 = hn::Zero(d), q1 = q0, q2 = q0, q3 = q0, b0 = q0, b1 = q0, b2 = q0, b3 = q0;
    for (std::int64_t x = 0; x < p.dk; x += kLanes) {
      const VF k0 = hn::Load(d, k + x), k1 = hn::Load(d, k + p.dk + x),
               k2 = hn::Load(d, k + 2 * p.dk + x), k3 = hn::Load(d, k + 3 * p.dk + x);
      const VF qx = hn::Load(d, q + x);
      q0 = hn::MulAdd(qx, k0, q0);
      q1 = hn::MulAdd(qx, k1, q1);
      q2 = hn::MulAdd(qx, k2, q2);
      q3 = hn::MulAdd(qx, k3, q3);
      if constexpr (kErase) {
        const VF bx = hn::Load(d, b + x);
        b0 = hn::MulAdd(bx, k0, b0);
        b1 = hn::MulAdd(bx, k1, b1);
        b2 = hn::MulAdd(bx, k2, b2);
        b3 = hn::MulAdd(bx, k3, b3);
      }
    }
    hn::Store(vm::sum_lanes(q0, q1, q2, q3), vm::F32x4(), s.pairs + i * p.chunk + j);
    if constexpr (kErase) {  // the solve reads what lies below the diagonal
      hn::Store(vm::sum_lanes(b0, b1, b2, b3), vm::F32x4(), s.n + i * p.chunk + j);
    }
  }
}

// Everything of a chunk that no state is needed for.
template <bool kErase>
inline void make_channel_pairs(const LinearPlan& p, std::int64_t n, ChannelChunk& s) {
  const F32 d;
  const std::int64_t rest = (p.chunk - n) * p.dk;
  for (float* pairs : {s.pairs, s.n}) zero(pairs, p.chunk * p.chunk);
  for (float* keys : {s.q_start, s.b_start}) zero(keys + n * p.dk, rest);
  zero(s.k_end, p.chunk * p.dk);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t row = i * p.dk;
    for (std::int64_t x = 0; x < p.dk; x += kLanes) {
      const VF a = hn::Load(d, s.a + row + x);
      const VF since = i == 0 ? a : hn::Mul(hn::Load(d, s.carry + x), a);
      hn::Store(since, d, s.carry + x);
      hn::Store(hn::Mul(since, hn::Load(d, s.q + row + x)), d, s.q_start + row + x);
      if constexpr (kErase) {
        hn::Store(hn::Mul(since, hn::Load(d, s.b + row + x)), d, s.b_start + row + x);
      }
      for (std::int64_t j = 0; j < i; ++j) {
        float* k = s.k_end + j * p.dk + x;
        hn::Store(hn::Mul(a, hn::Load(d, k)), d, k);
      }
    }
    copy(s.k + row, p.dk, s.k_end + row);
    channel_pair_row<kErase>(p, i, s);
  }
  s.macs += channel_pair_macs({.erase = kErase}, n, p.dk);
}

// u, from w v there.
inline void solve_channel_writes(const LinearPlan& p, std::int64_t n, const float* S,
                                 ChannelChunk& s) {
  small_gemm<GemmForm{.solve = Solve::forward}>(
      {.rows = p.chunk,
       .cols = p.dv,
       .c = s.u,
       .ldc = p.dv,
       .old = s.u,
       .old_scale = 1,
       .macs = &s.macs,
       .n = s.n,
       .ldn = p.chunk},
      GemmTerm<>{.a = s.b_start, .row_stride = p.dk, .b = S, .ldb = p.dv, .depth = p.dk},
      GemmTerm<Reach::before_block>{
          .a = s.n, .row_stride = p.chunk, .b = s.u, .ldb = p.dv, .depth = n});
}

inline void make_channel_writes(const LinearPlan& p, const LinearCoreForward<float>& f,
                                const LinearTask& task, const LinearChunk& c, const float* S,
                                ChannelChunk& s) {
  pack_channels(p, f, task, c, s);
  if (p.erase) {
    make_channel_pairs<true>(p, c.size, s);
    solve_channel_writes(p, c.size, S, s);
  } else {
    make_channel_pairs<false>(p, c.size, s);
  }
}

inline void read_channels(const LinearPlan& p, const LinearCoreForward<float>& f,
                          const LinearTask& task, const LinearChunk& c, const float* S,
                          ChannelChunk& s) {
  small_gemm<GemmForm{}>(
      {.rows = p.chunk, .cols = p.dv, .c = s.o, .ldc = p.dv, .macs = &s.macs},
      GemmTerm<>{.a = s.q_start, .row_stride = p.dk, .b = S, .ldb = p.dv, .depth = p.dk},
      GemmTerm<Reach::until_block>{
          .a = s.pairs, .row_stride = p.chunk, .b = s.u, .ldb = p.dv, .depth = c.size});
  unpack_rows(s.o, p.dv, c.size, p.Dv, nullptr, 1, f.o.at(task.b, c.begin, task.first_head),
              f.o.stride(1));
}

// `next` may be S.
inline void advance_channels(const LinearPlan& p, std::int64_t n, const float* S, float* next,
                             ChannelChunk& s) {
  scale_matrix_rows(S, p.dk, p.dv, s.carry, next);
  small_gemm<GemmForm{}>(
      {.rows = p.dk,
       .cols = p.dv,
       .c = next,
       .ldc = p.dv,
       .old = next,
       .old_scale = 1,
       .macs = &s.macs},
      GemmTerm<>{
          .a = s.k_end, .row_stride = 1, .k_stride = p.dk, .b = s.u, .ldb = p.dv, .depth = n});
}

// A state of the caller's in scratch; zero where there is none.
inline void load_channel_state(const LinearPlan& p, const View<const float, 4>& from,
                               const LinearTask& task, float* S) {
  if (!from) return zero(S, p.dk * p.dv);
  pack_rows(from.at(task.b, task.first_head), from.stride(2), p.Dk, p.Dv, p.dk, p.dv, nullptr, 1,
            S);
}

inline std::int64_t channel_forward_task(const LinearPlan& p, const LinearCoreForward<float>& f,
                                         std::int64_t index, Scratch& scratch) {
  const LinearTask task = linear_task(p, index);
  const auto spans = f.spans->row(task.b);
  const std::int64_t chunks = count_linear_chunks(spans, p.chunk);
  ChannelChunk s;
  float* S = nullptr;
  LinearChunk* list = nullptr;
  const auto carve = [&](float* base) {
    FloatArena arena(base);
    s.take(p, arena);
    S = arena.take(p.dk * p.dv);
    list = arena.take_of<LinearChunk>(chunks);
    return arena.used();
  };
  carve(scratch.get<float>(carve(nullptr)));
  zero_padding(f.o, task.b, task.first_head, spans);
  list_linear_chunks(p, spans, false, true, list);
  load_channel_state(p, f.S_initial, task, S);
  for (std::int64_t i = 0; i < chunks; ++i) {
    const LinearChunk& c = list[i];
    if (c.reset) zero(S, p.dk * p.dv);
    make_channel_writes(p, f, task, c, S, s);
    read_channels(p, f, task, c, S, s);
    advance_channels(p, c.size, S, S, s);
  }
  if (f.S_final) {
    unpack_rows(S, p.dv, p.Dk, p.Dv, nullptr, 1, f.S_final.at(task.b, task.first_head),
                f.S_final.stride(2));
  }
  return s.macs;
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
