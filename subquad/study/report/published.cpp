// Published numbers and orderings beside the study's own.
#include "subquad/study/published.h"

#include <algorithm>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"
#include "subquad/task/task.h"

namespace subquad::report {
namespace {

// Our scaled scores at the primary length: "0.51 (0.48 - 0.53, 6 seeds)".
std::string own_score(const View& view, const std::string& task, const std::string& arm) {
  const std::vector<double> scores = scores_of(view, task, arm);
  if (scores.empty()) return "-";
  const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
  return format("%.2f <span class='soft'>(%.2f &ndash; %.2f, %d %s)</span>", median_of(scores),
                *low, *high, static_cast<int>(scores.size()),
                scores.size() == 1 ? "seed" : "seeds");
}

// Accuracy at all scored positions, scaled, where the study recorded it.
std::string scaled_accuracy(const View& view, const std::string& task, const std::string& arm) {
  std::vector<double> values;
  for_runs(view.results, task, arm, [&](const Json& r) {
    const Json* m = metric(r, "scaled_accuracy", view.task(task).at("primary_length").as_int());
    if (m && !m->at("value").is_null()) values.push_back(m->at("value").as_double());
  });
  return values.empty() ? "-" : format("%.2f", median_of(values));
}

std::string value_rows(const View& view, const PublishedNumbers& published) {
  std::string rows;
  for (const std::string& task : view.tasks) {
    const auto values = published.values.find(task_kind(task));
    if (values == published.values.end()) continue;
    const double trained = view.task(task).at("train_length").as_double(),
                 tested = view.task(task).at("primary_length").as_double();
    for (const std::string& arm : view.arms) {
      const auto value = values->second.find(arm);
      if (value == values->second.end()) continue;
      rows += table_row({html_escape(task), arm_label(view, arm), format("%.3f", value->second),
                         html_escape(words_of(view.primary(task))), own_score(view, task, arm),
                         scaled_accuracy(view, task, arm),
                         format("%.0f, %.0f (%.3gx)", trained, tested, tested / trained)});
    }
  }
  return rows;
}

std::string badge(const std::string& verdict) {
  const char* style = verdict.starts_with("confirmed") ? "good"
                      : verdict.starts_with("refuted") ? "bad"
                                                       : "open";
  return std::string("<span class='badge ") + style + "'>" + verdict + "</span>";
}

}  // namespace

std::string published_section(const View& view) {
  if (view.in.published.empty()) return "";
  const PublishedNumbers published = parse_published(view.in.published, "published.toml");
  std::string h =
      note("Source: " + html_escape(published.source) + "; " + html_escape(published.setting) +
           ". Sizes, budgets and lengths differ from this study's: what can be compared "
           "is who is ahead, not the values. A score is 0 at chance and 1 if perfect; of a "
           "stop ratio it is one minus the distance from 1.");
  const std::string values = value_rows(view, published);
  if (!values.empty())
    h += table({"task", "arm", "published", "measured here", "its median score (range)",
                "scaled accuracy, median", "trained, tested"},
               values, "second");
  const std::vector<Replication> tested = replications(view.results, published);
  std::string rows;
  for (const Replication& r : tested) {
    const Comparison& c = r.comparison;
    rows += table_row({html_escape(c.task + ": " + c.first + " > " + c.second), badge(r.verdict),
                       html_escape(sentence(c))});
  }
  if (!rows.empty())
    h += "<h3>Do the published orderings hold here?</h3>" +
         table({"published", "here", "numbers"}, rows, "facts");
  return h + note(format("%zu orderings are published, and %zu comparisons here are of their tasks "
                         "and arms. ",
                         published.orderings.size(), tested.size()) +
                  "Confirmed or refuted: at 5 % after Holm's correction over these comparisons; "
                  "\"alone\": only without the correction. Undecided is neither. An ordering is "
                  "tested in the primary metric.");
}

}  // namespace subquad::report
