// Chunkwise backward of linear_channels-inl.h: a forward sweep keeps the state at every chunk's
// start, then the chunks are walked backwards; pairs and writes of a chunk are made again. Per chunk:
//   du = K(C) dS + pairsᵀ do, with erase the transposed solve of it     P = do uᵀ    Y = du uᵀ
//   tq = do Sᵀ    tb = du Sᵀ    tk = u dSᵀ                               through the state
//   dS = s_C . dS + (q . s)ᵀ do + (b . s)ᵀ du
// and channel by channel, for every key j a chain over the rows i that meet it:
//   down  dq_i += P_ij K_j(i)     db_i += Y_ij K_j(i)
//   up    g(i-1) = a_i . (g(i) + P_ij q_i + Y_ij b_i) from g(C) = tk_j;   dk_j = g(j) + P_jj q_j
//         dlog a_i += g(i-1) . K_j(i-1)
// in which the state is one more key, before the first row, met with tq and tb in place of P and Y.
// Only what crosses a_i is summed, so that a closed gate has the gradient it should, not rounding.
//   dv = w du     dw = du.v - k.db     dk += -w db
// Roofline: 7 Dk Dv + 3 C (Dk + Dv) multiply-adds for 4 (6 Dk + 4 Dv) bytes: arithmetic.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_BACKWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_BACKWARD_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_BACKWARD_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_CHANNELS_BACKWARD_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/linear_backward-inl.h"
#include "subquad/mixer/common/linear_channels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct ChannelGradients {
  float *d_o, *du, *v;           // (C,dv)
  float* ut;                     // (dv,C)
  float *st, *dst;               // (dv,dk): Sᵀ, dSᵀ
  float *P, *Y;                  // (C,C)
  float *tq, *tb, *tk;           // (C,dk)
  float *dq, *db, *dk, *ddecay;  // (C,dk)
  float* dcarry;                 // (dk)
  float *from_v, *from_b;        // (C): parts of dw
  float* met;                    // (C, one vector): K_j(i-1) of a chain
  float* dS;                     // (dk,dv)

  void take(const LinearPlan& p, FloatArena& arena) {
    const std::int64_t c = p.chunk;
    for (float** values : {&d_o, &du, &v, &ut}) *values = arena.take(c * p.dv);
    for (float** state : {&st, &dst, &dS}) *state = arena.take(p.dk * p.dv);
    for (float** square : {&P, &Y}) *square = arena.take(c * c);
    for (float** keys : {&tq, &tb, &tk, &dq, &db, &dk, &ddecay}) *keys = arena.take(c * p.dk);
    dcarry = arena.take(p.dk);
    for (float** row : {&from_v, &from_b}) *row = arena.take(c);
    met = arena.take(c * kLanes);
  }
};

// c (rows,cols) = a b, a with rows of dv.
inline void channel_product(const LinearPlan& p, const float* a, const float* b, std::int64_t rows,
                            std::int64_t cols, float* c) {
  small_gemm<GemmForm{}>(
      {.rows = rows, .cols = cols, .c = c, .ldc = cols},
      GemmTerm<>{.a = a, .row_stride = p.dv, .b = b, .ldb = cols, .depth = p.dv});
}

inline void channel_write_gradients(const LinearPlan& p, std::int64_t n, const ChannelChunk& s,
                                    ChannelGradients& g) {
  const GemmOutput du{
      .rows = p.chunk, .cols = p.dv, .c = g.du, .ldc = p.dv, .n = s.n, .ldn = p.chunk};
  const GemmTerm<> through{.a = s.k_end, .row_stride = p.dk, .b = g.dS, .ldb = p.dv, .depth = p.dk};
  const GemmTerm<Reach::from_block> within{
      .a = s.pairs, .row_stride = 1, .k_stride = p.chunk, .b = g.d_o, .ldb = p.dv, .depth = n};
  if (!p.erase) return small_gemm<GemmForm{}>(du, through, within);
  const GemmTerm<Reach::after_block> erased{
      .a = s.n, .row_stride = 1, .k_stride = p.chunk, .b = g.du, .ldb = p.dv, .depth = n};
  small_gemm<GemmForm{.solve = Solve::backward}>(du, through, within, erased);
}

// One key and one vector of channels, x floats into every row. The rows [first, n) meet the key,
// which is `key` before row `first`; `end` is the gradient of what is left of it behind the chunk.
// weights(i): what row i's q and b meet it with. Returns the gradient of `key`.
template <bool kErase, bool kSigned, class Weights>
HWY_INLINE VF channel_chain(const LinearPlan& p, std::int64_t first, std::int64_t n, std::int64_t x,
                            VF key, VF end, const ChannelChunk& s, ChannelGradients& g,
                            const Weights& weights) {
  const F32 d;
  for (std::int64_t i = first; i < n; ++i) {
    const std::int64_t at = i * p.dk + x;
    hn::Store(key, d, g.met + i * kLanes);
    key = hn::Mul(key, hn::Load(d, s.a + at));
    const auto [with_q, with_b] = weights(i);
    hn::Store(hn::MulAdd(with_q, key, hn::Load(d, g.dq + at)), d, g.dq + at);
    if constexpr (kErase) hn::Store(hn::MulAdd(with_b, key, hn::Load(d, g.db + at)), d, g.db + at);
  }
  VF up = end;
  for (std::int64_t i = n - 1; i >= first; --i) {
    const std::int64_t at = i * p.dk + x;
    const auto [with_q, with_b] = weights(i);
    up = hn::MulAdd(with_q, hn::Load(d, s.q + at), up);
    if constexpr (kErase) up = hn::MulAdd(with_b, hn::Load(d, s.b + at), up);
    const VF faded = hn::Mul(up, hn::Load(d, s.a + at)), met = hn::Load(d, g.met + i * kLanes);
    const VF sum = hn::MulAdd(kSigned ? up : faded, met, hn::Load(d, g.ddecay + at));
    hn::Store(sum, d, g.ddecay + at);
    up = faded;
  }
  return up;
}

struct ChainWeights {
  VF q, b;
};

// dq, db, dk and the decay's gradient of all channels.
template <bool kErase, bool kSigned>
inline void channel_key_gradients(const LinearPlan& p, std::int64_t n, const ChannelChunk& s,
                                  ChannelGradients& g) {
  const F32 d;
  for (float* rows : {g.dq, g.db, g.ddecay}) zero(rows, p.chunk * p.dk);
  for (std::int64_t x = 0; x < p.dk; x += kLanes) {
    channel_chain<kErase, kSigned>(
        p, 0, n, x, hn::Set(d, 1.0f), hn::Load(d, g.dcarry + x), s, g,
        [&](std::int64_t i) HWY_ATTR {
          return ChainWeights{hn::Load(d, g.tq + i * p.dk + x), hn::Load(d, g.tb + i * p.dk + x)};
        });
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t at = j * p.dk + x;
      const VF key = hn::Load(d, s.k + at), own = hn::Set(d, g.P[j * p.chunk + j]);
      hn::Store(hn::MulAdd(own, key, hn::Load(d, g.dq + at)), d, g.dq + at);
      const VF up = channel_chain<kErase, kSigned>(
          p, j + 1, n, x, key, hn::Load(d, g.tk + at), s, g, [&](std::int64_t i) HWY_ATTR {
            return ChainWeights{hn::Set(d, g.P[i * p.chunk + j]), hn::Set(d, g.Y[i * p.chunk + j])};
          });
      hn::Store(hn::MulAdd(own, hn::Load(d, s.q + at), up), d, g.dk + at);
    }
  }
}

template <bool kErase>
inline void channel_chunk_gradients(const LinearPlan& p, std::int64_t n, const float* S,
                                    ChannelChunk& s, ChannelGradients& g) {
  channel_write_gradients(p, n, s, g);
  transpose(s.u, p.chunk, p.dv, g.ut, p.chunk);
  channel_product(p, g.d_o, g.ut, p.chunk, p.chunk, g.P);
  transpose(S, p.dk, p.dv, g.st, p.dk);
  transpose(g.dS, p.dk, p.dv, g.dst, p.dk);
  channel_product(p, g.d_o, g.st, p.chunk, p.dk, g.tq);
  channel_product(p, s.u, g.dst, p.chunk, p.dk, g.tk);
  if (kErase) {
    channel_product(p, g.du, g.ut, p.chunk, p.chunk, g.Y);
    channel_product(p, g.du, g.st, p.chunk, p.dk, g.tb);
  }
  row_sums(p.dk, g.dcarry, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(S + i * p.dv, g.dS + i * p.dv, p.dv);
  });
  if (p.is_signed) {
    channel_key_gradients<kErase, true>(p, n, s, g);
  } else {
    channel_key_gradients<kErase, false>(p, n, s, g);
  }
  scale_matrix_rows(g.dS, p.dk, p.dv, s.carry, g.dS);
  const GemmOutput dS{
      .rows = p.dk, .cols = p.dv, .c = g.dS, .ldc = p.dv, .old = g.dS, .old_scale = 1};
  const GemmTerm<> read{
      .a = s.q_start, .row_stride = 1, .k_stride = p.dk, .b = g.d_o, .ldb = p.dv, .depth = n};
  if (!kErase) return small_gemm<GemmForm{}>(dS, read);
  GemmTerm<> erased = read;
  erased.a = s.b_start;
  erased.b = g.du;
  small_gemm<GemmForm{}>(dS, read, erased);
}

// From scratch to the caller's tensors.
inline void store_channel_gradients(const LinearPlan& p, const LinearCoreBackward<float>& b,
                                    const LinearTask& task, const LinearChunk& c, ChannelChunk& s,
                                    ChannelGradients& g) {
  const std::int64_t t = c.begin, n = c.size, h = task.first_head;
  row_sums(p.chunk, g.from_v, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(g.v + i * p.dv, g.du + i * p.dv, p.dv);
  });
  if (p.erase) {
    row_sums(p.chunk, g.from_b, [&](std::int64_t i) HWY_ATTR {
      return multiply_rows(s.k + i * p.dk, g.db + i * p.dk, p.dk);
    });
    for (std::int64_t i = 0; i < n; ++i) {
      add_scaled(s.minus_w[i], g.db + i * p.dk, p.dk, g.dk + i * p.dk);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    *b.dwrite.at(task.b, t + i, h) = g.from_v[i] - (p.erase ? g.from_b[i] : 0.0f);
  }
  const auto keys = [&](const float* from, float scale, const View<float, 4>& to,
                        std::int64_t head) {
    unpack_rows(from, p.dk, n, p.Dk, nullptr, scale, to.at(task.b, t, head), to.stride(1));
  };
  keys(g.dq, p.scale, b.dq, task.part);
  keys(g.dk, 1, b.dk, task.part);
  keys(g.ddecay, 1, b.ddecay, h);
  unpack_rows(g.du, p.dv, n, p.Dv, s.w, 1, b.dv.at(task.b, t, h), b.dv.stride(1));
}

inline void pack_values(const LinearPlan& p, const View<const float, 4>& x, const LinearTask& task,
                        const LinearChunk& c, float* to) {
  if (!x) return zero(to, p.chunk * p.dv);
  pack_rows(x.at(task.b, c.begin, task.first_head), x.stride(1), c.size, p.Dv, p.chunk, p.dv,
            nullptr, 1, to);
}

inline void channel_backward_task(const LinearPlan& p, const LinearCoreBackward<float>& b,
                                  std::int64_t index, Scratch& scratch) {
  const LinearTask task = linear_task(p, index);
  const LinearCoreForward<float>& f = b.f;
  const auto spans = f.spans->row(task.b);
  const std::int64_t chunks = count_linear_chunks(spans, p.chunk), size = p.dk * p.dv;
  ChannelChunk s;
  ChannelGradients g;
  float* states = nullptr;  // at the start of every chunk
  LinearChunk* list = nullptr;
  const auto carve = [&](float* base) {
    FloatArena arena(base);
    s.take(p, arena);
    g.take(p, arena);
    states = arena.take(HWY_MAX(chunks, std::int64_t{1}) * size);
    list = arena.take_of<LinearChunk>(chunks);
    return arena.used();
  };
  carve(scratch.get<float>(carve(nullptr)));
  zero_gradient_padding(p, b, task, spans);
  list_linear_chunks(p, spans, false, true, list);
  load_channel_state(p, f.S_initial, task, states);
  for (std::int64_t i = 0; i < chunks; ++i) {
    if (list[i].reset) zero(states + i * size, size);
    if (i + 1 == chunks) break;
    make_channel_writes(p, f, task, list[i], states + i * size, s);
    advance_channels(p, list[i].size, states + i * size, states + (i + 1) * size, s);
  }
  load_channel_state(p, b.dS_final, task, g.dS);
  for (std::int64_t i = chunks - 1; i >= 0; --i) {
    const LinearChunk& c = list[i];
    make_channel_writes(p, f, task, c, states + i * size, s);
    pack_values(p, b.d_o, task, c, g.d_o);
    pack_values(p, f.v, task, c, g.v);
    if (p.erase) {
      channel_chunk_gradients<true>(p, c.size, states + i * size, s, g);
    } else {
      channel_chunk_gradients<false>(p, c.size, states + i * size, s, g);
    }
    store_channel_gradients(p, b, task, c, s, g);
    if (c.reset) zero(g.dS, size);  // nothing before the reset is reached
  }
  if (b.dS_initial) {
    unpack_rows(g.dS, p.dv, p.Dk, p.Dv, nullptr, 1, b.dS_initial.at(task.b, task.first_head),
                b.dS_initial.stride(2));
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
