#include "subquad/data/series/least_squares.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace subquad {
namespace {

// Solves (A + damping diag(A)) x = b for symmetric A; false if it is not positive definite.
bool solve(std::vector<double> a, std::vector<double>& x, std::size_t n, double damping) {
  for (std::size_t i = 0; i < n; ++i) a[i * n + i] += damping * std::max(a[i * n + i], 1e-300);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t k = 0; k < j; ++k) a[j * n + j] -= a[j * n + k] * a[j * n + k];
    if (!(a[j * n + j] > 0)) return false;
    a[j * n + j] = std::sqrt(a[j * n + j]);
    for (std::size_t i = j + 1; i < n; ++i) {
      for (std::size_t k = 0; k < j; ++k) a[i * n + j] -= a[i * n + k] * a[j * n + k];
      a[i * n + j] /= a[j * n + j];
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) x[i] -= a[i * n + k] * x[k];
    x[i] /= a[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) x[i] -= a[k * n + i] * x[k];
    x[i] /= a[i * n + i];
  }
  return true;
}

double sum_of_squares(const std::vector<double>& r) {
  double sum = 0;
  for (const double x : r) sum += x * x;
  return std::isfinite(sum) ? sum : std::numeric_limits<double>::infinity();
}

// J^T J and -J^T r by forward differences; false if a difference leaves the domain both ways.
bool normal_equations(const Residuals& residuals, const std::vector<double>& at,
                      const std::vector<double>& r, std::vector<double>& square,
                      std::vector<double>& right) {
  const std::size_t n = at.size(), count = r.size();
  std::vector<std::vector<double>> jacobian(n, std::vector<double>(count));
  std::vector<double> moved(at);
  for (std::size_t j = 0; j < n; ++j) {
    double step = 1e-7 * std::max(std::abs(at[j]), 1e-2);
    bool ok = false;
    for (int side = 0; side < 2 && !ok; ++side, step = -step) {
      moved[j] = at[j] + step;
      ok = residuals(moved, jacobian[j]);
      if (!ok) continue;
      for (std::size_t i = 0; i < count; ++i) jacobian[j][i] = (jacobian[j][i] - r[i]) / step;
    }
    if (!ok) return false;
    moved[j] = at[j];
  }
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (std::size_t i = 0; i < count; ++i) sum += jacobian[a][i] * jacobian[b][i];
      square[a * n + b] = square[b * n + a] = sum;
    }
    right[a] = 0;
    for (std::size_t i = 0; i < count; ++i) right[a] -= jacobian[a][i] * r[i];
  }
  return true;
}

}  // namespace

LeastSquares minimise_squares(const Residuals& residuals, std::vector<double> start,
                              std::size_t count, int iterations) {
  const std::size_t n = start.size();
  std::vector<double> r(count), trial_r(count), square(n * n), right(n);
  if (!residuals(start, r)) return {std::move(start), std::numeric_limits<double>::infinity()};
  double sum = sum_of_squares(r), damping = 1e-3, growth = 2;
  int idle = 0;
  for (int i = 0; i < iterations && sum > 0 && std::isfinite(sum); ++i) {
    if (!normal_equations(residuals, start, r, square, right)) break;
    double gain = -1;
    while (gain < 0 && damping < 1e12) {
      std::vector<double> step(right), trial(start);
      if (solve(square, step, n, damping)) {
        for (std::size_t j = 0; j < n; ++j) trial[j] += step[j];
        const double trial_sum = residuals(trial, trial_r) ? sum_of_squares(trial_r) : HUGE_VAL;
        if (trial_sum <= sum) {
          gain = (sum - trial_sum) / sum;
          start = std::move(trial);
          std::swap(r, trial_r);
          sum = trial_sum;
          damping = std::max(damping / 5, 1e-12);
          growth = 2;
          break;
        }
      }
      damping *= growth;
      growth *= 2;
    }
    idle = gain < 1e-9 ? idle + 1 : 0;
    if (gain < 0 || idle == 3) break;  // no step helps, or hardly
  }
  return {std::move(start), sum};
}

double bounded(double x, double low, double high) {
  return low + (high - low) / (1 + std::exp(-x));
}

double unbounded(double value, double low, double high) {
  const double share = std::clamp((value - low) / (high - low), 1e-6, 1 - 1e-6);
  return std::log(share / (1 - share));
}

}  // namespace subquad
