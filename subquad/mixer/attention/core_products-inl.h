// What the tiled attention computes with: register-tiled products on scratch, 2^x, and transposing
// copies. In every product A is broadcast element by element with two strides, so that it may be
// transposed for free, and only B and C need contiguous columns. Accumulators are named members:
// some compilers keep arrays on the stack.
#if defined(SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H
#undef SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H
#else
#define SUBQUAD_MIXER_ATTENTION_CORE_PRODUCTS_INL_H
#endif

#include <algorithm>

#include "subquad/backend/cpu/vector_math-inl.h"
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

// C = A B over inner indices k: element (i,k) of A at a[i a_row + k a_k], (k,j) of B at b[k ldb +
// j].
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

template <std::int64_t kN>
struct Vectors {
  V first;
  Vectors<kN - 1> rest;
};
template <>
struct Vectors<0> {};

template <std::int64_t kM, std::int64_t kN>
struct Tile {
  Vectors<kN> first;
  Tile<kM - 1, kN> rest;
};
template <std::int64_t kN>
struct Tile<0, kN> {};

template <std::int64_t kN>
HWY_INLINE void load(const float* p, Vectors<kN>& v) {
  if constexpr (kN > 0) {
    v.first = hn::LoadU(vm::F(), p);
    load(p + vm::kWidth, v.rest);
  }
}
template <std::int64_t kN>
HWY_INLINE void multiply_add(V a, const Vectors<kN>& b, Vectors<kN>& c) {
  if constexpr (kN > 0) {
    c.first = hn::MulAdd(a, b.first, c.first);
    multiply_add(a, b.rest, c.rest);
  }
}
template <std::int64_t kN>
HWY_INLINE void scale(V a, Vectors<kN>& c) {
  if constexpr (kN > 0) {
    c.first = hn::Mul(a, c.first);
    scale(a, c.rest);
  }
}
template <std::int64_t kN>
HWY_INLINE void clear(Vectors<kN>& c) {
  if constexpr (kN > 0) {
    c.first = hn::Zero(vm::F());
    clear(c.rest);
  }
}
template <std::int64_t kN>
HWY_INLINE void store(const Vectors<kN>& v, float* p) {
  if constexpr (kN > 0) {
    hn::StoreU(v.first, vm::F(), p);
    store(v.rest, p + vm::kWidth);
  }
}

template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void start(const Product& p, const float* c, const float* row_scale, Tile<kM, kN>& t) {
  if constexpr (kM > 0) {
    if (p.add) {
      load(c, t.first);
      if (row_scale != nullptr) scale(vm::set(*row_scale), t.first);
    } else {
      clear(t.first);
    }
    start(p, c + p.ldc, row_scale != nullptr ? row_scale + 1 : nullptr, t.rest);
  }
}
template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void add_outer(const float* a, std::int64_t stride, const Vectors<kN>& b,
                          Tile<kM, kN>& t) {
  if constexpr (kM > 0) {
    multiply_add(vm::set(*a), b, t.first);
    add_outer(a + stride, stride, b, t.rest);
  }
}
template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void finish(const Tile<kM, kN>& t, float* c, std::int64_t ldc) {
  if constexpr (kM > 0) {
    store(t.first, c);
    finish(t.rest, c + ldc, ldc);
  }
}

template <std::int64_t kM, std::int64_t kN>
HWY_NOINLINE void run_tile(const Product& p, std::int64_t row, std::int64_t column, Range k) {
  const std::int64_t a_row = p.a_row, a_k = p.a_k, ldb = p.ldb;
  const float* HWY_RESTRICT a = p.a + row * a_row + k.begin * a_k;
  const float* HWY_RESTRICT b = p.b + k.begin * ldb + column;
  float* c = p.c + row * p.ldc + column;
  Tile<kM, kN> t;
  start(p, c, p.row_scale != nullptr ? p.row_scale + row : nullptr, t);
  for (std::int64_t left = k.size(); left > 0; --left) {
    Vectors<kN> line;
    load(b, line);
    add_outer(a, a_row, line, t);
    a += a_k;
    b += ldb;
  }
  finish(t, c, p.ldc);
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

// 2^x for x <= 127, relative error below 2e-7 down to -126 and exactly 0 below -127. Adding 1.5
// 2^23
// + 127 rounds to the nearest integer n and leaves the biased exponent of 2^n in the lowest bits;
// the polynomial is minimax on |x - n| <= 1/2. NaN stays: Max returns its second operand.
HWY_INLINE V exp2(V x) {
  const vm::F d;
  const hn::RebindToSigned<vm::F> di;
  x = hn::Max(vm::set(-127.0f), x);
  const V shifted = hn::Add(x, vm::set(12583039.0f));
  const V r = hn::Sub(x, hn::Sub(shifted, vm::set(12583039.0f)));
  V p = hn::MulAdd(vm::set(0.00132647273f), r, vm::set(0.009671512729f));
  p = hn::MulAdd(p, r, vm::set(0.055507337438f));
  p = hn::MulAdd(p, r, vm::set(0.24022242084f));
  p = hn::MulAdd(p, r, vm::set(0.693146977598f));
  p = hn::MulAdd(p, r, vm::set(1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

// to (D, columns) <- scale times from (rows, D) transposed, zeros in columns past the rows.
inline void transpose(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t D,
                      float scale, float* to, std::int64_t ld, std::int64_t columns) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> dd;
  const auto factor = hn::Set(d, scale);
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4, from += 4 * stride) {
    std::int64_t j = 0;
    for (; j + 4 <= D; j += 4) {
      const auto r0 = hn::Mul(factor, hn::LoadU(d, from + j));
      const auto r1 = hn::Mul(factor, hn::LoadU(d, from + stride + j));
      const auto r2 = hn::Mul(factor, hn::LoadU(d, from + 2 * stride + j));
      const auto r3 = hn::Mul(factor, hn::LoadU(d, from + 3 * stride + j));
      const auto a = hn::BitCast(dd, hn::InterleaveLower(d, r0, r1));
      const auto b = hn::BitCast(dd, hn::InterleaveLower(d, r2, r3));
      const auto c = hn::BitCast(dd, hn::InterleaveUpper(d, r0, r1));
      const auto e = hn::BitCast(dd, hn::InterleaveUpper(d, r2, r3));
      float* t = to + j * ld + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, a, b)), d, t);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, a, b)), d, t + ld);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, c, e)), d, t + 2 * ld);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, c, e)), d, t + 3 * ld);
    }
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
