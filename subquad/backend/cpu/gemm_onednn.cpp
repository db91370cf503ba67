// The only file that includes oneDNN.
#include <dnnl.h>

#include <algorithm>

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

template <>
void gemm<double>(Scratch& worker, bool transpose_a, bool transpose_b, std::int64_t m,
                  std::int64_t n, std::int64_t k, double alpha, const double* a, std::int64_t lda,
                  const double* b, std::int64_t ldb, double beta, double* c, std::int64_t ldc) {
  worker.count_macs(m * n * k);
  for (std::int64_t i = 0; i < m; ++i) {
    double* row = c + i * ldc;
    for (std::int64_t j = 0; j < n; ++j) row[j] = beta == 0 ? 0 : beta * row[j];
    for (std::int64_t p = 0; p < k; ++p) {
      const double x = alpha * (transpose_a ? a[p * lda + i] : a[i * lda + p]);
      if (transpose_b) {
        for (std::int64_t j = 0; j < n; ++j) row[j] += x * b[j * ldb + p];
      } else {
        for (std::int64_t j = 0; j < n; ++j) row[j] += x * b[p * ldb + j];
      }
    }
  }
}

template <class T>
void parallel_gemm(ThreadPool& threads, bool transpose_a, bool transpose_b, std::int64_t m,
                   std::int64_t n, std::int64_t k, T alpha, const T* a, std::int64_t lda,
                   const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  // Tiles of C by rows, or by columns when there are few rows (weight gradients of small layers).
  // The borders depend on m and n only. Below about 1 MFLOP one tile: a fork-join costs more.
  constexpr std::int64_t kRows = 512, kColumns = 64;
  const bool by_rows = m >= 2 * kRows;
  const std::int64_t extent = by_rows ? m : n;
  const std::int64_t tile = m * n * k < (1 << 20) ? extent
                            : by_rows             ? kRows
                                                  : std::max(kColumns, n / 8);
  const std::int64_t tiles = extent == 0 ? 0 : (extent + tile - 1) / tile;
  threads.run(tiles, [&](std::int64_t i, Scratch& worker) {
    const std::int64_t first = i * tile, count = std::min(tile, extent - first);
    if (by_rows) {
      gemm<T>(worker, transpose_a, transpose_b, count, n, k, alpha,
              a + (transpose_a ? first : first * lda), lda, b, ldb, beta, c + first * ldc, ldc);
    } else {
      gemm<T>(worker, transpose_a, transpose_b, m, count, k, alpha, a, lda,
              b + (transpose_b ? first * ldb : first), ldb, beta, c + first, ldc);
    }
  });
}

template void parallel_gemm<float>(ThreadPool&, bool, bool, std::int64_t, std::int64_t,
                                   std::int64_t, float, const float*, std::int64_t, const float*,
                                   std::int64_t, float, float*, std::int64_t);
template void parallel_gemm<double>(ThreadPool&, bool, bool, std::int64_t, std::int64_t,
                                    std::int64_t, double, const double*, std::int64_t,
                                    const double*, std::int64_t, double, double*, std::int64_t);

}  // namespace subquad
