#include "subquad/study/trials.h"

#include <algorithm>
#include <cmath>

namespace subquad {

double trial_loss(const Json& trial) {
  const Json& loss = trial.at("loss");
  return loss.is_null() ? INFINITY : loss.as_double();
}

std::map<double, double> loss_by_rate(const std::vector<const Json*>& trials) {
  std::map<double, double> out;
  for (const Json* t : trials) {
    const Json* rate = t->at("values").find("learning_rate");
    if (!rate) continue;
    const auto [place, fresh] = out.emplace(rate->as_double(), trial_loss(*t));
    if (!fresh) place->second = std::min(place->second, trial_loss(*t));
  }
  return out;
}

double width_in_octaves(const std::map<double, double>& losses) {
  double best = INFINITY, low = INFINITY, high = 0;
  for (const auto& [rate, loss] : losses) best = std::min(best, loss);
  if (std::isinf(best)) return 0;
  for (const auto& [rate, loss] : losses) {
    if (std::isinf(loss) || loss > best + 0.01 * std::abs(best)) continue;
    low = std::min(low, rate);
    high = std::max(high, rate);
  }
  return std::log2(high / low);
}

double expected_best(std::vector<double> losses, int n) {
  std::sort(losses.begin(), losses.end());
  const auto count = static_cast<double>(losses.size());
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double above = (count - static_cast<double>(i)) / count,
                 share = std::pow(above, n) - std::pow(above - 1 / count, n);
    if (share > 0) sum += losses[i] * share;
  }
  return sum;
}

}  // namespace subquad
