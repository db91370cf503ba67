// Minimum of a sum of squares over a handful of parameters.
#pragma once

#include <functional>
#include <vector>

namespace subquad {

struct LeastSquares {
  std::vector<double> parameters;
  double sum;  // of squares; infinite if no start gave finite residuals
};

// Levenberg and Marquardt with forward differences. `residuals(parameters, out)` fills `out`, whose
// size never changes, and returns false where the parameters make no sense.
// Cost: (parameters + 1) calls an iteration, at most `iterations`.
// Source: Marquardt 1963; damping as in Nielsen 1999.
using Residuals = std::function<bool(const std::vector<double>&, std::vector<double>&)>;
LeastSquares minimise_squares(const Residuals& residuals, std::vector<double> start,
                              std::size_t count, int iterations = 100);

// Parameters between bounds as free numbers: low + (high - low) / (1 + exp(-x)), and back.
double bounded(double x, double low, double high);
double unbounded(double value, double low, double high);

}  // namespace subquad
