// Seasonal ARIMA: w = (1 - B)^d (1 - B^m)^D y,
//   (1 - phi B ...)(1 - Phi B^m ...) (w - c) = (1 + theta B ...)(1 + Theta B^m ...) e,  e ~ N(0, v)
// Source: Box and Jenkins; the search: Hyndman and Khandakar 2008.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "subquad/data/series/baseline.h"

namespace subquad {

struct ArimaOrder {
  std::int64_t p = 0, d = 0, q = 0, P = 0, D = 0, Q = 0, m = 1;
  bool constant = false;     // c: the mean of w, a drift of y if d + D = 1
  std::string text() const;  // "ARIMA(2,1,1)(0,1,1)[12] with drift"
  bool operator==(const ArimaOrder&) const = default;
};

// x_t - x_(t-lag), in place; empty where x is no longer than the lag.
void difference(std::vector<double>& x, std::size_t lag);

struct ArimaFit {
  ArimaOrder order;
  std::vector<double> ar = {}, ma = {};  // both polynomials multiplied out, signs as above
  double constant = 0, variance = 0;
  double log_likelihood = 0, aicc = 0;
  std::vector<double> state =
      {};  // of the filter after the last value: forecasts of w - c, MA part
};

// Exact maximum likelihood by Kalman filter, over partial autocorrelations, so that every trial is
// stationary and invertible. AICc counts T - d - m D values and the variance as a parameter. Nothing
// if there are too few values, or a root of the AR part within 1 % of the unit circle.
// Cost: r^3 per trial, r = max(p + m P, q + m Q + 1).
std::optional<ArimaFit> fit_arima(std::span<const double> y, const ArimaOrder& order);

// Means and deviations, by the weights of past errors in y.
NormalForecast forecast_arima(const ArimaFit& fit, std::span<const double> y, std::int64_t horizon);

// D = 1 if the season's strength, 1 - var(rest) / var(season + rest) of a classical decomposition, is
// above 0.64; d by KPSS tests for a level at 5 %, at most 2; then the stepwise search for the smallest
// AICc from four models, with p, q <= 5, P, Q <= 2, p + q + P + Q <= 5, with a season 6.
std::optional<ArimaFit> select_arima(std::span<const double> y, std::int64_t season);

}  // namespace subquad
