// Small products in scratch, register-tiled. Schedule: column tiles of up to 3 vectors outermost,
// so that a panel of B stays in L1; inside it row blocks of kMr rows, each accumulated over all its
// products in named registers and stored once. A is broadcast element by element with two strides,
// which makes the transposed form as fast as the plain one; only B must have its columns
// contiguous. Lower triangles go by rows, each as wide as it must be. Where the sizes are constants
// a call gets its own copy: its branches are then its own, and predicted.
// Roofline: 12 accumulators hide the latency of two multiply-add pipes; 7 loads feed 12 of them.
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
HWY_INLINE void scale_tile(Tile& t, VF s) {
  if constexpr (kRow < kMr) {
    TileRow& row = tile_row<kRow>(t);
    row.x = hn::Mul(row.x, s);
    if constexpr (kNr > 1) row.y = hn::Mul(row.y, s);
    if constexpr (kNr > 2) row.z = hn::Mul(row.z, s);
    scale_tile<kNr, kRow + 1>(t, s);
  }
}

template <int kNr, int kRow = 0>
HWY_INLINE void add_old(Tile& t, const float* old, std::int64_t ld, VF scale) {
  if constexpr (kRow < kMr) {
    multiply_add<kNr>(scale, load_row<kNr>(old + kRow * ld), tile_row<kRow>(t));
    add_old<kNr, kRow + 1>(t, old, ld, scale);
  }
}

template <int kNr, int kRow = 0>
HWY_INLINE void store(Tile& t, float* c, std::int64_t ldc) {
  if constexpr (kRow < kMr) {
    const F32 d;
    const TileRow& row = tile_row<kRow>(t);
    hn::StoreU(row.x, d, c + kRow * ldc);
    if constexpr (kNr > 1) hn::StoreU(row.y, d, c + kRow * ldc + kLanes);
    if constexpr (kNr > 2) hn::StoreU(row.z, d, c + kRow * ldc + 2 * kLanes);
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

template <Reach kReach>
HWY_INLINE InnerRange inner_range(std::int64_t depth, std::int64_t row, std::int64_t rows) {
  if constexpr (kReach == Reach::until_block) return {0, HWY_MIN(depth, row + rows)};
  if constexpr (kReach == Reach::before_block) return {0, HWY_MIN(depth, row)};
  if constexpr (kReach == Reach::from_block) return {row, depth};
  if constexpr (kReach == Reach::after_block) return {row + rows, depth};
  return {0, depth};
}

// Returns the number of inner indices it went through.
template <int kNr, Reach kReach>
HWY_INLINE std::int64_t accumulate(Tile& t, const GemmTerm<kReach>& p, std::int64_t row,
                                   std::int64_t col) {
  const auto [begin, end] = inner_range<kReach>(p.depth, row, kMr);
  const float* HWY_RESTRICT a = p.a + row * p.row_stride + begin * p.k_stride;
  const float* HWY_RESTRICT b = p.b + begin * p.ldb + col;
  const std::int64_t row_stride = p.row_stride, k_stride = p.k_stride, ldb = p.ldb;
  for (std::int64_t k = begin; k < end; ++k) {
    add_outer<kNr>(t, a, row_stride, load_row<kNr>(b));
    a += k_stride;
    b += ldb;
  }
  if (p.row_scale != nullptr) scale_rows<kNr>(t, p.row_scale + row);
  return HWY_MAX(end - begin, std::int64_t{0});
}

// kLanes ones, then kLanes zeros (as bits): a window into it keeps the first lanes of a vector.
struct LaneMasks {
  alignas(64) std::uint32_t bits[2 * kLanes];
};
constexpr LaneMasks make_lane_masks() {
  LaneMasks m{};
  for (std::int64_t i = 0; i < kLanes; ++i) m.bits[i] = 0xffffffffu;
  return m;
}
inline constexpr LaneMasks kLaneMasks = make_lane_masks();

// x without the lanes from `keep` on, 0 <= keep <= kLanes.
HWY_INLINE VF keep_lanes(VF x, std::int64_t keep) {
  const F32 d;
  const hn::RebindToUnsigned<F32> bits;
  return hn::And(x, hn::BitCast(d, hn::LoadU(bits, kLaneMasks.bits + kLanes - keep)));
}

// The same for any `keep`.
HWY_INLINE VF first_lanes(VF x, std::int64_t keep) {
  return keep_lanes(x, HWY_MIN(HWY_MAX(keep, std::int64_t{0}), kLanes));
}

// Columns of row i of a lower triangle that tiles write and anybody reads: whole vectors up to the
// one that meets the diagonal, which is the same for all rows of a tile.
static_assert(kLanes % kMr == 0);
HWY_INLINE std::int64_t lower_columns(std::int64_t i) { return i / kLanes * kLanes + kLanes; }

// Zeroes what lies above the diagonal in the last vector of a tile that ends with the lower
// columns; `keep` lanes of the first row stay.
template <int kNr, int kRow = 0>
HWY_INLINE void mask_upper(Tile& t, std::int64_t keep) {
  if constexpr (kRow < kMr) {
    TileRow& row = tile_row<kRow>(t);
    VF& last = kNr == 1 ? row.x : kNr == 2 ? row.y : row.z;
    last = keep_lanes(last, keep + kRow);
    mask_upper<kNr, kRow + 1>(t, keep);
  }
}

template <GemmForm kForm, int kNr, class... Products>
HWY_INLINE void run_tile_inlined(const GemmOutput& g, std::int64_t row, std::int64_t col,
                                 const Products&... products) {
  Tile t;
  clear<kNr>(t);
  std::int64_t depth = 0;
  ((depth += accumulate<kNr>(t, products, row, col)), ...);
  float* c = g.c + row * g.ldc + col;
  if (g.old_scale != 0) {
    add_old<kNr>(t, g.old + row * g.cols + col, g.cols, hn::Set(F32(), g.old_scale));
  }
  if constexpr (kForm.solve == Solve::forward) solve_down<kNr>(t, g.n + row * g.ldn + row, g.ldn);
  if constexpr (kForm.solve == Solve::backward) solve_up<kNr>(t, g.n + row * g.ldn + row, g.ldn);
  if constexpr (kForm.lower) {
    if (col + kNr * kLanes == lower_columns(row)) mask_upper<kNr>(t, row % kLanes + 1);
  }
  if (g.scale != 1) scale_tile<kNr>(t, hn::Set(F32(), g.scale));
  if (g.row_scale != nullptr) scale_rows<kNr>(t, g.row_scale + row);
  store<kNr>(t, c, g.ldc);
  constexpr std::int64_t kSolved = kForm.solve == Solve::none ? 0 : kMr * (kMr - 1) / 2;
  if (g.macs != nullptr) *g.macs += kNr * kLanes * (kMr * depth + kSolved);
}

// The tall tile: one vector of columns and 2 kMr rows. Rows kMr and later live in the y members.
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
HWY_INLINE void add_old_tall(Tile& t, const float* old, std::int64_t ld, VF scale) {
  if constexpr (kRow < kMr) {
    const F32 d;
    TileRow& row = tile_row<kRow>(t);
    row.x = hn::MulAdd(scale, hn::Load(d, old + kRow * ld), row.x);
    row.y = hn::MulAdd(scale, hn::Load(d, old + (kRow + kMr) * ld), row.y);
    add_old_tall<kRow + 1>(t, old, ld, scale);
  }
}

// With kLower the tile is the triangle's first: row i keeps i + 1 lanes.
template <bool kLower, int kRow = 0>
HWY_INLINE void store_tall(Tile& t, float* c, std::int64_t ldc) {
  if constexpr (kRow < kMr) {
    const F32 d;
    TileRow& row = tile_row<kRow>(t);
    if constexpr (kLower) {
      row.x = keep_lanes(row.x, kRow + 1);
      row.y = keep_lanes(row.y, kRow + kMr + 1);
    }
    hn::StoreU(row.x, d, c + kRow * ldc);
    hn::StoreU(row.y, d, c + (kRow + kMr) * ldc);
    store_tall<kLower, kRow + 1>(t, c, ldc);
  }
}

template <Reach kReach>
HWY_INLINE std::int64_t accumulate_tall(Tile& t, const GemmTerm<kReach>& p, std::int64_t row,
                                        std::int64_t col) {
  const auto [begin, end] = inner_range<kReach>(p.depth, row, 2 * kMr);
  const float* HWY_RESTRICT a = p.a + row * p.row_stride + begin * p.k_stride;
  const float* HWY_RESTRICT b = p.b + begin * p.ldb + col;
  const std::int64_t row_stride = p.row_stride, k_stride = p.k_stride, ldb = p.ldb;
  for (std::int64_t k = begin; k < end; ++k) {
    add_outer_tall(t, a, row_stride, hn::Load(F32(), b));
    a += k_stride;
    b += ldb;
  }
  if (p.row_scale != nullptr) scale_rows_tall(t, p.row_scale + row);
  return HWY_MAX(end - begin, std::int64_t{0});
}

template <GemmForm kForm, class... Products>
HWY_INLINE void run_tall_tile_inlined(const GemmOutput& g, std::int64_t row, std::int64_t col,
                                      const Products&... products) {
  Tile t;
  clear<2>(t);
  std::int64_t depth = 0;
  ((depth += accumulate_tall(t, products, row, col)), ...);
  if (g.old_scale != 0) {
    add_old_tall(t, g.old + row * g.cols + col, g.cols, hn::Set(F32(), g.old_scale));
  }
  if (g.scale != 1) scale_tile<2>(t, hn::Set(F32(), g.scale));
  if (g.row_scale != nullptr) scale_rows_tall(t, g.row_scale + row);
  store_tall<kForm.lower>(t, g.c + row * g.ldc + col, g.ldc);
  if (g.macs != nullptr) *g.macs += 2 * kMr * kLanes * depth;
}

// Two rows of what is needed next, into the second-level cache: the first is full of this chunk.
HWY_INLINE void step_ahead(const GemmOutput& g) {
  if (g.ahead != nullptr) g.ahead->take<0>(2, [](const float* p) { __builtin_prefetch(p, 0, 2); });
}

template <GemmForm kForm, int kNr, class... Products>
HWY_NOINLINE void run_tile_called(const GemmOutput& g, std::int64_t row, std::int64_t col,
                                  const Products&... products) {
  step_ahead(g);
  run_tile_inlined<kForm, kNr>(g, row, col, products...);
}

template <GemmForm kForm, class... Products>
HWY_NOINLINE void run_tall_tile_called(const GemmOutput& g, std::int64_t row, std::int64_t col,
                                       const Products&... products) {
  step_ahead(g);
  run_tall_tile_inlined<kForm>(g, row, col, products...);
}

template <GemmForm kForm, int kNr, class... Products>
HWY_INLINE void run_tile(const GemmOutput& g, std::int64_t row, std::int64_t col,
                         const Products&... products) {
  if constexpr (kForm.cols > 0) {
    run_tile_inlined<kForm, kNr>(g, row, col, products...);
  } else {
    run_tile_called<kForm, kNr>(g, row, col, products...);
  }
}

template <GemmForm kForm, class... Products>
HWY_INLINE void run_tall_tile(const GemmOutput& g, std::int64_t row, std::int64_t col,
                              const Products&... products) {
  if constexpr (kForm.cols > 0) {
    run_tall_tile_inlined<kForm>(g, row, col, products...);
  } else {
    run_tall_tile_called<kForm>(g, row, col, products...);
  }
}

// 4 = 2 + 2 rather than 3 + 1: a single column of vectors is bound by the broadcasts.
HWY_INLINE std::int64_t tile_width(std::int64_t vectors) {
  return vectors == 4 ? 2 : HWY_MIN(vectors, std::int64_t{3});
}

template <GemmForm kForm, class... Products>
HWY_INLINE void run_tile_of_width(const GemmOutput& g, std::int64_t row, std::int64_t col,
                                  std::int64_t width, const Products&... products) {
  if (width == 3)
    run_tile<kForm, 3>(g, row, col, products...);
  else if (width == 2)
    run_tile<kForm, 2>(g, row, col, products...);
  else
    run_tile<kForm, 1>(g, row, col, products...);
}

// The triangle by rows, each only as wide as it must be.
template <GemmForm kForm, class... Products>
HWY_INLINE void lower_gemm(const GemmOutput& g, const Products&... products) {
  constexpr bool kTall = kLanes == 2 * kMr;
  if (kTall) run_tall_tile<kForm>(g, 0, 0, products...);
  for (std::int64_t row = kTall ? kLanes : 0; row < g.rows; row += kMr) {
    const std::int64_t end = lower_columns(row);
    for (std::int64_t col = 0; col < end;) {
      const std::int64_t width = tile_width((end - col) / kLanes);
      run_tile_of_width<kForm>(g, row, col, width, products...);
      col += width * kLanes;
    }
  }
}

template <GemmForm kForm, class... Products>
HWY_INLINE void small_gemm(const GemmOutput& g, const Products&... products) {
  if constexpr (kForm.lower) {
    if constexpr (kForm.cols == 2 * kLanes && kLanes == 2 * kMr) {  // one tile to a block of rows
      run_tall_tile<kForm>(g, 0, 0, products...);
      for (std::int64_t row = kLanes; row < g.rows; row += kMr) {
        run_tile<kForm, 2>(g, row, 0, products...);
      }
    } else {
      constexpr GemmForm kCalled{.lower = true, .cols = kForm.cols == kLanes ? kLanes : 0};
      lower_gemm<kCalled>(g, products...);
    }
    return;
  }
  constexpr bool kTall = kForm.solve == Solve::none;
  const std::int64_t cols = kForm.cols > 0 ? kForm.cols : g.cols;
  if (kTall && cols == kLanes) {
    for (std::int64_t row = 0; row < g.rows; row += 2 * kMr) {
      run_tall_tile<kForm>(g, row, 0, products...);
    }
    return;
  }
  const std::int64_t blocks = g.rows / kMr;
  const auto row_of = [&](std::int64_t i) HWY_ATTR {
    return (kForm.solve == Solve::backward ? blocks - 1 - i : i) * kMr;
  };
  if constexpr (kForm.cols > 0) {
    constexpr std::int64_t kVectors = kForm.cols / kLanes;
    constexpr int kWidth = kVectors % 3 == 0 ? 3 : kVectors % 2 == 0 ? 2 : 1;
    for (std::int64_t col = 0; col < cols; col += kWidth * kLanes) {
      for (std::int64_t i = 0; i < blocks; ++i) {
        run_tile<kForm, kWidth>(g, row_of(i), col, products...);
      }
    }
    return;
  }
  for (std::int64_t col = 0; col < cols;) {
    const std::int64_t width = tile_width((cols - col) / kLanes);
    for (std::int64_t i = 0; i < blocks; ++i) {
      run_tile_of_width<kForm>(g, row_of(i), col, width, products...);
    }
    col += width * kLanes;
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
