// What both directions of the sLSTM share: one task, and R of its head in packed panels.
#if defined(SUBQUAD_MIXER_SLSTM_CORE_TASK_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_SLSTM_CORE_TASK_INL_H
#undef SUBQUAD_MIXER_SLSTM_CORE_TASK_INL_H
#else
#define SUBQUAD_MIXER_SLSTM_CORE_TASK_INL_H
#endif

#include <hwy/cache_control.h>

#include <algorithm>

#include "subquad/base/round.h"
#include "subquad/mixer/slstm/core.h"
#include "subquad/mixer/slstm/core_product-inl.h"
#include "subquad/mixer/slstm/row_tiles.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::slstm {
namespace hn = hwy::HWY_NAMESPACE;
using slstm_product::Columns;
using slstm_product::product;
using vm::V;

HWY_INLINE V at(const float* p) { return hn::LoadU(vm::F(), p); }
HWY_INLINE void put(V v, float* p) { hn::StoreU(v, vm::F(), p); }

// What a later step of a row will touch: rows lie far apart, which hides them from the hardware.
HWY_INLINE void prefetch(const float* p, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += 16) hwy::Prefetch(p + i);
}

inline std::int64_t padded(std::int64_t d) { return round_up(d, vm::kWidth); }

// `count` rows of D floats, `to_stride` and `from_stride` apart.
inline void copy_rows(const float* from, std::int64_t from_stride, std::int64_t count,
                      std::int64_t D, float* to, std::int64_t to_stride) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(from + i * from_stride, D, to + i * to_stride);
  }
}

// One head of one tile of rows for the whole sequence. Unit vectors in scratch are padded to whole
// vectors.
struct Task {
  std::int64_t head, D, P;
  bool direct;  // D = P: tensors are read and written in place
  const RowTile& tile;

  Task(const SlstmForward<float>& a, const RowTile& tile, std::int64_t head)
      : head(head), D(a.R.dim(1)), P(padded(D)), direct(D == P), tile(tile) {}
  std::int64_t row(std::int64_t slot) const { return tile.row[static_cast<std::size_t>(slot)]; }
  std::int64_t length(std::int64_t slot) const {
    return tile.length[static_cast<std::size_t>(slot)];
  }
  std::int64_t panel() const {
    return tile.count == 1 ? slstm_product::kSinglePanel : slstm_product::kPanel;
  }
};

// R (D,4,D) of one head as [d] x [gate][unit].
inline Columns pack_forward(const Task& w, const float* R, float* to) {
  const Columns b{to, w.D, 4 * w.P / vm::kWidth, w.panel(), 0};
  for (std::int64_t j = 0; j < b.vectors; j += b.width(j)) {
    const std::int64_t first = j * vm::kWidth, end = first + b.width(j) * vm::kWidth;
    for (std::int64_t d = 0; d < w.D; ++d) {
      for (std::int64_t c = first; c < end; c += vm::kWidth, to += vm::kWidth) {
        const std::int64_t gate = c / w.P, unit = c % w.P;
        put(vm::load(R + (d * 4 + gate) * w.D + unit, w.D - unit), to);
      }
    }
  }
  return b;
}

// Its transpose, [gate][unit] x [d].
inline Columns pack_backward(const Task& w, const float* R, float* to) {
  const Columns b{to, 4 * w.P, w.P / vm::kWidth, w.panel(), 0};
  if (!w.direct) std::fill_n(to, b.depth * w.P, 0.0F);
  for (std::int64_t j = 0; j < b.vectors; j += b.width(j)) {
    const std::int64_t first = j * vm::kWidth, n = b.width(j) * vm::kWidth;
    for (std::int64_t d = first; d < std::min(first + n, w.D); ++d) {
      for (std::int64_t gate = 0; gate < 4; ++gate) {
        const float* from = R + (d * 4 + gate) * w.D;
        float* line = to + gate * w.P * n + d - first;
        for (std::int64_t unit = 0; unit < w.D; ++unit) line[unit * n] = from[unit];
      }
    }
    to += b.depth * n;
  }
  return b;
}

}  // namespace subquad::HWY_NAMESPACE::slstm
HWY_AFTER_NAMESPACE();

#endif
