// A few forecasts of a study's arms as pictures: the best arm beside one other.
#include <algorithm>
#include <cmath>

#include "subquad/study/findings.h"
#include "subquad/study/forecast_page.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"
#include "subquad/study/statistics.h"

namespace subquad::report {
namespace {

std::vector<double> numbers(const Json& list) {
  std::vector<double> out;
  for (const Json& x : list.as_array()) out.push_back(x.is_null() ? NAN : x.as_double());
  return out;
}

// The first run of an arm that answered; null: none did.
const Json* drawn_run(const View& view, const std::string& task, const std::string& arm) {
  const Json* found = nullptr;
  for_runs(view.results, task, arm, [&](const Json& run) {
    if (!found && run.find("answers")) found = &run;
  });
  return found;
}

// The best arm by the median of the primary metric, then attention; if that is the best, or not
// there, the second best.
std::vector<const Json*> drawn_runs(const View& view, const std::string& task) {
  std::vector<std::pair<double, std::string>> order;
  for (const std::string& arm : view.arms) {
    const Cell own = cell(view.results, task, arm);
    if (!own.values.empty() && drawn_run(view, task, arm))
      order.emplace_back(-goodness(view.task(task), median_of(own.values)), arm);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<const Json*> out;
  if (order.empty()) return out;
  out.push_back(drawn_run(view, task, order[0].second));
  if (order.size() < 2) return out;
  const auto attention = std::find_if(order.begin() + 1, order.end(),
                                      [](const auto& o) { return o.second == "attention"; });
  out.push_back(
      drawn_run(view, task, attention != order.end() ? attention->second : order[1].second));
  return out;
}

ForecastPicture picture_of(const View& view, const Json& sample, const Json& run,
                           const Json& answer) {
  const std::string arm = run.at("arm").as_string();
  ForecastPicture p{.id = sample.at("name").as_string(),
                    .model = arm,
                    .history = numbers(sample.at("history")),
                    .stamps = {},
                    .levels = numbers(sample.at("levels")),
                    .mean = {},
                    .quantiles = {},
                    .actual = numbers(sample.at("actual")),
                    .marked = {},
                    .colour = view.style(arm).colour,
                    .hover = true};
  for (const Json& s : sample.at("stamps").as_array()) p.stamps.push_back(s.as_string());
  for (const Json& level : answer.as_array()) p.quantiles.push_back(numbers(level));
  const std::size_t steps = p.actual.size();
  bool whole = p.levels.size() == p.quantiles.size() && !p.levels.empty() &&
               p.stamps.size() == p.history.size() + steps;
  for (const auto& level : p.quantiles) whole = whole && level.size() == steps;
  require(whole, ErrorCode::format, "sample ", p.id, ": ", p.levels.size(), " levels and ",
          p.quantiles.size(), " of an answer, ", p.stamps.size(), " stamps for ", p.history.size(),
          " + ", steps, " values; results.json is damaged");
  p.mean = p.quantiles[p.levels.size() / 2];
  return p;
}

std::string csv_of(const ForecastPicture& p) {
  std::string csv = "time,value";
  for (const double level : p.levels) csv += format(",q%.3g", level);
  csv += "\n";
  for (std::size_t i = 0; i < p.stamps.size(); ++i) {
    const bool ahead = i >= p.history.size();
    const std::size_t step = i - p.history.size();
    csv += csv_cell(p.stamps[i]) + "," + csv_cell(ahead ? p.actual[step] : p.history[i]);
    for (const auto& level : p.quantiles) csv += "," + (ahead ? csv_cell(level[step]) : "");
    csv += "\n";
  }
  return csv;
}

// One range for pictures beside each other, from what is drawn in any of them.
void share_range(std::vector<ForecastPicture>& pictures) {
  double low = INFINITY, high = -INFINITY;
  const auto include = [&](const std::vector<double>& values) {
    for (const double v : values) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  };
  for (const ForecastPicture& p : pictures) {
    include(p.history);
    include(p.actual);
    include(p.quantiles.front());
    include(p.quantiles.back());
  }
  if (!(low < high)) return;
  const double room = 0.06 * (high - low);
  for (ForecastPicture& p : pictures) {
    p.y_low = low - room;
    p.y_high = high + room;
  }
}

}  // namespace

std::string forecast_pictures(const View& view, const std::string& task) {
  const Json* all = view.results.find("references");
  const Json* own = all ? all->find(task) : nullptr;
  const Json* samples = own ? own->find("samples") : nullptr;
  const std::vector<const Json*> runs = drawn_runs(view, task);
  if (!samples || runs.empty()) return "";
  std::string figures;
  for (const Json& sample : samples->as_array()) {
    std::vector<ForecastPicture> pictures;
    std::vector<std::string> captions;
    for (const Json* run : runs) {
      const Json* answer = run->at("answers").find(sample.at("name").as_string());
      if (!answer) continue;
      pictures.push_back(picture_of(view, sample, *run, *answer));
      captions.push_back(arm_label(view, pictures.back().model) +
                         format("seed %ld", static_cast<long>(run->at("seed").as_int())) +
                         (sample.get("synthetic", false) ? ", synthetic" : ""));
    }
    if (pictures.size() < runs.size()) continue;
    share_range(pictures);
    for (std::size_t i = 0; i < pictures.size(); ++i)
      figures += figure(forecast_chart(pictures[i]), pictures[i].id + " " + pictures[i].model,
                        csv_of(pictures[i]), captions[i]);
  }
  if (figures.empty()) return "";
  const std::string other = runs.size() > 1 ? " and, beside it on the same scale, of " +
                                                  html_escape(runs[1]->at("arm").as_string())
                                            : "";
  return "<h3>Forecasts</h3>" +
         note("Of the best arm by the median, " + html_escape(runs[0]->at("arm").as_string()) +
              other +
              ", each by its first seed: history (grey), median with fans of 20, 40, 60 and 80 %, "
              "and what came. The last window of the first series of every frequency, one random "
              "walk, and series of families that training never draws, chosen before any "
              "training.") +
         charts(figures);
}

}  // namespace subquad::report
