// Chunkwise backward of one (row, key head) task: a forward sweep keeps the state at every chunk's
// start, then the chunks are walked backwards. Per chunk and head, with e = do / denominator:
//   x = e uᵀ     t = e Sᵀ     delta = -sign(d) (e.numerator) / denominator, where |d| > floor
//   du = to_end (k dS) + attᵀ e      erase: du <- solveᵀ(du),  y = du uᵀ (so dn-matrix M: dM = -y)
//   P = (x + delta_i w_j).D          summed over heads; MM = w_i dM.D likewise
//   dq = P k + from_start (t + delta norm)
//   dk = Pᵀ q + (MM + MMᵀ) k + to_end (u dSᵀ + w dnorm) - w from_start (du Sᵀ)
//   dv = w du     dwrite = du.v + ...     dS = carry dS + qᵀ (from_start e) - kᵀ (w from_start du)
// The decay gradient sums what crosses position t, and nothing that does not (straddle form), so it
// keeps its relative accuracy where the decay cuts everything off:
//   cross_t = sum over i >= t, j < t of P_ij qk_ij + MM_ij kk_ij, + sum_{i>=t} row_q + sum_{j<t}
//   row_k
//             + carry (S.dS + norm.dnorm)
// The stabiliser m is held constant in all this; what depends on it (eps, final states) runs back
// along the maxima at the end (`dm`).
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_BACKWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_BACKWARD_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_BACKWARD_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_BACKWARD_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/linear_decay_gradient-inl.h"
#include "subquad/mixer/common/linear_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// delta_i, and what m_i gets through eps: o ~ 1 / (max(|d|, 1) + eps exp(m)) in unscaled terms.
inline void denominator_gradients(const LinearPlan& p, std::int64_t n, LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  for (std::int64_t i = 0; i < n; ++i) {
    const float* att = s.att + i * p.chunk;
    const float* x = s.x + i * p.chunk;
    VF sum = hn::Zero(d);
    for (std::int64_t j = 0; j < pad_lanes(i + 1); j += kLanes) {
      sum = hn::MulAdd(hn::Load(d, att + j), hn::Load(d, x + j), sum);
    }
    const float do_o = hn::GetLane(hn::SumOfLanes(d, sum)) +
                       g.from_start[i] * dot(s.q + i * p.dk, s.t + i * p.dk, p.dk);
    const float den = g.denominator[i];
    const bool above = (den < 0 ? -den : den) > g.floor[i];
    s.delta[i] = above ? (den < 0 ? do_o : -do_o) * g.inverse[i] : 0.0f;
    if (p.exponential) s.dm[i] = -do_o * p.eps * g.inverse[i];
  }
}

// du, and with erase the transposed solve in the same sweep.
inline void write_gradients(const LinearPlan& p, std::int64_t r, std::int64_t n,
                            std::int64_t padded, LinearWorkspace& s) {
  SmallGemm g{.rows = padded, .cols = p.dv, .c = s.du, .ldc = p.dv, .products = p.erase ? 3 : 2};
  g.product[0] = {.a = s.k,
                  .row_stride = p.dk,
                  .b = s.dS + r * p.dk * p.dv,
                  .ldb = p.dv,
                  .depth = p.dk,
                  .row_scale = s.gates.to_end};
  g.product[1] = {.a = s.att,
                  .row_stride = 1,
                  .k_stride = p.chunk,
                  .b = s.e,
                  .ldb = p.dv,
                  .depth = n,
                  .reach = Reach::from_block};
  if (p.erase) {
    g.product[2] = {.a = s.n,
                    .row_stride = 1,
                    .k_stride = p.chunk,
                    .b = s.du,
                    .ldb = p.dv,
                    .depth = n,
                    .reach = Reach::after_block};
    g.solve = Solve::backward;
    g.n = s.n;
    g.ldn = p.chunk;
  }
  small_gemm(g);
}

// c (rows, rows) = a bᵀ on lower tiles; bᵀ comes transposed, a and b are (C,dv).
inline void outer_scores(const LinearPlan& p, std::int64_t padded, const float* a, const float* bt,
                         float* c) {
  SmallGemm g{.rows = padded, .cols = padded, .c = c, .ldc = p.chunk, .products = 1};
  g.product[0] = {.a = a, .row_stride = p.dv, .b = bt, .ldb = p.chunk, .depth = p.dv};
  g.lower_only = true;
  small_gemm(g);
}

// s.t (C,dk) = a bt with a (C,dv), bt (dv,dk).
inline void through_state(const LinearPlan& p, std::int64_t padded, const float* a, const float* bt,
                          LinearWorkspace& s) {
  SmallGemm g{.rows = padded, .cols = p.dk, .c = s.t, .ldc = p.dk, .products = 1};
  g.product[0] = {.a = a, .row_stride = p.dv, .b = bt, .ldb = p.dk, .depth = p.dv};
  small_gemm(g);
}

// dst_i += x_i; returns other_i . x_i, with x_i = a t_i + b extra (extra may be null).
HWY_INLINE float add_row(float a, const float* t, float b, const float* extra, const float* other,
                         std::int64_t padded, float* dst) {
  const F32 d;
  const VF va = hn::Set(d, a), vb = hn::Set(d, b);
  VF sum = hn::Zero(d);
  for (std::int64_t j = 0; j < padded; j += kLanes) {
    VF x = hn::Mul(va, hn::Load(d, t + j));
    if (extra) x = hn::MulAdd(vb, hn::Load(d, extra + j), x);
    hn::Store(hn::Add(x, hn::Load(d, dst + j)), d, dst + j);
    sum = hn::MulAdd(x, hn::Load(d, other + j), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// row_q, row_k: what position i adds to the decay gradients it is crossed by. With signed_decay
// they come without the decay itself, which signed_decay_gradient cuts at t.
inline void query_rows(const LinearPlan& p, std::int64_t r, std::int64_t n, LinearWorkspace& s) {
  const float* norm = p.normalizer ? s.norm + r * p.dk : nullptr;
  for (std::int64_t i = 0; i < n; ++i) {
    const float a = s.gates.from_start[i], delta = p.normalizer ? s.delta[i] : 0.0f;
    const float* q = s.q + i * p.dk;
    const float* t = s.t + i * p.dk;
    s.row_q[i] = add_row(a, t, a * delta, norm, q, p.dk, s.dq + i * p.dk);
    if (p.is_signed) s.row_q[i] = dot(t, q, p.dk) + (norm ? delta * dot(norm, q, p.dk) : 0.0f);
  }
}

inline void key_rows(const LinearPlan& p, std::int64_t r, std::int64_t n, LinearWorkspace& s) {
  const float* dnorm = p.normalizer ? s.dnorm + r * p.dk : nullptr;
  for (std::int64_t j = 0; j < n; ++j) {
    const float a = s.gates.to_end[j], b = a * s.gates.w[j];
    const float* k = s.k + j * p.dk;
    s.row_k[j] = add_row(a, s.t + j * p.dk, b, dnorm, k, p.dk, s.dkey + j * p.dk);
    if (p.is_signed) {
      s.row_k[j] =
          dot(s.t + j * p.dk, k, p.dk) + (dnorm ? s.gates.w[j] * dot(dnorm, k, p.dk) : 0.0f);
    }
    if (dnorm) s.eta[j] += a * dot(dnorm, k, p.dk);
  }
}

// s.t = du Sᵀ: what the erase term read from the incoming state.
inline void erase_rows(const LinearPlan& p, std::int64_t n, LinearWorkspace& s) {
  const LinearGates& g = s.gates;
  for (std::int64_t i = 0; i < n; ++i) {
    const float* k = s.k + i * p.dk;
    const float kt = dot(k, s.t + i * p.dk, p.dk);
    add_scaled(g.erase_scale[i], s.t + i * p.dk, p.dk, s.dkey + i * p.dk);
    s.dwrite[i] -= g.from_start[i] * kt;
    s.row_q[i] += (p.is_signed ? -g.w[i] : g.erase_scale[i]) * kt;
  }
}

// dS, dnorm of the chunk's start. Scales e and du in place.
inline void retreat_state(const LinearPlan& p, std::int64_t r, std::int64_t n, LinearWorkspace& s) {
  const LinearGates& g = s.gates;
  scale_matrix_rows(s.e, n, p.dv, g.from_start);
  SmallGemm m{.rows = p.dk,
              .cols = p.dv,
              .c = s.dS + r * p.dk * p.dv,
              .ldc = p.dv,
              .old_scale = g.carry,
              .products = p.erase ? 2 : 1};
  m.product[0] = {.a = s.q, .row_stride = 1, .k_stride = p.dk, .b = s.e, .ldb = p.dv, .depth = n};
  if (p.erase) {
    scale_matrix_rows(s.du, n, p.dv, g.erase_scale);
    m.product[1] = m.product[0];
    m.product[1].a = s.k;
    m.product[1].b = s.du;
  }
  small_gemm(m);
  if (!p.normalizer) return;
  float* dnorm = s.dnorm + r * p.dk;
  scale_row(g.carry, p.dk, dnorm);
  for (std::int64_t i = 0; i < n; ++i) {
    add_scaled(g.from_start[i] * s.delta[i], s.q + i * p.dk, p.dk, dnorm);
  }
}

// dv and dwrite of one head, from du (before it is scaled).
inline void store_write_gradients(const LinearPlan& p, const LinearCoreBackward<float>& b,
                                  const LinearTask& task, std::int64_t h, const LinearChunk& c,
                                  LinearWorkspace& s) {
  unpack_rows(s.du, p.dv, c.size, p.Dv, s.gates.w, 1, b.dv.at(task.b, c.begin, h), b.dv.stride(1));
  const float* v = s.u;  // with exponential input u is v itself
  if (!p.exponential) {
    pack_rows(b.f.v.at(task.b, c.begin, h), b.f.v.stride(1), c.size, p.Dv, c.size, p.dv, nullptr, 1,
              s.o);
    v = s.o;
  }
  for (std::int64_t i = 0; i < c.size; ++i) {
    s.dwrite[i] += dot(s.du + i * p.dv, v + i * p.dv, p.dv);
    if (p.normalizer) s.dwrite[i] += s.eta[i];
  }
}

inline void backward_head(const LinearPlan& p, const LinearCoreBackward<float>& b,
                          const LinearTask& task, std::int64_t r, const LinearChunk& c,
                          LinearWorkspace& s) {
  const std::int64_t h = task.first_head + r, n = c.size, padded = pad_lanes(n);
  float* S = s.S + r * p.dk * p.dv;
  const float* dS = s.dS + r * p.dk * p.dv;
  make_writes(p, b.f, task, r, c, s);
  make_pair_matrices(p, n, padded, true, s);
  if (p.erase) solve_writes(p, r, c, s);
  if (p.normalizer) finish_denominators(p, n, padded, s.norm + r * p.dk, s);
  const float* inverse = p.normalizer ? s.gates.inverse : nullptr;
  if (b.d_o) {
    pack_rows(b.d_o.at(task.b, c.begin, h), b.d_o.stride(1), n, p.Dv, padded, p.dv, inverse, 1,
              s.e);
  } else {
    zero(s.e, padded * p.dv);
  }
  transpose(s.u, padded, p.dv, s.ut, p.chunk);
  transpose(S, p.dk, p.dv, s.st, p.dk);
  transpose(dS, p.dk, p.dv, s.dst, p.dk);
  outer_scores(p, padded, s.e, s.ut, s.x);
  through_state(p, padded, s.e, s.st, s);
  if (p.exponential) zero(s.dm, n);
  if (p.normalizer) denominator_gradients(p, n, s);
  query_rows(p, r, n, s);
  write_gradients(p, r, n, padded, s);
  if (p.erase) outer_scores(p, padded, s.du, s.ut, s.y);
  pair_gradients(p, n, r == 0, s);
  through_state(p, padded, s.u, s.dst, s);
  key_rows(p, r, n, s);
  if (p.erase) {
    through_state(p, padded, s.du, s.st, s);
    erase_rows(p, n, s);
  }
  store_write_gradients(p, b, task, h, c, s);
  float through = dot(S, dS, p.dk * p.dv);
  if (p.normalizer) through += dot(s.norm + r * p.dk, s.dnorm + r * p.dk, p.dk);
  finish_decay_gradient(p, n, padded, through, s);
  if (p.exponential) stabilizer_gradients(n, s.dm_state[r], s);
  for (std::int64_t i = 0; i < n; ++i) {
    *b.ddecay.at(task.b, c.begin + i, h) = s.cross[i];
    *b.dwrite.at(task.b, c.begin + i, h) = s.dwrite[i];
  }
  retreat_state(p, r, n, s);
}

// dq = scale (P k + ...), dk = Pᵀ q + (MM + MMᵀ) k + ..., with the sums over heads.
inline void finish_keys(const LinearPlan& p, const LinearCoreBackward<float>& b,
                        const LinearTask& task, const LinearChunk& c, LinearWorkspace& s) {
  const std::int64_t n = c.size, padded = pad_lanes(n);
  SmallGemm g{.rows = padded, .cols = p.dk, .c = s.dq, .ldc = p.dk, .old_scale = 1, .products = 1};
  g.product[0] = {.a = s.p_sum,
                  .row_stride = p.chunk,
                  .b = s.k,
                  .ldb = p.dk,
                  .depth = n,
                  .reach = Reach::until_block};
  small_gemm(g);
  g.c = s.dkey;
  g.product[0] = {.a = s.p_sum,
                  .row_stride = 1,
                  .k_stride = p.chunk,
                  .b = s.q,
                  .ldb = p.dk,
                  .depth = n,
                  .reach = Reach::from_block};
  if (p.erase) {
    g.products = 3;
    g.product[1] = g.product[0];
    g.product[1].a = s.mm_sum;
    g.product[1].b = s.k;
    g.product[2] = {.a = s.mm_sum,
                    .row_stride = p.chunk,
                    .b = s.k,
                    .ldb = p.dk,
                    .depth = n,
                    .reach = Reach::until_block};
  }
  small_gemm(g);
  unpack_rows(s.dq, p.dk, n, p.Dk, nullptr, p.scale, b.dq.at(task.b, c.begin, task.part),
              b.dq.stride(1));
  unpack_rows(s.dkey, p.dk, n, p.Dk, nullptr, 1, b.dk.at(task.b, c.begin, task.part),
              b.dk.stride(1));
}

inline void load_final_gradients(const LinearPlan& p, const LinearCoreBackward<float>& b,
                                 const LinearTask& task, LinearWorkspace& s) {
  zero(s.dS, p.heads * p.dk * p.dv);
  zero(s.dnorm, p.heads * p.dk);
  zero(s.dm_state, p.heads);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    const std::int64_t h = task.first_head + r;
    float* dS = s.dS + r * p.dk * p.dv;
    float* dnorm = s.dnorm + r * p.dk;
    if (b.dS_final) {
      pack_rows(b.dS_final.at(task.b, h), b.dS_final.stride(2), p.Dk, p.Dv, p.dk, p.dv, nullptr, 1,
                dS);
    }
    if (b.dn_final && p.normalizer) {
      pack_rows(b.dn_final.at(task.b, h), 0, 1, p.Dk, 1, p.dk, nullptr, 1, dnorm);
    }
    if (!p.exponential) continue;
    // The final S and norm are scaled by exp(-m): that much of their gradient belongs to m.
    s.dm_state[r] = (b.dm_final ? *b.dm_final.at(task.b, h) : 0.0f) -
                    dot(s.S + r * p.dk * p.dv, dS, p.dk * p.dv) -
                    (p.normalizer ? dot(s.norm + r * p.dk, dnorm, p.dk) : 0.0f);
  }
}

// Runs the forward without outputs, keeping the states before every chunk; ends in the final state.
inline void sweep_forward(const LinearPlan& p, const LinearCoreForward<float>& f,
                          const LinearTask& task, std::int64_t chunks, bool need_final,
                          LinearWorkspace& s) {
  const std::int64_t state = p.heads * p.dk * p.dv;
  load_states(p, f, task, s);
  for (std::int64_t i = 0; i < chunks; ++i) {
    if (s.chunks[i].reset) zero_states(p, s);
    copy(s.S, state, s.S_at + i * state);
    if (p.normalizer) copy(s.norm, p.heads * p.dk, s.norm_at + i * p.heads * p.dk);
    copy(s.m, p.heads, s.m_at + i * p.heads);
    if (i + 1 < chunks || need_final) forward_chunk(p, f, task, s.chunks[i], false, s);
  }
}

inline void zero_gradient_padding(const LinearPlan& p, const LinearCoreBackward<float>& b,
                                  const LinearTask& task, std::span<const Span> spans) {
  zero_padding(b.dq, task.b, task.part, spans);
  zero_padding(b.dk, task.b, task.part, spans);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    zero_padding(b.dv, task.b, task.first_head + r, spans);
    zero_padding(b.ddecay, task.b, task.first_head + r, spans);
    zero_padding(b.dwrite, task.b, task.first_head + r, spans);
  }
}

// dq, dk of `b` have one head per task part, (B,T,H/heads,Dk).
void linear_backward_task(const LinearPlan& p, const LinearCoreBackward<float>& b,
                          std::int64_t index, std::int64_t chunks, float* scratch) {
  const LinearTask task = linear_task(p, index);
  LinearWorkspace s{};
  carve_linear_workspace(p, true, chunks, scratch, s);
  const auto spans = b.f.spans->row(task.b);
  zero_gradient_padding(p, b, task, spans);
  list_linear_chunks(spans, p.chunk, s.chunks);
  const bool need_final = p.exponential && (b.dS_final || b.dn_final);
  sweep_forward(p, b.f, task, chunks, need_final, s);
  load_final_gradients(p, b, task, s);
  const std::int64_t state = p.heads * p.dk * p.dv;
  for (std::int64_t i = chunks - 1; i >= 0; --i) {
    const LinearChunk& c = s.chunks[i];
    copy(s.S_at + i * state, state, s.S);
    if (p.normalizer) copy(s.norm_at + i * p.heads * p.dk, p.heads * p.dk, s.norm);
    copy(s.m_at + i * p.heads, p.heads, s.m);
    pack_keys(p, b.f, task, c, true, s);
    zero(s.dq, pad_lanes(c.size) * p.dk);
    zero(s.dkey, pad_lanes(c.size) * p.dk);
    for (std::int64_t r = 0; r < p.heads; ++r) backward_head(p, b, task, r, c, s);
    finish_keys(p, b, task, c, s);
    if (c.reset) {  // nothing before the reset is reached
      zero(s.dS, state);
      zero(s.dnorm, p.heads * p.dk);
      zero(s.dm_state, p.heads);
    }
  }
  if (p.exponential) {
    load_states(p, b.f, task, s);
    for (std::int64_t r = 0; r < p.heads; ++r) {
      s.dm_state[r] += dot(s.S + r * p.dk * p.dv, s.dS + r * p.dk * p.dv, p.dk * p.dv);
      if (p.normalizer) s.dm_state[r] += dot(s.norm + r * p.dk, s.dnorm + r * p.dk, p.dk);
    }
  }
  store_states(p, b.dS_initial, b.dn_initial, b.dm_initial, task, s.dS, s.dnorm, s.dm_state);
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
