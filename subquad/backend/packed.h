// Arguments of the kernels that read packed weights: linear and embedding, forward only.
#pragma once

#include <span>

#include "subquad/backend/kernel_table.h"
#include "subquad/tensor/packed.h"

namespace subquad {

// y = x wᵀ (+ b). Shapes: x (N,Din)  w (Dout,Din)  b (Dout) or absent  y (N,Dout)
struct PackedPart {
  View<const float, 2> x;
  PackedRows w;
  View<const float, 1> b;
  View<float, 2> y;
};
// As LinearForward: products over the same N rows in one parallel region; a row's result has the
// same bits in any batch. Precision bf16 rounds x; weights are what their codes say.
struct PackedLinear {
  static constexpr std::string_view kOp = "packed_linear";
  std::span<const PackedPart> parts;
  bool single_position = false;  // the rows are one token of each sequence
  Precision precision = Precision::f32;
};

// y_n = row ids_n of the runs, which follow each other. Ids outside are refused by the op.
struct PackedEmbedding {
  static constexpr std::string_view kOp = "packed_embedding";
  View<const std::int32_t, 1> ids;
  std::span<const PackedRows> runs;
  View<float, 2> y;

  // fn(the run, row in it, y_n)
  template <class Fn>
  void for_each(Fn&& fn) const {
    for (std::int64_t n = 0; n < ids.dim(0); ++n) {
      std::int64_t row = *ids.at(n);
      auto run = runs.begin();
      while (row >= run->rows) row -= run++->rows;
      fn(*run, row, y.at(n));
    }
  }
};

void add_packed_cpu(KernelTable& table);
void add_packed_panels_cpu(KernelTable& table);
void add_packed_tiles_cpu(KernelTable& table);
void add_packed_reference(KernelTable& table);

}  // namespace subquad
