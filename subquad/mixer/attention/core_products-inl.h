// What the tiled attention computes with: register-tiled products on scratch and transposing
// copies. In every product A may be transposed for free; only B and C need contiguous columns.
#if defined(SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H
#undef SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H
#else
#define SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H
#endif

#include <algorithm>

#include "subquad/backend/cpu/register_tile-inl.h"
#include "subquad/mixer/attention/core_tiles.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::attention {
namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

// 32 vector registers hold 8 x 3 accumulators, 16 hold 4 x 3.
#if HWY_TARGET <= HWY_AVX3
constexpr std::int64_t kRows = 8;
#else
constexpr std::int64_t kRows = 4;
#endif
constexpr AttentionTiles kTiles{kRows, vm::kWidth};
constexpr std::int64_t kBand = kTiles.band();

// C = A B over inner indices k: element (i,k) of A at a[i a_row + k a_k], (k,j) of B at
// b[k ldb + j].
struct Product {
  const float* a;
  std::int64_t a_row, a_k;
  const float* b;
  std::int64_t ldb;
  float* c;
  std::int64_t ldc;
  bool add = false;                  // C = diag(row_scale) C + A B
  const float* row_scale = nullptr;  // absent: ones
};

template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void start(const Product& p, const float* c, const float* row_scale,
                      rt::Tile<kM, kN>& t) {
  if constexpr (kM > 0) {
    if (p.add) {
      rt::load(c, t.first);
      if (row_scale != nullptr) rt::scale(vm::set(*row_scale), t.first);
    } else {
      rt::clear(t.first);
    }
    start(p, c + p.ldc, row_scale != nullptr ? row_scale + 1 : nullptr, t.rest);
  }
}
template <std::int64_t kM, std::int64_t kN>
HWY_NOINLINE void run_tile(const Product& p, std::int64_t row, std::int64_t column, Range k) {
  float* c = p.c + row * p.ldc + column;
  rt::Tile<kM, kN> t;
  start(p, c, p.row_scale != nullptr ? p.row_scale + row : nullptr, t);
  rt::add_product(p.a + row * p.a_row + k.begin * p.a_k, p.a_row, p.a_k,
                  p.b + k.begin * p.ldb + column, p.ldb, k.size(), t);
  rt::store(t, c, p.ldc);
}

// The band of rows at `row`, columns [columns.begin, columns.end), whole vectors. inner(row, rows):
// the inner indices of so many rows. Returns the multiply-adds.
template <class Inner>
HWY_INLINE std::int64_t run_band(const Product& p, std::int64_t row, Range columns,
                                 const Inner& inner) {
  std::int64_t macs = 0;
  for (std::int64_t c = columns.begin; c < columns.end;) {
    const std::int64_t left = (columns.end - c) / vm::kWidth;
    const std::int64_t width = left == 4 ? 2 : std::min<std::int64_t>(left, 3);  // not 3 + 1
    if (width == 1) {
      const Range k = inner(row, kBand);
      run_tile<kBand, 1>(p, row, c, k);
      macs += kBand * k.size();
    } else {
      for (std::int64_t r = row; r < row + kBand; r += kRows) {
        const Range k = inner(r, kRows);
        if (width == 2) run_tile<kRows, 2>(p, r, c, k);
        if (width == 3) run_tile<kRows, 3>(p, r, c, k);
        macs += kRows * width * k.size();
      }
    }
    c += width * vm::kWidth;
  }
  return macs * vm::kWidth;
}

// to (D, columns) <- scale times from (rows, D) transposed, zeros in columns past the rows.
inline void transpose(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t D,
                      float scale, float* to, std::int64_t ld, std::int64_t columns) {
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4, from += 4 * stride) {
    std::int64_t j = 0;
    for (; j + 4 <= D; j += 4) rt::transpose_4x4(from + j, stride, scale, to + j * ld + r, ld);
    for (; j < D; ++j) {
      for (std::int64_t i = 0; i < 4; ++i) to[j * ld + r + i] = scale * from[i * stride + j];
    }
  }
  for (; r < columns; ++r, from += stride) {
    for (std::int64_t j = 0; j < D; ++j) to[j * ld + r] = r < rows ? scale * from[j] : 0.0f;
  }
}

// to (rows, P) <- scale times from (rows, D), zeros in columns past D.
inline void copy_rows(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t D,
                      float scale, float* to, std::int64_t P) {
  const V factor = vm::set(scale);
  for (std::int64_t r = 0; r < rows; ++r, from += stride, to += P) {
    std::int64_t j = 0;
    for (; j + vm::kWidth <= D; j += vm::kWidth) {
      hn::StoreU(hn::Mul(factor, hn::LoadU(vm::F(), from + j)), vm::F(), to + j);
    }
    for (; j < D; ++j) to[j] = scale * from[j];
    for (; j < P; ++j) to[j] = 0;
  }
}

}  // namespace subquad::HWY_NAMESPACE::attention
HWY_AFTER_NAMESPACE();

#endif
