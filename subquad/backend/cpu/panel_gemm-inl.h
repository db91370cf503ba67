// The register tile under every dense f32 product, and the loops around it: C (m,n) = A (m,k) B
// (k,n). Schedule: B is packed in panels of up to 3 vectors of columns, k-major, so that the inner
// loop reads one stream; k goes in blocks of kDepth, so that a panel block stays in L1; per block
// all panels, and per panel all rows of the caller's row block, which stay in L2. Roofline:
// multiply-adds; a step of k does 8 to 24 vectors of them for 6 to 11 loads.
// Every element of C is one chain of multiply-adds per block of k, in order: its bits depend on k
// only, not on the tile, the row block, the other rows or the number of threads.
#if defined(SUBQUAD_BACKEND_CPU_PANEL_GEMM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_BACKEND_CPU_PANEL_GEMM_INL_H
#undef SUBQUAD_BACKEND_CPU_PANEL_GEMM_INL_H
#else
#define SUBQUAD_BACKEND_CPU_PANEL_GEMM_INL_H
#endif

#include <algorithm>
#include <cstdint>
#include <utility>

#include "subquad/backend/cpu/register_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::pg {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using V = hn::Vec<F>;
constexpr std::int64_t kLanes = HWY_LANES(float);
constexpr std::int64_t kDepth = 256;
constexpr std::int64_t kTransposedDepth = 128;  // the same where A is packed, too
// Rows of a tile that is N vectors wide: 32 vector registers hold 24 accumulators, 16 hold 12.
#if HWY_TARGET <= HWY_AVX3
constexpr std::int64_t tile_rows(int) { return 8; }
#else
constexpr std::int64_t tile_rows(int vectors) { return vectors == 1 ? 8 : 4; }
#endif
constexpr std::int64_t kMaxTileRows = 8;

// Element (i, k) of A: at a[i * stride + k]; at a[k * stride + i]; in tiles of kMaxTileRows columns
// made by pack_transposed().
enum class Layout : std::uint8_t { row_major, column_major, packed };
// What becomes of a tile's sums: C = sum, C += sum, C = sum + bias.
enum class Epilogue : std::uint8_t { set, add, bias };

template <int kVectors, Layout kLayout, Epilogue kEpilogue>
HWY_NOINLINE void tile(const float* a, std::int64_t stride, const float* b, std::int64_t depth,
                       float* c, std::int64_t ldc, const float* bias) {
  constexpr bool kRowMajor = kLayout == Layout::row_major;
  rt::Tile<tile_rows(kVectors), kVectors> t;
  rt::clear(t);
  rt::add_product(a, kRowMajor ? stride : 1, kRowMajor ? 1 : stride, b, kVectors * kLanes, depth,
                  t);
  if constexpr (kEpilogue == Epilogue::add) rt::add(c, ldc, t);
  if constexpr (kEpilogue == Epilogue::bias) rt::add(bias, 0, t);
  rt::store(t, c, ldc);
}

// The panels of n columns: their widths in vectors, from left to right.
struct PanelWalk {
  std::int64_t vectors, at = 0;  // in all; already passed
  explicit PanelWalk(std::int64_t n) : vectors((n + kLanes - 1) / kLanes) {}
  bool done() const { return at == vectors; }
  // 4 = 2 + 2 rather than 3 + 1: a single vector of columns is bound by its loads.
  int width() const {
    const std::int64_t left = vectors - at;
    return static_cast<int>(left == 4 ? 2 : std::min<std::int64_t>(left, 3));
  }
  std::int64_t column() const { return at * kLanes; }
  void next() { at += width(); }
};
constexpr std::int64_t padded_columns(std::int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

template <int kVectors>
HWY_INLINE void pack_whole_rows(const float* HWY_RESTRICT b, std::int64_t ldb, std::int64_t depth,
                                float* HWY_RESTRICT to) {
  const F d;
  for (std::int64_t k = 0; k < depth; ++k, b += ldb, to += kVectors * kLanes) {
    hn::StoreU(hn::LoadU(d, b), d, to);
    if (kVectors > 1) hn::StoreU(hn::LoadU(d, b + kLanes), d, to + kLanes);
    if (kVectors > 2) hn::StoreU(hn::LoadU(d, b + 2 * kLanes), d, to + 2 * kLanes);
  }
}

// One panel block: rows [0, depth) of `width` vectors of columns, `columns` of them real.
inline void pack_rows(const float* b, std::int64_t ldb, std::int64_t depth, int width,
                      std::int64_t columns, float* to) {
  const std::int64_t padded = width * kLanes;
  if (columns < padded) {
    for (std::int64_t k = 0; k < depth; ++k, b += ldb, to += padded) {
      for (std::int64_t j = 0; j < padded; ++j) to[j] = j < columns ? b[j] : 0.0f;
    }
  } else if (width == 3) {
    pack_whole_rows<3>(b, ldb, depth, to);
  } else if (width == 2) {
    pack_whole_rows<2>(b, ldb, depth, to);
  } else {
    pack_whole_rows<1>(b, ldb, depth, to);
  }
}

// The same of a matrix that lies transposed: element (k, j) at b[j * ldb + k].
inline void pack_columns(const float* b, std::int64_t ldb, std::int64_t depth, int width,
                         std::int64_t columns, float* to) {
  const std::int64_t padded = width * kLanes;
  for (std::int64_t j = 0; j < padded; j += 4) {
    std::int64_t k = 0;
    if (j + 4 <= columns) {
      for (; k + 4 <= depth; k += 4) {
        rt::transpose_4x4(b + j * ldb + k, ldb, 1.0F, to + k * padded + j, padded);
      }
    }
    for (; k < depth; ++k) {
      for (std::int64_t i = j; i < j + 4; ++i)
        to[k * padded + i] = i < columns ? b[i * ldb + k] : 0.0f;
    }
  }
}

// B (k,n), or (n,k) if transposed, as all its panel blocks: block of k, panel, row of k. Takes
// k * padded_columns(n) floats.
inline void pack(const float* b, std::int64_t ldb, bool transposed, std::int64_t k, std::int64_t n,
                 float* to) {
  for (std::int64_t first = 0; first < k; first += kDepth) {
    const std::int64_t depth = std::min(kDepth, k - first);
    for (PanelWalk p(n); !p.done(); p.next()) {
      const std::int64_t column = p.column(),
                         columns = std::min<std::int64_t>(n - column, p.width() * kLanes);
      if (transposed) {
        pack_columns(b + column * ldb + first, ldb, depth, p.width(), columns, to);
      } else {
        pack_rows(b + first * ldb + column, ldb, depth, p.width(), columns, to);
      }
      to += depth * p.width() * kLanes;
    }
  }
}

template <Layout kLayout>
HWY_INLINE const float* tile_of(const float* a, std::int64_t stride, std::int64_t depth,
                                std::int64_t i) {
  if (kLayout == Layout::row_major) return a + i * stride;
  if (kLayout == Layout::column_major) return a + i;
  return a + i / kMaxTileRows * kMaxTileRows * depth + i % kMaxTileRows;
}

// `rows` rows of C from one panel block, `columns` columns of which are real. Tiles that stick out
// over A or C go through buffers; a packed A has zeros there.
template <int kVectors, Layout kLayout, Epilogue kEpilogue>
HWY_INLINE void panel_rows(const float* a, std::int64_t stride, std::int64_t rows, const float* b,
                           std::int64_t columns, std::int64_t depth, float* c, std::int64_t ldc,
                           const float* bias) {
  constexpr std::int64_t kHeight = tile_rows(kVectors), kWidth = kVectors * kLanes;
  // Packed or not, columns of A are walked the same way.
  constexpr Layout kWalk = kLayout == Layout::row_major ? Layout::row_major : Layout::column_major;
  std::int64_t i = 0;
  if (columns == kWidth) {
    for (; i + kHeight <= rows; i += kHeight) {
      tile<kVectors, kWalk, kEpilogue>(tile_of<kLayout>(a, stride, depth, i), stride, b, depth,
                                       c + i * ldc, ldc, bias);
    }
    if (i == rows) return;
  }
  alignas(64) float of_c[kHeight * kWidth], of_bias[kWidth] = {}, of_a[kHeight * kDepth];
  if (kEpilogue == Epilogue::bias) std::copy_n(bias, columns, of_bias);
  for (; i < rows; i += kHeight) {
    const std::int64_t count = std::min(kHeight, rows - i);
    const float* from = tile_of<kLayout>(a, stride, depth, i);
    std::int64_t from_stride = stride;
    if (kLayout != Layout::packed && count < kHeight) {
      from_stride = kLayout == Layout::row_major ? kDepth : kHeight;
      for (std::int64_t r = 0; r < kHeight; ++r) {
        for (std::int64_t k = 0; k < depth; ++k) {
          const std::int64_t at = kLayout == Layout::row_major ? r * stride + k : k * stride + r;
          of_a[kLayout == Layout::row_major ? r * kDepth + k : k * kHeight + r] =
              r < count ? from[at] : 0.0f;
        }
      }
      from = of_a;
    }
    for (std::int64_t r = 0; r < count && kEpilogue == Epilogue::add; ++r)
      std::copy_n(c + (i + r) * ldc, columns, of_c + r * kWidth);
    tile<kVectors, kWalk, kEpilogue>(from, from_stride, b, depth, of_c, kWidth, of_bias);
    for (std::int64_t r = 0; r < count; ++r)
      std::copy_n(of_c + r * kWidth, columns, c + (i + r) * ldc);
  }
}

template <Layout kLayout, Epilogue kEpilogue>
HWY_INLINE void panel_rows(int vectors, const float* a, std::int64_t stride, std::int64_t rows,
                           const float* b, std::int64_t columns, std::int64_t depth, float* c,
                           std::int64_t ldc, const float* bias) {
  if (vectors == 3) {
    panel_rows<3, kLayout, kEpilogue>(a, stride, rows, b, columns, depth, c, ldc, bias);
  } else if (vectors == 2) {
    panel_rows<2, kLayout, kEpilogue>(a, stride, rows, b, columns, depth, c, ldc, bias);
  } else {
    panel_rows<1, kLayout, kEpilogue>(a, stride, rows, b, columns, depth, c, ldc, bias);
  }
}

// C (rows,n) = A B (+ C if add) (+ bias), A (rows,k) row-major, B packed.
inline void multiply(const float* a, std::int64_t lda, const float* packed, std::int64_t rows,
                     std::int64_t n, std::int64_t k, bool add, const float* bias, float* c,
                     std::int64_t ldc) {
  for (std::int64_t first = 0; first < k; first += kDepth) {
    const std::int64_t depth = std::min(kDepth, k - first);
    for (PanelWalk p(n); !p.done(); p.next()) {
      const std::int64_t column = p.column(),
                         columns = std::min<std::int64_t>(n - column, p.width() * kLanes);
      const float* block = a + first;
      float* to = c + column;
      if (add || first > 0) {
        panel_rows<Layout::row_major, Epilogue::add>(p.width(), block, lda, rows, packed, columns,
                                                     depth, to, ldc, nullptr);
      } else if (bias) {
        panel_rows<Layout::row_major, Epilogue::bias>(p.width(), block, lda, rows, packed, columns,
                                                      depth, to, ldc, bias + column);
      } else {
        panel_rows<Layout::row_major, Epilogue::set>(p.width(), block, lda, rows, packed, columns,
                                                     depth, to, ldc, nullptr);
      }
      packed += depth * p.width() * kLanes;
    }
  }
}

// A block (depth,m) row-major as tiles of kMaxTileRows columns, k-major, zeros where m ends.
inline void pack_transposed(const float* a, std::int64_t lda, std::int64_t depth, std::int64_t m,
                            float* to) {
  static_assert(kMaxTileRows % kLanes == 0 || kLanes == 16);
  const hn::CappedTag<float, kMaxTileRows> d;
  constexpr std::int64_t kStep = static_cast<std::int64_t>(hn::MaxLanes(d)), kWide = kMaxTileRows;
  const std::int64_t whole = m / kWide * kWide;
  for (std::int64_t i = 0; i < whole; i += 4 * kWide) {  // a cache line or two at a time
    const std::int64_t end = std::min(whole, i + 4 * kWide);
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t j = i; j < end; j += kWide) {
        const float* from = a + k * lda + j;
        float* t = to + j * depth + k * kWide;
        for (std::int64_t l = 0; l < kWide; l += kStep)
          hn::StoreU(hn::LoadU(d, from + l), d, t + l);
      }
    }
  }
  for (std::int64_t k = 0; k < depth && whole < m; ++k) {
    float* t = to + whole * depth + k * kWide;
    for (std::int64_t j = 0; j < kWide; ++j) t[j] = whole + j < m ? a[k * lda + whole + j] : 0.0f;
  }
}

// One A of a transposed product, (k,m) row-major, and the rows of C it makes, (m,n).
struct TransposedPart {
  const float* a;
  std::int64_t lda, m;
  float* c;
  std::int64_t ldc;

  std::int64_t padded() const { return (m + kMaxTileRows - 1) / kMaxTileRows * kMaxTileRows; }
};

// A is packed where more than this many columns of B meet it; few do not pay for it.
constexpr std::int64_t kColumnsUnpacked = 128;

// Floats of scratch that multiply_transposed() needs for parts of m rows in all.
constexpr std::int64_t transposed_scratch(std::int64_t m, std::int64_t parts) {
  return kTransposedDepth * (3 * kLanes + m + parts * kMaxTileRows);
}

// C (m,n) += Aᵀ B for several A and one B (k,n) row-major: weight gradients, k long. Per block of k
// panel after panel of B is packed and meets all of them.
template <class Parts>
void multiply_transposed(const Parts& parts, const float* b, std::int64_t ldb, std::int64_t n,
                         std::int64_t k, float* scratch) {
  float *panel = scratch, *tiles = scratch + kTransposedDepth * 3 * kLanes;
  const bool in_tiles = n > kColumnsUnpacked;
  for (std::int64_t first = 0; first < k; first += kTransposedDepth) {
    const std::int64_t depth = std::min(kTransposedDepth, k - first);
    float* to = tiles;
    for (const TransposedPart& p : parts) {
      if (in_tiles) pack_transposed(p.a + first * p.lda, p.lda, depth, p.m, to);
      to += p.padded() * depth;
    }
    for (PanelWalk w(n); !w.done(); w.next()) {
      const std::int64_t column = w.column(),
                         columns = std::min<std::int64_t>(n - column, w.width() * kLanes);
      pack_rows(b + first * ldb + column, ldb, depth, w.width(), columns, panel);
      const float* packed = tiles;
      for (const TransposedPart& p : parts) {
        if (in_tiles) {
          panel_rows<Layout::packed, Epilogue::add>(w.width(), packed, kMaxTileRows, p.m, panel,
                                                    columns, depth, p.c + column, p.ldc, nullptr);
        } else {
          panel_rows<Layout::column_major, Epilogue::add>(w.width(), p.a + first * p.lda, p.lda,
                                                          p.m, panel, columns, depth, p.c + column,
                                                          p.ldc, nullptr);
        }
        packed += p.padded() * depth;
      }
    }
  }
}

}  // namespace subquad::HWY_NAMESPACE::pg
HWY_AFTER_NAMESPACE();

#endif
