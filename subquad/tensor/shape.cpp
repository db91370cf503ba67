#include "subquad/tensor/shape.h"

namespace subquad {

std::string_view name_of(DType t) {
  switch (t) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::i64: return "i64";
    case DType::i32: return "i32";
    case DType::i8: return "i8";
    case DType::u8: return "u8";
  }
  return "?";
}

Precision precision_named(std::string_view name) {
  require(name == "f32" || name == "bf16", ErrorCode::invalid_argument, "precision \"", name,
          "\", wanted f32 or bf16");
  return name == "bf16" ? Precision::bf16 : Precision::f32;
}

Shape::Shape(std::initializer_list<std::int64_t> sizes) {
  require(sizes.size() <= kMaxRank, ErrorCode::invalid_argument, "shape of rank ", sizes.size(),
          ", wanted at most ", kMaxRank);
  for (std::int64_t size : sizes) {
    require(size >= 0, ErrorCode::invalid_argument, "dimension ", size, ", wanted at least 0");
    dims[static_cast<std::size_t>(rank++)] = size;
  }
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank; ++i) {
    require(!__builtin_mul_overflow(n, (*this)[i], &n) && n <= (std::int64_t{1} << 62),
            ErrorCode::invalid_argument, "shape ", *this, " has more than 2^62 elements");
  }
  return n;
}

std::int64_t Shape::rows() const {
  std::int64_t n = 1;
  for (int i = 0; i + 1 < rank; ++i) n *= (*this)[i];
  return n;
}

Shape Shape::with_last(std::int64_t size) const {
  Shape s = *this;
  s.dims[static_cast<std::size_t>(rank - 1)] = size;
  return s;
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.text(); }

std::string Shape::text() const {
  std::string s = "(";
  for (int i = 0; i < rank; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
  return s + ")";
}

}  // namespace subquad
