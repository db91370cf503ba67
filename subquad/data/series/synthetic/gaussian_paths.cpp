// The only file that reads Eigen.
#include <Eigen/Cholesky>

#include "subquad/base/error.h"
#include "subquad/data/series/synthetic/kernels.h"

namespace subquad {

std::vector<double> gaussian_paths(std::vector<double>& covariance, std::int64_t n,
                                   std::span<const double> z) {
  using Matrix = Eigen::MatrixXd;
  using Square = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic>;  // symmetric: either order
  require(static_cast<std::int64_t>(covariance.size()) == n * n &&
              static_cast<std::int64_t>(z.size()) % n == 0,
          ErrorCode::shape_mismatch, "covariance of ", covariance.size(), " numbers, z of ",
          z.size(), ", wanted ", n * n, " and a multiple of ", n);
  Eigen::Map<Square> k(covariance.data(), n, n);
  const auto paths = static_cast<std::int64_t>(z.size()) / n;
  const Eigen::Map<const Matrix> normal(z.data(), n, paths);
  std::vector<double> out(z.size());
  Eigen::Map<Matrix> path(out.data(), n, paths);
  const double mean = k.trace() / static_cast<double>(n);
  double added = 0;
  for (double jitter = 1e-6 * mean; jitter <= mean; jitter *= 10) {
    k.diagonal().array() += jitter - added;
    added = jitter;
    const Eigen::LLT<Matrix, Eigen::Lower> factor(k);
    if (factor.info() != Eigen::Success) continue;
    path.noalias() = factor.matrixL() * normal;
    return out;
  }
  fail(ErrorCode::numeric, "a covariance matrix of ", n,
       " rows has no Cholesky factor, even with a jitter of its mean diagonal ", mean);
}

}  // namespace subquad
