// AMX and AVX512-BF16 by intrinsics (Highway 1.0.3 has neither), in functions that name their
// instruction set, so that the file itself is compiled for any processor.
#include "subquad/backend/cpu/bf16_tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUBQUAD_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define SUBQUAD_AMX \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define SUBQUAD_INLINE __attribute__((always_inline)) inline

namespace subquad::bf16 {
namespace {

using i64 = std::int64_t;

// The first `count` of 16 lanes; all for 16 and more, none for less than 1.
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE __mmask16 first_lanes(i64 count) {
  return count >= 16  ? static_cast<__mmask16>(0xFFFF)
         : count <= 0 ? static_cast<__mmask16>(0)
                      : static_cast<__mmask16>((1U << count) - 1);
}

// 16 dwords of two bf16 each: [from[0..15], next[0..15]].
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE __m512i convert(__mmask16 these, const float* from,
                                                   __mmask16 those, const float* next) {
  return reinterpret_cast<__m512i>(
      _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(those, next), _mm512_maskz_loadu_ps(these, from)));
}

// 16 x 16 dwords.
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE void transpose(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 16; i += 8) {
    for (int j = i; j < i + 4; ++j) {
      t[j] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88);
      t[j + 4] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xDD);
    }
  }
  for (int j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xDD);
  }
}

// Each line's k lie side by side: row i of the tile is line i.
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE void load_lines(const Factor& f, i64 first, i64 k, __m512i* r) {
  const i64 lines = f.lines - first, depth = f.depth - k;
  const __mmask16 low = first_lanes(depth), high = first_lanes(depth - 16);
  for (i64 i = 0; i < 16; ++i) {
    const float* from = f.data + (first + i) * f.stride + k;
    r[i] = i < lines ? convert(low, from, high, from + 16) : _mm512_setzero_si512();
  }
}

// Lines lie side by side: row i of the tile is the pair 2i, 2i + 1 of k of all lines.
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE void load_pairs(const Factor& f, i64 first, i64 k, __m512i* r) {
  const __mmask16 lines = first_lanes(f.lines - first);
  const __m512i interleave =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                       21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const i64 depth = f.depth - k;
  for (i64 i = 0; i < 16; ++i) {
    const float* from = f.data + (k + 2 * i) * f.stride + first;
    const __mmask16 these = 2 * i < depth ? lines : static_cast<__mmask16>(0),
                    those = 2 * i + 1 < depth ? lines : static_cast<__mmask16>(0);
    r[i] = _mm512_permutexvar_epi16(interleave, convert(these, from, those, from + f.stride));
  }
}

SUBQUAD_AVX512_BF16 void pack_lines(const Factor& f, Side side, i64 first, Bits* to) {
  const bool natural = (side == Side::right) == f.lines_contiguous;
  for (i64 k = 0; k < f.depth; k += kDepth, to += kTile) {
    __m512i r[16];
    if (f.lines_contiguous) {
      load_pairs(f, first, k, r);
    } else {
      load_lines(f, first, k, r);
    }
    if (!natural) transpose(r);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * kDepth, r[i]);
  }
}

// A block of up to 32 x 32 of C that sticks out goes through a buffer.
struct Target {
  float* c;
  i64 ldc, rows, columns;
};

SUBQUAD_AVX512_BF16 SUBQUAD_INLINE void copy(const Target& from, const Target& to) {
  for (i64 i = 0; i < from.rows; ++i) {
    for (i64 j = 0; j < from.columns; j += 16) {
      const __mmask16 lanes = first_lanes(from.columns - j);
      _mm512_mask_storeu_ps(to.c + i * to.ldc + j, lanes,
                            _mm512_maskz_loadu_ps(lanes, from.c + i * from.ldc + j));
    }
  }
}

// Tiles 0 to 3: sums. 4, 5: left. 6, 7: right. Tile numbers are part of the instruction.
template <int kM, int kN>
SUBQUAD_AMX SUBQUAD_INLINE void amx_tiles(const Bits* left, const Bits* right, i64 depth_tiles,
                                          const float* start, i64 start_bytes, const Target& to) {
  const i64 next = depth_tiles * kTile, row = to.ldc * 4;
  if (start == nullptr) {
    _tile_zero(0);
    if (kN > 1) _tile_zero(1);
    if (kM > 1) _tile_zero(2);
    if (kM > 1 && kN > 1) _tile_zero(3);
  } else {
    _tile_loadd(0, start, start_bytes);
    if (kN > 1) _tile_loadd(1, start + 16, start_bytes);
    if (kM > 1) _tile_loadd(2, start + start_bytes / 4 * 16, start_bytes);
    if (kM > 1 && kN > 1) _tile_loadd(3, start + start_bytes / 4 * 16 + 16, start_bytes);
  }
  for (i64 k = 0; k < depth_tiles; ++k, left += kTile, right += kTile) {
    _tile_loadd(4, left, 64);
    _tile_loadd(6, right, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (kN > 1) _tile_loadd(7, right + next, 64);
    if (kN > 1) _tile_dpbf16ps(1, 4, 7);
    if (kM > 1) _tile_loadd(5, left + next, 64);
    if (kM > 1) _tile_dpbf16ps(2, 5, 6);
    if (kM > 1 && kN > 1) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, to.c, row);
  if (kN > 1) _tile_stored(1, to.c + 16, row);
  if (kM > 1) _tile_stored(2, to.c + 16 * to.ldc, row);
  if (kM > 1 && kN > 1) _tile_stored(3, to.c + 16 * to.ldc + 16, row);
}

SUBQUAD_AMX void amx_block(i64 m, i64 n, const Bits* left, const Bits* right, i64 depth_tiles,
                           const float* start, i64 start_bytes, const Target& to) {
  if (m > 1 && n > 1) {
    amx_tiles<2, 2>(left, right, depth_tiles, start, start_bytes, to);
  } else if (m > 1) {
    amx_tiles<2, 1>(left, right, depth_tiles, start, start_bytes, to);
  } else if (n > 1) {
    amx_tiles<1, 2>(left, right, depth_tiles, start, start_bytes, to);
  } else {
    amx_tiles<1, 1>(left, right, depth_tiles, start, start_bytes, to);
  }
}

// Two neighbours along k of one row, for all lanes. The empty assembly keeps clang 16 from looking
// through the cast, on which it crashes.
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE __m512bh broadcast_pair(const Bits* at) {
  int two;
  __builtin_memcpy(&two, at, sizeof two);
  __m512i v = _mm512_set1_epi32(two);
  __asm__("" : "+v"(v));
  return reinterpret_cast<__m512bh>(v);
}

// 8 rows by up to two vectors of columns: 16 sums, 2 right factors, a broadcast left one.
template <int kN>
SUBQUAD_AVX512_BF16 SUBQUAD_INLINE void avx512_rows(const Bits* left, const Bits* right,
                                                    i64 depth_tiles, const float* start,
                                                    i64 start_stride, const Target& to) {
  __m512 sums[8][kN];
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < kN; ++j)
      sums[i][j] = start ? _mm512_loadu_ps(start + i * start_stride + 16 * j) : _mm512_setzero_ps();
  }
  for (i64 k = 0; k < depth_tiles; ++k, left += kTile, right += kTile) {
    for (i64 pair = 0; pair < kDepth / 2; ++pair) {
      __m512bh b[kN];
      for (int j = 0; j < kN; ++j)
        b[j] = reinterpret_cast<__m512bh>(
            _mm512_loadu_si512(right + j * depth_tiles * kTile + pair * 2 * kLines));
      for (int i = 0; i < 8; ++i) {
        const __m512bh a = broadcast_pair(left + i * kDepth + 2 * pair);
        for (int j = 0; j < kN; ++j) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], a, b[j]);
      }
    }
  }
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < kN; ++j) _mm512_storeu_ps(to.c + i * to.ldc + 16 * j, sums[i][j]);
  }
}

SUBQUAD_AVX512_BF16 void avx512_block(i64 m, i64 n, const Bits* left, const Bits* right,
                                      i64 depth_tiles, const float* start, i64 start_bytes,
                                      const Target& to) {
  const i64 stride = start_bytes / 4;
  for (i64 i = 0; i < 2 * m; ++i) {  // half a tile of rows at a time
    const Bits* rows = left + i / 2 * depth_tiles * kTile + i % 2 * 8 * kDepth;
    const float* from = start ? start + i * 8 * stride : nullptr;
    const Target half = {to.c + i * 8 * to.ldc, to.ldc, 8, to.columns};
    if (n > 1) {
      avx512_rows<2>(rows, right, depth_tiles, from, stride, half);
    } else {
      avx512_rows<1>(rows, right, depth_tiles, from, stride, half);
    }
  }
}

// Up to 32 x 32 of C; the same `start` for every row if start_bytes is 0.
using MultiplyBlock = void (*)(i64 m, i64 n, const Bits* left, const Bits* right, i64 depth_tiles,
                               const float* start, i64 start_bytes, const Target& to);

// All rows for one pair of column tiles, which stay in the first-level cache.
SUBQUAD_AVX512_BF16 void multiply_blocks(const Block& p, MultiplyBlock multiply_block) {
  for (i64 n = 0; n < p.columns; n += 32) {
    for (i64 m = 0; m < p.rows; m += 32) {
      const i64 rows = p.rows - m < 32 ? p.rows - m : 32,
                columns = p.columns - n < 32 ? p.columns - n : 32;
      const Target real = {p.c + m * p.ldc + n, p.ldc, rows, columns};
      alignas(64) float buffer[32 * 32], of_bias[32];
      const bool whole = rows % 16 == 0 && columns % 16 == 0;
      const Target to = whole ? real : Target{buffer, 32, rows, columns};
      const float* start = nullptr;
      i64 start_bytes = 0;
      if (p.epilogue == Epilogue::add) {
        if (!whole) copy(real, to);
        start = to.c;
        start_bytes = to.ldc * 4;
      } else if (p.epilogue == Epilogue::bias) {
        copy({const_cast<float*>(p.bias) + n, 0, 1, columns}, {of_bias, 0, 1, columns});
        start = of_bias;
      }
      multiply_block(tiles(rows, 16), tiles(columns, 16), p.left + m * p.depth_tiles * kDepth,
                     p.right + n * p.depth_tiles * kDepth, p.depth_tiles, start, start_bytes, to);
      if (!whole) copy(to, real);
    }
  }
}

SUBQUAD_AVX512_BF16 void multiply_avx512(const Block& p) { multiply_blocks(p, avx512_block); }

// A constant, because GCC 12 does not know that loading it reads all of it.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileShapes kTileShapes;

SUBQUAD_AMX void multiply_amx(const Block& p) {
  _tile_loadconfig(&kTileShapes);
  multiply_blocks(p, amx_block);
  _tile_release();
}

struct Features {
  bool avx512 = false, amx = false;

  Features() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return;  // OSXSAVE
    unsigned low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    const bool tiles = d >> 22 & d >> 24 & 1,       // AMX-BF16, AMX-TILE
        vectors = b >> 16 & b >> 30 & b >> 31 & 1;  // AVX512F, BW, VL
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return;
    avx512 = vectors && (a >> 5 & 1) && (low & 0xE6) == 0xE6;
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
    amx = avx512 && tiles && (low >> 17 & 3) == 3 &&
          syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  }
};

const Features& features() {
  static const Features f;
  return f;
}

constexpr Instructions kAmx = {pack_lines, multiply_amx}, kAvx512 = {pack_lines, multiply_avx512};

}  // namespace

const Instructions* amx() { return features().amx ? &kAmx : nullptr; }
const Instructions* avx512() { return features().avx512 ? &kAvx512 : nullptr; }

}  // namespace subquad::bf16

#else

namespace subquad::bf16 {
const Instructions* amx() { return nullptr; }
const Instructions* avx512() { return nullptr; }
}  // namespace subquad::bf16

#endif
