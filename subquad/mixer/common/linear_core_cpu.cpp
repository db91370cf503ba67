// The f32 SIMD linear core: chunkwise forward and backward, and a token-by-token path for decoding.
// Schedule: one task per row and key head (or a part of its value heads), walking its chunks in
// order with everything of a chunk in per-thread scratch; the parts are in linear_*-inl.h.
// Roofline: see docs/linear_core.md.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/common/linear_core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/mixer/common/linear_backward-inl.h"
#include "subquad/mixer/common/linear_forward-inl.h"
#include "subquad/mixer/common/linear_step-inl.h"

#if HWY_ONCE
#include <algorithm>

namespace subquad {
namespace {

HWY_EXPORT(linear_forward_tasks);
HWY_EXPORT(linear_backward_tasks);
HWY_EXPORT(linear_step_task);
HWY_EXPORT(linear_tiles);

bool accepts_forward(const LinearCoreForward<float>& f) {
  if (f.decay.dim(3) != 1 || f.write.dim(3) != 1 || f.erase) return false;
  return !f.options.exponential_input || !(f.options.erase || f.options.signed_decay);
}

bool accepts_backward(const LinearCoreBackward<float>& b) { return accepts_forward(b.f); }

// Runs fn(first, end, scratch) over all tasks. Where there are many, heads that lie side by side in
// memory go to one thread, which asks for the next one's rows in time.
template <class Fn>
void run_neighbours(const LinearPlan& p, ThreadPool& threads, const Fn& fn) {
  const std::int64_t tasks = p.tasks(), together = std::clamp<std::int64_t>(tasks / 16, 1, 4);
  threads.run((tasks + together - 1) / together, [&](std::int64_t i, Scratch& scratch) {
    fn(i * together, std::min(tasks, (i + 1) * together), scratch);
  });
}

void run_forward(const LinearCoreForward<float>& f, ThreadPool& threads) {
  const LinearPlan p = plan_linear_core(f, false);
  if (p.T <= kLinearStepTokens) {
    threads.run(p.B * p.H, [&](std::int64_t task, Scratch& scratch) {
      float* spare = scratch.get<float>((p.Dk + 1) * p.Dv + p.Dk);
      scratch.count_macs(HWY_DYNAMIC_DISPATCH(linear_step_task)(p, f, task, spare));
    });
    return;
  }
  run_neighbours(p, threads, [&](std::int64_t first, std::int64_t end, Scratch& scratch) {
    scratch.count_macs(HWY_DYNAMIC_DISPATCH(linear_forward_tasks)(p, f, first, end, scratch));
  });
}

void run_tasks(const LinearPlan& p, const LinearCoreBackward<float>& b, ThreadPool& threads) {
  run_neighbours(p, threads, [&](std::int64_t first, std::int64_t end, Scratch& scratch) {
    HWY_DYNAMIC_DISPATCH(linear_backward_tasks)(p, b, first, end, scratch);
  });
}

// sum (B,T,Hk,Dk) <- over the parts of every key head, in order.
void sum_parts(const View<float, 4>& parts, const View<float, 4>& sum, ThreadPool& threads) {
  const std::int64_t per_key = parts.dim(2) / sum.dim(2), D = sum.dim(3);
  threads.run(sum.dim(0) * sum.dim(2), [&](std::int64_t task, Scratch&) {
    const std::int64_t b = task / sum.dim(2), h = task % sum.dim(2);
    for (std::int64_t t = 0; t < sum.dim(1); ++t) {
      float* to = sum.at(b, t, h);
      std::copy_n(parts.at(b, t, h * per_key), D, to);
      for (std::int64_t i = 1; i < per_key; ++i) {
        const float* from = parts.at(b, t, h * per_key + i);
        for (std::int64_t d = 0; d < D; ++d) to[d] += from[d];
      }
    }
  });
}

void run_backward(const LinearCoreBackward<float>& b, ThreadPool& threads) {
  const LinearPlan p = plan_linear_core(b.f, true);
  if (p.heads == p.group) return run_tasks(p, b, threads);
  const Shape shape{p.B, p.T, p.H / p.heads, p.Dk};
  const Tensor dq(shape, DType::f32), dk(shape, DType::f32);
  LinearCoreBackward<float> parts = b;
  parts.dq = dq.view<float, 4>();
  parts.dk = dk.view<float, 4>();
  run_tasks(p, parts, threads);
  sum_parts(parts.dq, b.dq, threads);
  sum_parts(parts.dk, b.dk, threads);
}

}  // namespace

LinearTiles linear_core_tiles() { return HWY_DYNAMIC_DISPATCH(linear_tiles)(); }

void add_linear_core_cpu(KernelTable& table) {
  table.add(Impl<LinearCoreForward<float>>{"highway", accepts_forward, run_forward});
  table.add(Impl<LinearCoreBackward<float>>{"highway", accepts_backward, run_backward});
}

}  // namespace subquad
#endif
