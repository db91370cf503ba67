// The one dense product: C = alpha op(A) op(B) + beta C, row-major, on one thread.
#pragma once

#include <cstdint>

#include "subquad/base/thread_pool.h"

namespace subquad {

// A is (m,k), or (k,m) if transpose_a; B is (k,n), or (n,k) if transpose_b; C (m,n). lda, ldb, ldc
// are row strides. oneDNN, f32 only. m n k is added to the worker's count of multiply-adds.
template <class T>
void gemm(Scratch& worker, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n,
          std::int64_t k, T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb,
          T beta, T* c, std::int64_t ldc);

// The same cut into tiles of C whose borders depend on the sizes only: equal bits for any thread
// count. The tiles are tasks for the caller's parallel region.
class GemmTiles {
 public:
  GemmTiles(std::int64_t m, std::int64_t n, std::int64_t k);
  std::int64_t count() const { return count_; }
  // Arguments as of gemm() with alpha = 1, for the whole product; computes tile `index` of C.
  void run(Scratch& worker, std::int64_t index, bool transpose_a, bool transpose_b, const float* a,
           std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
           std::int64_t ldc) const;

 private:
  std::int64_t m_, n_, k_, tile_, count_;
  bool by_rows_;
};

}  // namespace subquad
