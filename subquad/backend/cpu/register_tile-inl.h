// A tile of M rows by N vectors of accumulators, and what small products do with it; copies that
// transpose. Accumulators are named members: some compilers keep arrays on the stack.
#if defined(SUBQUAD_BACKEND_CPU_REGISTER_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_BACKEND_CPU_REGISTER_TILE_INL_H
#undef SUBQUAD_BACKEND_CPU_REGISTER_TILE_INL_H
#else
#define SUBQUAD_BACKEND_CPU_REGISTER_TILE_INL_H
#endif

#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::rt {
namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

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
HWY_INLINE void store(const Vectors<kN>& v, float* p) {
  if constexpr (kN > 0) {
    hn::StoreU(v.first, vm::F(), p);
    store(v.rest, p + vm::kWidth);
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
HWY_INLINE void add(const float* p, Vectors<kN>& v) {
  if constexpr (kN > 0) {
    v.first = hn::Add(v.first, hn::LoadU(vm::F(), p));
    add(p + vm::kWidth, v.rest);
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
HWY_INLINE void multiply_add(V a, const Vectors<kN>& b, Vectors<kN>& c) {
  if constexpr (kN > 0) {
    c.first = hn::MulAdd(a, b.first, c.first);
    multiply_add(a, b.rest, c.rest);
  }
}

template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void clear(Tile<kM, kN>& t) {
  if constexpr (kM > 0) {
    clear(t.first);
    clear(t.rest);
  }
}
// t += rows at p, `ld` apart.
template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void add(const float* p, std::int64_t ld, Tile<kM, kN>& t) {
  if constexpr (kM > 0) {
    add(p, t.first);
    add(p + ld, ld, t.rest);
  }
}
// t += a b^T with a one column of the left factor, its elements `stride` apart.
template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void add_outer(const float* a, std::int64_t stride, const Vectors<kN>& b,
                          Tile<kM, kN>& t) {
  if constexpr (kM > 0) {
    multiply_add(vm::set(*a), b, t.first);
    add_outer(a + stride, stride, b, t.rest);
  }
}
// t += A B with `depth` inner indices: element (i,k) of A at a[i a_row + k a_k], so that A may be
// transposed for free; row k of B at b + k ldb.
template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void add_product(const float* HWY_RESTRICT a, std::int64_t a_row, std::int64_t a_k,
                            const float* HWY_RESTRICT b, std::int64_t ldb, std::int64_t depth,
                            Tile<kM, kN>& t) {
  for (std::int64_t left = depth; left > 0; --left) {
    Vectors<kN> line;
    load(b, line);
    add_outer(a, a_row, line, t);
    a += a_k;
    b += ldb;
  }
}
template <std::int64_t kM, std::int64_t kN>
HWY_INLINE void store(const Tile<kM, kN>& t, float* c, std::int64_t ldc) {
  if constexpr (kM > 0) {
    store(t.first, c);
    store(t.rest, c + ldc, ldc);
  }
}

// to (4,4) <- scale times from (4,4), transposed; rows lie `ld` and `stride` apart.
HWY_INLINE void transpose_4x4(const float* from, std::int64_t stride, float scale, float* to,
                              std::int64_t ld) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> dd;
  const auto factor = hn::Set(d, scale);
  const auto r0 = hn::Mul(factor, hn::LoadU(d, from));
  const auto r1 = hn::Mul(factor, hn::LoadU(d, from + stride));
  const auto r2 = hn::Mul(factor, hn::LoadU(d, from + 2 * stride));
  const auto r3 = hn::Mul(factor, hn::LoadU(d, from + 3 * stride));
  const auto a = hn::BitCast(dd, hn::InterleaveLower(d, r0, r1));
  const auto b = hn::BitCast(dd, hn::InterleaveLower(d, r2, r3));
  const auto c = hn::BitCast(dd, hn::InterleaveUpper(d, r0, r1));
  const auto e = hn::BitCast(dd, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, a, b)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, a, b)), d, to + ld);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, c, e)), d, to + 2 * ld);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, c, e)), d, to + 3 * ld);
}

}  // namespace subquad::HWY_NAMESPACE::rt
HWY_AFTER_NAMESPACE();

#endif
