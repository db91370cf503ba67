// Chunkwise forward of one (row, key head) task. Per chunk of C tokens:
//   keys   pack q k, k transposed; qk = q kᵀ (and kk = k kᵀ) on lower tiles     shared by the heads
//   head   gates -> D -> att, n;  erase: u = solve(w v - w from_start (k S), n)   else u = w v
//          o = (from_start (q S) + att u) / denominator                            one fused sweep
//          S = carry S + kᵀ (to_end u);   norm likewise with w in place of u
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

inline void pack_keys(const LinearPlan& p, const LinearCoreForward<float>& f,
                      const LinearTask& task, const LinearChunk& c, bool outputs,
                      LinearWorkspace& s) {
  const std::int64_t padded = pad_lanes(c.size);
  const auto& q = f.q;
  const auto& k = f.k;
  pack_rows(k.at(task.b, c.begin, task.key_head), k.stride(1), c.size, p.Dk, padded, p.dk, nullptr,
            1, s.k);
  if (!outputs && !p.erase) return;
  transpose(s.k, padded, p.dk, s.kt, p.chunk);
  SmallGemm g{
      .rows = padded, .cols = padded, .c = s.qk, .ldc = p.chunk, .macs = &s.macs, .products = 1};
  g.product[0] = {.a = s.q, .row_stride = p.dk, .b = s.kt, .ldb = p.chunk, .depth = p.dk};
  g.lower_only = true;
  if (outputs) {
    pack_rows(q.at(task.b, c.begin, task.key_head), q.stride(1), c.size, p.Dk, padded, p.dk,
              nullptr, p.scale, s.q);
    small_gemm(g);
  }
  if (p.erase) {
    g.c = s.kk;
    g.product[0].a = s.k;
    small_gemm(g);
  }
}

// Gates and what is written: u = w v, or with erase w v minus what is read back.
inline void make_writes(const LinearPlan& p, const LinearCoreForward<float>& f,
                        const LinearTask& task, std::int64_t r, const LinearChunk& c,
                        LinearWorkspace& s) {
  const std::int64_t h = task.first_head + r, padded = pad_lanes(c.size);
  make_gates(p, c.size, padded, f.decay.at(task.b, c.begin, h), f.decay.stride(1),
             f.write.at(task.b, c.begin, h), f.write.stride(1), s.m[r], s.gates);
  pack_rows(f.v.at(task.b, c.begin, h), f.v.stride(1), c.size, p.Dv, padded, p.dv, s.gates.w, 1,
            s.u);
}

inline void solve_writes(const LinearPlan& p, std::int64_t r, const LinearChunk& c,
                         LinearWorkspace& s) {
  SmallGemm g{.rows = pad_lanes(c.size),
              .cols = p.dv,
              .c = s.u,
              .ldc = p.dv,
              .old_scale = 1,
              .macs = &s.macs};
  g.products = 2;
  g.product[0] = {.a = s.k,
                  .row_stride = p.dk,
                  .b = s.S + r * p.dk * p.dv,
                  .ldb = p.dv,
                  .depth = p.dk,
                  .row_scale = s.gates.erase_scale};
  g.product[1] = {.a = s.n,
                  .row_stride = p.chunk,
                  .b = s.u,
                  .ldb = p.dv,
                  .depth = c.size,
                  .reach = Reach::before_block};
  g.solve = Solve::forward;
  g.n = s.n;
  g.ldn = p.chunk;
  small_gemm(g);
}

inline void read_out(const LinearPlan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                     std::int64_t r, const LinearChunk& c, LinearWorkspace& s) {
  const std::int64_t padded = pad_lanes(c.size);
  if (p.normalizer) finish_denominators(p, c.size, padded, s.norm + r * p.dk, s);
  SmallGemm g{.rows = padded, .cols = p.dv, .c = s.o, .ldc = p.dv, .macs = &s.macs, .products = 2};
  g.product[0] = {.a = s.q,
                  .row_stride = p.dk,
                  .b = s.S + r * p.dk * p.dv,
                  .ldb = p.dv,
                  .depth = p.dk,
                  .row_scale = s.gates.from_start};
  g.product[1] = {.a = s.att,
                  .row_stride = p.chunk,
                  .b = s.u,
                  .ldb = p.dv,
                  .depth = c.size,
                  .reach = Reach::until_block};
  small_gemm(g);
  unpack_rows(s.o, p.dv, c.size, p.Dv, p.normalizer ? s.gates.inverse : nullptr, 1,
              f.o.at(task.b, c.begin, task.first_head + r), f.o.stride(1));
}

// S, norm, m after the chunk. Scales u in place.
inline void advance_state(const LinearPlan& p, std::int64_t r, const LinearChunk& c,
                          LinearWorkspace& s) {
  const LinearGates& g = s.gates;
  scale_matrix_rows(s.u, c.size, p.dv, g.to_end);
  float* S = s.S + r * p.dk * p.dv;
  SmallGemm m{.rows = p.dk,
              .cols = p.dv,
              .c = S,
              .ldc = p.dv,
              .old_scale = g.carry,
              .macs = &s.macs,
              .products = 1};
  m.product[0] = {
      .a = s.k, .row_stride = 1, .k_stride = p.dk, .b = s.u, .ldb = p.dv, .depth = c.size};
  small_gemm(m);
  if (p.normalizer) {
    float* norm = s.norm + r * p.dk;
    scale_row(g.carry, p.dk, norm);
    for (std::int64_t i = 0; i < c.size; ++i) {
      add_scaled(g.to_end[i] * g.w[i], s.k + i * p.dk, p.dk, norm);
    }
  }
  s.m[r] = g.m_next;
}

inline void zero_states(const LinearPlan& p, LinearWorkspace& s) {
  zero(s.S, p.heads * p.dk * p.dv);
  zero(s.norm, p.heads * p.dk);
  zero(s.m, p.heads);
}

inline void load_states(const LinearPlan& p, const LinearCoreForward<float>& f,
                        const LinearTask& task, LinearWorkspace& s) {
  zero_states(p, s);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    const std::int64_t h = task.first_head + r;
    if (f.S_initial) {
      pack_rows(f.S_initial.at(task.b, h), f.S_initial.stride(2), p.Dk, p.Dv, p.dk, p.dv, nullptr,
                1, s.S + r * p.dk * p.dv);
    }
    if (f.n_initial && p.normalizer) {
      pack_rows(f.n_initial.at(task.b, h), 0, 1, p.Dk, 1, p.dk, nullptr, 1, s.norm + r * p.dk);
    }
    if (f.m_initial && p.exponential) s.m[r] = *f.m_initial.at(task.b, h);
  }
}

inline void store_states(const LinearPlan& p, const View<float, 4>& S, const View<float, 3>& n,
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

inline void forward_chunk(const LinearPlan& p, const LinearCoreForward<float>& f,
                          const LinearTask& task, const LinearChunk& c, bool outputs,
                          LinearWorkspace& s) {
  if (c.reset) zero_states(p, s);
  pack_keys(p, f, task, c, outputs, s);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    make_writes(p, f, task, r, c, s);
    if (outputs || p.erase) make_pair_matrices(p, c.size, pad_lanes(c.size), outputs, s);
    if (p.erase) solve_writes(p, r, c, s);
    if (outputs) read_out(p, f, task, r, c, s);
    advance_state(p, r, c, s);
  }
}

// Returns the multiply-adds of its small products.
std::int64_t linear_forward_task(const LinearPlan& p, const LinearCoreForward<float>& f,
                                 std::int64_t index, float* scratch) {
  const LinearTask task = linear_task(p, index);
  LinearWorkspace s{};
  carve_linear_workspace(p, false, 0, scratch, s);
  const auto spans = f.spans->row(task.b);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    zero_padding(f.o, task.b, task.first_head + r, spans);
  }
  load_states(p, f, task, s);
  for (const Span& span : spans) {
    for (std::int64_t t = span.begin; t < span.end; t += p.chunk) {
      const LinearChunk c{t, HWY_MIN(p.chunk, span.end - t), span.reset && t == span.begin};
      forward_chunk(p, f, task, c, true, s);
    }
  }
  store_states(p, f.S_final, f.n_final, f.m_final, task, s.S, s.norm, s.m);
  return s.macs;
}

LinearTiles linear_tiles() { return {kMr, kLanes}; }

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
