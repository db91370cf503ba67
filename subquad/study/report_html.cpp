#include <algorithm>
#include <cmath>

#include "subquad/study/chart.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report.h"
#include "subquad/study/report_charts.h"
#include "subquad/study/report_sections.h"

namespace subquad {
namespace {

const char* kStyle = R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#5b6470;--line:#d9dee4;--panel:#f6f8fa;--accent:#0b62a8}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--soft:#9aa4b0;--line:#333a43;--panel:#1c2127;--accent:#6cb6ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:24px 18px 60px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.55rem;margin:0 0 4px}h2{font-size:1.15rem;margin:34px 0 8px;border-bottom:1px solid var(--line);padding-bottom:4px}
p,li{max-width:78ch}.note{color:var(--soft);font-size:.92em}a{color:var(--accent)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.93em;margin:8px 0}
th,td{padding:4px 8px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}thead th{white-space:normal;vertical-align:bottom;min-width:4.5em;max-width:9em}th:first-child,td:first-child{text-align:left}
thead small{white-space:nowrap;font-weight:400}thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:12px}
figure{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px}figcaption{text-align:right;font-size:.82em}
svg{width:100%;height:auto;display:block}svg text{fill:var(--fg);font:11px system-ui,sans-serif}svg .title{font-weight:600;font-size:12px}
svg .tick,svg .label{fill:var(--soft)}.halo{paint-order:stroke;stroke:var(--panel);stroke-width:4px}.grid{stroke:var(--line)}.chance{stroke:var(--soft);stroke-dasharray:4 4}
.legend span{display:inline-block;margin-right:14px;white-space:nowrap}.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:5px}
.solved{color:#12805c;font-weight:700}code,pre{background:var(--panel);border-radius:5px;padding:1px 4px;font-size:.9em}pre{padding:10px;overflow-x:auto;border:1px solid var(--line)}
th.t,td.t{text-align:left}.facts td{white-space:normal;text-align:left;vertical-align:top}.facts code{overflow-wrap:anywhere}
ul.short{padding-left:20px}ul.short b{font-weight:600}
@media (max-width:560px){body{padding:16px 12px 40px}svg text,svg .title{font-size:14px}svg{overflow:visible}
.wide:not(:has(.facts))::before{content:"wide table: swipe sideways";color:var(--soft);font-size:.8em}th:first-child,td:first-child{position:sticky;left:0;background:var(--bg)}}
@page{margin:14mm 12mm}
@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#ccc;--panel:#fff;--accent:#000;color-scheme:light}body{max-width:none;padding:0;font-size:10.5px}
.wide,pre{overflow:visible}pre,code{white-space:pre-wrap;overflow-wrap:anywhere}th,td{padding:2px 5px}p,li{max-width:none}figure,tr,li,.legend,.wide{break-inside:avoid}h2,h2+p,thead,.legend{break-after:avoid}
.charts{grid-template-columns:1fr 1fr}.csv{display:none}i{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

}  // namespace

std::string html_report(const Json& results, const Json& timings, const Json& provenance,
                        const Json& audit) {
  const auto tasks = tasks_of(results);
  const Json& plan = results.at("plan");
  const auto arms = arms_of(results);
  const std::string name = plan.at("name").as_string();
  std::string h =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
      "content='width=device-width,initial-scale=1'><title>subquad study " +
      html_escape(name) + "</title><style>" + kStyle + "</style></head><body>";
  h += "<h1>Study " + html_escape(name) + "</h1><p class='note'>" +
       html_escape(plan.get("question", "")) + " " +
       format("%zu arms, %zu tasks; %zu runs finished, %zu failed. ", arms.size(), tasks.size(),
              results.at("runs").size(), results.at("failed").size()) +
       html_escape(standing(results)) + ".</p>";

  std::vector<std::string> head = {"arm"};
  for (const std::string& t : tasks) {
    const Json& info = results.at("tasks").at(t);
    const std::string primary = info.at("primary").as_string();
    const std::int64_t length = info.at("primary_length").as_int(),
                       times = length / std::max<std::int64_t>(1, info.at("train_length").as_int());
    head.push_back(html_escape(t) + "<br><small>" + html_escape(words_of(primary)) +
                   (lower_is_better(primary)  ? "&nbsp;&darr;"
                    : primary == "stop_ratio" ? "&nbsp;&rarr;&nbsp;1"
                                              : "&nbsp;&uarr;") +
                   "<br>at " + std::to_string(length) +
                   (times > 1 ? " (" + std::to_string(times) + "&times;)" : "") + "</small>");
  }
  for (const char* c : {"state bytes", "train ktok/s", "decode us @64", "@1k", "@16k", "@64k"})
    head.emplace_back(c);
  h += "<div class='wide'><table><thead>" + table_row(head, "th") + "</thead><tbody>";
  for (const std::string& arm : arms) {
    std::vector<std::string> row = {
        "<i style='display:inline-block;width:10px;height:10px;border-radius:3px;background:" +
        arm_colour(arm) + "'></i> " + html_escape(arm)};
    for (const std::string& t : tasks) {
      const Cell c = cell(results, t, arm);
      std::string seeds;
      for (double v : c.values) seeds += format("%.4g ", v);
      row.push_back("<span title='seeds: " + seeds + "'>" + show_value(t, c) + "</span>" +
                    (c.solved
                         ? " <span class='solved' title='seeds solved: " + solved_words(c) + "'>" +
                               std::string(static_cast<std::size_t>(c.solved), '*') + "</span>"
                         : ""));
    }
    row.push_back(state_text(results, arm));
    row.push_back(speed_text(timings, arm, "train_tokens_per_second", 1e-3));
    for (const char* column : kDecodeColumns) row.push_back(speed_text(timings, arm, column));
    h += table_row(row, "td");
  }
  const std::string solved = solved_note(results);
  h += "</tbody></table></div><p class='note'>Median over seeds (hover: each seed). ";
  if (!solved.empty())
    h += "<span class='solved'>*</span> one seed that solved the task (" + html_escape(solved) +
         "). ";
  h +=
      "&uarr; higher is better, &darr; "
      "lower; a stop ratio of 1 is exact, 2 never stopped. At: test length, as a multiple of the "
      "trained one. State: what one sequence keeps "
      "between tokens; that of attention grows with the sequence. Train: 1000 tokens per second on "
      "one core. Decode: microseconds per generated token after so many tokens of context.";
  if (speed_disturbed(timings))
    h +=
        " <b>~</b> the machine was busy in every round of this measurement: too slow by an unknown "
        "amount.";
  h += "</p><h2>In short</h2><ul class='short'>";
  for (const std::string& t : tasks) {
    const Question* q = question_of(t);
    h += "<li><b>" + html_escape(q ? q->words : t) + ":</b> " + html_escape(verdict(results, t)) +
         "</li>";
    const std::string crossing = crossing_sentence(results, t);
    if (!crossing.empty())
      h += "<li><b>" + html_escape(t) + " against counting:</b> " + html_escape(crossing) + "</li>";
  }
  h += "<li><b>cost:</b> " + html_escape(cost_sentence(results, timings)) + "</li></ul>";
  h += "<p class='note'>Brackets are 95 % intervals: Wilson's for the share of seeds that solved a "
       "task, Student's t for the paired difference over seeds. p values are exact: every sign of "
       "the paired differences, or Fisher's test of two shares; Holm's correction covers all "
       "comparisons of the study. A difference that is not decided is not an equality: the report "
       "says how large it would have to be. No arm is declared the winner: the "
       "questions are different.</p>";
  const auto charts = [&](const char* title, const char* note, const auto& draw) {
    std::string all;
    for (const std::string& t : tasks) all += draw(t);
    if (all.empty()) return;
    h += std::string("<h2>") + title + "</h2><p class='note'>" + note + "</p>" + legend(arms) +
         "<div class='charts'>" + all + "</div>";
  };
  charts(
      "Length generalisation",
      "Trained on the shortest length, tested on longer ones too. Dots are seeds, lines go through "
      "their medians.",
      [&](const std::string& t) { return length_chart(results, t, arms); });
  charts("Quality against decode cost",
         "Every dot is a seed; further left is cheaper per generated token after 16384 tokens of "
         "context.",
         [&](const std::string& t) { return cost_chart(results, timings, t, arms); });
  charts("Learning curves", "One line per seed. Equal budgets: all lines end at the same place.",
         [&](const std::string& t) {
           return curve_chart(results, t, arms) + validation_chart(results, t, arms);
         });
  charts("Loss by position",
         "Bits per byte by how much of the window a model has already seen: a memory that works "
         "gets better to the right.",
         [&](const std::string& t) { return position_chart(results, t, arms); });
  h += forecast_section(results);
  h += costs_section(results, timings);
  h += compared_section(results);
  h += audit_section(results, audit);
  h += limits_section(results);
  h += provenance_section(results, provenance);
  h += "<h2>Reproduce</h2><p>The same plan gives the same weights and the "
       "same <code>results.json</code>, bit for bit, on the same kind of processor. "
       "Every number above traces to a run, a seed and the plan in the ledger.</p><pre>" +
       html_escape(
           provenance.get("reproduce", provenance.get("command", "subquad compare").c_str())) +
       "</pre></body></html>\n";
  return h;
}

}  // namespace subquad
