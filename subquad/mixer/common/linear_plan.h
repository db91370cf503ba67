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
  bool channels;  // a decay per key channel: linear_channels-inl.h
  float scale, eps;

  std::int64_t tasks() const { return B * (H / heads); }
  std::int64_t padded(std::int64_t tokens) const { return pad_lanes(tokens); }

  // The same as constants, where the code is compiled for one size; 0 where it is for any.
  static constexpr std::int64_t kDk = 0, kDv = 0, kChunk = 0, kHeads = 0;
};

// The three recurrences that have kernels of their own.
struct LinearKind {
  bool exponential = false, normalizer = false, erase = false;
};

// A plan whose padded sizes and switches are constants, for heads so small that the loops, calls
// and branches around a product cost as much as the product.
template <std::int64_t kSize, LinearKind kKind>
struct FixedPlan : LinearPlan {
  static constexpr std::int64_t kDk = kSize, kDv = kSize, kChunk = kSize;
  static constexpr std::int64_t dk = kSize, dv = kSize, chunk = kSize;
  static constexpr bool exponential = kKind.exponential, normalizer = kKind.normalizer,
                        erase = kKind.erase, is_signed = false;

  std::int64_t padded(std::int64_t tokens) const {
    return chunk == kLanePad ? chunk : pad_lanes(tokens);
  }
};

template <std::int64_t kSize, LinearKind kKind>
struct OneHeadPlan : FixedPlan<kSize, kKind> {
  static constexpr std::int64_t kHeads = 1, heads = 1;
};

// Calls run(plan) with the most special plan there is; with kGeneral always with p.
template <bool kGeneral, class Run>
auto with_special_plan(const LinearPlan& p, const Run& run) {
  if constexpr (kGeneral) return run(p);
  constexpr LinearKind kMlstm{.exponential = true, .normalizer = true}, kSsd{},
      kDelta{.erase = true};
  const auto is = [&](std::int64_t size, LinearKind kind) {
    return p.dk == size && p.dv == size && p.chunk == size && !p.is_signed &&
           p.exponential == kind.exponential && p.normalizer == kind.normalizer &&
           p.erase == kind.erase;
  };
  if (is(16, kSsd)) return run(FixedPlan<16, kSsd>{p});
  if (is(32, kSsd)) return run(FixedPlan<32, kSsd>{p});
  if (p.heads == 1) {
    if (is(16, kMlstm)) return run(OneHeadPlan<16, kMlstm>{{p}});
    if (is(32, kMlstm)) return run(OneHeadPlan<32, kMlstm>{{p}});
    if (is(16, kDelta)) return run(OneHeadPlan<16, kDelta>{{p}});
    if (is(32, kDelta)) return run(OneHeadPlan<32, kDelta>{{p}});
  }
  return run(p);
}

// Multiply-adds of a token's step and of the pairs of a chunk of n tokens, with `channels`.
constexpr std::int64_t channel_step_macs(bool erase, std::int64_t dk, std::int64_t dv) {
  return (erase ? 4 : 3) * (dk + 1) * dv + (erase ? 3 : 2) * dk;
}
std::int64_t channel_pair_macs(const LinearCoreOptions& o, std::int64_t n, std::int64_t dk);

LinearPlan plan_linear_core(const LinearCoreForward<float>& args, bool backward);

struct LinearChunk {
  std::int64_t begin, size;
  bool reset;  // the zero state comes before it
  bool fresh;  // the state before it is zero: nothing of it is computed
  bool last;   // nothing behind it reads the state it leaves
};

// Tasks of a plan with `channels`, each one row and value head. The forward returns the
// multiply-adds of its products; dq, dk of the backward have one head per value head.
std::int64_t run_channel_forward(const LinearPlan& p, const LinearCoreForward<float>& f,
                                 std::int64_t task, Scratch& scratch);
void run_channel_backward(const LinearPlan& p, const LinearCoreBackward<float>& b,
                          std::int64_t task, Scratch& scratch);

void run_linear_backward(const LinearCoreBackward<float>& b, ThreadPool& threads);

// Rows of a tile of small_gemm, and floats of a vector, on this machine: they decide how much of a
// causal triangle is multiplied in vain.
struct LinearTiles {
  std::int64_t rows, lanes;
};
LinearTiles linear_core_tiles();

// Runs fn(first, end, scratch) over all tasks. Where there are many, heads that lie side by side in
// memory go to one thread, which asks for the next one's rows in time.
template <class Fn>
void run_neighbours(const LinearPlan& p, ThreadPool& threads, const Fn& fn) {
  const std::int64_t tasks = p.tasks(), together = std::clamp<std::int64_t>(tasks / 16, 1, 4);
  threads.run((tasks + together - 1) / together, [&](std::int64_t i, Scratch& scratch) {
    fn(i * together, std::min(tasks, (i + 1) * together), scratch);
  });
}

std::int64_t count_linear_chunks(std::span<const Span> spans, std::int64_t chunk);
// `from_zero`: the row starts without a state; `final_read`: its last state is of interest.
void list_linear_chunks(const LinearPlan& plan, std::span<const Span> spans, bool from_zero,
                        bool final_read, LinearChunk* out);

}  // namespace subquad
