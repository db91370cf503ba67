#include "subquad/data/series/arima.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "subquad/data/series/least_squares.h"

namespace subquad {

void difference(std::vector<double>& x, std::size_t lag) {
  for (std::size_t t = 0; t + lag < x.size(); ++t) x[t] = x[t + lag] - x[t];
  x.resize(x.size() - std::min(lag, x.size()));
}

namespace {

using Numbers = std::vector<double>;

// Coefficients a of 1 - a_1 B - ... from partial autocorrelations in (-1, 1): Durbin and Levinson.
Numbers from_partial(const Numbers& partial) {
  Numbers a;
  for (std::size_t k = 0; k < partial.size(); ++k) {
    Numbers next(a);
    for (std::size_t j = 0; j < k; ++j) next[j] = a[j] - partial[k] * a[k - 1 - j];
    next.push_back(partial[k]);
    a = std::move(next);
  }
  return a;
}

// Whether 1 - a_1 B - ... has all roots outside the circle of this radius.
bool roots_outside(Numbers a, double radius) {
  double power = 1;
  for (double& x : a) x *= power *= radius;
  while (!a.empty() && a.back() == 0) a.pop_back();
  while (!a.empty()) {
    const double last = a.back();
    if (!(std::abs(last) < 1)) return false;
    const std::size_t n = a.size() - 1;
    Numbers lower(n);
    for (std::size_t j = 0; j < n; ++j) lower[j] = (a[j] + last * a[n - 1 - j]) / (1 - last * last);
    a = std::move(lower);
  }
  return true;
}

// (1 - a_1 B - ...)(1 - b_1 B^m - ...) = 1 - result_1 B - ...
Numbers multiplied(const Numbers& a, const Numbers& b, std::int64_t season) {
  const auto m = static_cast<std::size_t>(season);
  Numbers out(a.size() + m * b.size());
  for (std::size_t i = 0; i < a.size(); ++i) out[i] += a[i];
  for (std::size_t j = 0; j < b.size(); ++j) {
    out[m * (j + 1) - 1] += b[j];
    for (std::size_t i = 0; i < a.size(); ++i) out[m * (j + 1) + i] -= a[i] * b[j];
  }
  return out;
}

Numbers differenced(std::span<const double> y, const ArimaOrder& o) {
  Numbers w(y.begin(), y.end());
  for (std::int64_t i = 0; i < o.D; ++i) difference(w, static_cast<std::size_t>(o.m));
  for (std::int64_t i = 0; i < o.d; ++i) difference(w, 1);
  return w;
}

// Stationary covariance of the state: the sum of T^k R R' T'^k, doubling the terms at every turn.
Numbers stationary_covariance(const Numbers& phi, const Numbers& r) {
  const std::size_t n = r.size();
  Numbers t(n * n), p(n * n), tp(n * n), next(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    t[i * n] = phi[i];
    if (i + 1 < n) t[i * n + i + 1] = 1;
    for (std::size_t j = 0; j < n; ++j) p[i * n + j] = r[i] * r[j];
  }
  // out = a b, or a b'.
  const auto product = [n](const Numbers& a, const Numbers& b, bool transposed, Numbers& out) {
    std::fill(out.begin(), out.end(), 0.0);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < n; ++k) {
        const double x = a[i * n + k];
        if (x == 0 && !transposed) continue;
        if (transposed) {
          double sum = 0;
          for (std::size_t j = 0; j < n; ++j) sum += a[i * n + j] * b[k * n + j];
          out[i * n + k] = sum;
        } else {
          for (std::size_t j = 0; j < n; ++j) out[i * n + j] += x * b[k * n + j];
        }
      }
    }
  };
  for (int turn = 0; turn < 40; ++turn) {
    product(t, p, false, tp);
    product(tp, t, true, next);
    double added = 0, all = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      p[i] += next[i];
      added = std::max(added, std::abs(next[i]));
      all = std::max(all, std::abs(p[i]));
    }
    if (!(added > 1e-14 * all) || !std::isfinite(all)) break;
    product(t, t, false, next);
    std::swap(t, next);
  }
  return p;
}

// One-step errors and their variances (in units of v). After a value is seen the state's first
// element is known, so that its row of the covariance is zero.
struct Filter {
  Numbers phi, r, state;
  double log_variances = 0;

  Filter(const Numbers& ar, const Numbers& ma) {
    const std::size_t n = std::max(ar.size(), ma.size() + 1);
    phi.assign(ar.begin(), ar.end());
    phi.resize(n);
    r.assign(1, 1.0);
    r.insert(r.end(), ma.begin(), ma.end());
    r.resize(n);
    state.resize(n);
  }

  void run(const Numbers& w, double constant, Numbers& scaled_errors) {
    const std::size_t n = r.size();
    Numbers p = stationary_covariance(phi, r), gain(n);
    bool settled = false;
    for (std::size_t t = 0; t < w.size(); ++t) {
      const double variance = settled ? 1 : p[0];
      const double error = w[t] - constant - state[0];
      scaled_errors[t] = error / std::sqrt(variance);
      log_variances += std::log(variance);
      for (std::size_t i = 0; i < n; ++i) gain[i] = settled ? r[i] : p[i * n] / variance;
      for (std::size_t i = 0; i < n; ++i) state[i] += gain[i] * error;
      const double seen = state[0];
      for (std::size_t i = 0; i < n; ++i) state[i] = phi[i] * seen + (i + 1 < n ? state[i + 1] : 0);
      if (settled) continue;
      double left = 0;  // filtered covariance, moved up and left, plus R R'
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
          double x = 0;
          if (i + 1 < n) x = p[(i + 1) * n + j + 1] - gain[i + 1] * gain[j + 1] * variance;
          left = std::max(left, std::abs(x));
          p[i * n + j] = p[j * n + i] = x + r[i] * r[j];
        }
      }
      settled = left < 1e-13;
    }
  }
};

// Free numbers for the optimiser: partial autocorrelations by their inverse hyperbolic tangent, and c
// in standard deviations from the mean of w.
struct FreeNumbers {
  ArimaOrder o;
  double mean, scale;
  std::size_t size() const {
    return static_cast<std::size_t>(o.p + o.q + o.P + o.Q) + (o.constant ? 1 : 0);
  }
  void to(const Numbers& x, ArimaFit& f) const {
    auto at = x.begin();
    const auto next = [&](std::int64_t count) {
      Numbers partial;
      for (std::int64_t i = 0; i < count; ++i) partial.push_back(std::tanh(*at++));
      return from_partial(partial);
    };
    const Numbers phi = next(o.p), theta = next(o.q), seasonal_phi = next(o.P),
                  seasonal_theta = next(o.Q);
    f.ar = multiplied(phi, seasonal_phi, o.m);
    f.ma = multiplied(theta, seasonal_theta, o.m);
    for (double& b : f.ma) b = -b;
    f.constant = o.constant ? mean + scale * *at : 0;
  }
};

}  // namespace

std::string ArimaOrder::text() const {
  const auto triple = [](std::int64_t a, std::int64_t b, std::int64_t c) {
    return "(" + std::to_string(a) + "," + std::to_string(b) + "," + std::to_string(c) + ")";
  };
  std::string out = "ARIMA" + triple(p, d, q);
  if (P + D + Q > 0) out += triple(P, D, Q) + "[" + std::to_string(m) + "]";
  return out + (!constant ? "" : d + D == 0 ? " with mean" : " with drift");
}

std::optional<ArimaFit> fit_arima(std::span<const double> y, const ArimaOrder& o) {
  const Numbers w = differenced(y, o);
  FreeNumbers free{o, 0, 0};
  const auto n = static_cast<double>(w.size()), k = static_cast<double>(free.size() + 1);
  if (n < k + 4) return {};
  for (const double x : w) free.mean += x / n;
  for (const double x : w) free.scale += (x - free.mean) * (x - free.mean) / n;
  free.scale = std::sqrt(free.scale);
  if (!(free.scale > 1e-12 * std::abs(free.mean))) return {};
  // Squares of v / sqrt(F) times the geometric mean of sqrt(F): their minimum is that of the
  // likelihood.
  const Residuals residuals = [&](const Numbers& x, Numbers& out) {
    ArimaFit f{.order = o};
    free.to(x, f);
    Filter filter(f.ar, f.ma);
    filter.run(w, f.constant, out);
    const double factor = std::exp(filter.log_variances / n / 2);
    for (double& e : out) e *= factor;
    return std::isfinite(factor);
  };
  LeastSquares best{{}, std::numeric_limits<double>::infinity()};
  for (const double start : {0.0, 0.5}) {
    Numbers from(free.size(), start);
    if (o.constant) from.back() = 0;
    LeastSquares found = minimise_squares(residuals, std::move(from), w.size(), 40);
    if (found.sum < best.sum) best = std::move(found);
    if (free.size() == 0) break;
  }
  if (!std::isfinite(best.sum) || !(best.sum > 0)) return {};
  ArimaFit fit{.order = o};
  free.to(best.parameters, fit);
  Filter filter(fit.ar, fit.ma);
  Numbers errors(w.size());
  filter.run(w, fit.constant, errors);
  double squares = 0;
  for (const double e : errors) squares += e * e;
  fit.variance = squares / n;
  fit.state = filter.state;
  fit.log_likelihood =
      -(n * (std::log(2 * std::numbers::pi * fit.variance) + 1) + filter.log_variances) / 2;
  fit.aicc = 2 * k - 2 * fit.log_likelihood + 2 * k * (k + 1) / (n - k - 1);
  constexpr double kNear = 1.01;
  if (!roots_outside(fit.ar, kNear)) return {};
  return std::isfinite(fit.aicc) ? std::optional(fit) : std::nullopt;
}

NormalForecast forecast_arima(const ArimaFit& f, std::span<const double> y, std::int64_t horizon) {
  const auto steps = static_cast<std::size_t>(horizon);
  NormalForecast out{{}, {}, f.order.text()};
  // y_t = w_t + sum a_i y_{t-i}, a of the differences.
  Numbers sums;
  for (std::int64_t i = 0; i < f.order.d; ++i) sums = multiplied(sums, {1.0}, 1);
  for (std::int64_t i = 0; i < f.order.D; ++i) sums = multiplied(sums, {1.0}, f.order.m);
  // AR polynomial of y itself, and the weights psi of errors.
  Numbers whole = f.ar;
  for (std::int64_t i = 0; i < f.order.d; ++i) whole = multiplied(whole, {1.0}, 1);
  for (std::int64_t i = 0; i < f.order.D; ++i) whole = multiplied(whole, {1.0}, f.order.m);
  Numbers state = f.state, path(y.begin(), y.end()), psi(steps);
  double spread = 0;
  for (std::size_t h = 0; h < steps; ++h) {
    double value = f.constant + state[0];
    const double first = state[0];
    for (std::size_t i = 0; i < state.size(); ++i) {
      const double phi = i < f.ar.size() ? f.ar[i] : 0;
      state[i] = phi * first + (i + 1 < state.size() ? state[i + 1] : 0);
    }
    for (std::size_t i = 0; i < sums.size(); ++i) value += sums[i] * path[path.size() - 1 - i];
    path.push_back(value);
    psi[h] = h == 0 ? 1 : h <= f.ma.size() ? f.ma[h - 1] : 0;
    for (std::size_t i = 0; i < std::min(h, whole.size()); ++i) psi[h] += whole[i] * psi[h - 1 - i];
    spread += psi[h] * psi[h];
    out.mean.push_back(value);
    out.deviation.push_back(std::sqrt(f.variance * spread));
  }
  return out;
}

}  // namespace subquad
