#include <algorithm>
#include <cmath>
#include <cstdio>

#include "subquad/study/chart.h"
#include "subquad/study/findings.h"
#include "subquad/study/report.h"
#include "subquad/study/report_charts.h"

namespace subquad {
namespace {

template <class... A>
std::string format(const char* pattern, A... values) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

std::string table_row(const std::vector<std::string>& cells, const char* tag) {
  std::string out = "<tr>";
  for (const std::string& c : cells) out += std::string("<") + tag + ">" + c + "</" + tag + ">";
  return out + "</tr>";
}

std::string table(const std::vector<std::string>& head, const std::string& rows) {
  return "<div class='wide'><table><thead>" + table_row(head, "th") + "</thead><tbody>" + rows +
         "</tbody></table></div>";
}

// An empty field for what was not measured.
std::string csv_number(double v) { return std::isnan(v) ? "" : Json(v).dump(); }

std::string costs_section(const Json& results, const Json& timings) {
  const std::string task = cost_task(results, timings);
  const Json* sizes = results.at("tasks").at(task).find("arms");
  std::string csv =
      "arm,task,parameters,training_macs_per_token,state_64,state_1024,state_16384,state_65536,"
      "train_tokens_per_second,decode_us_64,decode_us_1024,decode_us_16384,decode_us_65536,"
      "peak_bytes\n";
  std::string size_rows, time_rows;
  for (const std::string& arm : arms_of(results)) {
    const Json* a = sizes ? sizes->find(arm) : nullptr;
    if (!a) continue;
    std::vector<std::string> row = {html_escape(arm), short_number(a->at("parameters").as_double()),
                                    short_number(a->at("training_macs_per_token").as_double())};
    csv += "\"" + arm + "\"," + task + "," + a->at("parameters").dump() + "," +
           a->at("training_macs_per_token").dump();
    for (const auto& [depth, bytes] : a->at("state_bytes").as_object()) {
      row.push_back(short_number(bytes.as_double()));
      csv += "," + bytes.dump();
    }
    size_rows += table_row(row, "td");
    row = {html_escape(arm), speed_text(timings, arm, "train_tokens_per_second", 1e-3)};
    csv += "," + csv_number(speed(timings, arm, "train_tokens_per_second"));
    for (const char* column : kDecodeColumns) {
      row.push_back(speed_text(timings, arm, column));
      csv += "," + csv_number(speed(timings, arm, column));
    }
    const double peak = median_timing(results, timings, arm, "peak_rss_bytes");
    row.push_back(std::isnan(peak) ? "-" : format("%.0f", peak / 1e6));
    csv += "," + csv_number(peak) + "\n";
    time_rows += table_row(row, "td");
  }
  std::string h =
      "<h2>Costs</h2>" +
      table({"arm", "parameters", "training multiply-adds per token", "state bytes @64", "@1k",
             "@16k", "@64k"},
            size_rows) +
      table({"arm", "training, 1000 tokens/s", "decode, us per token @64", "@1k", "@16k", "@64k",
             "peak memory of a run, MB"},
            time_rows) +
      "<p class='note'>Models of the task " + html_escape(task) +
      "; state bytes of one sequence in f32 after 64 to 65536 positions. Multiply-adds are counted "
      "per operator from the recurrent form, never as 6ND; a training step counts three forward "
      "passes. Peak memory is the median of the workers' own. " +
      csv_link("costs", csv) + "</p>";
  const Json* s = timings.find("speed");
  return h + "<p class='note'>" +
         (s ? "Quiet phase: " + html_escape(s->get("note", ""))
            : std::string("Times were not measured: the quiet phase has not run.")) +
         "</p>";
}

const char* kStyle = R"(
:root{--bg:#fff;--fg:#1b1f24;--soft:#5b6470;--line:#d9dee4;--panel:#f6f8fa;--accent:#0b62a8}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--soft:#9aa4b0;--line:#333a43;--panel:#1c2127;--accent:#6cb6ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:24px 18px 60px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.55rem;margin:0 0 4px}h2{font-size:1.15rem;margin:34px 0 8px;border-bottom:1px solid var(--line);padding-bottom:4px}
p,li{max-width:78ch}.note{color:var(--soft);font-size:.92em}a{color:var(--accent)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.93em;margin:8px 0}
th,td{padding:4px 8px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}thead th{white-space:normal;vertical-align:bottom;max-width:9em}th:first-child,td:first-child{text-align:left}
thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:12px}
figure{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px}figcaption{text-align:right;font-size:.82em}
svg{width:100%;height:auto;display:block}svg text{fill:var(--fg);font:11px system-ui,sans-serif}svg .title{font-weight:600;font-size:12px}
svg .tick,svg .label{fill:var(--soft)}.grid{stroke:var(--line)}.chance{stroke:var(--soft);stroke-dasharray:4 4}
.legend span{display:inline-block;margin-right:14px;white-space:nowrap}.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:5px}
.solved{color:#12805c;font-weight:700}code,pre{background:var(--panel);border-radius:5px;padding:1px 4px;font-size:.9em}pre{padding:10px;overflow-x:auto;border:1px solid var(--line)}
ul.short{padding-left:20px}ul.short b{font-weight:600}
@media print{body{max-width:none;font-size:11px}figure{break-inside:avoid}.csv{display:none}:root{--bg:#fff;--fg:#000;--panel:#fff}}
)";

}  // namespace

std::string html_report(const Json& results, const Json& timings, const Json& provenance) {
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
    head.push_back(html_escape(t) + "<br><small>" +
                   html_escape(words_of(info.at("primary").as_string())) + " @" +
                   std::to_string(info.at("primary_length").as_int()) + "</small>");
  }
  for (const char* c :
       {"state bytes", "train<br>ktok/s", "decode us<br>@64", "<br>@1k", "<br>@16k", "<br>@64k"})
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
  h += "</tbody></table></div><p class='note'>Median over seeds (hover: each seed). <span "
       "class='solved'>*</span> one seed that solved the task. "
       "The state of attention grows with the sequence; all others keep theirs.</p><ul "
       "class='short'>";
  for (const std::string& t : tasks) {
    const Question* q = question_of(t);
    h +=
        "<li><b>" + html_escape(q ? q->words : t) + ":</b> " + html_escape(verdict(results, t)) +
        (crossing_sentence(results, t).empty() ? ""
                                               : " " + html_escape(crossing_sentence(results, t))) +
        "</li>";
  }
  h += "<li><b>cost:</b> " + html_escape(cost_sentence(results, timings)) + "</li></ul>";
  h += "<p class='note'>Brackets are 95 % intervals: Wilson's for the share of seeds that solved a "
       "task, Student's t for the paired difference over seeds. No arm is declared the winner: the "
       "questions are different.</p>";
  h += legend(arms);

  h += "<h2>Length generalisation</h2><div class='charts'>";
  for (const std::string& t : tasks) h += length_chart(results, t, arms);
  h += "</div><h2>Quality against decode cost</h2><div class='charts'>";
  for (const std::string& t : tasks) h += cost_chart(results, timings, t, arms);
  h += "</div><h2>Learning curves</h2><div class='charts'>";
  for (const std::string& t : tasks) h += curve_chart(results, t, arms);
  for (const std::string& t : tasks) h += validation_chart(results, t, arms);
  h += "</div>";
  std::string positions;
  for (const std::string& t : tasks) positions += position_chart(results, t, arms);
  if (!positions.empty())
    h += "<h2>Loss by position</h2><div class='charts'>" + positions + "</div>";

  h += costs_section(results, timings);
  h += "<h2>What was compared</h2><p>Equal for all arms: parameters (matched by <code>" +
       html_escape(plan.at("model").at("match").as_string()) +
       "</code>), training tokens, data and their order, optimiser and schedule, width, depth. "
       "Different by design: the mixer, and the MLP width that pays for the "
       "mixer's size.</p><div class='wide'><table><thead>" +
       table_row({"task", "arm", "layers", "parameters", "MLP width"}, "th") + "</thead><tbody>";
  for (const std::string& t : tasks) {
    const Json& info = results.at("tasks").at(t);
    for (const std::string& arm : arms) {
      const Json* a = info.find("arms") ? info.at("arms").find(arm) : nullptr;
      if (!a) continue;
      std::string layers;
      for (const Json& l : a->at("model").at("layers").as_array())
        layers += (layers.empty() ? "" : ", ") + l.as_string();
      h += table_row({html_escape(t), html_escape(arm), html_escape(layers),
                      a->at("parameters").dump(), a->at("model").at("mlp_hidden").dump()},
                     "td");
    }
  }
  h += "</tbody></table></div>";
  if (plan.at("model").get("recipe", "default") == "default") {
    h += "<p class='note'>Declared difference: short convolutions are as each architecture "
         "publishes them (mLSTM, Mamba-2 and Gated DeltaNet have one of width 4, "
         "attention and sLSTM none). The recipe \"uniform\" gives every linear arm the same "
         "one.</p>";
  }
  if (results.at("failed").size() > 0) {
    h += "<h2>Failed runs</h2><ul>";
    for (const Json& f : results.at("failed").as_array()) {
      h += "<li><code>" + html_escape(f.at("id").as_string()) +
           "</code>: " + html_escape(f.at("message").as_string()) + "</li>";
    }
    h += "</ul>";
  }
  h += "<h2>Negative results and limits</h2><ul><li>One recipe for all arms, not tuned per arm: a "
       "different learning rate may change an order.</li>"
       "<li>Small models and small budgets: what holds here need not hold at scale.</li><li>An "
       "interval over " +
       std::to_string(plan.at("seeds").size()) +
       " seeds is wide; \"undecided\" is not \"equal\".</li>";
  for (const std::string& t : tasks) {
    const Question* q = question_of(t);
    if (!q || std::isnan(q->solved)) continue;
    std::string failed;
    for (const std::string& arm : arms) {
      const Cell c = cell(results, t, arm);
      if (!c.values.empty() && c.solved == 0) failed += (failed.empty() ? "" : ", ") + arm;
    }
    if (!failed.empty())
      h += "<li>" + html_escape(t) + ": solved by no seed of " + html_escape(failed) + ".</li>";
  }
  double worst = 1;
  for (const Json& r : results.at("runs").as_array()) {
    for (const auto& [length, agreement] : r.at("mode_agreement").as_object())
      worst = std::min(worst, agreement.as_double());
  }
  h += format(
      "</ul><p>Every trained model was evaluated over whole sequences and one position at a time; "
      "the two agreed in their prediction on at least %.2f %% of "
      "scored positions in every run and length.</p>",
      100 * worst);

  h += "<h2>Provenance</h2><div class='wide'><table><tbody>";
  h += table_row({"plan SHA-256", "<code>" + results.at("plan_sha256").as_string() + "</code>"},
                 "td");
  for (const auto& [key, value] : provenance.as_object()) {
    h += table_row(
        {html_escape(key),
         "<code>" + html_escape(value.is_string() ? value.as_string() : value.dump()) + "</code>"},
        "td");
  }
  for (const std::string& t : tasks) {
    for (const Json& r : results.at("runs").as_array()) {
      if (r.at("task").as_string() != t || !r.find("data")) continue;
      for (const auto& [key, value] : r.at("data").as_object()) {
        h += table_row(
            {html_escape(t + " " + key),
             "<code>" + html_escape(value.is_string() ? value.as_string() : value.dump()) +
                 "</code>"},
            "td");
      }
      break;
    }
  }
  h += "</tbody></table></div><h2>Reproduce</h2><p>The same plan gives the same weights and the "
       "same <code>results.json</code>, bit for bit, on the same kind of processor. "
       "Every number above traces to a run, a seed and the plan in the ledger.</p><pre>" +
       html_escape(provenance.get("command", "subquad compare")) + "</pre></body></html>\n";
  return h;
}

}  // namespace subquad
