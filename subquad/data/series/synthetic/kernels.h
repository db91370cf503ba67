// Covariance functions of KernelSynth and their composites.
// Source: Ansari et al. 2024 (arXiv 2403.07815), section 3.2; Rasmussen and Williams 2006, chapter 4.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "subquad/data/series/synthetic/draws.h"

namespace subquad {

// t = |x - x'| on a grid of n points over [0, 1], a the parameter:
//   periodic              exp(-2 sin^2(pi t N / a)), N the nominal length: a period of a (n-1)/N steps
//   linear                a^2 + x x'
//   rbf                   exp(-t^2 / (2 a^2))
//   rational_quadratic    (1 + t^2 / (2 a))^-a
//   white                 a [x = x']
//   constant              a
//   matern                (1 + s) exp(-s), s = sqrt(3) t / a          (smoothness 3/2)
//   piecewise_polynomial  (1 - r)^3 (3 r + 1) for r = t / a < 1, else 0   (dimension 1, q = 1)
struct Kernel {
  enum class Kind : std::uint8_t {
    periodic,
    linear,
    rbf,
    rational_quadratic,
    white,
    constant,
    matern,
    piecewise_polynomial,
  };
  Kind kind;
  double parameter;
};

// Folded from the left without precedence: ((k0 op0 k1) op1 k2) ...
struct CompositeKernel {
  std::vector<Kernel> kernels;
  std::vector<bool> product;  // one less; false: sum
};

// The 33 kernels of KernelSynth.
std::span<const Kernel> kernel_bank();
// k ~ U{1..5} kernels of the bank, each join + or x with probability 1/2.
CompositeKernel draw_kernel_synth(Draws& draws);
// The same with periods from a continuum (log-uniform, 3 steps to half the length, with preference for
// one period and its small multiples), length scales likewise, and the kernels matern and
// piecewise_polynomial. Source: Auer et al. 2025 (arXiv 2505.23719), appendix C.
CompositeKernel draw_continuous_kernel(Draws& draws, std::int64_t length);

// Row-major n x n covariance on linspace(0, 1, n); `nominal` is N of the periodic kernel.
// Cost: n kernel values per kernel and n^2 multiply-adds: all but `linear` depend on t alone.
std::vector<double> covariance(const CompositeKernel& composite, std::int64_t n,
                               std::int64_t nominal);
// Columns of L z with L the lower Cholesky factor of K + j I, j = 1e-6 of the mean diagonal, ten times
// more after each failure. K is overwritten. z and the result: [path][n].
// Errors: numeric if even j = the mean diagonal fails.
std::vector<double> gaussian_paths(std::vector<double>& covariance, std::int64_t n,
                                   std::span<const double> z);

}  // namespace subquad
