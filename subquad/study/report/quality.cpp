// Quality: learning curves, paired differences, probabilities of improvement, loss by position.
#include <algorithm>
#include <cmath>

#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/hypothesis_tests.h"
#include "subquad/study/report/curves.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

std::vector<double> values_of(const std::map<std::int64_t, double>& by_seed) {
  std::vector<double> out;
  for (const auto& [seed, value] : by_seed) out.push_back(value);
  return out;
}

std::string best_arm(const View& view, const std::string& task) {
  std::string best;
  double top = -INFINITY;
  for (const std::string& arm : view.arms) {
    const auto x = values_of(goodness_by_seed(view.results, task, arm));
    if (x.empty() || median_of(x) <= top) continue;
    top = median_of(x);
    best = arm;
  }
  return best;
}

// Every arm against the best one.
std::string difference_chart(const View& view, const std::string& task) {
  const std::string best = best_arm(view, task);
  if (best.empty()) return "";
  const auto of_best = goodness_by_seed(view.results, task, best);
  std::vector<DotRow> rows;
  std::string csv = "arm,against,seed,difference\n";
  for (const std::string& arm : view.arms) {
    if (arm == best) continue;
    DotRow row{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    std::vector<double> differences;
    for (const auto& [seed, value] : goodness_by_seed(view.results, task, arm)) {
      const auto other = of_best.find(seed);
      if (other == of_best.end()) continue;
      const double d = value - other->second;
      differences.push_back(d);
      row.dots.push_back({d, 0, arm + format(", seed %d: %+.4g", static_cast<int>(seed), d)});
      csv += csv_cell(arm) + "," + csv_cell(best) + "," + std::to_string(seed) + "," + csv_cell(d) +
             "\n";
    }
    if (differences.empty()) continue;
    row.middle = mean_of(differences);
    row.text = format("%+.3f", row.middle);
    if (differences.size() > 1) {
      const Interval t = t_interval(differences);
      row.low = t.low;
      row.high = t.high;
      row.note = arm + format(": %+.3f [%.3f, %.3f], %d pairs", row.middle, t.low, t.high,
                              static_cast<int>(differences.size()));
    }
    rows.push_back(std::move(row));
  }
  if (rows.empty()) return "";
  return figure(dot_chart({.title = task + ": difference to " + best,
                           .x_label = "left: worse than " + best + "; bar: 95 % interval (t)",
                           .reference = 0,
                           .reference_label = "equal",
                           .show_reference = true},
                          rows),
                task + "-differences", csv);
}

// P(row is better than column); NaN where one of them has no value.
double improvement(const View& view, const std::string& task, const std::string& a,
                   const std::string& b) {
  const auto x = values_of(goodness_by_seed(view.results, task, a)),
             y = values_of(goodness_by_seed(view.results, task, b));
  return x.empty() || y.empty() ? NAN : probability_of_improvement(x, y);
}

std::string improvement_chart(const View& view, const std::vector<std::string>& tasks,
                              const std::string& title) {
  std::vector<HeatRow> rows;
  std::vector<std::string> columns;
  std::string csv = "arm,against,probability\n";
  std::vector<std::string> arms;  // with values on every one of the tasks
  for (const std::string& arm : view.arms) {
    if (std::all_of(tasks.begin(), tasks.end(), [&](const std::string& t) {
          return !goodness_by_seed(view.results, t, arm).empty();
        }))
      arms.push_back(arm);
  }
  if (arms.size() < 2) return "";
  for (std::size_t i = 0; i < arms.size(); ++i) {
    const std::string& a = arms[i];
    columns.push_back(std::to_string(i + 1));
    HeatRow row{.name = format("%d ", static_cast<int>(i + 1)) + a,
                .colour = view.style(a).colour,
                .marker = view.style(a).marker};
    for (const std::string& b : arms) {
      std::vector<double> p;
      for (const std::string& t : tasks) {
        const double one = a == b ? NAN : improvement(view, t, a, b);
        if (!std::isnan(one)) p.push_back(one);
      }
      if (p.empty()) {
        row.cells.push_back({});
        continue;
      }
      const double mean = mean_of(p);
      row.cells.push_back({mean, format("%.2f", mean),
                           a + " better than " + b +
                               format(": %.2f over %d tasks", mean, static_cast<int>(p.size()))});
      csv += csv_cell(a) + "," + csv_cell(b) + "," + csv_cell(mean) + "\n";
    }
    rows.push_back(std::move(row));
  }
  return figure(
      heat_map({.title = title, .x_label = "arm of the column, by number", .columns = columns},
               rows),
      tasks.size() == 1 ? tasks[0] + "-improvement" : "improvement", csv);
}

// The x axis is chosen by radio buttons; without style sheets all three are shown.
std::string switched_curves(const View& view) {
  const std::pair<const char*, Budget> budgets[] = {
      {"tokens", Budget::tokens}, {"FLOPs", Budget::flops}, {"seconds", Budget::seconds}};
  std::string buttons, panels;
  for (const auto& [name, budget] : budgets) {
    std::string figures;
    for (const std::string& t : view.tasks) figures += curve_chart(view, t, budget);
    if (figures.empty()) continue;
    buttons += std::string("<label><input type='radio' name='x' id='x-") + name + "'" +
               (budget == Budget::tokens ? " checked" : "") + "> " + name + "</label> ";
    panels += std::string("<div class='panel by-") + name + "'>" + charts(figures) + "</div>";
  }
  return panels.empty()
             ? ""
             : "<div class='switch'><p class='note'>Over " + buttons + "</p>" + panels + "</div>";
}

std::string arm_row(const View& view, const std::string& task, const std::string& arm) {
  const Cell c = cell(view.results, task, arm);
  if (c.seeds == 0) return "";
  const Question* q = question_of(task);
  const bool counts = q && !std::isnan(q->solved);
  std::vector<double> x = c.values;
  std::sort(x.begin(), x.end());
  const Interval t = t_interval(x);
  return table_row({html_escape(task), arm_label(view, arm), std::to_string(c.seeds),
                    x.empty() ? "-" : metric_text(view, task, median_of(x)),
                    x.empty() ? "-"
                              : metric_text(view, task, x.front()) + " &ndash; " +
                                    metric_text(view, task, x.back()),
                    counts         ? "not used: solved or not"
                    : x.size() < 2 ? "one value"
                                   : format("%.3f [%.3f, %.3f]", mean_of(x), t.low, t.high),
                    counts ? html_escape(solved_words(c)) : "-"});
}

std::string quality_table(const View& view) {
  std::string rows;
  for (const std::string& task : view.tasks) {
    for (const std::string& arm : view.arms) rows += arm_row(view, task, arm);
  }
  return table({"task", "arm", "n", "median", "range", "mean [95 % t interval]",
                "seeds solved [95 % Wilson]"},
               rows, "second");
}

// Shares that a task of bytes says beside its bits per byte, at the primary length; those by range
// are in results.csv.
std::string probes_of(const View& view, const std::string& task) {
  const std::int64_t length = view.task(task).at("primary_length").as_int();
  std::vector<std::string> names;
  std::map<std::string, std::map<std::string, std::vector<double>>> values;
  for (const std::string& arm : view.arms) {
    for_runs(view.results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array()) {
        const std::string& name = m.at("name").as_string();
        if (!name.ends_with("_accuracy") || m.at("split").as_string() != "test" ||
            m.at("length").as_int() != length || m.at("value").is_null())
          continue;
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
        values[arm][name].push_back(m.at("value").as_double());
      }
    });
  }
  if (names.empty()) return "";
  std::vector<std::string> head = {"arm"};
  for (const std::string& n : names) head.push_back(html_escape(words_of(n)));
  std::string rows;
  for (const std::string& arm : view.arms) {
    if (!values.contains(arm)) continue;
    std::vector<std::string> row = {arm_label(view, arm)};
    for (const std::string& n : names)
      row.push_back(values[arm][n].empty() ? "-" : format("%.3f", median_of(values[arm][n])));
    rows += table_row(row);
  }
  return "<h3>" + html_escape(task) + ": what is predicted right</h3>" + table(head, rows) +
         note(
             "Medians over seeds of the share of cases; results.csv has them by distance and "
             "depth.");
}

std::string probes_table(const View& view) {
  std::string h;
  for (const std::string& task : view.tasks)
    h += view.primary(task) == "bits_per_byte" ? probes_of(view, task) : "";
  return h;
}

}  // namespace

std::string quality_section(const View& view) {
  std::string differences, each, positions, validation;
  for (const std::string& t : view.tasks) {
    differences += difference_chart(view, t);
    each += improvement_chart(view, {t}, t + ": P(row is better)");
    positions += position_chart(view, t);
    validation += validation_chart(view, t);
  }
  std::string h = legend(view, view.arms);
  if (!differences.empty())
    h += "<h3>Differences, paired by seed</h3>" + charts(differences) +
         note(
             "Each mark: one seed of the arm minus the same seed of the best arm (by median), in "
             "the task's primary metric, turned so that right is better (for a stop ratio the "
             "distance from 1, for bits per byte the negative). Exploratory: the best arm was "
             "chosen after seeing the results.");
  h += "<h3>Probability of improvement</h3>" +
       charts(improvement_chart(view, view.tasks, "Mean over tasks: P(row is better)")) +
       details("By task", charts(each)) +
       note(
           "How often a seed of the row's arm is better than one of the column's, ties counting "
           "half; 0.5 is no difference. A practical bar for \"better\" is 0.75.");
  h += profile_chart(view);
  const std::string curves = switched_curves(view);
  if (!curves.empty())
    h += "<h3>Learning curves</h3>" + curves +
         note(
             "Thin: seeds; thick: their median. Equal budgets: over tokens all curves end at the "
             "same place.");
  if (!validation.empty() || !positions.empty())
    h += "<h3>Bytes: validation, and loss by position</h3>" + charts(validation + positions) +
         note("A memory that works makes the loss fall to the right.");
  h += probes_table(view);
  return h + details("Every cell: n, median, range, interval, success rate", quality_table(view));
}

}  // namespace subquad::report
