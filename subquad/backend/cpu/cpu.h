// The fast f32 kernels of this floor, by family; and the block sums that keep their bits the same
// for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "subquad/backend/kernel_table.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

void add_pointwise_cpu(KernelTable& table);
void add_norm_cpu(KernelTable& table);
void add_sequence_cpu(KernelTable& table);
void add_gates_cpu(KernelTable& table);

constexpr std::int64_t kRowBlock = 256;  // rows of one task; fixed, so results depend on sizes only

template <class Fn>
void for_row_blocks(ThreadPool& threads, std::int64_t rows, Fn&& fn) {
  threads.run((rows + kRowBlock - 1) / kRowBlock, [&](std::int64_t i, Scratch& scratch) {
    fn(i * kRowBlock, std::min(rows, (i + 1) * kRowBlock), i, scratch);
  });
}

// Rows follow each other without gaps: kernels may walk the whole as one.
template <class T>
bool contiguous(const View<T, 2>& v) {
  return v.stride(0) == v.dim(1);
}

constexpr std::int64_t kFlatBlock = 16384;  // elements of one task

// fn(begin, end) for blocks of a flat range.
template <class Fn>
void for_flat_blocks(ThreadPool& threads, std::int64_t n, Fn&& fn) {
  threads.run((n + kFlatBlock - 1) / kFlatBlock, [&](std::int64_t block, Scratch&) {
    fn(block * kFlatBlock, std::min(n, (block + 1) * kFlatBlock));
  });
}

// One partial sum of `width` floats per task, added up in task order.
class PartialSums {
 public:
  PartialSums(std::int64_t tasks, std::int64_t width)
      : width_(width), values_(static_cast<std::size_t>(tasks * width), 0.0F) {}
  float* at(std::int64_t task) { return values_.data() + task * width_; }
  void add_to(float* sums, std::int64_t from, std::int64_t count) const {
    for (std::size_t first = 0; first < values_.size(); first += static_cast<std::size_t>(width_)) {
      const float* part = values_.data() + first + static_cast<std::size_t>(from);
      for (std::int64_t i = 0; i < count; ++i) sums[i] += part[i];
    }
  }

 private:
  std::int64_t width_;
  std::vector<float> values_;
};

// sums += column sums of x: blocks of rows first, so that rounding does not grow with the rows.
inline void add_column_sums(const View<const float, 2>& x, float* sums, Scratch& scratch) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t width = x.dim(1);
  float* sum = scratch.get<float>(width);
  for (std::int64_t first = 0; first < x.dim(0); first += kBlock) {
    std::fill_n(sum, width, 0.0F);
    for (std::int64_t n = first; n < std::min(first + kBlock, x.dim(0)); ++n) {
      const float* row = x.at(n);
      for (std::int64_t i = 0; i < width; ++i) sum[i] += row[i];
    }
    for (std::int64_t i = 0; i < width; ++i) sums[i] += sum[i];
  }
}

}  // namespace subquad
