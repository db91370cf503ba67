// Sizes and scratch of the chunkwise SIMD linear core. One task walks one row of the batch for the
// value heads [first, first + heads) of one key head; what belongs to the keys (packed q, k, q kᵀ,
// k kᵀ) is made once per chunk and shared by these heads.
#pragma once

#include <algorithm>

#include "subquad/mixer/common/linear_core.h"
#include "subquad/mixer/common/small_gemm.h"

namespace subquad {

// Up to here a row is walked token by token: a chunk would be mostly padding.
constexpr std::int64_t kLinearStepTokens = 4;
constexpr std::int64_t kMaxLinearChunk = 64;

struct LinearPlan {
  std::int64_t B, T, Hk, H, Dk, Dv;
  std::int64_t group;   // value heads per key head
  std::int64_t heads;   // value heads per task, a divisor of group
  std::int64_t dk, dv;  // padded to whole vectors
  std::int64_t chunk;   // tokens per chunk, a multiple of kLanePad
  bool exponential, normalizer, erase, is_signed;
  float scale, eps;

  std::int64_t tasks() const { return B * (H / heads); }
  std::int64_t padded(std::int64_t tokens) const { return pad_lanes(tokens); }

  // The same as constants, where the code is compiled for one size; 0 where it is for any.
  static constexpr std::int64_t kDk = 0, kDv = 0, kChunk = 0;
};

// A plan whose padded sizes are constants, for heads so small that loops and calls around a
// product cost as much as the product.
template <std::int64_t kDkOf, std::int64_t kDvOf, std::int64_t kChunkOf>
struct FixedPlan : LinearPlan {
  static constexpr std::int64_t kDk = kDkOf, kDv = kDvOf, kChunk = kChunkOf;
  static constexpr std::int64_t dk = kDk, dv = kDv, chunk = kChunk;

  std::int64_t padded(std::int64_t tokens) const {
    return chunk == kLanePad ? chunk : pad_lanes(tokens);
  }
};

LinearPlan plan_linear_core(const LinearCoreForward<float>& args, bool backward);

struct LinearChunk {
  std::int64_t begin, size;
  bool reset;  // the zero state comes before it
  bool fresh;  // the state before it is zero: nothing of it is computed
  bool last;   // nothing behind it reads the state it leaves
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
  std::int64_t used() const { return used_; }

 private:
  float* base_;
  std::int64_t used_ = 0;
};

// Per chunk and head, made from decay and write. Prefix sums G are f64; pair weights are
// D_ij = exp(r_i + c_j), i >= j, with r_i = G_i, c_j = -G_j, or for exponential input
// r_i = -M_i, c_j = write_j - G_j, M_i = max(m, c_1..c_i), so that m_i = G_i + M_i.
// r and c are kept as f32 pairs (high, low): their sum is then as exact as the f64 difference.
//
// Factored gates: D_ij = row_i column_j, column <= 1 <= row. Everything is then done without decay
// on rows of u scaled by column and rows of do scaled by row (docs/linear_core.md, section 2).
struct LinearGates {
  bool factored = false;
  float *row, *column;  // 1 if not factored
  float* w;             // weight of the write in u = w v; 1 if exponential
  float* w_in;          // w column: v is packed with it
  float* a;             // signed_decay: the transition itself
  float *r_high, *r_low, *c_high, *c_low;
  float* from_start;    // weight of the incoming state in row i, without row
  float* to_end;        // weight of token j in the outgoing state, without column
  float* floor;         // of the denominator
  float* inverse;       // 1 / (denominator + eps)
  float* out;           // row inverse: o and do are scaled by it
  float* denominator;   // d_i before the max
  float* erase_scale;   // -w_i from_start_i
  float* m_from_write;  // 1 where the maximum of m_i is write_i
  float carry = 1;      // weight of the incoming state in the outgoing one
  float m_next = 0;
};

// What the forward sweep of the backward leaves of a chunk; the forward itself has one for all
// chunks.
struct LinearKept {
  float *S, *norm;     // before the chunk, of every head: (heads,dk,dv) (heads,dk)
  float *k, *kk;       // of the key head: (C,dk) (C,C)
  float* u;            // of every head: (heads,C,dv)
  LinearGates* gates;  // of every head
};

struct LinearWorkspace {
  LinearChunk* chunks;
  LinearKept* kept;             // of every chunk, and one more for the last state; or one
  float *q, *kt, *qk;           // of the key head: (C,dk) (dk,C) (C,C)
  float *decay, *weighted, *n;  // (C,C): D (unless factored), D.qk, -M
  const float* pairs;           // D.qk: `weighted`, or qk itself if factored
  float *o, *read_norm;         // (C,dv) (C)
  float* m;                     // running, of every head
  // Backward only.
  float *dq, *dkey, *p_sum, *mm_sum;  // of the key head: (C,dk) (C,dk) (C,C) (C,C)
  float *e, *ut, *du, *x, *y;         // (C,dv) (dv,C) (C,dv) (C,C) (C,C)
  float *tq, *tk, *tu;                // (C,dk): what e, u and du give through the state
  float *st, *dst;                    // transposed state and its gradient (dv,dk)
  float *delta, *eta, *colsum, *row_q, *row_k, *cross, *dwrite, *dm;  // (C)
  float *weights, *sums, *read_query;                                 // (C)
  float *dS, *dnorm, *dm_state;                                       // running, as S norm m
  float* dnorm_behind;  // of one head, behind the chunk: (dk)
  std::int64_t macs;    // of the small products so far
};

// Rows of a tile of small_gemm, and floats of a vector, on this machine: they decide how much of a
// causal triangle is multiplied in vain.
struct LinearTiles {
  std::int64_t rows, lanes;
};
LinearTiles linear_core_tiles();

// Lays the workspace out in `base` (may be null) and returns the number of floats.
std::int64_t carve_linear_workspace(const LinearPlan& plan, bool backward, std::int64_t chunks,
                                    float* base, LinearWorkspace& w);

std::int64_t count_linear_chunks(std::span<const Span> spans, std::int64_t chunk);
// `from_zero`: the row starts without a state; `final_read`: its last state is of interest.
void list_linear_chunks(const LinearPlan& plan, std::span<const Span> spans, bool from_zero,
                        bool final_read, LinearChunk* out);

}  // namespace subquad
