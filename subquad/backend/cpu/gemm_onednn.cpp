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

// Tiles by rows if there are many, else along the longer side (weight gradients of small layers).
// Whole vectors wide, and all about equal; below about 1 MFLOP one tile: a fork-join costs more.
GemmTiles::GemmTiles(std::int64_t m, std::int64_t n, std::int64_t k) : m_(m), n_(n), k_(k) {
  constexpr std::int64_t kRows = 512, kSide = 96, kVector = 16;
  by_rows_ = m >= 2 * kRows || m >= n;
  const std::int64_t extent = by_rows_ ? m : n, most = m >= 2 * kRows ? kRows : kSide;
  const std::int64_t parts =
      m * n * k < (1 << 20) ? 1 : std::max<std::int64_t>(1, (extent + most / 2) / most);
  tile_ = ((extent + parts - 1) / parts + kVector - 1) / kVector * kVector;
  count_ = extent == 0 ? 0 : (extent + tile_ - 1) / tile_;
}

void GemmTiles::run(Scratch& worker, std::int64_t index, bool transpose_a, bool transpose_b,
                    const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta,
                    float* c, std::int64_t ldc) const {
  const std::int64_t first = index * tile_, count = std::min(tile_, (by_rows_ ? m_ : n_) - first);
  if (by_rows_) {
    gemm<float>(worker, transpose_a, transpose_b, count, n_, k_, 1,
                a + (transpose_a ? first : first * lda), lda, b, ldb, beta, c + first * ldc, ldc);
  } else {
    gemm<float>(worker, transpose_a, transpose_b, m_, count, k_, 1, a, lda,
                b + (transpose_b ? first * ldb : first), ldb, beta, c + first, ldc);
  }
}

}  // namespace subquad
