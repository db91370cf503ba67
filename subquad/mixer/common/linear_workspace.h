// Scratch of one task of the chunkwise SIMD linear core. Every matrix is a member of a structure:
// an array where the plan's sizes are constants, so that its address is a constant offset, and a
// pointer otherwise. Rows are whole vectors; C is the plan's chunk.
#pragma once

#include <new>
#include <type_traits>

#include "subquad/mixer/common/linear_plan.h"

namespace subquad {

template <std::int64_t kSize>
struct FloatsOf {
  using type = float[kSize];
};
template <>
struct FloatsOf<0> {
  using type = float*;
};
template <std::int64_t kSize>
using Floats = typename FloatsOf<kSize>::type;

// Per chunk and head, made from decay and write. Prefix sums G are f64; pair weights are
// D_ij = exp(r_i + c_j), i >= j, with r_i = G_i, c_j = -G_j, or for exponential input
// r_i = -M_i, c_j = write_j - G_j, M_i = max(m, c_1..c_i), so that m_i = G_i + M_i.
// r and c are kept as f32 pairs (high, low): their sum is then as exact as the f64 difference.
//
// Factored gates: D_ij = row_i column_j, column <= 1 <= row. Everything is then done without decay
// on rows of u scaled by column and rows of do scaled by row (docs/linear_core.md, section 2).
template <class Plan>
struct alignas(64) LinearGates {
  using Row = Floats<Plan::kChunk>;
  Row row, column;  // 1 if not factored
  Row w;            // weight of the write in u = w v; 1 if exponential
  Row w_in;         // w column: v is packed with it
  Row a;            // signed_decay: the transition itself
  Row r_high, r_low, c_high, c_low;
  Row from_start;    // weight of the incoming state in row i, without row
  Row to_end;        // weight of token j in the outgoing state, without column
  Row floor;         // of the denominator
  Row inverse;       // 1 / (denominator + eps)
  Row out;           // row inverse: o and do are scaled by it
  Row denominator;   // d_i before the max
  Row erase_scale;   // -w_i from_start_i
  Row m_from_write;  // 1 where the maximum of m_i is write_i
  float carry;       // weight of the incoming state in the outgoing one
  float m_next;
  bool factored;
};

// On the way to the gates; G, r, c as above. Vectors of f64 occur here and nowhere else.
struct alignas(64) LinearPrefix {
  double G[kMaxLinearChunk], r[kMaxLinearChunk], c[kMaxLinearChunk];
  double before[kMaxLinearChunk];  // exponential: the maximum before the token
};

// What the forward sweep of the backward leaves of a chunk; the forward itself has one for all
// chunks, which it overwrites. Here and below, what may be a pointer stands behind what is an array
// then: every array keeps the alignment of the whole.
template <class Plan>
struct alignas(64) LinearKept {
  Floats<Plan::kChunk * Plan::kDk> k;  // of the key head
  Floats<Plan::kChunk * Plan::kChunk> kk;
  Floats<Plan::kHeads * Plan::kDk * Plan::kDv> S;     // before the chunk: (heads,dk,dv)
  Floats<Plan::kHeads * Plan::kDk> norm;              // (heads,dk)
  Floats<Plan::kHeads * Plan::kChunk * Plan::kDv> u;  // (heads,C,dv)
  LinearGates<Plan>* gates;                           // of every head
};

template <class Plan>
struct alignas(64) LinearWorkspace {
  using Row = Floats<Plan::kChunk>;
  using Keys = Floats<Plan::kChunk * Plan::kDk>;
  using Values = Floats<Plan::kChunk * Plan::kDv>;
  using Pairs = Floats<Plan::kChunk * Plan::kChunk>;
  using State = Floats<Plan::kDk * Plan::kDv>;

  Keys q, kt;  // of the key head; kt is (dk,C)
  Pairs qk;
  Pairs decay, weighted, n;  // D (unless factored), D.qk, -M
  Values o;
  Row read_norm, weights;
  // Backward only.
  Keys dq, dkey;  // of the key head
  Pairs p_sum, mm_sum;
  Values e, ut, du;  // ut is (dv,C)
  Pairs x, y;
  Keys tq, tk, tu;  // what e, u and du give through the state
  State st, dst;    // transposed state and its gradient (dv,dk)
  Row delta, eta, row_q, row_k, cross, dwrite, dm, sums, read_query;
  Floats<Plan::kDk> dnorm_behind;  // behind the chunk, of one head

  LinearPrefix prefix;
  const float* pairs;            // D.qk: `weighted`, or qk itself if factored
  float* m;                      // running, of every head
  float *dS, *dnorm, *dm_state;  // likewise
  LinearChunk* chunks;
  LinearKept<Plan>* kept;  // of every chunk, and one more for the last state; or one
  std::int64_t macs;       // of the small products so far
  RowsAhead ahead;         // of the next chunk
};

// Hands out 64-byte aligned pieces of one buffer; with a null base it only counts.
class FloatArena {
 public:
  explicit FloatArena(float* base) : base_(base) {}
  float* take(std::int64_t count) {
    float* at = base_ ? base_ + used_ : nullptr;
    used_ += pad_lanes(count);
    return at;
  }
  // Values without a constructor's work: arrays of T keep what the buffer held.
  template <class T>
  T* take_of(std::int64_t count) {
    static_assert(std::is_trivially_default_constructible_v<T> && alignof(T) <= 64);
    float* at = take(count * static_cast<std::int64_t>((sizeof(T) + 3) / sizeof(float)));
    return at ? new (at) T[static_cast<std::size_t>(count)] : nullptr;
  }
  // Where the member is a pointer, `count` floats; nothing where it is an array.
  template <class T, class Member>
  void take_member(T* owner, Member T::*member, std::int64_t count) {
    if constexpr (std::is_pointer_v<Member>) {
      float* at = take(count);
      if (owner) owner->*member = at;
    }
  }
  std::int64_t used() const { return used_; }

 private:
  float* base_;
  std::int64_t used_ = 0;
};

template <class Plan>
void carve_gates(const Plan& p, FloatArena& a, LinearGates<Plan>* g) {
  using G = LinearGates<Plan>;
  for (auto row : {&G::row, &G::column, &G::w, &G::w_in, &G::a, &G::r_high, &G::r_low, &G::c_high,
                   &G::c_low, &G::from_start, &G::to_end, &G::floor, &G::inverse, &G::out,
                   &G::denominator, &G::erase_scale, &G::m_from_write}) {
    a.take_member(g, row, p.chunk);
  }
}

template <class Plan>
void carve_kept(const Plan& p, FloatArena& a, LinearKept<Plan>* kept) {
  using K = LinearKept<Plan>;
  const std::int64_t c = p.chunk, heads = p.heads;
  a.take_member(kept, &K::S, heads * p.dk * p.dv);
  a.take_member(kept, &K::norm, heads * p.dk);
  a.take_member(kept, &K::u, heads * c * p.dv);
  a.take_member(kept, &K::k, c * p.dk);
  a.take_member(kept, &K::kk, p.erase ? c * c : 0);
  auto* gates = a.take_of<LinearGates<Plan>>(heads);
  if (kept) kept->gates = gates;
  for (std::int64_t r = 0; r < heads; ++r) carve_gates(p, a, gates ? gates + r : nullptr);
}

template <class Plan>
LinearWorkspace<Plan>* carve_workspace(const Plan& p, bool backward, std::int64_t chunks,
                                       FloatArena& a) {
  using W = LinearWorkspace<Plan>;
  W* w = a.take_of<W>(1);
  const std::int64_t c = p.chunk, dk = p.dk, dv = p.dv, heads = p.heads;
  for (auto keys : {&W::q, &W::kt}) a.take_member(w, keys, c * dk);
  for (auto pairs : {&W::qk, &W::decay, &W::weighted, &W::n}) a.take_member(w, pairs, c * c);
  a.take_member(w, &W::o, c * dv);
  for (auto row : {&W::read_norm, &W::weights}) a.take_member(w, row, c);
  if (backward) {
    for (auto keys : {&W::dq, &W::dkey, &W::tq, &W::tk, &W::tu}) a.take_member(w, keys, c * dk);
    for (auto pairs : {&W::p_sum, &W::mm_sum, &W::x, &W::y}) a.take_member(w, pairs, c * c);
    for (auto values : {&W::e, &W::ut, &W::du}) a.take_member(w, values, c * dv);
    for (auto state : {&W::st, &W::dst}) a.take_member(w, state, dk * dv);
    for (auto row : {&W::delta, &W::eta, &W::row_q, &W::row_k, &W::cross, &W::dwrite, &W::dm,
                     &W::sums, &W::read_query}) {
      a.take_member(w, row, c);
    }
    a.take_member(w, &W::dnorm_behind, dk);
  }
  float *m = a.take(heads), *dS = nullptr, *dnorm = nullptr, *dm_state = nullptr;
  if (backward) {
    dS = a.take(heads * dk * dv);
    dnorm = a.take(heads * dk);
    dm_state = a.take(heads);
  }
  LinearChunk* list = a.take_of<LinearChunk>(chunks);
  const std::int64_t slots = backward ? chunks + 1 : 1;
  auto* kept = a.take_of<LinearKept<Plan>>(slots);
  for (std::int64_t i = 0; i < slots; ++i) carve_kept(p, a, kept ? kept + i : nullptr);
  if (w) {
    w->m = m;
    w->dS = dS;
    w->dnorm = dnorm;
    w->dm_state = dm_state;
    w->chunks = list;
    w->kept = kept;
    w->macs = 0;
    w->ahead.clear();
  }
  return w;
}

// The workspace of a task whose row has `chunks` chunks.
template <class Plan>
LinearWorkspace<Plan>& take_workspace(const Plan& p, bool backward, std::int64_t chunks,
                                      Scratch& scratch) {
  FloatArena sizes(nullptr);
  carve_workspace(p, backward, chunks, sizes);
  FloatArena arena(scratch.get<float>(sizes.used()));
  return *carve_workspace(p, backward, chunks, arena);
}

}  // namespace subquad
