// The f32 SIMD linear core with a decay per key channel. Schedule and roofline: the two
// linear_channels*-inl.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/common/linear_channels_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/mixer/common/linear_channels_backward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {

std::int64_t channel_forward(const LinearPlan& p, const LinearCoreForward<float>& f,
                             std::int64_t task, Scratch& scratch) {
  return channel_forward_task(p, f, task, scratch);
}

void channel_backward(const LinearPlan& p, const LinearCoreBackward<float>& b, std::int64_t task,
                      Scratch& scratch) {
  channel_backward_task(p, b, task, scratch);
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(channel_forward);
HWY_EXPORT(channel_backward);

}  // namespace

std::int64_t run_channel_forward(const LinearPlan& p, const LinearCoreForward<float>& f,
                                 std::int64_t task, Scratch& scratch) {
  return HWY_DYNAMIC_DISPATCH(channel_forward)(p, f, task, scratch);
}

void run_channel_backward(const LinearPlan& p, const LinearCoreBackward<float>& b,
                          std::int64_t task, Scratch& scratch) {
  HWY_DYNAMIC_DISPATCH(channel_backward)(p, b, task, scratch);
}

}  // namespace subquad
#endif
