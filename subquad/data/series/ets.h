// Exponential smoothing in state space form: error, trend and season each none, additive or
// multiplicative. With q = l + phi b, f the one-step forecast q, q + s or q s and
// e = y - f (A) or (y - f) / f (M):
//   l' = q + alpha (p - q), p = y, y - s or y / s
//   b' = phi b + (beta / alpha) (l' - l - phi b)
//   s' = s + gamma (r - s), r = y - q or y / q
// Source: Hyndman, Koehler, Ord and Snyder 2008, Forecasting with Exponential Smoothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "subquad/data/series/baseline.h"

namespace subquad {

struct EtsForm {
  char error = 'A';   // A or M
  char trend = 'N';   // N or A
  char season = 'N';  // N, A or M
  bool damped = false;
  std::string text() const;  // "ETS(M,Ad,M)"
};

struct EtsFit {
  EtsForm form;
  double alpha = 0, beta = 0, gamma = 0, phi = 1;
  double level = 0, slope = 0;      // after the last value
  std::vector<double> season = {};  // of the next m steps, in order
  double variance = 0;              // of e: sum e^2 / (T - k - 1), as statsforecast
  double log_likelihood = 0, aicc = 0;
};

// Least squares (which is maximum likelihood) over smoothing, damping and initial states:
// alpha in [1e-4, 0.9999], beta up to alpha, gamma up to 1 - alpha, phi in [0.8, 0.98]. Nothing if
// the series is too short (parameters + 4 values, 2 m with a season), or not positive for a
// multiplicative part. log likelihood = -(T ln sum e^2 + 2 sum ln|f| (M)) / 2;
// AICc = 2 k - 2 log likelihood + 2 k (k + 1) / (T - k - 1), k with sigma and m - 1 seasonal states.
std::optional<EtsFit> fit_ets(std::span<const double> y, std::int64_t season, const EtsForm& form);

// Means, and deviations by the exact variances of classes 1 and 2, for a multiplicative season the
// approximation of class 3 (chapter 6 of the source).
NormalForecast forecast_ets(const EtsFit& fit, std::int64_t horizon);

// The form with the smallest AICc of up to 15: no multiplicative trend, no additive error with a
// multiplicative season. Seasons above 24 are taken out by decomposition instead.
std::optional<EtsFit> select_ets(std::span<const double> y, std::int64_t season);

}  // namespace subquad
