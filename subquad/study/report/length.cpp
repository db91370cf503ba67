// Length generalisation: heat maps with every seed, and lines through medians.
#include <algorithm>
#include <cmath>
#include <set>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

std::vector<std::int64_t> lengths_of(const View& view, const std::string& task) {
  std::set<std::int64_t> out;
  for (const std::string& arm : view.arms) {
    for (const Observation& o : observations(view, task, arm)) out.insert(o.length);
  }
  return {out.begin(), out.end()};
}

std::string heat_chart(const View& view, const std::string& task) {
  const auto lengths = lengths_of(view, task);
  const std::int64_t trained = view.task(task).at("train_length").as_int();
  const Scale scale = scale_of(view, task);
  HeatSetup c{.title = task + ": " + words_of(view.primary(task)) + " of every seed",
              .x_label = "test length in tokens",
              .marked_label = "trained"};
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto times = lengths[i] / std::max<std::int64_t>(1, trained);
    c.columns.push_back(std::to_string(lengths[i]) +
                        (times > 1 ? format(" (%dx)", static_cast<int>(times)) : ""));
    if (lengths[i] == trained) c.marked = static_cast<int>(i);
  }
  std::vector<HeatRow> rows;
  std::string csv = "arm,run,seed,length," + view.primary(task) + "\n";
  for (const std::string& arm : view.arms) {
    std::map<std::int64_t, HeatRow> by_seed;
    for (const Observation& o : observations(view, task, arm)) {
      HeatRow& row = by_seed[o.seed];
      row.cells.resize(lengths.size());
      const auto at = std::find(lengths.begin(), lengths.end(), o.length) - lengths.begin();
      row.cells[static_cast<std::size_t>(at)] = {
          scale.share(o.value), metric_text(view, task, o.value),
          o.run + format(" at length %d: %.4g", static_cast<int>(o.length), o.value)};
      csv += csv_cell(arm) + "," + csv_cell(o.run) + "," + std::to_string(o.seed) + "," +
             std::to_string(o.length) + "," + csv_cell(o.value) + "\n";
    }
    bool first = true;
    for (auto& [seed, row] : by_seed) {
      if (first) {
        row.name = arm;
        row.colour = view.style(arm).colour;
        row.marker = view.style(arm).marker;
      }
      first = false;
      rows.push_back(std::move(row));
    }
  }
  return figure(heat_map(c, rows), task + "-heat-map", csv);
}

std::string length_chart(const View& view, const std::string& task) {
  const std::string primary = view.primary(task);
  std::vector<Series> series;
  for (const std::string& arm : view.arms) {
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    std::map<std::int64_t, std::vector<double>> by_length;
    for (const Observation& o : observations(view, task, arm)) {
      if (std::isnan(o.value)) continue;
      s.dots.push_back(
          {static_cast<double>(o.length), o.value,
           o.run + format(" at length %d: %.4g", static_cast<int>(o.length), o.value)});
      by_length[o.length].push_back(o.value);
    }
    for (const auto& [length, values] : by_length)
      s.line.push_back({static_cast<double>(length), median_of(values)});
    if (!s.dots.empty()) series.push_back(s);
  }
  const bool bits = lower_is_better(primary), stop = primary == "stop_ratio";
  ChartSetup c{.title = task + ": " + words_of(primary) + " by length",
               .x_label = "test length in tokens",
               .y_label = words_of(primary),
               .log_x = true,
               .y_low = bits ? 0 : -0.03,
               .y_high = bits   ? 0
                         : stop ? 2.05
                                : 1.03,
               .reference = stop   ? 1.0
                            : bits ? -1
                                   : view.task(task).at("chance").as_double(),
               .reference_label = stop ? "exact" : "chance"};
  for (const std::int64_t l : lengths_of(view, task)) c.x_ticks.push_back(static_cast<double>(l));
  return "<figure>" + line_chart(c, series) + "</figure>";  // the numbers are the heat map's
}

}  // namespace

std::string length_section(const View& view) {
  std::string heat, lines;
  for (const std::string& task : view.tasks) {
    if (lengths_of(view, task).size() < 2) continue;
    heat += heat_chart(view, task);
    lines += length_chart(view, task);
  }
  if (heat.empty()) return "<p>Every task was tested at one length only.</p>";
  return note(
             "Trained up to the framed length, tested beyond it. A row is a seed. Dark: as good "
             "as chance (a stop ratio: far from 1; bits per byte: the worst here); bright: "
             "perfect (bits per byte: the best here).") +
         charts(heat) + "<h3>The same as lines</h3>" + legend(view, view.arms) + charts(lines) +
         note(
             "Marks are seeds, lines go through their medians; the numbers are those of the heat "
             "maps. A "
             "stop ratio of 2 is never.");
}

}  // namespace subquad::report
