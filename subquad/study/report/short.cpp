// "In short": a card per question, and the table of medians.
#include <algorithm>
#include <cmath>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"
#include "subquad/study/verdict.h"

namespace subquad::report {
namespace {

// Every seed of every arm on the task's primary metric.
std::string seeds_chart(const View& view, const std::string& task) {
  const Json& info = view.task(task);
  const std::string primary = view.primary(task);
  const Question* q = question_of(task);
  const bool counts = q && !std::isnan(q->solved);
  std::vector<DotRow> rows;
  std::string csv = "arm,run,seed," + primary + "\n";
  for (const std::string& arm : view.arms) {
    DotRow row{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    for (const Observation& o : primary_observations(view, task, arm)) {
      row.dots.push_back({o.value, 0, note_of(o)});
      csv += csv_cell(arm) + "," + csv_cell(o.run) + "," + std::to_string(o.seed) + "," +
             csv_cell(o.value) + "\n";
    }
    const Cell c = cell(view.results, task, arm);
    if (row.dots.empty() && c.seeds == 0) continue;
    if (!c.values.empty()) {
      row.middle = median_of(c.values);
      row.text = metric_text(view, task, row.middle);
      row.note = arm + ": median " + row.text;
    }
    if (counts) {
      row.text += format("  %d/%d", c.solved, c.seeds);
      row.note += ", solved by " + solved_words(c);
    } else if (c.values.size() > 1) {
      const Interval t = t_interval(c.values);
      row.low = t.low;
      row.high = t.high;
      row.note += format(", 95 %% interval of the mean [%.3f, %.3f]", t.low, t.high);
    }
    rows.push_back(std::move(row));
  }
  const bool bits = lower_is_better(primary), stop = primary == "stop_ratio";
  return figure(
      dot_chart({.title = task + ": " + words_of(primary) + (bits ? " (less is better)" : ""),
                 .x_label = counts ? "at right: median, seeds that solved it"
                                   : "bar: 95 % interval of the mean; at right: median",
                 .x_low = bits ? 0 : -0.03,
                 .x_high = bits   ? 0
                           : stop ? 2.05
                                  : 1.03,
                 .reference = bits   ? NAN
                              : stop ? 1.0
                                     : info.at("chance").as_double(),
                 .reference_label = stop ? "exact" : "chance"},
                rows),
      task + "-seeds", csv);
}

std::string badge(const std::string& decision) {
  const char* style = decision == "decided"      ? "good"
                      : decision == "equivalent" ? "good"
                      : decision == "no data"    ? "bad"
                                                 : "open";
  return std::string("<span class='badge ") + style + "'>" + html_escape(decision) + "</span>";
}

std::string card(const View& view, const std::string& task) {
  const ShortVerdict v = short_verdict(view.results, task);
  std::string h = "<article class='card'><h3>" + html_escape(v.question) + " " + badge(v.decision) +
                  "</h3><p class='answer'>" + html_escape(v.answer) + "</p>";
  for (const std::string& c : v.comparisons) h += "<p>" + html_escape(c) + "</p>";
  const std::string crossing = crossing_sentence(view.results, task);
  h += seeds_chart(view, task) + note("Task <b>" + html_escape(task) + "</b>, " +
                                      html_escape(v.condition) + ". " + html_escape(v.change));
  return h +
         details("All arms, tests and power",
                 "<p>" + html_escape(verdict(view.results, task)) + "</p>" +
                     (crossing.empty() ? "" : "<p>" + html_escape(crossing) + "</p>")) +
         "</article>";
}

std::string task_head(const View& view, const std::string& task) {
  const Json& info = view.task(task);
  const std::string primary = view.primary(task);
  const std::int64_t length = info.at("primary_length").as_int(),
                     times = length / std::max<std::int64_t>(1, info.at("train_length").as_int());
  return html_escape(task) + "<br><small>" + html_escape(words_of(primary)) +
         (lower_is_better(primary)  ? "&nbsp;&darr;"
          : primary == "stop_ratio" ? "&nbsp;&rarr;&nbsp;1"
                                    : "&nbsp;&uarr;") +
         "<br>at " + std::to_string(length) +
         (times > 1 ? " (" + std::to_string(times) + "&times;)" : "") + "</small>";
}

std::string task_cell(const View& view, const std::string& task, const std::string& arm) {
  const Cell c = cell(view.results, task, arm);
  if (c.values.empty()) return c.seeds > 0 ? "<span class='bad'>failed</span>" : "-";
  std::string seeds;
  for (const Observation& o : primary_observations(view, task, arm)) seeds += note_of(o) + "\n";
  const Question* q = question_of(task);
  std::string out = "<span title='" + html_escape(seeds) + "'>" +
                    html_escape(metric_text(view, task, median_of(c.values))) + "</span>";
  if (q && !std::isnan(q->solved))
    out +=
        format(" <small class='%s' title='seeds solved: %s'>%d/%d</small>",
               c.solved > 0 ? "solved" : "soft", html_escape(solved_words(c)), c.solved, c.seeds);
  return out;
}

}  // namespace

std::string short_section(const View& view) {
  std::string h = note(
      "One card per question. Every mark is one seed (one training run from scratch); hover for "
      "its run and value. The upright stroke is the median. <b>Decided</b> means that a test over "
      "seeds, corrected for all comparisons of the study, is below 5 %; <b>undecided</b> is not "
      "\"equal\". No arm is declared the winner: the questions are different.");
  h += "<div class='cards'>";
  for (const std::string& task : view.tasks) h += card(view, task);
  h += "</div><p><b>Cost:</b> " + html_escape(cost_sentence(view.results, view.timings)) + "</p>";
  const std::string match = view.results.at("plan").at("model").get("match", "parameters");
  return h + note(
                 "What would change these answers: see the line below each chart; all of them "
                 "are for " +
                 html_escape(matched_words(match)) + ", equal training tokens and " +
                 html_escape(standing(view.results)) +
                 ". Brackets are 95 % intervals: Wilson's for a share of seeds, Student's t for a "
                 "difference paired by seed. p values are exact (every sign of the paired "
                 "differences; Fisher's test of two shares), corrected by Holm's method.");
}

std::string overview_section(const View& view) {
  std::vector<std::string> head = {"arm"};
  for (const std::string& t : view.tasks) head.push_back(task_head(view, t));
  for (const char* c : {"state bytes", "training ktok/s", "decode us @64", "@1k", "@16k", "@64k"})
    head.emplace_back(c);
  std::string rows;
  for (const std::string& arm : view.arms) {
    std::vector<std::string> row = {arm_label(view, arm)};
    for (const std::string& t : view.tasks) row.push_back(task_cell(view, t, arm));
    row.push_back(state_text(view.results, arm));
    row.push_back(speed_text(view.timings, arm, "train_tokens_per_second", 1e-3));
    for (const char* column : kDecodeColumns) row.push_back(speed_text(view.timings, arm, column));
    rows += table_row(row);
  }
  const std::string solved = solved_note(view.results);
  return table(head, rows) +
         note("Median over seeds (hover: each run)" +
              (solved.empty()
                   ? std::string()
                   : "; small: seeds that solved the task, of all (" + html_escape(solved) + ")") +
              ". &uarr; higher is better, &darr; lower; a stop ratio of 1 is exact, 2 never "
              "stopped. At: test length in tokens, in brackets as a multiple of the trained one. "
              "State: what one sequence keeps between tokens; that of attention grows. Training: "
              "1000 tokens per second on one core. Decode: microseconds per generated token after "
              "so many tokens of context." +
              (speed_disturbed(view.timings)
                   ? " <b>~</b> the machine was busy in every round of this measurement: too slow "
                     "by an unknown amount."
                   : ""));
}

}  // namespace subquad::report
