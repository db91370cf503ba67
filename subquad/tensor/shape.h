// Data types and shapes. Sizes are 64-bit everywhere.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "subquad/base/error.h"

namespace subquad {

// f16 and i64 exist in files only: nothing computes in them. i8 and u8 hold codes of packed weights
// (packed.h), u8 also bytes.
enum class DType : std::uint8_t { f64, f32, bf16, f16, i64, i32, i8, u8 };

constexpr std::int64_t size_of(DType t) {
  switch (t) {
    case DType::f64: return 8;
    case DType::f32: return 4;
    case DType::i32: return 4;
    case DType::bf16: return 2;
    case DType::f16: return 2;
    case DType::i64: return 8;
    case DType::i8: return 1;
    case DType::u8: return 1;
  }
  return 0;
}
std::string_view name_of(DType t);

// Of the factors of products with weights: as they are, or rounded to bf16. Sums and everything
// else stay f32.
enum class Precision : std::uint8_t { f32, bf16 };
Precision precision_named(std::string_view name);  // "f32" or "bf16"

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
  return DType::i64;
}
template <>
constexpr DType dtype_of<std::int8_t>() {
  return DType::i8;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
  return DType::u8;
}

// Calls fn.operator()<T>() with T = float or double: the scalar types that models compute in.
template <class Fn>
decltype(auto) with_scalar(DType dtype, Fn&& fn) {
  if (dtype == DType::f32) return fn.template operator()<float>();
  require(dtype == DType::f64, ErrorCode::unsupported, "got ", name_of(dtype),
          ", wanted f32 or f64: models compute in these two only");
  return fn.template operator()<double>();
}

// Value, rank <= 5, row-major, last dimension fastest.
struct Shape {
  static constexpr int kMaxRank = 5;
  std::array<std::int64_t, kMaxRank> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes);
  std::int64_t operator[](int i) const {
    return dims[static_cast<std::size_t>(i < 0 ? rank + i : i)];
  }
  std::int64_t numel() const;  // throws if the product exceeds 2^62
  std::int64_t rows() const;   // product of all but the last dimension
  Shape with_last(std::int64_t size) const;
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "(2, 3, 4)"
};
// So that an error's text is built only when it is needed.
std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace subquad
