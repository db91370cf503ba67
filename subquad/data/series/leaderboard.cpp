// Models over tasks, as leaderboards compare them.
#include <algorithm>
#include <cmath>

#include "subquad/base/error.h"
#include "subquad/data/series/metrics.h"

namespace subquad {
namespace {

std::size_t models_of(const std::vector<std::vector<double>>& errors) {
  require(!errors.empty() && !errors[0].empty(), ErrorCode::invalid_argument,
          "no task or no model to compare");
  for (const auto& row : errors) {
    require(row.size() == errors[0].size(), ErrorCode::shape_mismatch, "a task with ", row.size(),
            " errors, wanted ", errors[0].size());
  }
  return errors[0].size();
}

std::vector<double> log_mean_ratios(const std::vector<std::vector<double>>& errors,
                                    std::size_t baseline, double low, double high) {
  std::vector<double> out(models_of(errors));
  require(baseline < out.size(), ErrorCode::invalid_argument, "baseline number ", baseline,
          ", wanted one below ", out.size());
  for (const auto& row : errors) {
    for (std::size_t m = 0; m < out.size(); ++m) {
      const double ratio = row[m] / row[baseline];
      const double kept = std::isnan(ratio) ? ratio : std::clamp(ratio, low, high);
      out[m] += std::log(kept) / static_cast<double>(errors.size());
    }
  }
  return out;
}

// An error that is no number loses against every other.
bool beats(double a, double b) { return std::isnan(b) ? !std::isnan(a) : a < b; }
bool ties(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

std::vector<double> geometric_mean_ratios(const std::vector<std::vector<double>>& errors,
                                          std::size_t baseline) {
  std::vector<double> out = log_mean_ratios(errors, baseline, 0, HUGE_VAL);
  for (double& x : out) x = std::exp(x);
  return out;
}

std::vector<double> skill_scores(const std::vector<std::vector<double>>& errors,
                                 std::size_t baseline) {
  std::vector<double> out = log_mean_ratios(errors, baseline, 0.01, 100);
  for (double& x : out) x = 1 - std::exp(x);
  return out;
}

std::vector<double> mean_ranks(const std::vector<std::vector<double>>& errors) {
  std::vector<double> out(models_of(errors));
  for (const auto& row : errors) {
    for (std::size_t m = 0; m < out.size(); ++m) {
      double rank = 1;
      for (std::size_t other = 0; other < out.size(); ++other) {
        if (other == m) continue;
        rank += beats(row[other], row[m]) ? 1 : ties(row[other], row[m]) ? 0.5 : 0;
      }
      out[m] += rank / static_cast<double>(errors.size());
    }
  }
  return out;
}

std::vector<double> win_rates(const std::vector<std::vector<double>>& errors) {
  std::vector<double> out(models_of(errors));
  const double pairs = static_cast<double>(errors.size()) * static_cast<double>(out.size() - 1);
  for (const auto& row : errors) {
    for (std::size_t m = 0; m < out.size(); ++m) {
      for (std::size_t other = 0; other < out.size(); ++other) {
        if (other == m) continue;
        out[m] += (beats(row[m], row[other]) ? 1 : ties(row[m], row[other]) ? 0.5 : 0) / pairs;
      }
    }
  }
  return out;
}

}  // namespace subquad
