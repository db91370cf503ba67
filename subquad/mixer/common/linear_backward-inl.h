// Chunkwise backward of one (row, key head) task: a forward sweep keeps the state at every chunk's
// start, then the chunks are walked backwards. Per chunk and head, with e = do / denominator:
//   x = e uᵀ     t = e Sᵀ     delta = -sign(d) (e.numerator) / denominator, where |d| > floor
//   du = to_end (k dS) + pairsᵀ e    erase: du <- solveᵀ(du),  y = du uᵀ (so dn-matrix M: dM = -y)
//   P = (x + delta_i w_j).D          summed over heads; MM = w_i dM.D likewise
//   dq = P k + from_start (t + delta norm)
//   dk = Pᵀ q + (MM + MMᵀ) k + to_end (u dSᵀ + w dnorm) - w from_start (du Sᵀ)
//   dv = w du     dwrite = du.v + ...     dS = carry dS + qᵀ (from_start e) - kᵀ (w from_start du)
// With factored gates u and e come scaled by column and row, delta by row, du and the gradient of
// the normaliser's weights are divided by column, and D is 1: no line above changes.
// The decay gradient sums what crosses position t, and nothing that does not (straddle form), so it
// keeps its relative accuracy where the decay cuts everything off:
//   cross_t = sum over i >= t, j < t of P_ij qk_ij + MM_ij kk_ij, + sum_{i>=t} row_q + sum_{j<t}
//   row_k
//             + carry (S.dS + norm.dnorm)
// The stabiliser m is held constant in all this; what depends on it (eps, final states) runs back
// along the maxima at the end (`dm`).
// Roofline: C (3 Dk + 2 Dv) / 2 + 5 Dk Dv multiply-adds for 4 (4 Dk + 3 Dv) bytes: arithmetic.
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

// Where a chunk lies in the walk: gradients that are zero, or that nobody reads, are left out.
struct LinearEnds {
  bool fresh;    // S and norm are zero
  bool closed;   // dS and dnorm behind the chunk are zero
  bool retreat;  // dS and dnorm before the chunk are wanted
};

// delta_i, and what m_i gets through eps: o ~ 1 / (max(|d|, 1) + eps exp(m)) in unscaled terms.
template <class Plan>
inline void denominator_gradients(const Plan& p, std::int64_t n, const LinearEnds& ends,
                                  LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t padded = p.padded(n);
  float *within = s.delta, *through = s.dm;  // the two parts of e.numerator
  row_sums(padded, within, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(s.pairs + i * p.chunk, s.x + i * p.chunk, lower_columns(i));
  });
  if (!ends.fresh) {
    row_sums(padded, through, [&](std::int64_t i) HWY_ATTR {
      return multiply_rows(s.q + i * p.dk, s.t + i * p.dk, p.dk);
    });
  }
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    VF do_o = hn::Load(d, within + i);
    if (!ends.fresh) {
      do_o = hn::MulAdd(hn::Load(d, g.from_start + i), hn::Load(d, through + i), do_o);
    }
    const VF inverse = hn::Load(d, g.inverse + i), den = hn::Load(d, g.denominator + i);
    const VF toward = hn::Mul(do_o, hn::Load(d, g.out + i));
    const VF delta = hn::IfThenElse(hn::Lt(den, hn::Zero(d)), toward, hn::Neg(toward));
    const auto above = hn::Gt(hn::Abs(den), hn::Load(d, g.floor + i));
    hn::Store(hn::IfThenElseZero(above, delta), d, s.delta + i);
    hn::Store(hn::Neg(hn::Mul(hn::Mul(do_o, hn::Set(d, p.eps)), inverse)), d, s.dm + i);
  }
}

// du, and with erase the transposed solve in the same sweep.
template <class Plan>
inline void write_gradients(const Plan& p, std::int64_t r, std::int64_t n, const LinearEnds& ends,
                            LinearWorkspace& s) {
  const GemmOutput du{
      .rows = p.padded(n), .cols = p.dv, .c = s.du, .ldc = p.dv, .n = s.n, .ldn = p.chunk};
  const Product<> through{.a = s.k,
                          .row_stride = p.dk,
                          .b = s.dS + r * p.dk * p.dv,
                          .ldb = p.dv,
                          .depth = ends.closed ? 0 : p.dk,
                          .row_scale = s.gates.factored ? nullptr : s.gates.to_end};
  const Product<Reach::from_block> within{
      .a = s.pairs, .row_stride = 1, .k_stride = p.chunk, .b = s.e, .ldb = p.dv, .depth = n};
  if (!p.erase) {
    small_gemm<GemmForm{.cols = Plan::kDv}>(du, through, within);
    return;
  }
  const Product<Reach::after_block> erased{
      .a = s.n, .row_stride = 1, .k_stride = p.chunk, .b = s.du, .ldb = p.dv, .depth = n};
  constexpr GemmForm kForm{.solve = Solve::backward, .cols = Plan::kDv};
  small_gemm<kForm>(du, through, within, erased);
}

// c (C,C) = a bᵀ on lower tiles; bᵀ comes transposed, a and b are (C,dv).
template <class Plan>
inline void outer_scores(const Plan& p, std::int64_t padded, const float* a, const float* bt,
                         float* c) {
  constexpr GemmForm kForm{.lower = true, .cols = Plan::kChunk};
  small_gemm<kForm>({.rows = padded, .cols = padded, .c = c, .ldc = p.chunk},
                    Product<>{.a = a, .row_stride = p.dv, .b = bt, .ldb = p.chunk, .depth = p.dv});
}

// s.t (C,dk) = a bt with a (C,dv), bt (dv,dk).
template <class Plan>
inline void through_state(const Plan& p, std::int64_t padded, const float* a, const float* bt,
                          LinearWorkspace& s) {
  constexpr GemmForm kForm{.cols = Plan::kDk};
  small_gemm<kForm>({.rows = padded, .cols = p.dk, .c = s.t, .ldc = p.dk},
                    Product<>{.a = a, .row_stride = p.dv, .b = bt, .ldb = p.dk, .depth = p.dv});
}

// dst <- x or dst + x; returns other.x by lanes, with x = a t + b extra (extra may be null).
HWY_INLINE VF add_row(float a, const float* t, float b, const float* extra, const float* other,
                      std::int64_t padded, bool first, float* dst) {
  const F32 d;
  const VF va = hn::Set(d, a), vb = hn::Set(d, b);
  VF sum = hn::Zero(d);
  for (std::int64_t j = 0; j < padded; j += kLanes) {
    VF x = hn::Mul(va, hn::Load(d, t + j));
    if (extra) x = hn::MulAdd(vb, hn::Load(d, extra + j), x);
    hn::Store(first ? x : hn::Add(x, hn::Load(d, dst + j)), d, dst + j);
    sum = hn::MulAdd(x, hn::Load(d, other + j), sum);
  }
  return sum;
}

// row_q, row_k: what position i adds to the decay gradients it is crossed by. With signed_decay
// they come without the decay itself, which signed_decay_gradient cuts at t.
template <class Plan>
inline void query_rows(const Plan& p, std::int64_t r, std::int64_t n, LinearWorkspace& s) {
  const float* norm = p.normalizer ? s.norm + r * p.dk : nullptr;
  const std::int64_t padded = p.padded(n);
  row_sums(padded, s.row_q, [&](std::int64_t i) HWY_ATTR {
    const float a = s.gates.from_start[i], delta = norm ? s.delta[i] : 0.0f;
    return add_row(a, s.t + i * p.dk, a * delta, norm, s.q + i * p.dk, p.dk, r == 0,
                   s.dq + i * p.dk);
  });
  if (!p.is_signed) return;
  for (std::int64_t i = 0; i < n; ++i) {
    const float* q = s.q + i * p.dk;
    s.row_q[i] = dot(s.t + i * p.dk, q, p.dk) + (norm ? s.delta[i] * dot(norm, q, p.dk) : 0.0f);
  }
}

template <class Plan>
inline void key_rows(const Plan& p, std::int64_t r, std::int64_t n, LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const float* dnorm = p.normalizer ? s.dnorm + r * p.dk : nullptr;
  const std::int64_t padded = p.padded(n);
  row_sums(padded, s.row_k, [&](std::int64_t j) HWY_ATTR {
    const float a = g.to_end[j];
    return add_row(a, s.t + j * p.dk, a * g.w_in[j], dnorm, s.k + j * p.dk, p.dk, r == 0,
                   s.dkey + j * p.dk);
  });
  if (dnorm) {
    float* written = s.colsum;  // not needed any more
    row_sums(padded, written,
             [&](std::int64_t j) HWY_ATTR { return multiply_rows(dnorm, s.k + j * p.dk, p.dk); });
    for (std::int64_t j = 0; j < padded; j += kLanes) {
      const VF sum =
          hn::MulAdd(hn::Load(d, g.to_end + j), hn::Load(d, written + j), hn::Load(d, s.eta + j));
      hn::Store(sum, d, s.eta + j);
    }
  }
  if (!p.is_signed) return;
  for (std::int64_t j = 0; j < n; ++j) {
    const float* k = s.k + j * p.dk;
    s.row_k[j] = dot(s.t + j * p.dk, k, p.dk) + (dnorm ? g.w[j] * dot(dnorm, k, p.dk) : 0.0f);
  }
}

// s.t = du Sᵀ: what the erase term read from the incoming state.
template <class Plan>
inline void erase_rows(const Plan& p, std::int64_t n, LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t padded = p.padded(n);
  float* read = s.colsum;  // not needed any more
  row_sums(padded, read, [&](std::int64_t i) HWY_ATTR {
    add_scaled(g.erase_scale[i], s.t + i * p.dk, p.dk, s.dkey + i * p.dk);
    return multiply_rows(s.k + i * p.dk, s.t + i * p.dk, p.dk);
  });
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    const VF kt = hn::Load(d, read + i);
    const VF dwrite = hn::NegMulAdd(hn::Load(d, g.from_start + i), kt, hn::Load(d, s.dwrite + i));
    hn::Store(dwrite, d, s.dwrite + i);
    const VF scale = p.is_signed ? hn::Neg(hn::Load(d, g.w + i)) : hn::Load(d, g.erase_scale + i);
    hn::Store(hn::MulAdd(scale, kt, hn::Load(d, s.row_q + i)), d, s.row_q + i);
  }
}

// dS, dnorm of the chunk's start. Scales e and du in place.
template <class Plan>
inline void retreat_state(const Plan& p, std::int64_t r, std::int64_t n, const LinearEnds& ends,
                          LinearWorkspace& s) {
  const LinearGates& g = s.gates;
  const float carry = ends.closed ? 0.0f : g.carry;
  scale_matrix_rows(s.e, n, p.dv, g.from_start);
  const GemmOutput dS{
      .rows = p.dk, .cols = p.dv, .c = s.dS + r * p.dk * p.dv, .ldc = p.dv, .old_scale = carry};
  const Product<> read{
      .a = s.q, .row_stride = 1, .k_stride = p.dk, .b = s.e, .ldb = p.dv, .depth = n};
  constexpr GemmForm kForm{.cols = Plan::kDv};
  if (p.erase) {
    scale_matrix_rows(s.du, n, p.dv, g.erase_scale);
    Product<> erased = read;
    erased.a = s.k;
    erased.b = s.du;
    small_gemm<kForm>(dS, read, erased);
  } else {
    small_gemm<kForm>(dS, read);
  }
  if (!p.normalizer) return;
  float* dnorm = s.dnorm + r * p.dk;
  scale_row(carry, p.dk, dnorm);
  for (std::int64_t i = 0; i < n; ++i) {
    add_scaled(g.from_start[i] * s.delta[i], s.q + i * p.dk, p.dk, dnorm);
  }
}

// dv and dwrite of one head, from du (before it is scaled).
template <class Plan>
inline void store_write_gradients(const Plan& p, const LinearCoreBackward<float>& b,
                                  const LinearTask& task, std::int64_t h, const LinearChunk& c,
                                  LinearWorkspace& s) {
  const F32 d;
  const LinearGates& g = s.gates;
  const std::int64_t padded = p.padded(c.size);
  unpack_rows(s.du, p.dv, c.size, p.Dv, g.w_in, 1, b.dv.at(task.b, c.begin, h), b.dv.stride(1));
  const float* v = s.u;  // with exponential input u is v itself, times column
  if (!p.exponential) {
    pack_rows(b.f.v.at(task.b, c.begin, h), b.f.v.stride(1), c.size, p.Dv, padded, p.dv, g.column,
              1, s.o);
    v = s.o;
  }
  float* written = s.colsum;  // not needed any more
  row_sums(padded, written, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(s.du + i * p.dv, v + i * p.dv, p.dv);
  });
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    VF sum = hn::Add(hn::Load(d, s.dwrite + i), hn::Load(d, written + i));
    if (p.normalizer) {
      sum = hn::MulAdd(hn::Load(d, g.column + i), hn::Load(d, s.eta + i), sum);
    }
    hn::Store(sum, d, s.dwrite + i);
  }
}

template <class Plan>
inline void backward_head(const Plan& p, const LinearCoreBackward<float>& b, const LinearTask& task,
                          std::int64_t r, const LinearChunk& c, const LinearEnds& ends,
                          LinearWorkspace& s) {
  const std::int64_t h = task.first_head + r, n = c.size, padded = p.padded(n);
  float* S = s.S + r * p.dk * p.dv;
  const float* dS = s.dS + r * p.dk * p.dv;
  make_writes(p, b.f, task, r, c, s);
  make_pair_matrices(p, n, true, s);
  if (p.erase) solve_writes(p, r, c, s);
  if (p.normalizer) finish_denominators(p, n, ends.fresh, s.norm + r * p.dk, s);
  if (b.d_o) {
    pack_rows(b.d_o.at(task.b, c.begin, h), b.d_o.stride(1), n, p.Dv, padded, p.dv, s.gates.out, 1,
              s.e);
  } else {
    zero(s.e, padded * p.dv);
  }
  transpose(s.u, padded, p.dv, s.ut, p.chunk);
  outer_scores(p, padded, s.e, s.ut, s.x);
  if (!ends.fresh) {
    transpose(S, p.dk, p.dv, s.st, p.dk);
    through_state(p, padded, s.e, s.st, s);
  }
  if (p.normalizer) {
    denominator_gradients(p, n, ends, s);
  } else if (p.exponential) {
    zero(s.dm, padded);
  }
  if (!ends.fresh) {
    query_rows(p, r, n, s);
  } else {
    zero(s.row_q, padded);
    if (r == 0) zero(s.dq, padded * p.dk);
  }
  write_gradients(p, r, n, ends, s);
  if (p.erase) outer_scores(p, padded, s.du, s.ut, s.y);
  pair_gradients(p, n, r == 0, s);
  if (!ends.closed) {
    transpose(dS, p.dk, p.dv, s.dst, p.dk);
    through_state(p, padded, s.u, s.dst, s);
    key_rows(p, r, n, s);
  } else {
    zero(s.row_k, padded);
    if (r == 0) zero(s.dkey, padded * p.dk);
  }
  if (p.erase && !ends.fresh) {
    through_state(p, padded, s.du, s.st, s);
    erase_rows(p, n, s);
  }
  store_write_gradients(p, b, task, h, c, s);
  float through = 0;
  if (!ends.fresh && !ends.closed) {
    through = dot(S, dS, p.dk * p.dv);
    if (p.normalizer) through += dot(s.norm + r * p.dk, s.dnorm + r * p.dk, p.dk);
  }
  finish_decay_gradient(p, n, through, s);
  if (p.exponential) stabilizer_gradients(n, s.dm_state[r], s);
  for (std::int64_t i = 0; i < n; ++i) {
    *b.ddecay.at(task.b, c.begin + i, h) = s.cross[i];
    *b.dwrite.at(task.b, c.begin + i, h) = s.dwrite[i];
  }
  if (ends.retreat) retreat_state(p, r, n, ends, s);
}

// dq = scale (P k + ...), dk = Pᵀ q + (MM + MMᵀ) k + ..., with the sums over heads.
template <class Plan>
inline void finish_keys(const Plan& p, const LinearCoreBackward<float>& b, const LinearTask& task,
                        const LinearChunk& c, LinearWorkspace& s) {
  const std::int64_t n = c.size, padded = p.padded(n);
  constexpr GemmForm kForm{.cols = Plan::kDk};
  using Rows = Product<Reach::until_block>;
  using Columns = Product<Reach::from_block>;
  GemmOutput g{.rows = padded, .cols = p.dk, .c = s.dq, .ldc = p.dk, .old_scale = 1};
  small_gemm<kForm>(g,
                    Rows{.a = s.p_sum, .row_stride = p.chunk, .b = s.k, .ldb = p.dk, .depth = n});
  g.c = s.dkey;
  const Columns read{
      .a = s.p_sum, .row_stride = 1, .k_stride = p.chunk, .b = s.q, .ldb = p.dk, .depth = n};
  if (p.erase) {
    Columns erased = read;
    erased.a = s.mm_sum;
    erased.b = s.k;
    small_gemm<kForm>(
        g, read, erased,
        Rows{.a = s.mm_sum, .row_stride = p.chunk, .b = s.k, .ldb = p.dk, .depth = n});
  } else {
    small_gemm<kForm>(g, read);
  }
  unpack_rows(s.dq, p.dk, n, p.Dk, nullptr, p.scale, b.dq.at(task.b, c.begin, task.part),
              b.dq.stride(1));
  unpack_rows(s.dkey, p.dk, n, p.Dk, nullptr, 1, b.dk.at(task.b, c.begin, task.part),
              b.dk.stride(1));
}

template <class Plan>
inline void load_final_gradients(const Plan& p, const LinearCoreBackward<float>& b,
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
    if (b.dn_final && p.normalizer) pack_row(b.dn_final.at(task.b, h), p.Dk, p.dk, 1, dnorm);
    if (!p.exponential) continue;
    s.dm_state[r] = b.dm_final ? *b.dm_final.at(task.b, h) : 0.0f;
    if (!b.dS_final && !b.dn_final) continue;
    // The final S and norm are scaled by exp(-m): that much of their gradient belongs to m.
    s.dm_state[r] -= dot(s.S + r * p.dk * p.dv, dS, p.dk * p.dv);
    if (p.normalizer) s.dm_state[r] -= dot(s.norm + r * p.dk, dnorm, p.dk);
  }
}

// Runs the forward without outputs, keeping the states before every chunk; ends in the final state
// if that is read.
template <class Plan>
inline void sweep_forward(const Plan& p, const LinearCoreForward<float>& f, const LinearTask& task,
                          std::int64_t chunks, LinearWorkspace& s) {
  const std::int64_t state = p.heads * p.dk * p.dv;
  load_states(p, f, task, s);
  for (std::int64_t i = 0; i < chunks; ++i) {
    const LinearChunk& c = s.chunks[i];
    if (c.reset) zero_states(p, s);
    if (!c.fresh) {
      copy(s.S, state, s.S_at + i * state);
      if (p.normalizer) copy(s.norm, p.heads * p.dk, s.norm_at + i * p.heads * p.dk);
    }
    copy(s.m, p.heads, s.m_at + i * p.heads);
    if (!c.last && (i + 1 < chunks || p.exponential)) forward_chunk(p, f, task, c, false, s);
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

template <class Plan>
inline void backward_task(const Plan& p, const LinearCoreBackward<float>& b, std::int64_t index,
                          std::int64_t chunks, float* scratch) {
  const LinearTask task = linear_task(p, index);
  LinearWorkspace s{};
  carve_linear_workspace(p, true, chunks, scratch, s);
  const auto spans = b.f.spans->row(task.b);
  zero_gradient_padding(p, b, task, spans);
  const bool from_zero = starts_from_zero(b.f);
  list_linear_chunks(p, spans, from_zero, b.dS_final || b.dn_final, s.chunks);
  sweep_forward(p, b.f, task, chunks, s);
  load_final_gradients(p, b, task, s);
  const std::int64_t state = p.heads * p.dk * p.dv;
  const bool initial_wanted = !from_zero || b.dS_initial || b.dn_initial;
  for (std::int64_t i = chunks - 1; i >= 0; --i) {
    const LinearChunk& c = s.chunks[i];
    if (!c.fresh) {
      copy(s.S_at + i * state, state, s.S);
      if (p.normalizer) copy(s.norm_at + i * p.heads * p.dk, p.heads * p.dk, s.norm);
    }
    copy(s.m_at + i * p.heads, p.heads, s.m);
    pack_keys(p, b.f, task, c, true, s);
    const LinearEnds ends{
        .fresh = c.fresh, .closed = c.last, .retreat = !c.reset && (i > 0 || initial_wanted)};
    for (std::int64_t r = 0; r < p.heads; ++r) backward_head(p, b, task, r, c, ends, s);
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

// dq, dk of `b` have one head per task part, (B,T,H/heads,Dk).
void linear_backward_task(const LinearPlan& p, const LinearCoreBackward<float>& b,
                          std::int64_t index, std::int64_t chunks, float* scratch) {
  with_fixed_plan(
      p, [&](const auto& plan) HWY_ATTR { backward_task(plan, b, index, chunks, scratch); });
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
