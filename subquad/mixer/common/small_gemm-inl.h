// Small products in scratch, register-tiled. Schedule: column tiles of up to 3 vectors outermost,
// so that a panel of B stays in L1; inside it row blocks of kMr rows, each accumulated over all its
// products in named registers and stored once. A is broadcast element by element with two strides,
// which makes the transposed form as fast as the plain one; only B must have its columns
// contiguous.
#if defined(SUBQUAD_MIXER_COMMON_SMALL_GEMM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_SMALL_GEMM_INL_H
#undef SUBQUAD_MIXER_COMMON_SMALL_GEMM_INL_H
#else
#define SUBQUAD_MIXER_COMMON_SMALL_GEMM_INL_H
#endif

#include <hwy/highway.h>

#include "subquad/mixer/common/small_gemm.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using VF = hn::Vec<F32>;
constexpr std::int64_t kLanes = HWY_LANES(float);
// 32 vector registers hold 8 x 3 accumulators, 16 hold 4 x 3.
#if HWY_TARGET <= HWY_AVX3
constexpr int kMr = 8;
#else
constexpr int kMr = 4;
#endif

struct TileRow {
  VF x, y, z;
};
struct Tile {  // named members: an array would be kept on the stack by some compilers
  TileRow r0, r1, r2, r3, r4, r5, r6, r7;
};

template <int kRow>
HWY_INLINE TileRow& tile_row(Tile& t) {
  if constexpr (kRow == 0)
    return t.r0;
  else if constexpr (kRow == 1)
    return t.r1;
  else if constexpr (kRow == 2)
    return t.r2;
  else if constexpr (kRow == 3)
    return t.r3;
  else if constexpr (kRow == 4)
    return t.r4;
  else if constexpr (kRow == 5)
    return t.r5;
  else if constexpr (kRow == 6)
    return t.r6;
  else
    return t.r7;
}

// row += a * (x, y, z)
template <int kNr>
HWY_INLINE void multiply_add(VF a, const TileRow& b, TileRow& row) {
  row.x = hn::MulAdd(a, b.x, row.x);
  if constexpr (kNr > 1) row.y = hn::MulAdd(a, b.y, row.y);
  if constexpr (kNr > 2) row.z = hn::MulAdd(a, b.z, row.z);
}

template <int kNr>
HWY_INLINE TileRow load_row(const float* p) {
  const F32 d;
  TileRow row;
  row.x = hn::Load(d, p);
  if constexpr (kNr > 1) row.y = hn::Load(d, p + kLanes);
  if constexpr (kNr > 2) row.z = hn::Load(d, p + 2 * kLanes);
  return row;
}

template <int kNr, int kRow = 0>
HWY_INLINE void clear(Tile& t) {
  if constexpr (kRow < kMr) {
    const F32 d;
    TileRow& row = tile_row<kRow>(t);
    row.x = hn::Zero(d);
    if constexpr (kNr > 1) row.y = hn::Zero(d);
    if constexpr (kNr > 2) row.z = hn::Zero(d);
    clear<kNr, kRow + 1>(t);
  }
}

template <int kNr, int kRow = 0>
HWY_INLINE void add_outer(Tile& t, const float* a, std::int64_t stride, const TileRow& b) {
  if constexpr (kRow < kMr) {
    multiply_add<kNr>(hn::Set(F32(), a[kRow * stride]), b, tile_row<kRow>(t));
    add_outer<kNr, kRow + 1>(t, a, stride, b);
  }
}

template <int kNr, int kRow = 0>
HWY_INLINE void scale_rows(Tile& t, const float* scale) {
  if constexpr (kRow < kMr) {
    const VF s = hn::Set(F32(), scale[kRow]);
    TileRow& row = tile_row<kRow>(t);
    row.x = hn::Mul(row.x, s);
    if constexpr (kNr > 1) row.y = hn::Mul(row.y, s);
    if constexpr (kNr > 2) row.z = hn::Mul(row.z, s);
    scale_rows<kNr, kRow + 1>(t, scale);
  }
}

template <int kNr, int kRow = 0>
HWY_INLINE void add_old(Tile& t, const float* c, std::int64_t ldc, VF scale) {
  if constexpr (kRow < kMr) {
    multiply_add<kNr>(scale, load_row<kNr>(c + kRow * ldc), tile_row<kRow>(t));
    add_old<kNr, kRow + 1>(t, c, ldc, scale);
  }
}

template <int kNr, int kRow = 0>
HWY_INLINE void store(Tile& t, float* c, std::int64_t ldc) {
  if constexpr (kRow < kMr) {
    const F32 d;
    const TileRow& row = tile_row<kRow>(t);
    hn::Store(row.x, d, c + kRow * ldc);
    if constexpr (kNr > 1) hn::Store(row.y, d, c + kRow * ldc + kLanes);
    if constexpr (kNr > 2) hn::Store(row.z, d, c + kRow * ldc + 2 * kLanes);
    store<kNr, kRow + 1>(t, c, ldc);
  }
}

// Row kFrom is finished: adds n(kTo, kFrom) times it to all rows below it.
template <int kNr, int kFrom, int kTo>
HWY_INLINE void eliminate_down(Tile& t, const float* n, std::int64_t ldn) {
  if constexpr (kTo < kMr) {
    multiply_add<kNr>(hn::Set(F32(), n[kTo * ldn + kFrom]), tile_row<kFrom>(t), tile_row<kTo>(t));
    eliminate_down<kNr, kFrom, kTo + 1>(t, n, ldn);
  }
}

template <int kNr, int kFrom = 0>
HWY_INLINE void solve_down(Tile& t, const float* n, std::int64_t ldn) {
  if constexpr (kFrom + 1 < kMr) {
    eliminate_down<kNr, kFrom, kFrom + 1>(t, n, ldn);
    solve_down<kNr, kFrom + 1>(t, n, ldn);
  }
}

template <int kNr, int kFrom, int kTo>
HWY_INLINE void eliminate_up(Tile& t, const float* n, std::int64_t ldn) {
  if constexpr (kTo >= 0) {
    multiply_add<kNr>(hn::Set(F32(), n[kFrom * ldn + kTo]), tile_row<kFrom>(t), tile_row<kTo>(t));
    eliminate_up<kNr, kFrom, kTo - 1>(t, n, ldn);
  }
}

template <int kNr, int kFrom = kMr - 1>
HWY_INLINE void solve_up(Tile& t, const float* n, std::int64_t ldn) {
  if constexpr (kFrom > 0) {
    eliminate_up<kNr, kFrom, kFrom - 1>(t, n, ldn);
    solve_up<kNr, kFrom - 1>(t, n, ldn);
  }
}

struct InnerRange {
  std::int64_t begin, end;
};

HWY_INLINE InnerRange inner_range(const Product& p, std::int64_t row, std::int64_t rows) {
  std::int64_t begin = 0, end = p.depth;
  if (p.reach == Reach::until_block) end = HWY_MIN(end, row + rows);
  if (p.reach == Reach::before_block) end = HWY_MIN(end, row);
  if (p.reach == Reach::from_block) begin = row;
  if (p.reach == Reach::after_block) begin = row + rows;
  return {begin, end};
}

// Returns the number of inner indices it went through.
template <int kNr>
HWY_INLINE std::int64_t accumulate(Tile& t, const Product& p, std::int64_t row, std::int64_t col) {
  const auto [begin, end] = inner_range(p, row, kMr);
  const float* HWY_RESTRICT a = p.a + row * p.row_stride + begin * p.k_stride;
  const float* HWY_RESTRICT b = p.b + begin * p.ldb + col;
  const std::int64_t row_stride = p.row_stride, k_stride = p.k_stride, ldb = p.ldb;
  for (std::int64_t k = begin; k < end; ++k) {
    add_outer<kNr>(t, a, row_stride, load_row<kNr>(b));
    a += k_stride;
    b += ldb;
  }
  if (p.row_scale != nullptr) scale_rows<kNr>(t, p.row_scale + row);
  return end - begin;
}

template <int kNr>
HWY_NOINLINE void run_tile(const SmallGemm& g, std::int64_t row, std::int64_t col) {
  Tile t;
  clear<kNr>(t);
  std::int64_t depth = 0;
  for (int i = 0; i < g.products; ++i) depth += accumulate<kNr>(t, g.product[i], row, col);
  float* c = g.c + row * g.ldc + col;
  if (g.old_scale != 0) add_old<kNr>(t, c, g.ldc, hn::Set(F32(), g.old_scale));
  if (g.solve == Solve::forward) solve_down<kNr>(t, g.n + row * g.ldn + row, g.ldn);
  if (g.solve == Solve::backward) solve_up<kNr>(t, g.n + row * g.ldn + row, g.ldn);
  store<kNr>(t, c, g.ldc);
  if (g.macs != nullptr)
    *g.macs += kNr * kLanes * (kMr * depth + (g.solve == Solve::none ? 0 : kMr * (kMr - 1) / 2));
}

// The tall tile: one vector of columns and 2 kMr rows, for heads of 16 channels. Rows kMr and later
// live in the y members.
template <int kRow = 0>
HWY_INLINE void add_outer_tall(Tile& t, const float* a, std::int64_t stride, VF b) {
  if constexpr (kRow < kMr) {
    TileRow& row = tile_row<kRow>(t);
    row.x = hn::MulAdd(hn::Set(F32(), a[kRow * stride]), b, row.x);
    row.y = hn::MulAdd(hn::Set(F32(), a[(kRow + kMr) * stride]), b, row.y);
    add_outer_tall<kRow + 1>(t, a, stride, b);
  }
}

template <int kRow = 0>
HWY_INLINE void scale_rows_tall(Tile& t, const float* scale) {
  if constexpr (kRow < kMr) {
    TileRow& row = tile_row<kRow>(t);
    row.x = hn::Mul(row.x, hn::Set(F32(), scale[kRow]));
    row.y = hn::Mul(row.y, hn::Set(F32(), scale[kRow + kMr]));
    scale_rows_tall<kRow + 1>(t, scale);
  }
}

template <int kRow = 0>
HWY_INLINE void finish_tall(Tile& t, float* c, std::int64_t ldc, float old_scale) {
  if constexpr (kRow < kMr) {
    const F32 d;
    TileRow& row = tile_row<kRow>(t);
    float* upper = c + kRow * ldc;
    float* lower = c + (kRow + kMr) * ldc;
    if (old_scale != 0) {
      const VF scale = hn::Set(d, old_scale);
      row.x = hn::MulAdd(scale, hn::Load(d, upper), row.x);
      row.y = hn::MulAdd(scale, hn::Load(d, lower), row.y);
    }
    hn::Store(row.x, d, upper);
    hn::Store(row.y, d, lower);
    finish_tall<kRow + 1>(t, c, ldc, old_scale);
  }
}

HWY_NOINLINE inline void run_tall_tile(const SmallGemm& g, std::int64_t row, std::int64_t col) {
  Tile t;
  clear<2>(t);
  std::int64_t depth = 0;
  for (int i = 0; i < g.products; ++i) {
    const Product& p = g.product[i];
    const auto [begin, end] = inner_range(p, row, 2 * kMr);
    depth += end - begin;
    const float* HWY_RESTRICT a = p.a + row * p.row_stride + begin * p.k_stride;
    const float* HWY_RESTRICT b = p.b + begin * p.ldb + col;
    const std::int64_t row_stride = p.row_stride, k_stride = p.k_stride, ldb = p.ldb;
    for (std::int64_t k = begin; k < end; ++k) {
      add_outer_tall(t, a, row_stride, hn::Load(F32(), b));
      a += k_stride;
      b += ldb;
    }
    if (p.row_scale != nullptr) scale_rows_tall(t, p.row_scale + row);
  }
  finish_tall(t, g.c + row * g.ldc + col, g.ldc, g.old_scale);
  if (g.macs != nullptr) *g.macs += 2 * kMr * kLanes * depth;
}

HWY_INLINE void run_tile(const SmallGemm& g, std::int64_t row, std::int64_t col,
                         std::int64_t width) {
  if (width == 3)
    run_tile<3>(g, row, col);
  else if (width == 2)
    run_tile<2>(g, row, col);
  else
    run_tile<1>(g, row, col);
}

// 4 = 2 + 2 rather than 3 + 1: a single column of vectors is bound by the broadcasts.
HWY_INLINE std::int64_t tile_width(std::int64_t vectors) {
  return vectors == 4 ? 2 : HWY_MIN(vectors, std::int64_t{3});
}

inline void small_gemm(const SmallGemm& g) {
  if (g.cols == kLanes && g.solve == Solve::none) {
    for (std::int64_t row = 0; row < g.rows; row += 2 * kMr) run_tall_tile(g, row, 0);
    return;
  }
  if (g.lower_only) {  // the triangle by rows, each only as wide as it must be
    for (std::int64_t row = 0; row < g.rows; row += kMr) {
      const std::int64_t end = HWY_MIN(g.cols, pad_lanes(row + kMr));
      for (std::int64_t col = 0; col < end;) {
        const std::int64_t width = tile_width((end - col) / kLanes);
        run_tile(g, row, col, width);
        col += width * kLanes;
      }
    }
    return;
  }
  const std::int64_t blocks = g.rows / kMr;
  for (std::int64_t col = 0; col < g.cols;) {
    const std::int64_t width = tile_width((g.cols - col) / kLanes);
    for (std::int64_t i = 0; i < blocks; ++i) {
      run_tile(g, (g.solve == Solve::backward ? blocks - 1 - i : i) * kMr, col, width);
    }
    col += width * kLanes;
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
