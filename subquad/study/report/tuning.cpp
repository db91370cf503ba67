// Trials of the learning rate: curves, how sharply they matter, and whether recipes agree.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"
#include "subquad/study/trials.h"

namespace subquad::report {
namespace {

using Trials = std::vector<const Json*>;

std::map<std::string, std::map<std::string, Trials>> trials_by_task(const Json& tuning) {
  std::map<std::string, std::map<std::string, Trials>> out;
  for (const Json& t : tuning.at("trials").as_array())
    out[t.at("task").as_string()][t.at("arm").as_string()].push_back(&t);
  return out;
}

const Json* chosen_of(const Json& tuning, const std::string& task, const std::string& arm) {
  const Json* all = tuning.find("chosen");
  const Json* own = all ? all->find(task) : nullptr;
  return own ? own->find(arm) : nullptr;
}

Series rate_series(const View& view, const Json& tuning, const std::string& task,
                   const std::string& arm, const Trials& trials, std::string& csv) {
  Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
  for (const auto& [rate, loss] : loss_by_rate(trials))
    s.line.push_back({rate, std::isinf(loss) ? NAN : std::max(loss, 1e-7)});
  const Json* chosen = chosen_of(tuning, task, arm);
  for (const Json* t : trials) {
    const double rate = t->at("values").at("learning_rate").as_double(), loss = trial_loss(*t);
    csv += csv_cell(arm) + "," + csv_cell(t->get("id", "")) + "," + csv_cell(rate) + "," +
           csv_cell(std::isinf(loss) ? NAN : loss) + "\n";
    if (std::isinf(loss)) continue;
    const bool best = chosen && chosen->at("learning_rate").as_double() == rate;
    const Point p{rate, std::max(loss, 1e-7),
                  t->get("id", "") + format(": rate %g, validation loss %.4g", rate, loss) +
                      (best ? ", chosen" : "") +
                      (t->get("extension", false) ? ", grid extended" : "")};
    s.dots.push_back(p);
  }
  return s;
}

std::string rate_chart(const View& view, const Json& tuning, const std::string& task,
                       const std::map<std::string, Trials>& arms) {
  std::vector<Series> series, rings;
  std::string csv = "arm,trial,learning_rate,validation_loss\n";
  double low = INFINITY, high = 0;
  for (const std::string& arm : view.arms) {
    const auto own = arms.find(arm);
    if (own == arms.end()) continue;
    series.push_back(rate_series(view, tuning, task, arm, own->second, csv));
    for (const Point& p : series.back().dots) {
      low = std::min(low, p.y);
      high = std::max(high, p.y);
    }
    const Json* chosen = chosen_of(tuning, task, arm);
    if (!chosen || chosen->at("loss").is_null()) continue;
    const double rate = chosen->at("learning_rate").as_double();
    rings.push_back({.name = arm,
                     .colour = view.style(arm).colour,
                     .line = {},
                     .dots = {{rate, std::max(chosen->at("loss").as_double(), 1e-7),
                               arm + format(": chosen rate %g", rate)}},
                     .marker = view.style(arm).marker,
                     .radius = 6});
  }
  series.insert(series.end(), rings.begin(), rings.end());
  return figure(line_chart({.title = task + ": validation loss by learning rate",
                            .x_label = "peak learning rate",
                            .y_label = "loss (nats)",
                            .log_x = true,
                            .log_y = high > 20 * low},
                           series),
                task + "-tuning", csv);
}

std::string expected_chart(const View& view, const std::string& task,
                           const std::map<std::string, Trials>& arms) {
  std::vector<Series> series;
  std::string csv = "arm,trials,expected_best_loss\n";
  for (const std::string& arm : view.arms) {
    const auto own = arms.find(arm);
    if (own == arms.end()) continue;
    std::vector<double> losses;
    double worst = 0;
    for (const Json* t : own->second) losses.push_back(trial_loss(*t));
    for (const double l : losses) worst = std::isinf(l) ? worst : std::max(worst, l);
    for (double& l : losses) l = std::isinf(l) ? worst : l;  // as bad as the worst that converged
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    for (int n = 1; n <= static_cast<int>(losses.size()); ++n) {
      s.line.push_back({static_cast<double>(n), expected_best(losses, n)});
      csv += csv_cell(arm) + "," + std::to_string(n) + "," + csv_cell(s.line.back().y) + "\n";
    }
    s.dots = s.line;
    series.push_back(s);
  }
  return figure(line_chart({.title = task + ": expected best of n trials",
                            .x_label = "trials",
                            .y_label = "loss (nats)"},
                           series),
                task + "-expected-best", csv);
}

std::string width_table(const View& view, const Json& tuning,
                        const std::map<std::string, std::map<std::string, Trials>>& tasks) {
  std::string rows;
  for (const auto& [task, arms] : tasks) {
    for (const std::string& arm : view.arms) {
      const auto own = arms.find(arm);
      if (own == arms.end()) continue;
      const Json* chosen = chosen_of(tuning, task, arm);
      double macs = 0;
      int diverged = 0;
      for (const Json* t : own->second) {
        macs += t->get("macs", 0.0);
        diverged += std::isinf(trial_loss(*t)) ? 1 : 0;
      }
      rows += table_row(
          {html_escape(task), arm_label(view, arm), std::to_string(own->second.size()),
           std::to_string(diverged), short_number(2 * macs),
           chosen ? format("%g", chosen->at("learning_rate").as_double()) : "not chosen yet",
           format("%.1f", width_in_octaves(loss_by_rate(own->second))),
           !chosen                                 ? "-"
           : !chosen->get("at_edge", false)        ? "inside"
           : chosen->get("after_extension", false) ? "at the edge, after one extension"
                                                   : "at the edge"});
    }
  }
  return table({"task", "arm", "trials", "diverged", "FLOPs", "chosen rate",
                "octaves within 1 % of the best", "place in the grid"},
               rows, "second");
}

// Effects of the headline comparisons under every recipe.
std::string agreement(const Json& tuning) {
  const Json* headline = tuning.find("headline");
  if (!headline || headline->size() == 0)
    return note(
        "The study ran under one recipe: whether another would change a verdict is not "
        "known.");
  std::set<std::string> recipes;
  for (const auto& [hypothesis, effects] : headline->as_object()) {
    for (const auto& [recipe, effect] : effects.as_object()) recipes.insert(recipe);
  }
  std::vector<std::string> head = {"comparison"};
  for (const std::string& r : recipes) head.push_back(html_escape(r));
  head.emplace_back("sign");
  std::string rows;
  for (const auto& [hypothesis, effects] : headline->as_object()) {
    std::vector<std::string> row = {html_escape(hypothesis)};
    std::set<bool> signs;
    for (const std::string& recipe : recipes) {
      const Json* effect = effects.find(recipe);
      row.push_back(effect ? format("%+.3g", effect->as_double()) : "-");
      if (effect) signs.insert(effect->as_double() > 0);
    }
    row.emplace_back(signs.size() > 1 ? "<b>changes: not robust</b>" : "the same");
    rows += table_row(row);
  }
  return "<h3>Does the recipe change the verdict?</h3>" + table(head, rows) +
         note(
             "Mean difference of the primary metric, paired by seed; positive: the first arm is "
             "better. R1: one recipe for all; R2: equal tuning budgets; R3: each family's "
             "published recipe.");
}

// What the authors of each family published, for tasks of recipe R3.
std::string published(const View& view, const Json& tuning) {
  const Json* all = tuning.find("published");
  if (!all || !all->is_object() || all->size() == 0) return "";
  std::string rows;
  for (const auto& [task, arms] : all->as_object()) {
    for (const std::string& arm : view.arms) {
      const Json* recipe = arms.find(arm);
      if (!recipe) continue;
      std::string words;
      for (const auto& [key, value] : recipe->as_object())
        words += (words.empty() ? "" : "; ") + key + " " +
                 (value.is_string() ? value.as_string() : value.dump());
      rows += table_row({html_escape(task), arm_label(view, arm), html_escape(words)});
    }
  }
  return details("Published recipes (R3) and their sources",
                 table({"task", "arm", "recipe"}, rows, "facts"));
}

std::string intro(const Json& tuning, int trials) {
  const std::string recipe = tuning.get("recipe", "");
  std::string h = "<p>" +
                  (recipe == "R2"   ? std::string("Recipe R2: every arm tried the same factors of "
                                                    "the shared learning rate, with the same "
                                                    "budget; ")
                   : recipe == "R3" ? std::string("Recipe R3: each family's published recipe; ")
                                    : "Recipe " + html_escape(recipe) + "; ") +
                  format("%d trials. ", trials);
  if (const Json* grid = tuning.find("grid")) {
    std::string factors;
    for (const Json& f : grid->at("factors").as_array())
      factors += (factors.empty() ? "" : ", ") + f.dump();
    h += "Factors " + factors + " of the shared rate, " +
         format("%.0f %% of a run's tokens, seed ", 100 * grid->get("fraction", 1.0)) +
         grid->at("seed").dump() + "; chosen by the " + html_escape(grid->get("selection", "")) +
         ". ";
  }
  return h +
         "Weight decay and warm-up were not tuned: only the learning rate, which matters "
         "most.</p>";
}

}  // namespace

std::string tuning_section(const View& view) {
  const Json* tuning = view.results.find("tuning");
  if (!tuning || tuning->is_null())
    return "<p>Nothing was tuned: all arms ran one recipe (R1) that was chosen before the study "
           "and favours none on purpose, yet it may suit some arms better than others; a "
           "different learning rate per arm may change an order. A table <code>[tuning]</code> in "
           "the study file gives every arm the same number of trials.</p>";
  const auto tasks = trials_by_task(*tuning);
  std::string h = intro(*tuning, static_cast<int>(tuning->at("trials").size()));
  std::string figures;
  for (const std::string& task : view.tasks) {
    const auto own = tasks.find(task);
    if (own == tasks.end()) continue;
    figures +=
        rate_chart(view, *tuning, task, own->second) + expected_chart(view, task, own->second);
  }
  if (!figures.empty())
    h += legend(view, view.arms) + charts(figures) +
         note(
             "One mark per trial; the large mark is the rate that was chosen, on validation data "
             "of the training length only. A flat curve is an arm that is easy to tune. Expected "
             "best: the least loss to be expected from n trials drawn at random.") +
         width_table(view, *tuning, tasks);
  return h + agreement(*tuning) + published(view, *tuning);
}

}  // namespace subquad::report
