#include "subquad/study/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "subquad/study/chart.h"
#include "subquad/study/statistics.h"

namespace subquad {
namespace {

template <class... A>
std::string format(const char* pattern, A... values) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

// One column of the table: what a task is about and when a seed counts as solved.
struct Question {
  const char* task;
  const char* heading;  // short
  const char* words;    // what it asks
  double solved;        // value at which a seed counts as solved; NaN: not a solved/unsolved task
  bool higher;
};
const Question kQuestions[] = {
    {"parity", "parity", "tracking (parity of a bit string at 32 times the training length)", 0.99,
     true},
    {"s3", "S3", "tracking (products in S3 at 32 times the training length)", 0.95, true},
    {"anbn", "anbn",
     "counting (where the model stops, as a share of the true count, at 8 times the training "
     "length)",
     0.95, true},
    {"plurality", "plurality",
     "counting (most frequent of 16 symbols at 8 times the training length)", 0.95, true},
    {"mqar", "mqar", "recall (8 key-value pairs with 8 times the trained filler)", 0.9, true},
    {"code", "code", "code (bits per byte of unseen projects)", NAN, false},
    {"text", "text", "text (bits per byte of held-out text)", NAN, false},
    {"tokens", "tokens", "the given token task", 0.95, true},
};

const Question* question_of(const std::string& task) {
  for (const Question& q : kQuestions) {
    if (task == q.task) return &q;
  }
  return nullptr;
}

std::vector<std::string> names(const Json& list) {
  std::vector<std::string> out;
  for (const Json& v : list.as_array()) out.push_back(v.as_string());
  return out;
}

std::vector<std::string> tasks_of(const Json& results) {
  std::vector<std::string> out;
  for (const auto& [task, info] : results.at("tasks").as_object()) out.push_back(task);
  return out;
}

const Json* metric(const Json& run, const std::string& name, std::int64_t length,
                   const char* split = "test") {
  for (const Json& m : run.at("metrics").as_array()) {
    if (m.at("name").as_string() == name && m.at("length").as_int() == length &&
        m.at("split").as_string() == split)
      return &m;
  }
  return nullptr;
}

void for_runs(const Json& results, const std::string& task, const std::string& arm,
              const std::function<void(const Json&)>& fn) {
  for (const Json& r : results.at("runs").as_array()) {
    if (r.at("task").as_string() == task && r.at("arm").as_string() == arm) fn(r);
  }
}

// What "better" means: for the stop ratio stopping too late (2 = never) is as wrong as too early.
double goodness(const Json& task_info, double value) {
  const std::string primary = task_info.at("primary").as_string();
  if (primary == "stop_ratio") return 1 - std::abs(1 - value);
  return primary == "bits_per_byte" ? -value : value;
}

Cell cell(const Json& results, const std::string& task, const std::string& arm) {
  const Json& info = results.at("tasks").at(task);
  const Question* q = question_of(task);
  Cell c;
  for_runs(results, task, arm, [&](const Json& r) {
    const Json* m = metric(r, info.at("primary").as_string(), info.at("primary_length").as_int());
    if (!m) return;
    c.values.push_back(m->at("value").as_double());
    if (q && !std::isnan(q->solved) && goodness(info, c.values.back()) >= q->solved) ++c.solved;
  });
  return c;
}

std::string show_value(const std::string& task, const Cell& c) {
  if (c.values.empty()) return "-";
  const double m = median_of(c.values);
  return task == "code" || task == "text" ? format("%.3f", m) : format("%.2f", m);
}

double speed(const Json& timings, const std::string& arm, const char* key) {
  const Json* s = timings.find("speed");
  if (!s || !s->find("arms") || !s->at("arms").find(arm)) return NAN;
  const Json* v = s->at("arms").at(arm).find(key);
  return v ? v->as_double() : NAN;
}

double median_timing(const Json& results, const Json& timings, const std::string& arm,
                     const char* key) {
  std::vector<double> x;
  for (const Json& r : results.at("runs").as_array()) {
    if (r.at("arm").as_string() != arm) continue;
    const Json* t = timings.at("runs").find(r.at("id").as_string());
    if (t && t->find(key)) x.push_back(t->at(key).as_double());
  }
  return x.empty() ? NAN : median_of(x);
}

double state_at(const Json& results, const std::string& arm, const char* depth) {
  for (const auto& [task, info] : results.at("tasks").as_object()) {
    const Json* a = info.find("arms") ? info.at("arms").find(arm) : nullptr;
    if (a) return a->at("state_bytes").at(depth).as_double();
  }
  return NAN;
}

std::string or_dash(double v, const char* pattern) {
  return std::isnan(v) ? "-" : format(pattern, v);
}

std::string state_text(const Json& results, const std::string& arm) {
  const double a = state_at(results, arm, "64"), b = state_at(results, arm, "65536");
  return std::isnan(a) ? "-" : b > 1.5 * a ? "grows" : short_number(a);
}

// "mlstm .63, xlstm[1:1] .60; difference of the best two .03 [-.01, .07]"
std::string verdict(const Json& results, const std::string& task) {
  const Question* q = question_of(task);
  const bool higher = q ? q->higher : true;
  std::vector<std::pair<double, std::string>> order;
  for (const std::string& arm : names(results.at("plan").at("arms"))) {
    const Cell c = cell(results, task, arm);
    if (!c.values.empty()) order.emplace_back(median_of(c.values), arm);
  }
  if (order.empty()) return "no finished run yet.";
  const Json& info = results.at("tasks").at(task);
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return goodness(info, a.first) > goodness(info, b.first);
  });
  const char* pattern = higher ? "%.2f" : "%.3f";
  std::string text;
  for (std::size_t i = 0; i < order.size(); ++i) {
    text += (i ? ", " : "") + order[i].second + " " + format(pattern, order[i].first);
  }
  if (order.size() < 2) return text + ".";
  // Paired by seed: the same data order for both arms.
  std::vector<double> differences;
  for_runs(results, task, order[0].second, [&](const Json& a) {
    for_runs(results, task, order[1].second, [&](const Json& b) {
      if (a.at("seed").as_int() != b.at("seed").as_int()) return;
      const Json* x = metric(a, info.at("primary").as_string(), info.at("primary_length").as_int());
      const Json* y = metric(b, info.at("primary").as_string(), info.at("primary_length").as_int());
      if (x && y) differences.push_back(x->at("value").as_double() - y->at("value").as_double());
    });
  });
  if (differences.size() >= 2) {
    const Interval i = t_interval(differences);
    const std::string numbers =
        higher ? format("%+.2f [%+.2f, %+.2f]", mean_of(differences), i.low, i.high)
               : format("%+.3f [%+.3f, %+.3f]", mean_of(differences), i.low, i.high);
    text +=
        "; the first two differ by " + numbers + (i.low <= 0 && i.high >= 0 ? ": undecided." : ".");
  } else {
    text += "; one seed only: no interval.";
  }
  return text;
}

std::string cost_sentence(const Json& results, const Json& timings) {
  const char* depths[] = {"decode_us_64", "decode_us_1024", "decode_us_16384", "decode_us_65536"};
  const double positions[] = {64, 1024, 16384, 65536};
  std::string text;
  const std::vector<std::string> arms = names(results.at("plan").at("arms"));
  if (std::find(arms.begin(), arms.end(), "attention") == arms.end() ||
      std::isnan(speed(timings, "attention", depths[0]))) {
    return "decode cost was not measured against attention.";
  }
  for (const std::string& arm : arms) {
    if (arm == "attention" || std::isnan(speed(timings, arm, depths[0]))) continue;
    double crossing = NAN;
    for (int i = 0; i < 4 && std::isnan(crossing); ++i) {
      const double own = speed(timings, arm, depths[i]),
                   other = speed(timings, "attention", depths[i]);
      if (own <= other) {
        if (i == 0) {
          crossing = positions[0];
        } else {  // log-linear between the two depths
          const double a = std::log(speed(timings, arm, depths[i - 1]) /
                                    speed(timings, "attention", depths[i - 1]));
          const double b = std::log(own / other);
          crossing = std::exp(std::log(positions[i - 1]) +
                              (std::log(positions[i]) - std::log(positions[i - 1])) * a / (a - b));
        }
      }
    }
    text += (text.empty() ? "" : ", ") + arm +
            (std::isnan(crossing) ? " dearer up to 64k"
             : crossing <= 64     ? " cheaper from the start"
                                  : " cheaper from T = " + short_number(crossing));
  }
  return "decoding one token against attention: " + text + ".";
}

std::string words_of(std::string metric) {
  std::replace(metric.begin(), metric.end(), '_', ' ');
  return metric;
}

const char* kColumns[] = {"decode_us_64", "decode_us_1024", "decode_us_16384", "decode_us_65536"};

}  // namespace

std::string terminal_summary(const Json& results, const Json& timings) {
  const auto tasks = tasks_of(results);
  const auto arms = names(results.at("plan").at("arms"));
  std::string out = format("%-22s", "");
  for (const std::string& t : tasks)
    out += format(" %9s", question_of(t) ? question_of(t)->heading : t.c_str());
  out += format(" %8s %8s  %s\n%-22s", "state", "train", "decode us/token", "");
  for (const std::string& t : tasks) {
    const Json& info = results.at("tasks").at(t);
    const std::string p = info.at("primary").as_string();
    const std::string unit = p == "stop_ratio"      ? "stop"
                             : p == "bits_per_byte" ? "bits/byte"
                                                    : "acc";
    const std::int64_t factor = info.at("primary_length").as_int() /
                                std::max<std::int64_t>(1, info.at("train_length").as_int());
    out += format(" %9s", (unit + (factor > 1 ? " " + std::to_string(factor) + "x" : "")).c_str());
  }
  out += format(" %8s %8s  %5s %5s %5s %5s\n", "bytes", "ktok/s", "@64", "@1k", "@16k", "@64k");
  for (const std::string& arm : arms) {
    out += format("%-22s", arm.c_str());
    for (const std::string& t : tasks) {
      const Cell c = cell(results, t, arm);
      const std::string stars(static_cast<std::size_t>(std::max(0, c.solved)), '*');
      out += format(" %5s%-4s", show_value(t, c).c_str(), stars.substr(0, 4).c_str());
    }
    out += format(
        " %8s %8s ", state_text(results, arm).c_str(),
        or_dash(median_timing(results, timings, arm, "tokens_per_second") / 1000, "%.0f").c_str());
    for (const char* column : kColumns)
      out += format(" %5s", or_dash(speed(timings, arm, column), "%.0f").c_str());
    out += "\n";
  }
  const std::size_t seeds = results.at("plan").at("seeds").size();
  const bool look = results.at("plan").get("level", "look") == "look";
  out += format(
      "\nMedian over seeds; * = a seed that solved the task. In short (%zu seed%s, one recipe, "
      "untuned: %s)\n",
      seeds, seeds == 1 ? "" : "s", look ? "indicative, not a claim" : "claim level");
  for (const std::string& t : tasks)
    out += format("  %-9s ", t.c_str()) + verdict(results, t) + "\n";
  out += "  cost      " + cost_sentence(results, timings) + "\n";
  return out;
}

namespace {

std::string csv_link(const std::string& name, const std::string& csv) {
  std::string encoded;
  for (const char raw : csv) {
    const auto c = static_cast<unsigned char>(raw);
    if (std::isalnum(c) || raw == '-' || raw == '.' || raw == '_' || raw == ',') {
      encoded += raw;
    } else {
      encoded += format("%%%02X", static_cast<unsigned>(c));
    }
  }
  return "<a class='csv' download='" + name + ".csv' href='data:text/csv;charset=utf-8," + encoded +
         "'>CSV</a>";
}

std::string legend(const std::vector<std::string>& arms) {
  std::string out = "<p class='legend'>";
  for (const std::string& arm : arms) {
    out +=
        "<span><i style='background:" + arm_colour(arm) + "'></i>" + html_escape(arm) + "</span>";
  }
  return out + "</p>";
}

std::string figure(const std::string& chart, const std::string& name, const std::string& csv) {
  return "<figure>" + chart + "<figcaption>" + csv_link(name, csv) + "</figcaption></figure>";
}

std::string length_chart(const Json& results, const std::string& task,
                         const std::vector<std::string>& arms) {
  const Json& info = results.at("tasks").at(task);
  const std::string primary = info.at("primary").as_string();
  std::vector<Series> series;
  std::string csv = "arm,seed,length," + primary + "\n";
  std::vector<double> lengths;
  for (const std::string& arm : arms) {
    Series s{arm, arm_colour(arm), {}, {}};
    std::vector<std::pair<std::int64_t, std::vector<double>>> by_length;
    for_runs(results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array()) {
        if (m.at("name").as_string() != primary || m.at("split").as_string() != "test") continue;
        const std::int64_t length = m.at("length").as_int();
        const double v = m.at("value").as_double();
        s.dots.push_back({static_cast<double>(length), v});
        csv += arm + "," + std::to_string(r.at("seed").as_int()) + "," + std::to_string(length) +
               "," + m.at("value").dump() + "\n";
        auto it = std::find_if(by_length.begin(), by_length.end(),
                               [&](const auto& e) { return e.first == length; });
        if (it == by_length.end()) it = by_length.insert(by_length.end(), {length, {}});
        it->second.push_back(v);
      }
    });
    for (const auto& [length, values] : by_length) {
      s.line.push_back({static_cast<double>(length), median_of(values)});
      if (std::find(lengths.begin(), lengths.end(), static_cast<double>(length)) == lengths.end())
        lengths.push_back(static_cast<double>(length));
    }
    if (!s.dots.empty()) series.push_back(s);
  }
  if (lengths.size() < 2) return "";
  const bool accuracy = primary != "bits_per_byte";
  return figure(
      line_chart({.title = task + ": " + primary + " by length (dots: seeds, line: median)",
                  .x_label = "sequence length",
                  .y_label = primary,
                  .log_x = true,
                  .y_low = accuracy ? -0.03 : 0,
                  .y_high = accuracy ? (primary == "stop_ratio" ? 2.05 : 1.03) : 0,
                  .x_ticks = lengths,
                  .reference = primary == "stop_ratio" ? 1.0 : info.at("chance").as_double(),
                  .reference_label = primary == "stop_ratio" ? "exact" : "chance"},
                 series),
      task + "-by-length", csv);
}

std::string curve_chart(const Json& results, const std::string& task,
                        const std::vector<std::string>& arms) {
  std::vector<Series> series;
  std::string csv = "arm,seed,tokens,loss\n";
  for (const std::string& arm : arms) {
    for_runs(results, task, arm, [&](const Json& r) {
      Series s{arm + " seed " + std::to_string(r.at("seed").as_int()), arm_colour(arm), {}, {}};
      for (const Json& p : r.at("curve").as_array()) {
        s.line.push_back({p[0].as_double(), std::max(p[1].as_double(), 1e-5)});
        csv += arm + "," + std::to_string(r.at("seed").as_int()) + "," + p[0].dump() + "," +
               p[1].dump() + "\n";
      }
      if (!s.line.empty()) series.push_back(s);
    });
  }
  const bool bytes = task == "code" || task == "text";
  return figure(line_chart({.title = task + ": training loss, every seed",
                            .x_label = "training tokens",
                            .y_label = "loss (nats)",
                            .log_y = !bytes,
                            .x_ticks = {}},
                           series),
                task + "-learning-curve", csv);
}

std::string cost_chart(const Json& results, const Json& timings, const std::string& task,
                       const std::vector<std::string>& arms) {
  std::vector<Series> series;
  std::string csv = "arm,decode_us_16384,value\n";
  for (const std::string& arm : arms) {
    const double us = speed(timings, arm, "decode_us_16384");
    const Cell c = cell(results, task, arm);
    if (std::isnan(us) || c.values.empty()) continue;
    Series s{arm, arm_colour(arm), {}, {}};
    for (double v : c.values) {
      s.dots.push_back({us, v});
      csv += arm + "," + format("%.2f,%.6g\n", us, v);
    }
    series.push_back(s);
  }
  if (series.empty()) return "";
  return figure(line_chart({.title = task + ": quality against decode cost",
                            .x_label = "us per token at depth 16k",
                            .y_label = results.at("tasks").at(task).at("primary").as_string(),
                            .log_x = true,
                            .x_ticks = {}},
                           series),
                task + "-quality-cost", csv);
}

std::string position_chart(const Json& results, const std::string& task,
                           const std::vector<std::string>& arms) {
  std::vector<Series> series;
  std::string csv = "arm,seed,position,bits_per_byte\n";
  for (const std::string& arm : arms) {
    Series s{arm, arm_colour(arm), {}, {}};
    for_runs(results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array()) {
        const std::string name = m.at("name").as_string();
        int from = 0, to = 0;
        if (m.at("split").as_string() != "test" ||
            std::sscanf(name.c_str(), "loss_at_%d_%d", &from, &to) != 2)
          continue;
        s.dots.push_back(
            {std::sqrt(static_cast<double>(std::max(from, 1)) * to), m.at("value").as_double()});
        csv += arm + "," + std::to_string(r.at("seed").as_int()) + "," + std::to_string(to) + "," +
               m.at("value").dump() + "\n";
      }
    });
    if (!s.dots.empty()) series.push_back(s);
  }
  if (series.empty()) return "";
  return figure(line_chart({.title = task + ": loss by position in the window",
                            .x_label = "position",
                            .y_label = "bits/byte",
                            .log_x = true,
                            .x_ticks = {}},
                           series),
                task + "-by-position", csv);
}

std::string table_row(const std::vector<std::string>& cells, const char* tag) {
  std::string out = "<tr>";
  for (const std::string& c : cells) out += std::string("<") + tag + ">" + c + "</" + tag + ">";
  return out + "</tr>";
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
  const auto arms = names(plan.at("arms"));
  const std::string name = plan.at("name").as_string();
  const bool look = plan.get("level", "look") == "look";
  std::string h =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
      "content='width=device-width,initial-scale=1'><title>subquad study " +
      html_escape(name) + "</title><style>" + kStyle + "</style></head><body>";
  h +=
      "<h1>Study " + html_escape(name) + "</h1><p class='note'>" +
      html_escape(plan.get("question", "")) + " " +
      format("%zu arms, %zu tasks, %zu seeds; %zu runs finished, %zu failed. ", arms.size(),
             tasks.size(), plan.at("seeds").size(), results.at("runs").size(),
             results.at("failed").size()) +
      (look
           ? "Level look: one recipe, untuned. Read every difference as indicative, not as a claim."
           : "Level claim.") +
      "</p>";

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
                         ? " <span class='solved' title='" + std::to_string(c.solved) + " of " +
                               std::to_string(c.values.size()) + " seeds solved it'>" +
                               std::string(static_cast<std::size_t>(c.solved), '*') + "</span>"
                         : ""));
    }
    row.push_back(state_text(results, arm));
    row.push_back(
        or_dash(median_timing(results, timings, arm, "tokens_per_second") / 1000, "%.0f"));
    for (const char* column : kColumns) row.push_back(or_dash(speed(timings, arm, column), "%.0f"));
    h += table_row(row, "td");
  }
  h += "</tbody></table></div><p class='note'>Median over seeds (hover: each seed). <span "
       "class='solved'>*</span> one seed that solved the task. "
       "The state of attention grows with the sequence; all others keep theirs.</p><ul "
       "class='short'>";
  for (const std::string& t : tasks) {
    const Question* q = question_of(t);
    h += "<li><b>" + html_escape(q ? q->words : t) + ":</b> " + html_escape(verdict(results, t)) +
         "</li>";
  }
  h += "<li><b>cost:</b> " + html_escape(cost_sentence(results, timings)) + "</li></ul>";
  h += "<p class='note'>Intervals are 95 % Student t intervals of the paired difference over "
       "seeds. No arm is declared the winner: the questions are different.</p>";
  h += legend(arms);

  h += "<h2>Length generalisation</h2><div class='charts'>";
  for (const std::string& t : tasks) h += length_chart(results, t, arms);
  h += "</div><h2>Quality against decode cost</h2><div class='charts'>";
  for (const std::string& t : tasks) h += cost_chart(results, timings, t, arms);
  h += "</div><h2>Learning curves</h2><div class='charts'>";
  for (const std::string& t : tasks) h += curve_chart(results, t, arms);
  h += "</div>";
  std::string positions;
  for (const std::string& t : tasks) positions += position_chart(results, t, arms);
  if (!positions.empty())
    h += "<h2>Loss by position</h2><div class='charts'>" + positions + "</div>";

  h += "<h2>Costs</h2><div class='wide'><table><thead>" +
       table_row({"arm", "parameters", "train MAC/token", "state @64", "state @1k", "state @16k",
                  "state @64k", "train ktok/s", "peak MB"},
                 "th") +
       "</thead><tbody>";
  std::string csv =
      "arm,task,parameters,training_macs_per_token,state_64,state_1024,state_16384,state_65536\n";
  for (const std::string& arm : arms) {
    const Json* a = nullptr;
    for (const auto& [task, info] : results.at("tasks").as_object()) {
      if (!info.find("arms") || !info.at("arms").find(arm)) continue;
      a = info.at("arms").find(arm);
      csv += arm + "," + task + "," + a->at("parameters").dump() + "," +
             a->at("training_macs_per_token").dump();
      for (const auto& [depth, bytes] : a->at("state_bytes").as_object()) csv += "," + bytes.dump();
      csv += "\n";
    }
    if (!a) continue;
    std::vector<std::string> row = {html_escape(arm), short_number(a->at("parameters").as_double()),
                                    short_number(a->at("training_macs_per_token").as_double())};
    for (const auto& [depth, bytes] : a->at("state_bytes").as_object())
      row.push_back(short_number(bytes.as_double()));
    row.push_back(
        or_dash(median_timing(results, timings, arm, "tokens_per_second") / 1000, "%.0f"));
    row.push_back(or_dash(median_timing(results, timings, arm, "peak_rss_bytes") / 1e6, "%.0f"));
    h += table_row(row, "td");
  }
  h += "</tbody></table></div><p class='note'>Sizes of the last task's model; bytes for one "
       "sequence in f32. Multiply-adds are counted per operator from the "
       "recurrent form, never as 6ND. Training speed is that of the study's own workers, two at a "
       "time; decode times come from a separate quiet phase. " +
       csv_link("costs", csv) + "</p>";
  if (const Json* s = timings.find("speed")) {
    h += "<p class='note'>Quiet phase: " + html_escape(s->get("note", "")) + "</p>";
  }

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
      for (const std::string& l : names(a->at("model").at("layers")))
        layers += (layers.empty() ? "" : ", ") + l;
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
