// Performance profiles: how often an arm reaches a score, over all tasks and seeds at once.
// Source: Agarwal et al. 2021, arXiv:2108.13264.
#include <algorithm>
#include <cmath>

#include "subquad/base/rng.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

constexpr int kSteps = 50;  // of the score, 0 to 1
constexpr std::uint64_t kDraws = 1000;

// Scores of an arm's seeds at the primary length, by task; a failed run has 0.
using Scores = std::vector<std::vector<double>>;

Scores all_scores(const View& view, const std::vector<std::string>& tasks, const std::string& arm) {
  Scores all;
  for (const std::string& task : tasks) {
    std::vector<double> own = scores_of(view, task, arm);
    const auto seeds = static_cast<std::size_t>(cell(view.results, task, arm).seeds);
    own.resize(std::max(own.size(), seeds), 0.0);
    if (own.empty()) return {};
    all.push_back(std::move(own));
  }
  return all;
}

// Mean over tasks of the share of seeds that reach `score`.
double reached(const Scores& scores, double score) {
  double sum = 0;
  for (const auto& task : scores) {
    const auto n = std::count_if(task.begin(), task.end(), [&](double s) { return s >= score; });
    sum += static_cast<double>(n) / static_cast<double>(task.size());
  }
  return sum / static_cast<double>(scores.size());
}

// Seeds of every task drawn anew, for itself.
Scores redrawn(const Scores& scores, const Rng& rng, std::uint64_t draw) {
  Scores out = scores;
  std::uint64_t pick = 0;
  for (std::size_t t = 0; t < scores.size(); ++t) {
    const auto n = static_cast<std::int64_t>(scores[t].size());
    for (double& s : out[t]) s = scores[t][static_cast<std::size_t>(rng.below(n, draw, pick++))];
  }
  return out;
}

Band band_of(const Scores& scores) {
  const Rng rng{0, stream_id("profile")};
  std::vector<Scores> draws;
  for (std::uint64_t d = 0; d < kDraws; ++d) draws.push_back(redrawn(scores, rng, d));
  Band band;
  band.opacity = 0.1;
  for (int i = 0; i <= kSteps; ++i) {
    const double score = static_cast<double>(i) / kSteps;
    std::vector<double> at;
    for (const Scores& s : draws) at.push_back(reached(s, score));
    std::sort(at.begin(), at.end());
    band.low.push_back({score, at[kDraws / 40]});
    band.high.push_back({score, at[kDraws - 1 - kDraws / 40]});
  }
  return band;
}

}  // namespace

std::string profile_chart(const View& view) {
  std::vector<std::string> tasks;
  for (const std::string& t : view.tasks) {
    if (!lower_is_better(view.primary(t))) tasks.push_back(t);
  }
  if (tasks.size() < 2) return "";
  std::vector<Series> series;
  std::string csv = "arm,score,share,low,high\n";
  for (const std::string& arm : view.arms) {
    const Scores scores = all_scores(view, tasks, arm);
    if (scores.empty()) continue;
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    s.bands = {band_of(scores)};
    for (int i = 0; i <= kSteps; ++i) {
      const double score = static_cast<double>(i) / kSteps, share = reached(scores, score);
      s.line.push_back({score, share});
      if (i % 10 == 5)
        s.dots.push_back(
            {score, share,
             arm + format(": %.0f %% of its runs score %.2f or more", 100 * share, score)});
      const auto at = static_cast<std::size_t>(i);
      csv += csv_cell(arm) + "," + csv_cell(score) + "," + csv_cell(share) + "," +
             csv_cell(s.bands[0].low[at].y) + "," + csv_cell(s.bands[0].high[at].y) + "\n";
    }
    series.push_back(std::move(s));
  }
  if (series.size() < 2) return "";
  return "<h3>Performance profiles</h3>" +
         charts(figure(line_chart({.title = "Share of runs that reach a score",
                                   .x_label = "score (0: chance, 1: perfect)",
                                   .y_label = "share of runs",
                                   .y_low = -0.03,
                                   .y_high = 1.03},
                                  series),
                       "profiles", csv)) +
         note(format("Over %zu tasks at their primary length, every task counting alike; a failed "
                     "run scores 0. An arm whose line lies above another's everywhere is better "
                     "at every bar. Band: 95 %% of draws of seeds within tasks (Agarwal et al. "
                     "2021).",
                     tasks.size()));
}

}  // namespace subquad::report
