// The report's tables of the task forecast, and the classical methods beside its arms.
#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"
#include "subquad/study/statistics.h"
#include "subquad/task/task.h"

namespace subquad::report {
namespace {

struct Column {
  std::string metric, heading;
};
const std::vector<Column> kColumns = {
    {"wql_ratio", "WQL"},
    {"mase_ratio", "MASE"},
    {"wql_ratio_steps_1_8", "WQL, steps 1 to 8"},
    {"wql_ratio_steps_9_24", "9 to 24"},
    {"wql_ratio_steps_25_48", "25 to 48"},
    {"wql_ratio_annual", "WQL, annual"},
    {"mase_ratio_annual", "MASE, annual"},
    {"control_wql_ratio", "WQL, random walks"},
    {"coverage80", "in the 80 % band"},
};

// Values of a test metric over the seeds of an arm.
std::vector<Observation> values_of(const View& view, const std::string& task,
                                   const std::string& arm, const std::string& name) {
  std::vector<Observation> out;
  for_runs(view.results, task, arm, [&](const Json& run) {
    for (const Json& m : run.at("metrics").as_array()) {
      if (m.at("name").as_string() == name && m.at("split").as_string() == "test")
        out.push_back({run.at("id").as_string(), run.at("seed").as_int(), m.at("length").as_int(),
                       m.at("value").is_null() ? NAN : m.at("value").as_double()});
    }
  });
  return out;
}

// Of a classical method; NaN: it has none.
double value_of(const Json& method, const std::string& name) {
  for (const Json& m : method.at("metrics").as_array()) {
    if (m.at("name").as_string() == name) return m.at("value").as_double();
  }
  return NAN;
}

std::vector<const Json*> methods_of(const View& view, const std::string& task) {
  std::vector<const Json*> out;
  const Json* all = view.results.find("references");
  const Json* own = all ? all->find(task) : nullptr;
  const Json* methods = own ? own->find("methods") : nullptr;
  for (std::size_t i = 0; methods && i < methods->size(); ++i) out.push_back(&(*methods)[i]);
  return out;
}

// Mean and, of several seeds, the largest distance from it.
std::string cell_of(const std::vector<Observation>& x) {
  if (x.empty()) return "&ndash;";
  double mean = 0, off = 0;
  for (const Observation& o : x) mean += o.value / static_cast<double>(x.size());
  for (const Observation& o : x) off = std::max(off, std::abs(o.value - mean));
  return x.size() < 2 ? format("%.3f", mean) : format("%.3f &plusmn; %.3f", mean, off);
}

// Seconds of one core for a thousand windows, and what was answered by another method.
std::string price_of(const View& view, const std::string& task, const Json& method) {
  const std::string name = method.at("name").as_string();
  const auto windows = static_cast<double>(method.at("answers").as_int());
  std::string out = "&ndash;";
  if (const Json* all = view.timings.find("references"); all && all->contains(task)) {
    if (const Json* own = all->at(task).find(name))
      out = format("%.3g", 1000 * own->at("cpu_seconds").as_double() / std::max(windows, 1.0));
  }
  const std::int64_t given = method.at("fallbacks").as_int();
  return given > 0 ? out + format(" (%ld by Seasonal Naive)", static_cast<long>(given)) : out;
}

std::string table_of(const View& view, const std::string& task, const std::vector<Column>& columns,
                     bool price) {
  std::vector<std::string> head = {"arm or method"};
  for (const Column& c : columns) head.push_back(html_escape(c.heading));
  if (price) head.push_back("core seconds for 1000 windows");
  std::string rows;
  for (const std::string& arm : view.arms) {
    std::vector<std::string> cells = {arm_label(view, arm)};
    for (const Column& c : columns) cells.push_back(cell_of(values_of(view, task, arm, c.metric)));
    if (price) cells.emplace_back();
    rows += table_row(cells);
  }
  for (const Json* m : methods_of(view, task)) {
    std::vector<std::string> cells = {html_escape(m->at("name").as_string())};
    for (const Column& c : columns) {
      const double value = value_of(*m, c.metric);
      cells.push_back(std::isnan(value) ? "&ndash;" : format("%.3f", value));
    }
    if (price) cells.push_back(price_of(view, task, *m));
    rows += table_row(cells);
  }
  return table(head, rows);
}

// Arms and classical methods by one metric, the best first; a CSV of them is written to `csv`.
std::vector<DotRow> ranking(const View& view, const std::string& task, const std::string& metric,
                            std::string& csv) {
  constexpr int kPlus = 5;
  std::vector<std::pair<double, DotRow>> rows;
  const auto add = [&](double middle, DotRow row) {
    row.text = format("%.3f", middle);
    rows.emplace_back(middle, std::move(row));
  };
  for (const std::string& arm : view.arms) {
    const ArmStyle& style = view.style(arm);
    DotRow row{.name = arm, .colour = style.colour, .marker = style.marker};
    std::vector<double> x;
    for (const Observation& o : values_of(view, task, arm, metric)) {
      if (std::isnan(o.value)) continue;
      row.dots.push_back({o.value, 0, note_of(o)});
      csv += csv_cell(arm) + "," + std::to_string(o.seed) + "," + csv_cell(o.value) + "\n";
      x.push_back(o.value);
    }
    if (x.empty()) continue;
    row.middle = median_of(x);
    row.note = arm + format(": median %.3f of %zu seeds", row.middle, x.size());
    add(row.middle, std::move(row));
  }
  for (const Json* m : methods_of(view, task)) {
    const std::string name = m->at("name").as_string();
    const double value = value_of(*m, metric);
    if (std::isnan(value)) continue;
    csv += csv_cell(name) + ",," + csv_cell(value) + "\n";
    add(value, {.name = name,
                .colour = "currentColor",
                .marker = kPlus,
                .dots = {{value, 0, name + format(": %.3f", value)}}});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<DotRow> out;
  for (auto& [middle, row] : rows) out.push_back(std::move(row));
  return out;
}

std::string ranking_chart(const View& view, const std::string& task, const Column& column) {
  std::string csv = "name,seed," + column.metric + "\n";
  const std::vector<DotRow> rows = ranking(view, task, column.metric, csv);
  return figure(dot_chart({.title = column.heading + ": arms and classical methods (+)",
                           .x_label = "ratio to Seasonal Naive (dashed), lower is better",
                           .reference = 1,
                           .show_reference = true},
                          rows),
                task + "-" + column.metric, csv);
}

// The sets of the first run that was scored on real series.
std::vector<Column> sets_of(const View& view, const std::string& task) {
  const std::string prefix = "wql_ratio.";
  std::vector<Column> out;
  for (const Json& run : view.results.at("runs").as_array()) {
    if (run.at("task").as_string() != task) continue;
    for (const Json& m : run.at("metrics").as_array()) {
      const std::string& name = m.at("name").as_string();
      if (name.starts_with(prefix)) out.push_back({name, name.substr(prefix.size())});
    }
    if (!out.empty()) break;
  }
  return out;
}

std::string scores(const View& view, const std::string& task) {
  const std::vector<Column> sets = sets_of(view, task);
  if (sets.empty()) return "";
  const bool classical = !methods_of(view, task).empty();
  std::string out = note(
      "Ratios to Seasonal Naive on real series that no arm was trained on, lower is better: "
      "geometric means over sets of series; mean over seeds &plusmn; the largest distance from it. "
      "Annual series are apart, and so are random walks, which nobody can forecast better than "
      "Naive: a ratio far below 1 there is a leak. " +
      std::string(classical
                      ? "Classical methods are fitted to every window, with the season of its "
                        "set; they saw no other series. Arms are not told a season."
                      : "This study has no scores of classical methods: <code>subquad "
                        "compare</code> of the same study adds them."));
  if (classical)
    out += charts(ranking_chart(view, task, {"wql_ratio", "WQL"}) +
                  ranking_chart(view, task, {"mase_ratio", "MASE"}));
  return out + table_of(view, task, kColumns, classical) + "<h3>WQL by set</h3>" +
         table_of(view, task, sets, false);
}

}  // namespace

std::string forecast_section(const View& view) {
  std::vector<std::string> tasks;
  for (const std::string& t : view.tasks) {
    if (task_kind(t) == "forecast") tasks.push_back(t);
  }
  std::string out;
  for (const std::string& t : tasks) {
    const std::string body = scores(view, t) + forecast_pictures(view, t);
    if (tasks.size() > 1 && !body.empty()) out += "<h3>" + html_escape(t) + "</h3>";
    out += body;
  }
  return out;
}

}  // namespace subquad::report
