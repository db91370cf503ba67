// The only file that includes oneDNN.
#include <dnnl.h>

#include "subquad/backend/gemm.h"
#include "subquad/base/error.h"

// Of the OpenMP runtime that libdnnl brings along; clang ships no omp.h for GCC's runtime.
extern "C" void omp_set_num_threads(int);
extern "C" int omp_get_max_threads(void);

namespace subquad {

template <>
void gemm<float>(Scratch& worker, bool transpose_a, bool transpose_b, std::int64_t m,
                 std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                 const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
  worker.count_macs(m * n * k);
  if (omp_get_max_threads() != 1) omp_set_num_threads(1);  // per thread; ours is the only pool
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k,
                                          alpha, a, lda, b, ldb, beta, c, ldc);
  require(status == dnnl_success, ErrorCode::internal, "oneDNN refused a ", m, "x", n, "x", k,
          " product with status ", static_cast<int>(status));
}

}  // namespace subquad
