// Weights of products in fewer bits than 32. A packed weight is a matrix (rows, ins) that lies as
// consecutive runs of rows, each stored in its own way: what a file held as several matrices is used
// in place, and rows that must stay exact (gates) do.
//   f32, bf16  the elements
//   int8       one byte c in [-127, 127] an element, one f32 scale s a row: w = s c
//   int4       four bits c in [0, 15] an element, one f32 scale s for 64 elements: w = s (c - 8)
// Layout of int4: a row is padded with zeros (c = 8) to blocks of 128 elements. A block is 16
// little-endian words of 32 bits; element 16 j + i of it is in bits [4 j, 4 j + 4) of word i, so that
// 16 words shifted by 4 j are 16 neighbouring elements.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "subquad/tensor/tensor.h"

namespace subquad {

enum class Packing : std::uint8_t { f32, bf16, int8, int4 };
Packing packing_named(std::string_view name);
std::string_view name_of(Packing packing);

constexpr std::int64_t kInt4Group = 64, kInt4Block = 128;

// Bytes of one row's codes, and its scales.
std::int64_t row_bytes(Packing packing, std::int64_t ins);
std::int64_t row_scales(Packing packing, std::int64_t ins);

// What kernels get: rows of one run.
struct PackedRows {
  Packing packing = Packing::f32;
  const std::byte* codes = nullptr;
  const float* scales = nullptr;
  std::int64_t rows = 0, ins = 0;
  std::int64_t stride = 0;         // bytes from row to row
  std::int64_t scales_stride = 0;  // floats from row to row

  const std::byte* row(std::int64_t r) const { return codes + r * stride; }
  const float* row_of_scales(std::int64_t r) const { return scales + r * scales_stride; }
  PackedRows part(std::int64_t first, std::int64_t count) const;
  // Element (r, k): the definition that every kernel is compared with.
  float at(std::int64_t r, std::int64_t k) const;
};

class PackedWeight {
 public:
  struct Run {
    Packing packing;
    // codes: f32 or bf16 (rows,ins); i8 (rows,ins); u8 (rows, bytes of a row). scales: f32
    // (rows, scales of a row), or none.
    Tensor codes, scales;
  };
  PackedWeight(Shape shape, std::vector<Run> runs);

  const Shape& shape() const { return shape_; }  // as the parameter's; rows are all but the last
  std::int64_t bytes() const;                    // codes and scales
  std::string_view packing_name() const;         // of its largest run
  const std::vector<Run>& runs() const { return *runs_; }
  // fn(rows of one run, where they begin in [0, count)) for rows [first, first + count), in order.
  template <class Fn>
  void for_runs(std::int64_t first, std::int64_t count, Fn&& fn) const {
    std::int64_t begin = 0;
    for (const Run& run : *runs_) {
      const std::int64_t end = begin + run.codes.shape()[0];
      const std::int64_t from = std::max(first, begin), to = std::min(first + count, end);
      if (from < to) fn(rows_of(run).part(from - begin, to - from), from - first);
      begin = end;
    }
  }
  Tensor unpacked() const;  // f32, of the parameter's shape

 private:
  PackedRows rows_of(const Run& run) const;

  Shape shape_;
  std::shared_ptr<const std::vector<Run>> runs_;
};

// Rows of f32 in another storage. Rounding: bf16 and int8 to the nearest code (ties to even); the
// scale of int8 is the largest magnitude of the row / 127, that of an int4 group the one with the
// least squared error among 16 between the largest magnitude / 8 and / 6.5. A row or group of zeros
// gets the scale 0; one that holds a NaN or an infinity the scale NaN, so that products show it.
PackedWeight::Run empty_run(Packing packing, std::int64_t rows, std::int64_t ins);
// Rows [first, first + rows) of `to` from f32.
void pack_rows(const float* from, std::int64_t first, std::int64_t rows, std::int64_t ins,
               const PackedWeight::Run& to);

}  // namespace subquad
