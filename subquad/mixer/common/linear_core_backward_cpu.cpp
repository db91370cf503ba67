// The backward of the f32 SIMD linear core. Schedule and roofline: linear_backward-inl.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/common/linear_core_backward_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/mixer/common/linear_backward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {

// Tasks first to end - 1. dq, dk of `b` have one head per task part, (B,T,H/heads,Dk).
void linear_backward_tasks(const LinearPlan& p, const LinearCoreBackward<float>& b,
                           std::int64_t first, std::int64_t end, Scratch& scratch) {
  with_special_plan<kOldTarget>(p, [&](const auto& plan) HWY_ATTR {
    for (std::int64_t i = first; i < end; ++i) {
      backward_task(plan, b, i, i + 1 < end ? i + 1 : -1, scratch);
    }
  });
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(linear_backward_tasks);

void run_tasks(const LinearPlan& p, const LinearCoreBackward<float>& b, ThreadPool& threads) {
  if (p.channels) {
    threads.run(p.tasks(), [&](std::int64_t task, Scratch& scratch) {
      run_channel_backward(p, b, task, scratch);
    });
    return;
  }
  run_neighbours(p, threads, [&](std::int64_t first, std::int64_t end, Scratch& scratch) {
    HWY_DYNAMIC_DISPATCH(linear_backward_tasks)(p, b, first, end, scratch);
  });
}

// sum (B,T,Hk,Dk) <- over the parts of every key head, in order.
void sum_parts(const View<float, 4>& parts, const View<float, 4>& sum, ThreadPool& threads) {
  constexpr std::int64_t kStretch = 256;  // tokens of a task
  const std::int64_t T = sum.dim(1), Hk = sum.dim(2), D = sum.dim(3), per_key = parts.dim(2) / Hk,
                     stretches = (T + kStretch - 1) / kStretch;
  threads.run(sum.dim(0) * stretches, [&](std::int64_t task, Scratch&) {
    const std::int64_t b = task / stretches, first = task % stretches * kStretch;
    for (std::int64_t t = first; t < std::min(T, first + kStretch); ++t) {
      for (std::int64_t h = 0; h < Hk; ++h) {
        float* to = sum.at(b, t, h);
        std::copy_n(parts.at(b, t, h * per_key), D, to);
        for (std::int64_t i = 1; i < per_key; ++i) {
          const float* from = parts.at(b, t, h * per_key + i);
          for (std::int64_t d = 0; d < D; ++d) to[d] += from[d];
        }
      }
    }
  });
}

View<float, 4> dense_view(float* data, std::int64_t B, std::int64_t T, std::int64_t H,
                          std::int64_t D) {
  return {data, {B, T, H, D}, {T * H * D, H * D, D, 1}};
}

}  // namespace

void run_linear_backward(const LinearCoreBackward<float>& b, ThreadPool& threads) {
  const LinearPlan p = plan_linear_core(b.f, true);
  if (p.heads == p.group) return run_tasks(p, b, threads);
  const std::int64_t heads = p.H / p.heads, size = p.B * p.T * heads * p.Dk;
  float* shared = threads.shared<float>(2 * size);
  LinearCoreBackward<float> parts = b;
  parts.dq = dense_view(shared, p.B, p.T, heads, p.Dk);
  parts.dk = dense_view(shared + size, p.B, p.T, heads, p.Dk);
  run_tasks(p, parts, threads);
  sum_parts(parts.dq, b.dq, threads);
  sum_parts(parts.dk, b.dk, threads);
}

}  // namespace subquad
#endif
