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

}  // namespace subquad
