// What a small product inside one chunk looks like. Every size here is a multiple of kLanePad and
// every operand lies in 64-byte aligned scratch, so the kernel in small_gemm-inl.h has no tails.
#pragma once

#include <cstdint>

#include "subquad/base/round.h"

namespace subquad {

constexpr std::int64_t kLanePad = 16;  // floats; the widest vector we use

constexpr std::int64_t pad_lanes(std::int64_t n) { return round_up(n, kLanePad); }

// Which inner indices k a block of rows [first, first + R) needs: the causal triangle by tiles.
enum class Reach : std::uint8_t {
  full,
  until_block,   // k < first + R: A is lower triangular, zero above the diagonal
  from_block,    // k >= first: A is upper triangular
  before_block,  // k < first
  after_block,   // k >= first + R
};

// Adds A B to the running sum, which is then multiplied row by row by row_scale if there is one.
template <Reach kReach = Reach::full>
struct GemmTerm {
  const float* a = nullptr;  // element (i,k) at a[i*row_stride + k*k_stride]
  std::int64_t row_stride = 0;
  std::int64_t k_stride = 1;
  const float* b = nullptr;  // element (k,j) at b[k*ldb + j]
  std::int64_t ldb = 0;
  std::int64_t depth = 0;  // 0: the product is zero
  const float* row_scale = nullptr;
};

enum class Solve : std::uint8_t {
  none,
  forward,   // C <- (I - N)^-1 C, N strictly lower: top block first
  backward,  // C <- (I - N)^-T C: bottom block first
};

// C = scale row_scale (old_scale old + sum of the products); old may be C. With a solve, N must
// also appear as the last product (reach before_block, or after_block and transposed) with C itself
// as B; the kernel adds what is left inside the diagonal blocks.
struct GemmForm {
  bool lower = false;  // entries above the diagonal are 0 in a tile that meets it, else left alone
  Solve solve = Solve::none;
  std::int64_t cols = 0;  // if known when compiled: the call gets a copy of the kernel
};

// Rows of tensors that will be needed soon. The rows of one head lie apart, where no hardware looks
// for them; asked for all at once they are no nearer than without. So everybody asks for a few.
class RowsAhead {
 public:
  void clear() { next_ = count_ = 0; }
  // `rows` rows of `cols` floats that lie `stride` apart.
  void add(const float* first, std::int64_t stride, std::int64_t rows, std::int64_t cols) {
    if (count_ < kMost && rows > 0) ranges_[count_++] = {first, stride, rows, cols};
  }
  // Calls prefetch(address) for every line of the next `rows` rows; kCols: of so many floats, 0 if
  // that is not known.
  template <std::int64_t kCols, class Prefetch>
  void take(std::int64_t rows, const Prefetch& prefetch) {
    while (rows > 0 && next_ < count_) {
      Range& r = ranges_[next_];
      const std::int64_t now = rows < r.rows ? rows : r.rows;
      const std::int64_t stride = r.stride, cols = kCols > 0 ? kCols : r.cols;
      const float* row = r.row;
      for (std::int64_t i = 0; i < now; ++i, row += stride) {
        for (std::int64_t j = 0; j < cols; j += kLine) prefetch(row + j);
      }
      r.row = row;
      r.rows -= now;
      if (r.rows == 0) ++next_;
      rows -= now;
    }
  }

 private:
  static constexpr std::int64_t kLine = 16, kMost = 32;
  struct Range {
    const float* row;
    std::int64_t stride, rows, cols;
  };
  Range ranges_[kMost];
  std::int64_t next_, count_;
};

struct GemmOutput {
  std::int64_t rows = 0, cols = 0;
  float* c = nullptr;  // alone may lie outside of scratch, unless a solve reads it
  std::int64_t ldc = 0;
  const float* old = nullptr;  // added times old_scale, if that is not 0; rows lie cols apart
  float old_scale = 0;
  float scale = 1;
  const float* row_scale = nullptr;  // if present
  std::int64_t* macs = nullptr;      // if present, the multiply-adds of every tile are added to it
  const float* n = nullptr;          // strictly lower matrix of the solve
  std::int64_t ldn = 0;
  RowsAhead* ahead = nullptr;  // asked for meanwhile, where a tile is a call
};

}  // namespace subquad
