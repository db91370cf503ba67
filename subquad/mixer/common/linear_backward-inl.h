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
//   cross_t = sum over i >= t, j < t of P_ij qk_ij + MM_ij kk_ij
//             + sum_{i>=t} row_q + sum_{j<t} row_k + carry (S.dS + norm.dnorm)
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

// Whether what goes through the state is added to dq and dk by the product that finishes them: with
// one head there is nothing to sum, with factored gates one factor for all rows.
template <class Plan>
HWY_INLINE bool finishes_at_once(const Plan& p, const LinearGates<Plan>& g) {
  return p.heads == 1 && g.factored;
}

// delta_i, and what m_i gets through eps: o ~ 1 / (max(|d|, 1) + eps exp(m)) in unscaled terms.
template <class Plan>
inline void denominator_gradients(const Plan& p, std::int64_t n, const LinearEnds& ends,
                                  const LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  const F32 d;
  const std::int64_t padded = p.padded(n);
  row_sums(padded, s.sums, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(s.pairs + i * p.chunk, s.x + i * p.chunk, lower_columns(i));
  });
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    VF do_o = hn::Load(d, s.sums + i);
    if (!ends.fresh) {
      do_o = hn::MulAdd(hn::Load(d, g.from_start + i), hn::Load(d, s.read_query + i), do_o);
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
                            const LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const LinearGates<Plan>& g = kept.gates[r];
  const GemmOutput du{.rows = p.padded(n),
                      .cols = p.dv,
                      .c = s.du,
                      .ldc = p.dv,
                      .n = s.n,
                      .ldn = p.chunk,
                      .ahead = &s.ahead};
  const GemmTerm<> through{.a = kept.k,
                           .row_stride = p.dk,
                           .b = s.dS + r * p.dk * p.dv,
                           .ldb = p.dv,
                           .depth = ends.closed ? 0 : p.dk,
                           .row_scale = g.factored ? nullptr : g.to_end};
  const GemmTerm<Reach::from_block> within{
      .a = s.pairs, .row_stride = 1, .k_stride = p.chunk, .b = s.e, .ldb = p.dv, .depth = n};
  if (!p.erase) {
    small_gemm<GemmForm{.cols = Plan::kDv}>(du, through, within);
    return;
  }
  const GemmTerm<Reach::after_block> erased{
      .a = s.n, .row_stride = 1, .k_stride = p.chunk, .b = s.du, .ldb = p.dv, .depth = n};
  constexpr GemmForm kForm{.solve = Solve::backward, .cols = Plan::kDv};
  small_gemm<kForm>(du, through, within, erased);
}

// c (C,C) = a uᵀ on lower tiles, uᵀ from s.ut; a is (C,dv).
template <class Plan>
inline void write_scores(const Plan& p, std::int64_t padded, const float* a, float* c,
                         LinearWorkspace<Plan>& s) {
  constexpr GemmForm kForm{.lower = true, .cols = Plan::kChunk};
  small_gemm<kForm>(
      {.rows = padded, .cols = padded, .c = c, .ldc = p.chunk, .ahead = &s.ahead},
      GemmTerm<>{.a = a, .row_stride = p.dv, .b = s.ut, .ldb = p.chunk, .depth = p.dv});
}

// t (C,dk) = a bt with a (C,dv), bt (dv,dk).
template <class Plan>
inline void through_state(const Plan& p, std::int64_t padded, const float* a, const float* bt,
                          float* t, LinearWorkspace<Plan>& s) {
  constexpr GemmForm kForm{.cols = Plan::kDk};
  small_gemm<kForm>({.rows = padded, .cols = p.dk, .c = t, .ldc = p.dk, .ahead = &s.ahead},
                    GemmTerm<>{.a = a, .row_stride = p.dv, .b = bt, .ldb = p.dk, .depth = p.dv});
}

// dst_i <- (0 or dst_i) + a_i (t_i + b_i extra); extra may be null.
HWY_INLINE void add_rows(const float* a, const float* t, const float* b, const float* extra,
                         std::int64_t rows, std::int64_t padded, bool first, float* dst) {
  const F32 d;
  for (std::int64_t i = 0; i < rows; ++i, t += padded, dst += padded) {
    const VF factor = hn::Set(d, a[i]), weight = hn::Set(d, extra ? b[i] : 0.0f);
    for (std::int64_t j = 0; j < padded; j += kLanes) {
      VF x = hn::Load(d, t + j);
      if (extra) x = hn::MulAdd(weight, hn::Load(d, extra + j), x);
      const VF old = first ? hn::Zero(d) : hn::Load(d, dst + j);
      hn::Store(hn::MulAdd(factor, x, old), d, dst + j);
    }
  }
}

// row_i <- a_i (x_i + b_i y_i), without the factor a_i if it is to be left out: what position i
// adds to the decay gradients that cross it. With signed_decay these are cut at t later.
HWY_INLINE void crossing_rows(std::int64_t padded, bool without_decay, const float* a,
                              const float* x, const float* b, const float* y, float* row) {
  const F32 d;
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    VF sum = hn::Load(d, x + i);
    if (y != nullptr) sum = hn::MulAdd(hn::Load(d, b + i), hn::Load(d, y + i), sum);
    hn::Store(without_decay ? sum : hn::Mul(hn::Load(d, a + i), sum), d, row + i);
  }
}

// What the queries get through the state: tq = e Sᵀ.
template <class Plan>
inline void query_rows(const Plan& p, std::int64_t r, std::int64_t n, const LinearEnds& ends,
                       const LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const LinearGates<Plan>& g = kept.gates[r];
  const std::int64_t padded = p.padded(n);
  const float* norm = p.normalizer ? kept.norm + r * p.dk : nullptr;
  if (ends.fresh) {
    zero(s.row_q, padded);
    if (r == 0 && !finishes_at_once(p, g)) zero(s.dq, padded * p.dk);
    return;
  }
  crossing_rows(padded, p.is_signed, g.from_start, s.read_query, s.delta,
                norm ? s.read_norm : nullptr, s.row_q);
  if (finishes_at_once(p, g)) return;
  add_rows(g.from_start, s.tq, s.delta, norm, padded, p.dk, r == 0, s.dq);
}

// What the keys get through the state behind the chunk: tk = u dSᵀ. Adds to eta.
template <class Plan>
inline void key_rows(const Plan& p, std::int64_t r, std::int64_t n, const LinearEnds& ends,
                     const LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const F32 d;
  const LinearGates<Plan>& g = kept.gates[r];
  const std::int64_t padded = p.padded(n);
  const float* dnorm = p.normalizer ? s.dnorm + r * p.dk : nullptr;
  if (ends.closed) {
    zero(s.row_k, padded);
    if (r == 0 && !finishes_at_once(p, g)) zero(s.dkey, padded * p.dk);
    return;
  }
  transpose(s.dS + r * p.dk * p.dv, p.dk, p.dv, s.dst, p.dk);
  through_state(p, padded, kept.u + r * p.chunk * p.dv, s.dst, s.tk, s);
  row_sums(padded, s.row_k, [&](std::int64_t j) HWY_ATTR {
    return multiply_rows(kept.k + j * p.dk, s.tk + j * p.dk, p.dk);
  });
  if (dnorm) {
    row_sums(padded, s.sums, [&](std::int64_t j) HWY_ATTR {
      return multiply_rows(kept.k + j * p.dk, dnorm, p.dk);
    });
    for (std::int64_t j = 0; j < padded; j += kLanes) {
      const VF sum =
          hn::MulAdd(hn::Load(d, g.to_end + j), hn::Load(d, s.sums + j), hn::Load(d, s.eta + j));
      hn::Store(sum, d, s.eta + j);
    }
  }
  crossing_rows(padded, p.is_signed, g.to_end, s.row_k, g.w_in, dnorm ? s.sums : nullptr, s.row_k);
  if (finishes_at_once(p, g)) return;
  add_rows(g.to_end, s.tk, g.w_in, dnorm, padded, p.dk, r == 0, s.dkey);
}

// What the erase term read from the incoming state: tu = du Sᵀ.
template <class Plan>
inline void erase_rows(const Plan& p, std::int64_t n, const LinearEnds& ends, const float* k,
                       const LinearGates<Plan>& g, LinearWorkspace<Plan>& s) {
  const F32 d;
  const std::int64_t padded = p.padded(n);
  through_state(p, padded, s.du, s.st, s.tu, s);
  row_sums(padded, s.sums, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(k + i * p.dk, s.tu + i * p.dk, p.dk);
  });
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    const VF kt = hn::Load(d, s.sums + i);
    const VF dwrite = hn::NegMulAdd(hn::Load(d, g.from_start + i), kt, hn::Load(d, s.dwrite + i));
    hn::Store(dwrite, d, s.dwrite + i);
    const VF scale = p.is_signed ? hn::Neg(hn::Load(d, g.w + i)) : hn::Load(d, g.erase_scale + i);
    hn::Store(hn::MulAdd(scale, kt, hn::Load(d, s.row_q + i)), d, s.row_q + i);
  }
  const bool at_once = finishes_at_once(p, g);
  add_rows(g.erase_scale, s.tu, nullptr, nullptr, padded, p.dk, at_once && ends.closed,
           at_once ? s.tk : s.dkey);
}

// dS, dnorm of the chunk's start. Scales e and du in place.
template <class Plan>
inline void retreat_state(const Plan& p, std::int64_t r, std::int64_t n, const LinearEnds& ends,
                          const LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const F32 d;
  const LinearGates<Plan>& g = kept.gates[r];
  // Factored: carry (dS + qᵀ e - kᵀ (w du)). Otherwise carry dS + qᵀ (from_start e) - ...
  const float inner = ends.closed ? 0.0f : g.factored ? 1.0f : g.carry;
  const float outer = g.factored ? g.carry : 1.0f;
  if (!g.factored) scale_matrix_rows(s.e, n, p.dv, g.from_start, s.e);
  float* dS = s.dS + r * p.dk * p.dv;
  const GemmOutput out{.rows = p.dk,
                       .cols = p.dv,
                       .c = dS,
                       .ldc = p.dv,
                       .old = dS,
                       .old_scale = inner,
                       .scale = outer,
                       .ahead = &s.ahead};
  const GemmTerm<> read{
      .a = s.q, .row_stride = 1, .k_stride = p.dk, .b = s.e, .ldb = p.dv, .depth = n};
  constexpr GemmForm kForm{.cols = Plan::kDv};
  if (p.erase) {
    for (std::int64_t i = 0; i < p.padded(n); i += kLanes) {
      const VF scale = g.factored ? hn::Neg(hn::Load(d, g.w + i)) : hn::Load(d, g.erase_scale + i);
      hn::Store(scale, d, s.weights + i);
    }
    scale_matrix_rows(s.du, n, p.dv, s.weights, s.du);
    GemmTerm<> erased = read;
    erased.a = kept.k;
    erased.b = s.du;
    small_gemm<kForm>(out, read, erased);
  } else {
    small_gemm<kForm>(out, read);
  }
  if (!p.normalizer) return;
  for (std::int64_t i = 0; i < p.padded(n); i += kLanes) {
    const VF delta = hn::Load(d, s.delta + i);
    hn::Store(g.factored ? delta : hn::Mul(hn::Load(d, g.from_start + i), delta), d, s.weights + i);
  }
  float* dnorm = s.dnorm + r * p.dk;
  sum_weighted_rows(s.weights, s.q, n, p.dk, inner, dnorm, outer, dnorm);
}

// dv and dwrite of one head, from du (before it is scaled).
template <class Plan>
inline void store_write_gradients(const Plan& p, const LinearCoreBackward<float>& b,
                                  const LinearTask& task, std::int64_t r, const LinearChunk& c,
                                  const LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const F32 d;
  const LinearGates<Plan>& g = kept.gates[r];
  const std::int64_t padded = p.padded(c.size), h = task.first_head + r;
  unpack_rows(s.du, p.dv, c.size, p.Dv, g.w_in, 1, b.dv.at(task.b, c.begin, h), b.dv.stride(1));
  const float* v = b.f.v.at(task.b, c.begin, h);
  std::int64_t stride = b.f.v.stride(1);
  if (p.exponential) {  // u is v itself, times column
    v = kept.u + r * p.chunk * p.dv;
    stride = p.dv;
  } else if (p.Dv != p.dv) {
    pack_rows(v, stride, c.size, p.Dv, padded, p.dv, nullptr, 1, s.o);
    v = s.o;
    stride = p.dv;
  }
  row_sums(padded, s.sums, [&](std::int64_t i) HWY_ATTR {
    return multiply_rows(s.du + i * p.dv, v + HWY_MIN(i, c.size - 1) * stride, p.dv);
  });
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    const VF column = hn::Load(d, g.column + i);
    VF sum = hn::Load(d, s.sums + i);
    if (!p.exponential) sum = hn::Mul(sum, column);
    if (p.normalizer) sum = hn::MulAdd(column, hn::Load(d, s.eta + i), sum);
    hn::Store(hn::Add(sum, hn::Load(d, s.dwrite + i)), d, s.dwrite + i);
  }
}

HWY_INLINE void store_column(const float* x, std::int64_t n, const View<float, 4>& to,
                             std::int64_t b, std::int64_t t, std::int64_t h) {
  float* at = to.at(b, t, h);
  const std::int64_t stride = to.stride(1);
  for (std::int64_t i = 0; i < n; ++i) at[i * stride] = x[i];
}

template <class Plan>
inline void backward_head(const Plan& p, const LinearCoreBackward<float>& b, const LinearTask& task,
                          std::int64_t r, const LinearChunk& c, const LinearEnds& ends,
                          const LinearKept<Plan>& kept, LinearWorkspace<Plan>& s) {
  const std::int64_t h = task.first_head + r, n = c.size, padded = p.padded(n);
  LinearGates<Plan>& g = kept.gates[r];
  const float* S = kept.S + r * p.dk * p.dv;
  const float* dS = s.dS + r * p.dk * p.dv;
  make_pair_matrices(p, n, true, kept.kk, g, s);
  if (p.normalizer) finish_denominators(p, n, ends.fresh, kept.norm + r * p.dk, g, s);
  if (b.d_o) {
    pack_rows(b.d_o.at(task.b, c.begin, h), b.d_o.stride(1), n, p.Dv, padded, p.dv, g.out, 1, s.e);
  } else {
    zero(s.e, padded * p.dv);
  }
  transpose(kept.u + r * p.chunk * p.dv, padded, p.dv, s.ut, p.chunk);
  take_ahead(p, s);
  write_scores(p, padded, s.e, s.x, s);
  if (!ends.fresh) {
    transpose(S, p.dk, p.dv, s.st, p.dk);
    through_state(p, padded, s.e, s.st, s.tq, s);
    row_sums(padded, s.read_query, [&](std::int64_t i) HWY_ATTR {
      return multiply_rows(s.q + i * p.dk, s.tq + i * p.dk, p.dk);
    });
  }
  if (p.normalizer) {
    denominator_gradients(p, n, ends, g, s);
  } else if (p.exponential) {
    zero(s.dm, padded);
  }
  take_ahead(p, s);
  query_rows(p, r, n, ends, kept, s);
  write_gradients(p, r, n, ends, kept, s);
  if (p.erase) write_scores(p, padded, s.du, s.y, s);
  pair_gradients(p, n, r == 0, kept.kk, g, s);
  take_ahead(p, s);
  key_rows(p, r, n, ends, kept, s);
  if (p.erase && !ends.fresh) erase_rows(p, n, ends, kept.k, g, s);
  store_write_gradients(p, b, task, r, c, kept, s);
  take_ahead(p, s);
  float through = 0;
  if (!ends.fresh && !ends.closed) {
    through = dot(S, dS, p.dk * p.dv);
    if (p.normalizer) through += dot(kept.norm + r * p.dk, s.dnorm + r * p.dk, p.dk);
  }
  finish_decay_gradient(p, n, through, g, s);
  if (p.exponential) stabilizer_gradients(n, g, s.dm_state[r], s);
  store_column(s.cross, n, b.ddecay, task.b, c.begin, h);
  store_column(s.dwrite, n, b.dwrite, task.b, c.begin, h);
  if (p.normalizer && p.heads == 1) copy(s.dnorm, p.dk, s.dnorm_behind);
  if (ends.retreat) retreat_state(p, r, n, ends, kept, s);
}

// dq = scale (P k + ...), dk = Pᵀ q + (MM + MMᵀ) k + ..., with the sums over heads.
template <class Plan>
inline void finish_keys(const Plan& p, const LinearCoreBackward<float>& b, const LinearTask& task,
                        const LinearChunk& c, const LinearEnds& ends, const LinearKept<Plan>& kept,
                        LinearWorkspace<Plan>& s) {
  const F32 d;
  const LinearGates<Plan>& g = kept.gates[0];
  const std::int64_t n = c.size, padded = p.padded(n);
  const bool at_once = finishes_at_once(p, g), direct = stores_directly(p, n, p.Dk, p.dk);
  constexpr GemmForm kForm{.cols = Plan::kDk};
  using Rows = GemmTerm<Reach::until_block>;
  using Columns = GemmTerm<Reach::from_block>;
  float* to = b.dq.at(task.b, c.begin, task.part);
  const std::int64_t norms = at_once && p.normalizer ? 1 : 0;  // rank of the normaliser's share
  if (norms != 0) {
    for (std::int64_t i = 0; i < padded; i += kLanes) {
      hn::Store(hn::Mul(hn::Set(d, g.carry), hn::Load(d, s.delta + i)), d, s.weights + i);
    }
  }
  small_gemm<kForm>(
      {.rows = padded,
       .cols = p.dk,
       .c = direct ? to : s.dq,
       .ldc = direct ? b.dq.stride(1) : p.dk,
       .old = at_once ? s.tq : s.dq,
       .old_scale = !at_once     ? 1.0f
                    : ends.fresh ? 0.0f
                                 : g.carry,
       .scale = p.scale,
       .ahead = &s.ahead},
      GemmTerm<>{.a = s.weights,
                 .row_stride = 1,
                 .b = kept.norm,
                 .ldb = p.dk,
                 .depth = ends.fresh ? 0 : norms},
      Rows{.a = s.p_sum, .row_stride = p.chunk, .b = kept.k, .ldb = p.dk, .depth = n});
  if (!direct) unpack_rows(s.dq, p.dk, n, p.Dk, nullptr, 1, to, b.dq.stride(1));

  to = b.dk.at(task.b, c.begin, task.part);
  const bool written = !at_once || !ends.closed || (p.erase && !ends.fresh);
  const GemmOutput dk{.rows = padded,
                      .cols = p.dk,
                      .c = direct ? to : s.dkey,
                      .ldc = direct ? b.dk.stride(1) : p.dk,
                      .old = at_once ? s.tk : s.dkey,
                      .old_scale = written ? 1.0f : 0.0f};
  const GemmTerm<> norm{.a = g.w_in,
                        .row_stride = 1,
                        .b = s.dnorm_behind,
                        .ldb = p.dk,
                        .depth = ends.closed ? 0 : norms};
  const Columns read{
      .a = s.p_sum, .row_stride = 1, .k_stride = p.chunk, .b = s.q, .ldb = p.dk, .depth = n};
  if (p.erase) {
    Columns erased = read;
    erased.a = s.mm_sum;
    erased.b = kept.k;
    small_gemm<kForm>(
        dk, norm, read, erased,
        Rows{.a = s.mm_sum, .row_stride = p.chunk, .b = kept.k, .ldb = p.dk, .depth = n});
  } else {
    small_gemm<kForm>(dk, norm, read);
  }
  if (!direct) unpack_rows(s.dkey, p.dk, n, p.Dk, nullptr, 1, to, b.dk.stride(1));
}

template <class Plan>
inline void load_final_gradients(const Plan& p, const LinearCoreBackward<float>& b,
                                 const LinearTask& task, const LinearKept<Plan>& last,
                                 LinearWorkspace<Plan>& s) {
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
    s.dm_state[r] -= dot(last.S + r * p.dk * p.dv, dS, p.dk * p.dv);
    if (p.normalizer) s.dm_state[r] -= dot(last.norm + r * p.dk, dnorm, p.dk);
  }
}

// What the backward of a chunk reads, and where its gradients go.
template <class Plan>
inline void ask_for_gradients(const Plan& p, const LinearCoreBackward<float>& b,
                              const LinearTask& task, const LinearChunk& c,
                              LinearWorkspace<Plan>& s) {
  if constexpr (Plan::kDk > 16) return;
  s.ahead.clear();
  ask_for(b.f.q, task.b, task.key_head, c, s);
  for (std::int64_t r = 0; r < p.heads; ++r) {
    const std::int64_t h = task.first_head + r;
    ask_for(b.d_o, task.b, h, c, s);
    if (!p.exponential) ask_for(b.f.v, task.b, h, c, s);
    ask_for(b.dv, task.b, h, c, s);
  }
  ask_for(b.dq, task.b, task.part, c, s);
  ask_for(b.dk, task.b, task.part, c, s);
}

// Runs the forward without outputs and keeps what it makes of every chunk, and the last state if
// that is read.
template <class Plan>
inline void sweep_forward(const Plan& p, const LinearCoreBackward<float>& b, const LinearTask& task,
                          std::int64_t chunks, LinearWorkspace<Plan>& s) {
  const LinearCoreForward<float>& f = b.f;
  load_states(p, f, task, s.kept[0], s);
  for (std::int64_t i = 0; i < chunks; ++i) {
    const LinearChunk& c = s.chunks[i];
    LinearKept<Plan>&kept = s.kept[i], &next = s.kept[i + 1];
    if (c.reset) zero_states(p, kept, s);
    if (i + 1 < chunks) {
      ask_for_inputs(p, f, task, s.chunks[i + 1], false, s);
    } else {
      ask_for_gradients(p, b, task, c, s);
    }
    pack_keys(p, f, task, c, kept, s);
    for (std::int64_t r = 0; r < p.heads; ++r) {
      take_ahead(p, s);
      make_writes(p, f, task, r, c, kept, false, s);
      take_ahead(p, s);
      if (!c.last && (i + 1 < chunks || p.exponential)) advance_state(p, r, c, kept, next, s);
    }
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
                          std::int64_t next, Scratch& scratch) {
  const LinearTask task = linear_task(p, index);
  const auto spans = b.f.spans->row(task.b);
  const std::int64_t chunks = count_linear_chunks(spans, p.chunk);
  LinearWorkspace<Plan>& s = take_workspace(p, true, chunks, scratch);
  zero_gradient_padding(p, b, task, spans);
  const bool from_zero = starts_from_zero(b.f);
  list_linear_chunks(p, spans, from_zero, b.dS_final || b.dn_final, s.chunks);
  sweep_forward(p, b, task, chunks, s);
  load_final_gradients(p, b, task, s.kept[chunks], s);
  const bool initial_wanted = !from_zero || b.dS_initial || b.dn_initial;
  for (std::int64_t i = chunks - 1; i >= 0; --i) {
    const LinearChunk& c = s.chunks[i];
    const LinearKept<Plan>& kept = s.kept[i];
    if (i > 0) {
      ask_for_gradients(p, b, task, s.chunks[i - 1], s);
    } else {
      ask_for_task(p, b.f, next, false, s);
    }
    pack_queries(p, b.f, task, c, kept, false, s);
    take_ahead(p, s);
    const LinearEnds ends{
        .fresh = c.fresh, .closed = c.last, .retreat = !c.reset && (i > 0 || initial_wanted)};
    for (std::int64_t r = 0; r < p.heads; ++r) backward_head(p, b, task, r, c, ends, kept, s);
    finish_keys(p, b, task, c, ends, kept, s);
    if (c.reset) {  // nothing before the reset is reached
      zero(s.dS, p.heads * p.dk * p.dv);
      zero(s.dnorm, p.heads * p.dk);
      zero(s.dm_state, p.heads);
    }
  }
  if (p.exponential) {
    LinearKept<Plan>& first = s.kept[0];
    load_states(p, b.f, task, first, s);
    for (std::int64_t r = 0; r < p.heads; ++r) {
      s.dm_state[r] += dot(first.S + r * p.dk * p.dv, s.dS + r * p.dk * p.dv, p.dk * p.dv);
      if (p.normalizer) s.dm_state[r] += dot(first.norm + r * p.dk, s.dnorm + r * p.dk, p.dk);
    }
  }
  store_states(p, b.dS_initial, b.dn_initial, b.dm_initial, task, s.dS, s.dnorm, s.dm_state);
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
