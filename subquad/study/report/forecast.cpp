// The report's tables of the task forecast.
#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

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
std::vector<double> values_of(const Json& results, const std::string& arm,
                              const std::string& name) {
  std::vector<double> out;
  for (const Json& run : results.at("runs").as_array()) {
    if (run.at("task").as_string() != "forecast" || run.at("arm").as_string() != arm) continue;
    for (const Json& m : run.at("metrics").as_array()) {
      if (m.at("name").as_string() == name && m.at("split").as_string() == "test")
        out.push_back(m.at("value").as_double());
    }
  }
  return out;
}

// Mean and, of several seeds, the largest distance from it.
std::string cell(const std::vector<double>& x) {
  if (x.empty()) return "&ndash;";
  double mean = 0, off = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  for (const double v : x) off = std::max(off, std::abs(v - mean));
  return x.size() < 2 ? format("%.3f", mean) : format("%.3f &plusmn; %.3f", mean, off);
}

std::string rows_of(const View& view, const std::vector<Column>& columns) {
  std::string rows;
  for (const std::string& arm : view.arms) {
    std::vector<std::string> cells = {arm_label(view, arm)};
    for (const Column& c : columns) cells.push_back(cell(values_of(view.results, arm, c.metric)));
    rows += table_row(cells);
  }
  return rows;
}

std::string table_of(const View& view, const std::vector<Column>& columns) {
  std::vector<std::string> head = {"arm"};
  for (const Column& c : columns) head.push_back(html_escape(c.heading));
  return table(head, rows_of(view, columns));
}

// The sets of the first run that was scored on real series.
std::vector<Column> sets_of(const Json& results) {
  const std::string prefix = "wql_ratio.";
  std::vector<Column> out;
  for (const Json& run : results.at("runs").as_array()) {
    if (run.at("task").as_string() != "forecast") continue;
    for (const Json& m : run.at("metrics").as_array()) {
      const std::string& name = m.at("name").as_string();
      if (name.starts_with(prefix)) out.push_back({name, name.substr(prefix.size())});
    }
    if (!out.empty()) break;
  }
  return out;
}

}  // namespace

std::string forecast_section(const View& view) {
  const std::vector<Column> sets = sets_of(view.results);
  if (sets.empty()) return "";
  return note(
             "Ratios to Seasonal Naive on real series that no arm was trained on, lower is better: "
             "geometric means over sets of series; mean over seeds &plusmn; the largest distance "
             "from it. Annual series are apart, and so are random walks, which nobody can "
             "forecast better than Naive: a ratio far below 1 there is a leak. The classical "
             "methods on the same windows: <code>subquad backtest FILES --convention fev</code>.") +
         table_of(view, kColumns) + "<h3>WQL by set</h3>" + table_of(view, sets);
}

}  // namespace subquad::report
