// The Theta method as a state space model. With the least squares line A + B t, smoothing a and
// theta > 1 the one-step forecast is
//   l_{t-1} + (1 - 1/theta) [(1 - a)^{t-1} A + (1 - (1 - a)^t) / a B],   l_t = a y_t + (1 - a) l_{t-1}
// and h steps ahead (1 - 1/theta) B (h - 1) more. The standard method has theta = 2 and the line of
// the whole series; the dynamic one updates the line with every value and estimates theta.
// Seasons are taken out first where a test finds them.
// Source: Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler 2016.
#include <cmath>
#include <numeric>

#include "subquad/base/error.h"
#include "subquad/data/series/baseline.h"
#include "subquad/data/series/decomposition.h"
#include "subquad/data/series/least_squares.h"

namespace subquad {
namespace {

constexpr double kAlphaLow = 0.1, kAlphaHigh = 0.99;

struct Line {
  double intercept = 0, slope = 0;
};

Line line_through(std::span<const double> y) {
  const auto n = static_cast<double>(y.size());
  const double mean = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double slope = 0;
  for (std::size_t t = 0; t < y.size(); ++t)
    slope += (static_cast<double>(t) - (n - 1) / 2) * (y[t] - mean) * 12 / (n * (n * n - 1));
  return {mean - slope * (n + 1) / 2, slope};
}

struct ThetaModel {
  bool dynamic = false;
  double alpha = 0.5, theta = 2, level = 0;
  Line line = {};
  double power = 1;  // (1 - a)^t
  double mean = 0;   // of the values so far

  double forecast(double steps) const {  // of the value `steps` after the next
    const double share = 1 - 1 / theta;
    return level + share * (power * line.intercept +
                            ((1 - power * (1 - alpha)) / alpha + steps) * line.slope);
  }
  void add(double y, std::size_t index) {
    const auto t = static_cast<double>(index + 1);
    level += alpha * (y - level);
    power *= 1 - alpha;
    if (!dynamic) return;
    line.slope = index == 0 ? 0 : ((t - 2) * line.slope + 6 * (y - mean) / t) / (t + 1);
    mean += (y - mean) / t;
    line.intercept = mean - line.slope * (t + 1) / 2;
  }
};

NormalForecast fit_theta(const History& h, bool dynamic) {
  require(h.y.size() >= 4, ErrorCode::numeric, "Theta needs 4 values, got ", h.y.size());
  const Deseasonalised d = deseasonalise(h.y, h.season);
  const double scale = std::max(std::abs(d.y[0]), 1e-8);
  const auto model = [&](const std::vector<double>& x) {
    ThetaModel m{.dynamic = dynamic,
                 .alpha = bounded(x[0], kAlphaLow, kAlphaHigh),
                 .theta = dynamic ? 1 + std::exp(std::min(x[2], 20.0)) : 2,
                 .level = x[1] * scale};
    m.line = dynamic ? Line{d.y[0], 0} : line_through(d.y);
    return m;
  };
  constexpr std::size_t kSettle = 3;  // the first errors depend on the start
  const Residuals residuals = [&](const std::vector<double>& x, std::vector<double>& out) {
    ThetaModel m = model(x);
    for (std::size_t t = 0; t < d.y.size(); ++t) {
      out[t] = t < kSettle ? 0 : d.y[t] - m.forecast(0);
      m.add(d.y[t], t);
    }
    return true;
  };
  LeastSquares best{{}, HUGE_VAL};
  for (const double alpha : {0.2, 0.5, 0.9}) {
    std::vector<double> start = {unbounded(alpha, kAlphaLow, kAlphaHigh), d.y[0] / scale / 2};
    if (dynamic) start.push_back(0);
    LeastSquares found = minimise_squares(residuals, std::move(start), d.y.size());
    if (found.sum < best.sum) best = std::move(found);
  }
  require(std::isfinite(best.sum), ErrorCode::numeric, "Theta did not converge");
  ThetaModel m = model(best.parameters);
  for (std::size_t t = 0; t < d.y.size(); ++t) m.add(d.y[t], t);
  const double deviation = std::sqrt(best.sum / static_cast<double>(d.y.size() - kSettle));
  NormalForecast f;
  for (std::int64_t i = 0; i < h.horizon; ++i) {
    const auto steps = static_cast<double>(i);
    f.mean.push_back(m.forecast(steps));
    f.deviation.push_back(deviation * std::sqrt(1 + steps * m.alpha * m.alpha));
  }
  reseasonalise(d, f.mean, f.deviation);
  return f;
}

}  // namespace

NormalForecast theta(const History& h) { return fit_theta(h, false); }
NormalForecast dynamic_theta(const History& h) { return fit_theta(h, true); }

}  // namespace subquad
