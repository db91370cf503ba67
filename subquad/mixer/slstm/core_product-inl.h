// The small products of the sLSTM: C = init + A B on a few rows, register-tiled. Every column of C
// is one chain over the inner index that starts from init, whatever the tile: a row's bits depend
// on neither its neighbours nor the packing.
#if defined(SUBQUAD_MIXER_SLSTM_CORE_PRODUCT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_SLSTM_CORE_PRODUCT_INL_H
#undef SUBQUAD_MIXER_SLSTM_CORE_PRODUCT_INL_H
#else
#define SUBQUAD_MIXER_SLSTM_CORE_PRODUCT_INL_H
#endif

#include "subquad/backend/cpu/register_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::slstm_product {
namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

// Widest panel, in vectors, for tiles of up to four rows: with four rows 16 registers hold 4 x 3
// accumulators, 32 hold 4 x 4. A single row takes eight, for as many independent chains.
#if HWY_TARGET <= HWY_AVX3
constexpr std::int64_t kPanel = 4;
#else
constexpr std::int64_t kPanel = 3;
#endif
constexpr std::int64_t kSinglePanel = 8;

// B with `depth` rows of `vectors` vectors. Packed: one panel of columns behind the other, each
// depth x width, so that a tile reads it as one stream. Otherwise rows lie `ld` apart.
struct Columns {
  const float* data = nullptr;
  std::int64_t depth = 0, vectors = 0;
  std::int64_t panel = kPanel;  // kPanel, or kSinglePanel if there is one row
  std::int64_t ld = 0;          // 0: packed

  // Width of the panel at vector j: 4 = 2 + 2 rather than 3 + 1.
  std::int64_t width(std::int64_t j) const {
    const std::int64_t left = vectors - j;
    if (panel == 3 && left == 4) return 2;
    return left < panel ? HWY_MIN(left, kPanel) : panel;
  }
  const float* at(std::int64_t j) const { return data + j * vm::kWidth * (ld ? 1 : depth); }
  std::int64_t stride(std::int64_t width) const { return ld ? ld : width * vm::kWidth; }
};

struct Rows {
  std::int64_t count = 0;
  const float* a = nullptr;  // element (r,k) at a[r row_stride + k k_stride]
  std::int64_t row_stride = 0, k_stride = 1;
  const float* init = nullptr;
  std::int64_t init_stride = 0;
  const std::int64_t* init_vector = nullptr;  // where vector j of init lies; absent: in order
  const float* bias = nullptr;                // added to every row of init, if present
  float* c = nullptr;
  std::int64_t c_stride = 0;
};

template <std::int64_t kN>
HWY_INLINE void gather(const float* p, const std::int64_t* where, rt::Vectors<kN>& v) {
  if constexpr (kN > 0) {
    v.first = hn::LoadU(vm::F(), p + *where);
    gather(p, where + 1, v.rest);
  }
}
template <std::int64_t kRows, std::int64_t kN>
HWY_INLINE void start(const Rows& x, std::int64_t row, std::int64_t j, rt::Tile<kRows, kN>& t) {
  if constexpr (kRows > 0) {
    const float* init = x.init + row * x.init_stride;
    if (x.init_vector != nullptr) {
      gather(init, x.init_vector + j, t.first);
    } else {
      rt::load(init + j * vm::kWidth, t.first);
    }
    if (x.bias != nullptr) rt::add(x.bias + j * vm::kWidth, t.first);
    start(x, row + 1, j, t.rest);
  }
}
template <std::int64_t kRows, std::int64_t kN>
HWY_INLINE void run_tile(const Rows& x, const Columns& b, std::int64_t row, std::int64_t j) {
  rt::Tile<kRows, kN> t;
  start(x, row, j, t);
  rt::add_product(x.a + row * x.row_stride, x.row_stride, x.k_stride, b.at(j), b.stride(kN),
                  b.depth, t);
  rt::store(t, x.c + row * x.c_stride + j * vm::kWidth, x.c_stride);
}

// All rows of one panel, in groups of at most four of nearly equal size.
template <std::int64_t kN>
HWY_NOINLINE void run_panel(const Rows& x, const Columns& b, std::int64_t j) {
  constexpr std::int64_t kGroup = kN == kSinglePanel ? 1 : 4;
  std::int64_t groups = (x.count + kGroup - 1) / kGroup;
  for (std::int64_t row = 0; row < x.count; --groups) {
    const std::int64_t rows = (x.count - row + groups - 1) / groups;
    if constexpr (kGroup == 4) {
      if (rows == 4) run_tile<4, kN>(x, b, row, j);
      if (rows == 3) run_tile<3, kN>(x, b, row, j);
      if (rows == 2) run_tile<2, kN>(x, b, row, j);
    }
    if (rows == 1) run_tile<1, kN>(x, b, row, j);
    row += rows;
  }
}

// Panels outermost: each stays in L1 for all rows.
inline void product(const Rows& x, const Columns& b) {
  for (std::int64_t j = 0; j < b.vectors;) {
    const std::int64_t width = b.width(j);
    if (width == 1) run_panel<1>(x, b, j);
    if (width == 2) run_panel<2>(x, b, j);
    if (width == 3) run_panel<3>(x, b, j);
    if constexpr (kPanel == 4) {
      if (width == 4) run_panel<4>(x, b, j);
    }
    if (width == kSinglePanel) run_panel<kSinglePanel>(x, b, j);
    j += width;
  }
}

}  // namespace subquad::HWY_NAMESPACE::slstm_product
HWY_AFTER_NAMESPACE();

#endif
