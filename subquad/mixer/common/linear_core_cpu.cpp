// The f32 SIMD linear core: chunkwise forward and a token-by-token path for decoding; the backward
// is in linear_core_backward_cpu.cpp, so that both compile side by side.
// Schedule: one task per row and key head (or a part of its value heads), walking its chunks in
// order with everything of a chunk in per-thread scratch; the parts are in linear_*-inl.h.
// Roofline: see docs/linear_core.md.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/common/linear_core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/mixer/common/linear_forward-inl.h"
#include "subquad/mixer/common/linear_step-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {

// Tasks first to end - 1. Returns the multiply-adds of their small products.
std::int64_t linear_forward_tasks(const LinearPlan& p, const LinearCoreForward<float>& f,
                                  std::int64_t first, std::int64_t end, Scratch& scratch) {
  return with_special_plan<kOldTarget>(p, [&](const auto& plan) HWY_ATTR {
    std::int64_t macs = 0;
    for (std::int64_t i = first; i < end; ++i) {
      macs += forward_task(plan, f, i, i + 1 < end ? i + 1 : -1, scratch);
    }
    return macs;
  });
}

LinearTiles linear_tiles() { return {kMr, kLanes}; }

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(linear_forward_tasks);
HWY_EXPORT(linear_step_task);
HWY_EXPORT(linear_tiles);

bool accepts_forward(const LinearCoreForward<float>& f) {
  if (f.write.dim(3) != 1 || f.erase) return false;
  if (f.decay.dim(3) != 1) return !f.options.exponential_input && !f.options.normalizer;
  return !f.options.exponential_input || !(f.options.erase || f.options.signed_decay);
}

bool accepts_backward(const LinearCoreBackward<float>& b) { return accepts_forward(b.f); }

void run_forward(const LinearCoreForward<float>& f, ThreadPool& threads) {
  const LinearPlan p = plan_linear_core(f, false);
  if (p.T <= kLinearStepTokens) {
    threads.run(p.B * p.H, [&](std::int64_t task, Scratch& scratch) {
      float* spare = scratch.get<float>(p.Dk * (p.Dv + 4));
      scratch.count_macs(HWY_DYNAMIC_DISPATCH(linear_step_task)(p, f, task, spare));
    });
    return;
  }
  if (p.channels) {
    threads.run(p.tasks(), [&](std::int64_t task, Scratch& scratch) {
      scratch.count_macs(run_channel_forward(p, f, task, scratch));
    });
    return;
  }
  run_neighbours(p, threads, [&](std::int64_t first, std::int64_t end, Scratch& scratch) {
    scratch.count_macs(HWY_DYNAMIC_DISPATCH(linear_forward_tasks)(p, f, first, end, scratch));
  });
}

}  // namespace

LinearTiles linear_core_tiles() { return HWY_DYNAMIC_DISPATCH(linear_tiles)(); }

void add_linear_core_cpu(KernelTable& table) {
  table.add(Impl<LinearCoreForward<float>>{"highway", accepts_forward, run_forward});
  table.add(Impl<LinearCoreBackward<float>>{"highway", accepts_backward, run_linear_backward});
}

}  // namespace subquad
#endif
