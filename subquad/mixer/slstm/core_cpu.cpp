// sLSTM in SIMD. Heads are independent over all time, so the task is (tile of up to 8 rows, head)
// for the whole sequence.
// Forward, per step: pre-activations = x + h R for all rows of the tile (R packed in panels, read
// once per step from L1 or L2), then the gates: first what depends on the pre-activations alone,
// then the state, so that many short chains are in flight instead of a few long ones.
// Backward, per step: gradients of the pre-activations, then dh = dp Rᵀ. The last kRing (h_{t-1},
// dp) pairs wait in scratch and go into the task's own dR as one product of inner size kRing; the
// dR of the tiles of a head are added in order at the end.
// Roofline: FMA for D >= 64 (24 D² per token and head, of which R's 16 D² bytes come from L2 once
// per step and tile) and, for long batches, the 80 bytes per unit and step that go to memory and
// back; below, the gates (about 2.5 ns per unit and step forward on AVX2).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/mixer/slstm/core_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/mixer/slstm/core_backward-inl.h"
#include "subquad/mixer/slstm/core_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

// Runs body(tile, head, index, scratch) for all tiles and heads. Below about half a million
// multiply-adds (gates converted) one task does them all: a fork-join would cost more.
template <class Body>
void for_each_task(const SlstmForward<float>& a, const std::vector<RowTile>& tiles,
                   ThreadPool& threads, Body&& body) {
  const std::int64_t H = a.x.dim(2), D = a.R.dim(1);
  const auto count = static_cast<std::int64_t>(tiles.size()) * H;
  const bool small = a.x.dim(0) * a.x.dim(1) * H * D * (4 * D + 200) < (1 << 19);
  const std::int64_t per_task = small ? count : 1;
  if (count == 0) return;
  threads.run(count / per_task, [&](std::int64_t task, Scratch& scratch) {
    for (std::int64_t i = task * per_task; i < (task + 1) * per_task; ++i) {
      body(tiles[static_cast<std::size_t>(i / H)], i % H, i, scratch);
    }
  });
}

void slstm_forward(const SlstmForward<float>& a, ThreadPool& threads) {
  const std::int64_t D = a.R.dim(1);
  const auto tiles = slstm_row_tiles(*a.spans, a.x.dim(2));
  for_each_task(
      a, tiles, threads,
      [&](const RowTile& tile, std::int64_t head, std::int64_t, Scratch& scratch) {
        slstm::ForwardTask(a, tile, head, scratch.get<float>(slstm::ForwardTask::floats(D))).run();
        scratch.count_macs(tile.tokens() * 4 * (D + 1) * D);
      });
}

void slstm_backward(const SlstmBackward<float>& g, ThreadPool& threads) {
  const std::int64_t H = g.f.x.dim(2), D = g.f.R.dim(1), P = slstm::padded(D);
  const auto tiles = slstm_row_tiles(*g.f.spans, H);
  const auto count = static_cast<std::int64_t>(tiles.size());
  const Tensor parts({count, H, slstm::BackwardTask::part_floats(D)}, DType::f32);
  const auto part = parts.view<float, 3>();
  for_each_task(g.f, tiles, threads,
                [&](const RowTile& tile, std::int64_t head, std::int64_t i, Scratch& scratch) {
                  slstm::BackwardTask(g, tile, head,
                                      scratch.get<float>(slstm::BackwardTask::floats(D)),
                                      part.at(i / H, head))
                      .run();
                  scratch.count_macs(tile.tokens() * 8 * D * D);
                });
  threads.run(count * H * D * D < (1 << 17) ? 1 : H, [&](std::int64_t task, Scratch&) {
    const bool all = count * H * D * D < (1 << 17);
    for (std::int64_t head = task; head < (all ? H : task + 1); ++head) {
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t k = 0; k < 4 * (g.db ? D + 1 : D); ++k) {
          const float* from = part.at(i, head) + k * P;
          float* to = k < 4 * D ? g.dR.at(head) + k * D : g.db.at(head, k - 4 * D);
          for (std::int64_t u = 0; u < D; ++u) to[u] += from[u];
        }
      }
    }
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(slstm_forward);
HWY_EXPORT(slstm_backward);

}  // namespace

void add_slstm_core_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(slstm_forward)>("highway"));
  table.add(dispatched<HWY_DISPATCH_TABLE(slstm_backward)>("highway"));
}

}  // namespace subquad
#endif
