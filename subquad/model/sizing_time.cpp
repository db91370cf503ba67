// Matching in time. Time per token grows almost in proportion to the MLP width, so each arm's slope
// is measured once, and then every turn over all arms gives an estimate of the right width. Only
// times of the same turn are compared: a drift of the machine meets the slowest arm, too. The last
// turn finds all of them within the bound at once.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "subquad/model/sizing_parts.h"

namespace subquad::sizing {
namespace {

constexpr double kTolerance = 0.03;
constexpr int kLeastTurns = 3, kMostTurns = 10;

struct Search {
  std::int64_t width = 0;
  double slope = 0;  // of the relative time, per unit of width
  double relative = 1;
  std::vector<double> estimates;  // of the right width, one a turn

  bool matched() const { return std::abs(relative - 1) <= kTolerance; }
};

// The median of the last three: one disturbed turn does not count, and early ones, far from the
// right width, are forgotten.
double right_width(const Search& a) {
  std::vector<double> last(a.estimates.end() - std::min<std::ptrdiff_t>(3, std::ssize(a.estimates)),
                           a.estimates.end());
  std::sort(last.begin(), last.end());
  const std::size_t middle = last.size() / 2;
  return last.size() % 2 == 1 ? last[middle] : (last[middle - 1] + last[middle]) / 2;
}

std::int64_t even(double width, std::int64_t d_model) {
  const double clamped = std::clamp(width, 2.0, 64.0 * static_cast<double>(d_model));
  return static_cast<std::int64_t>(std::lround(clamped / 2)) * 2;
}

// The first turn: slopes, the slowest arm, and first guesses.
std::size_t start(const std::vector<Draft>& drafts, const SizingRequest& r,
                  std::vector<Search>& arms) {
  const std::int64_t narrow = r.d_model, wide = 3 * r.d_model;
  std::vector<ModelConfig> configs;
  for (const Draft& d : drafts) configs.push_back(config_of(d, r, narrow));
  for (const Draft& d : drafts) configs.push_back(config_of(d, r, wide));
  const std::vector<double> times = r.measure(configs);
  const auto n = static_cast<std::ptrdiff_t>(drafts.size());
  const auto slowest = std::max_element(times.begin(), times.begin() + n);
  const double target = *slowest;
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    const double low = times[i] / target, high = times[drafts.size() + i] / target;
    arms[i].slope = (high - low) / static_cast<double>(wide - narrow);
    require(arms[i].slope > 0, ErrorCode::invalid_argument, "arm ", drafts[i].arm,
            " did not get slower with an MLP of ", wide, " instead of ", narrow,
            ": other programs disturb the measurement; try again when the machine is idle");
    arms[i].width = even(static_cast<double>(narrow) + (1 - low) / arms[i].slope, r.d_model);
  }
  const auto reference = static_cast<std::size_t>(slowest - times.begin());
  arms[reference].width = narrow;
  return reference;
}

std::vector<Search> search(const std::vector<Draft>& drafts, const SizingRequest& r) {
  require(r.measure != nullptr, ErrorCode::invalid_argument,
          "match = \"time\" needs a measurement of the arms' speed");
  std::vector<Search> arms(drafts.size());
  const std::size_t reference = start(drafts, r, arms);
  const auto all_matched = [&] {
    return std::all_of(arms.begin(), arms.end(), [](const Search& a) { return a.matched(); });
  };
  for (int turn = 0; turn < kMostTurns; ++turn) {
    std::vector<ModelConfig> configs;
    for (std::size_t i = 0; i < arms.size(); ++i)
      configs.push_back(config_of(drafts[i], r, arms[i].width));
    const std::vector<double> times = r.measure(configs);
    for (std::size_t i = 0; i < arms.size(); ++i) arms[i].relative = times[i] / times[reference];
    if (turn + 1 >= kLeastTurns && all_matched()) return arms;
    for (std::size_t i = 0; i < arms.size(); ++i) {
      Search& a = arms[i];
      a.estimates.push_back(static_cast<double>(a.width) + (1 - a.relative) / a.slope);
      if (i != reference && turn + 1 < kMostTurns) a.width = even(right_width(a), r.d_model);
    }
  }
  for (std::size_t i = 0; i < arms.size(); ++i) {
    require(arms[i].matched(), ErrorCode::invalid_argument, "arm ", drafts[i].arm,
            " cannot be matched in time: with an MLP of ", arms[i].width, " it takes ",
            arms[i].relative, " times as long as ", drafts[reference].arm, ", wanted within ",
            100 * kTolerance, " %; an idle machine measures better");
  }
  return arms;
}

}  // namespace

std::vector<SizedArm> match_times(const std::vector<Draft>& drafts, const SizingRequest& r) {
  std::vector<SizedArm> sized;
  if (r.widths.empty()) {
    const std::vector<Search> arms = search(drafts, r);
    for (std::size_t i = 0; i < drafts.size(); ++i) {
      sized.push_back(measure(drafts[i], r, arms[i].width));
      sized.back().relative_time = arms[i].relative;
    }
    return sized;
  }
  for (const Draft& d : drafts) {
    const auto chosen = r.widths.find(d.arm);
    require(chosen != r.widths.end(), ErrorCode::invalid_argument,
            "no MLP width was chosen for arm ", d.arm, " when the others were matched in time");
    sized.push_back(measure(d, r, chosen->second));
  }
  return sized;
}

}  // namespace subquad::sizing
