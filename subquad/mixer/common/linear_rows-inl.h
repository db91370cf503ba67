// Row work around the small products: packing between tensors and padded scratch, 4x4 transposes,
// exponentials of rows, dot products. All scratch rows are whole vectors; only tensor rows have
// tails.
#if defined(SUBQUAD_MIXER_COMMON_LINEAR_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_MIXER_COMMON_LINEAR_ROWS_INL_H
#undef SUBQUAD_MIXER_COMMON_LINEAR_ROWS_INL_H
#else
#define SUBQUAD_MIXER_COMMON_LINEAR_ROWS_INL_H
#endif

#include <cstring>

#include "subquad/backend/cpu/vector_math-inl.h"
#include "subquad/mixer/common/small_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x[i] <- exp(min(x[i], 88)) over whole vectors: finite for every number.
inline void exp_row(float* x, std::int64_t padded) {
  const F32 d;
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    hn::Store(vm::exp(hn::Load(d, x + i)), d, x + i);
  }
}

inline void zero(float* x, std::int64_t count) {
  std::memset(x, 0, static_cast<std::size_t>(count) * sizeof(float));
}

inline void copy(const float* from, std::int64_t count, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

// dst <- s * src, zero from `cols` on.
HWY_INLINE void pack_row(const float* src, std::int64_t cols, std::int64_t padded_cols, float s,
                         float* dst) {
  const F32 d;
  const VF factor = hn::Set(d, s);
  if (cols == padded_cols) {  // no tail: a constant number of vectors if padded_cols is one
    for (std::int64_t j = 0; j < padded_cols; j += kLanes) {
      hn::Store(hn::Mul(factor, hn::LoadU(d, src + j)), d, dst + j);
    }
    return;
  }
  std::int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) {
    hn::Store(hn::Mul(factor, hn::LoadU(d, src + j)), d, dst + j);
  }
  for (; j < cols; ++j) dst[j] = s * src[j];
  for (; j < padded_cols; ++j) dst[j] = 0;
}

// dst (padded_rows, padded_cols) <- scale_i * src, zero elsewhere; src rows lie `stride` apart.
HWY_INLINE void pack_rows(const float* src, std::int64_t stride, std::int64_t rows,
                          std::int64_t cols, std::int64_t padded_rows, std::int64_t padded_cols,
                          const float* row_scale, float scale, float* dst) {
  for (std::int64_t i = 0; i < rows; ++i, src += stride, dst += padded_cols) {
    pack_row(src, cols, padded_cols, row_scale ? scale * row_scale[i] : scale, dst);
  }
  if (rows < padded_rows) zero(dst, (padded_rows - rows) * padded_cols);
}

// dst rows (`stride` apart) <- scale_i * src.
HWY_INLINE void unpack_rows(const float* src, std::int64_t padded_cols, std::int64_t rows,
                            std::int64_t cols, const float* row_scale, float scale, float* dst,
                            std::int64_t stride) {
  const F32 d;
  for (std::int64_t i = 0; i < rows; ++i, src += padded_cols, dst += stride) {
    const float s = row_scale ? scale * row_scale[i] : scale;
    const VF factor = hn::Set(d, s);
    if (cols == padded_cols) {
      for (std::int64_t j = 0; j < padded_cols; j += kLanes) {
        hn::StoreU(hn::Mul(factor, hn::Load(d, src + j)), d, dst + j);
      }
      continue;
    }
    std::int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) {
      hn::StoreU(hn::Mul(factor, hn::Load(d, src + j)), d, dst + j);
    }
    for (; j < cols; ++j) dst[j] = s * src[j];
  }
}

// y_i = row_scale_i x_i; y may be x.
HWY_INLINE void scale_matrix_rows(const float* x, std::int64_t rows, std::int64_t padded_cols,
                                  const float* row_scale, float* y) {
  const F32 d;
  for (std::int64_t i = 0; i < rows; ++i, x += padded_cols, y += padded_cols) {
    const VF factor = hn::Set(d, row_scale[i]);
    for (std::int64_t j = 0; j < padded_cols; j += kLanes) {
      hn::Store(hn::Mul(factor, hn::Load(d, x + j)), d, y + j);
    }
  }
}

// The 128-bit blocks p[0..3], p[stride..], p[2 stride..], ... of one vector.
HWY_INLINE VF load_blocks(const float* p, std::int64_t stride) {
  const F32 d;
  VF v = hn::LoadDup128(d, p);
  if constexpr (kLanes > 4) v = hn::IfThenElse(hn::FirstN(d, 4), v, hn::LoadDup128(d, p + stride));
  if constexpr (kLanes > 8) {
    v = hn::IfThenElse(hn::FirstN(d, 8), v, hn::LoadDup128(d, p + 2 * stride));
    v = hn::IfThenElse(hn::FirstN(d, 12), v, hn::LoadDup128(d, p + 3 * stride));
  }
  return v;
}

// dst (cols, rows) with row stride ldd <- src (rows, cols), both padded. Four columns of a whole
// vector of rows at a time: block b of vector r holds row 4b + r, so that a 4x4 transpose within
// the blocks leaves whole columns.
HWY_INLINE void transpose(const float* src, std::int64_t rows, std::int64_t cols, float* dst,
                          std::int64_t ldd) {
  const F32 d;
  const hn::ScalableTag<double> dd;
  for (std::int64_t i = 0; i < rows; i += kLanes) {
    for (std::int64_t j = 0; j < cols; j += 4) {
      const float* s = src + i * cols + j;
      const VF r0 = load_blocks(s, 4 * cols), r1 = load_blocks(s + cols, 4 * cols);
      const VF r2 = load_blocks(s + 2 * cols, 4 * cols), r3 = load_blocks(s + 3 * cols, 4 * cols);
      const auto a = hn::BitCast(dd, hn::InterleaveLower(d, r0, r1));
      const auto b = hn::BitCast(dd, hn::InterleaveLower(d, r2, r3));
      const auto c = hn::BitCast(dd, hn::InterleaveUpper(d, r0, r1));
      const auto e = hn::BitCast(dd, hn::InterleaveUpper(d, r2, r3));
      float* t = dst + j * ldd + i;
      hn::Store(hn::BitCast(d, hn::InterleaveLower(dd, a, b)), d, t);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(dd, a, b)), d, t + ldd);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(dd, c, e)), d, t + 2 * ldd);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(dd, c, e)), d, t + 3 * ldd);
    }
  }
}

HWY_INLINE float dot(const float* x, const float* y, std::int64_t padded) {
  const F32 d;
  VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= padded; i += 4 * kLanes) {
    s0 = hn::MulAdd(hn::Load(d, x + i), hn::Load(d, y + i), s0);
    s1 = hn::MulAdd(hn::Load(d, x + i + kLanes), hn::Load(d, y + i + kLanes), s1);
    s2 = hn::MulAdd(hn::Load(d, x + i + 2 * kLanes), hn::Load(d, y + i + 2 * kLanes), s2);
    s3 = hn::MulAdd(hn::Load(d, x + i + 3 * kLanes), hn::Load(d, y + i + 3 * kLanes), s3);
  }
  for (; i < padded; i += kLanes) s0 = hn::MulAdd(hn::Load(d, x + i), hn::Load(d, y + i), s0);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

// sums[i] = the sum over the lanes of row(i), for i < rows, which is a multiple of four.
template <class Row>
HWY_INLINE void row_sums(std::int64_t rows, float* sums, const Row& row) {
  for (std::int64_t i = 0; i < rows; i += 4) {
    const VF r0 = row(i), r1 = row(i + 1), r2 = row(i + 2), r3 = row(i + 3);
    hn::Store(vm::sum_lanes(r0, r1, r2, r3), vm::F32x4(), sums + i);
  }
}

// Sums to x.y over its lanes.
HWY_INLINE VF multiply_rows(const float* x, const float* y, std::int64_t padded) {
  const F32 d;
  VF sum = hn::Mul(hn::Load(d, x), hn::LoadU(d, y));
  for (std::int64_t j = kLanes; j < padded; j += kLanes) {
    sum = hn::MulAdd(hn::Load(d, x + j), hn::LoadU(d, y + j), sum);
  }
  return sum;
}

// y = scale (old_scale old + sum over i of weights_i x_i); x has rows of `padded`. old is not read
// if its scale is 0.
HWY_INLINE void sum_weighted_rows(const float* weights, const float* x, std::int64_t rows,
                                  std::int64_t padded, float old_scale, const float* old,
                                  float scale, float* y) {
  const F32 d;
  for (std::int64_t j = 0; j < padded; j += kLanes) {
    VF even = hn::Zero(d), odd = even;
    if (old_scale != 0) even = hn::Mul(hn::Set(d, old_scale), hn::Load(d, old + j));
    std::int64_t i = 0;
    for (; i + 2 <= rows; i += 2) {
      even = hn::MulAdd(hn::Set(d, weights[i]), hn::Load(d, x + i * padded + j), even);
      odd = hn::MulAdd(hn::Set(d, weights[i + 1]), hn::Load(d, x + (i + 1) * padded + j), odd);
    }
    if (i < rows) even = hn::MulAdd(hn::Set(d, weights[i]), hn::Load(d, x + i * padded + j), even);
    hn::Store(hn::Mul(hn::Set(d, scale), hn::Add(even, odd)), d, y + j);
  }
}

// y += s x
HWY_INLINE void add_scaled(float s, const float* x, std::int64_t padded, float* y) {
  const F32 d;
  const VF factor = hn::Set(d, s);
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    hn::Store(hn::MulAdd(factor, hn::Load(d, x + i), hn::Load(d, y + i)), d, y + i);
  }
}

}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
