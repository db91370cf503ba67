// Codes of packed weights (tensor/packed.h) as vectors of f32, for kernels on packed rows.
#if defined(SUBQUAD_BACKEND_CPU_PACKED_CODES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_BACKEND_CPU_PACKED_CODES_INL_H
#undef SUBQUAD_BACKEND_CPU_PACKED_CODES_INL_H
#else
#define SUBQUAD_BACKEND_CPU_PACKED_CODES_INL_H
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "subquad/backend/cpu/vector_math-inl.h"
#include "subquad/tensor/packed.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE::pc {
namespace hn = hwy::HWY_NAMESPACE;
using vm::F;
using vm::V;

// A cache line of codes: the unit of the inner loops.
constexpr std::int64_t kLineBytes = 64;
constexpr std::int64_t line_elements(Packing p) {
  return p == Packing::f32 ? 16 : p == Packing::bf16 ? 32 : p == Packing::int8 ? 64 : kInt4Block;
}

// kWidth elements of a line from `element` on, before scaling; not of int4.
template <Packing kPacking>
HWY_INLINE V codes_at(const std::byte* line, std::int64_t element) {
  const F d;
  if constexpr (kPacking == Packing::f32) {
    return hn::LoadU(d, reinterpret_cast<const float*>(line) + element);
  } else if constexpr (kPacking == Packing::bf16) {
    const hn::RebindToUnsigned<F> du;
    const hn::Rebind<std::uint16_t, F> half;
    const auto bits = hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(line) + element);
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
  } else {
    static_assert(kPacking == Packing::int8);
    const hn::RebindToSigned<F> di;
    const hn::Rebind<std::int8_t, F> bytes;
    const auto codes = hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(line) + element);
    return hn::ConvertTo(d, hn::PromoteTo(di, codes));
  }
}

using Words = hn::Vec<hn::RebindToUnsigned<F>>;
// Words [first, first + kWidth) of an int4 block.
HWY_INLINE Words words_at(const std::byte* block, std::int64_t first) {
  return hn::LoadU(hn::RebindToUnsigned<F>(),
                   reinterpret_cast<const std::uint32_t*>(block) + first);
}
// Elements 16 kNibble + first + (0 .. kWidth) of an int4 block, before scaling: -8 to 7. AVX-512
// looks them up: a permutation reads only the low four bits of an index.
template <int kNibble>
HWY_INLINE V nibbles(Words words) {
  const F d;
  const auto shifted = hn::ShiftRight<4 * kNibble>(words);
#if HWY_TARGET <= HWY_AVX3
  alignas(64) static constexpr float kValues[16] = {-8, -7, -6, -5, -4, -3, -2, -1,
                                                    0,  1,  2,  3,  4,  5,  6,  7};
  return hn::TableLookupLanes(hn::Load(d, kValues), hn::Indices512<float>{shifted.raw});
#else
  const hn::RebindToSigned<F> di;
  const hn::RebindToUnsigned<F> du;
  const auto code = hn::BitCast(di, hn::And(shifted, hn::Set(du, 15)));
  return hn::ConvertTo(d, hn::Sub(code, hn::Set(di, 8)));
#endif
}

// Elements of one line of codes times their scales; an int4 line has two.
template <Packing kPacking>
HWY_INLINE void unpack_line(const std::byte* line, const float* scales, float* to) {
  const F d;
  if constexpr (kPacking == Packing::int4) {
    const V low = vm::set(scales[0]), high = vm::set(scales[1]);
    for (std::int64_t i = 0; i < 16; i += vm::kWidth) {
      const Words w = words_at(line, i);
      hn::StoreU(hn::Mul(nibbles<0>(w), low), d, to + i);
      hn::StoreU(hn::Mul(nibbles<1>(w), low), d, to + 16 + i);
      hn::StoreU(hn::Mul(nibbles<2>(w), low), d, to + 32 + i);
      hn::StoreU(hn::Mul(nibbles<3>(w), low), d, to + 48 + i);
      hn::StoreU(hn::Mul(nibbles<4>(w), high), d, to + 64 + i);
      hn::StoreU(hn::Mul(nibbles<5>(w), high), d, to + 80 + i);
      hn::StoreU(hn::Mul(nibbles<6>(w), high), d, to + 96 + i);
      hn::StoreU(hn::Mul(nibbles<7>(w), high), d, to + 112 + i);
    }
  } else {
    for (std::int64_t i = 0; i < line_elements(kPacking); i += vm::kWidth) {
      const V codes = codes_at<kPacking>(line, i);
      hn::StoreU(kPacking == Packing::int8 ? hn::Mul(codes, vm::set(*scales)) : codes, d, to + i);
    }
  }
}

template <Packing kPacking>
inline void unpack_row(const PackedRows& w, std::int64_t row, std::int64_t first,
                       std::int64_t count, float* to) {
  constexpr std::int64_t kLine = line_elements(kPacking);
  const std::byte* codes = w.row(row) + first / kLine * kLineBytes;
  const float* scales = w.scales ? w.row_of_scales(row) : nullptr;
  if (kPacking == Packing::int4) scales += first / kInt4Group;
  for (; count >= kLine; count -= kLine, codes += kLineBytes, to += kLine) {
    unpack_line<kPacking>(codes, scales, to);
    if (kPacking == Packing::int4) scales += 2;
  }
  if (count == 0) return;
  alignas(64) float tail[kLine];
  alignas(64) std::byte line[kLineBytes] = {};
  std::memcpy(line, codes,
              kPacking == Packing::int4 ? static_cast<std::size_t>(kLineBytes)
                                        : static_cast<std::size_t>(count * kLineBytes / kLine));
  unpack_line<kPacking>(line, scales, tail);
  std::copy_n(tail, count, to);
}

// Elements [first, first + count) of a row, `first` a multiple of 128.
inline void unpack(const PackedRows& w, std::int64_t row, std::int64_t first, std::int64_t count,
                   float* to) {
  switch (w.packing) {
    case Packing::f32: return unpack_row<Packing::f32>(w, row, first, count, to);
    case Packing::bf16: return unpack_row<Packing::bf16>(w, row, first, count, to);
    case Packing::int8: return unpack_row<Packing::int8>(w, row, first, count, to);
    case Packing::int4: return unpack_row<Packing::int4>(w, row, first, count, to);
  }
}

}  // namespace subquad::HWY_NAMESPACE::pc
HWY_AFTER_NAMESPACE();

#endif
