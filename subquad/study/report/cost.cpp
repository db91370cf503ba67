// Costs: decoding and state against the context, memory and training time, fronts, totals.
#include <algorithm>
#include <cmath>

#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

constexpr double kDepths[] = {64, 1024, 16384, 65536};

// A worker's own figure of the task's runs; NaN if unknown.
double run_timing(const View& view, const std::string& task, const std::string& arm,
                  const char* key) {
  std::vector<double> x;
  const Json* runs = view.timings.find("runs");
  for_runs(view.results, task, arm, [&](const Json& r) {
    const Json* t = runs ? runs->find(r.at("id").as_string()) : nullptr;
    const Json* v = t ? t->find(key) : nullptr;
    if (v && v->is_number()) x.push_back(v->as_double());
  });
  return x.empty() ? NAN : median_of(x);
}

double state_bytes(const View& view, const std::string& task, const std::string& arm,
                   const char* depth) {
  const Json* arms = view.task(task).find("arms");
  const Json* a = arms ? arms->find(arm) : nullptr;
  const Json* bytes = a ? a->find("state_bytes") : nullptr;
  const Json* v = bytes ? bytes->find(depth) : nullptr;
  return v ? v->as_double() : NAN;
}

std::string decode_chart(const View& view) {
  std::vector<Series> series;
  std::string csv = "arm,context,decode_us_per_token\n";
  for (const std::string& arm : view.arms) {
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    for (std::size_t i = 0; i < std::size(kDepths); ++i) {
      const double us = speed(view.timings, arm, kDecodeColumns[i]);
      if (std::isnan(us)) continue;
      s.line.push_back({kDepths[i], us});
      csv += csv_cell(arm) + "," + csv_cell(kDepths[i]) + "," + csv_cell(us) + "\n";
    }
    s.dots = s.line;
    if (!s.line.empty()) series.push_back(s);
  }
  if (series.empty()) return "";
  return figure(line_chart({.title = "Decoding: time per token",
                            .x_label = "tokens of context",
                            .y_label = "us per token",
                            .log_x = true,
                            .log_y = true,
                            .x_ticks = {64, 1024, 16384, 65536},
                            .x_tick_labels = {"64", "1k", "16k", "64k"}},
                           series),
                "decode", csv);
}

std::string state_chart(const View& view, const std::string& task) {
  std::vector<Series> series;
  std::string csv = "arm,context,state_bytes\n";
  const char* depths[] = {"64", "1024", "16384", "65536"};
  for (const std::string& arm : view.arms) {
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    for (std::size_t i = 0; i < std::size(depths); ++i) {
      const double bytes = state_bytes(view, task, arm, depths[i]);
      if (std::isnan(bytes)) continue;
      s.line.push_back({kDepths[i], bytes});
      csv += csv_cell(arm) + "," + depths[i] + "," + csv_cell(bytes) + "\n";
    }
    s.dots = s.line;
    if (!s.line.empty()) series.push_back(s);
  }
  if (series.empty()) return "";
  return figure(line_chart({.title = "State: bytes kept per sequence",
                            .x_label = "tokens of context",
                            .y_label = "bytes (f32)",
                            .log_x = true,
                            .log_y = true,
                            .x_ticks = {64, 1024, 16384, 65536},
                            .x_tick_labels = {"64", "1k", "16k", "64k"}},
                           series),
                "state", csv);
}

// One mark per run.
std::string runs_chart(const View& view, const char* key, double factor, const std::string& title,
                       const std::string& x_label, const std::string& name) {
  std::vector<DotRow> rows;
  std::string csv = "arm,run,value\n";
  const Json* runs = view.timings.find("runs");
  for (const std::string& arm : view.arms) {
    DotRow row{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    std::vector<double> x;
    for (const Json& r : view.results.at("runs").as_array()) {
      const Json* t = r.get("arm", "") == arm && runs ? runs->find(r.get("id", "")) : nullptr;
      const Json* v = t ? t->find(key) : nullptr;
      if (!v || !v->is_number()) continue;
      x.push_back(v->as_double() * factor);
      row.dots.push_back({x.back(), 0, r.get("id", "") + format(": %.4g", x.back())});
      csv += csv_cell(arm) + "," + csv_cell(r.get("id", "")) + "," + csv_cell(x.back()) + "\n";
    }
    if (x.empty()) continue;
    row.middle = median_of(x);
    row.text = format("%.3g", row.middle);
    row.note = arm + ": median " + row.text;
    rows.push_back(std::move(row));
  }
  if (rows.empty()) return "";
  return figure(
      dot_chart({.title = title, .x_label = x_label, .reference = 0, .show_reference = true}, rows),
      name, csv);
}

// Quality as it is drawn: a stop ratio as its distance from exact.
double drawn(const View& view, const std::string& task, double value) {
  return view.primary(task) == "stop_ratio" ? goodness(view.task(task), value) : value;
}

// Through the arms that no other arm beats in both, by median.
Series front_line(const View& view, const std::string& task,
                  const std::map<std::string, double>& cost) {
  struct Place {
    double cost, good, y;
  };
  std::vector<Place> places;
  for (const auto& [arm, c] : cost) {
    const Cell own = cell(view.results, task, arm);
    if (own.values.empty() || std::isnan(c)) continue;
    const double median = median_of(own.values);
    places.push_back({c, goodness(view.task(task), median), drawn(view, task, median)});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.cost < b.cost || (a.cost == b.cost && a.good > b.good);
  });
  Series s{.name = "front: no arm is better and cheaper",
           .colour = "currentColor",
           .line = {},
           .dots = {},
           .width = 1.2,
           .opacity = 0.6};
  double best = -INFINITY;
  for (const Place& p : places) {
    if (p.good <= best) continue;
    if (!s.line.empty()) s.line.push_back({p.cost, s.line.back().y});
    best = p.good;
    s.line.push_back({p.cost, p.y});
  }
  return s;
}

std::string front_chart(const View& view, const std::string& task, const std::string& x_label,
                        const std::string& name, const std::map<std::string, double>& cost) {
  const std::string primary = view.primary(task);
  const bool bits = lower_is_better(primary), stop = primary == "stop_ratio";
  std::vector<Series> series = {front_line(view, task, cost)};
  std::string csv = "arm,run,seed," + name + "," + primary + "\n";
  for (const auto& [arm, c] : cost) {
    if (std::isnan(c)) continue;
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    std::vector<double> y;
    for (const Observation& o : primary_observations(view, task, arm)) {
      y.push_back(drawn(view, task, o.value));
      s.dots.push_back({c, y.back(), note_of(o) + format(", cost %.4g", c)});
      csv += csv_cell(arm) + "," + csv_cell(o.run) + "," + std::to_string(o.seed) + "," +
             csv_cell(c) + "," + csv_cell(o.value) + "\n";
    }
    if (y.empty()) continue;
    series.push_back(s);
    s.dots = {{c, median_of(y), arm + format(": median %.4g, cost %.4g", median_of(y), c)}};
    s.radius = 5.5;
    series.push_back(s);
  }
  if (series.size() == 1) return "";
  std::string probabilities;
  for (const auto& [arm, p] : front_probabilities(view.results, task, cost))
    if (p >= 0.005) probabilities += (probabilities.empty() ? "" : ", ") + arm + format(" %.2f", p);
  return figure(
      line_chart({.title = task + ": quality against " + x_label,
                  .x_label = x_label,
                  .y_label = stop ? "1 - |1 - stop ratio|" : words_of(primary),
                  .log_x = true,
                  .y_low = bits ? 0 : -0.03,
                  .y_high = bits ? 0 : 1.03},
                 series),
      task + "-front-" + name, csv,
      probabilities.empty() ? "" : "on the front with probability: " + html_escape(probabilities));
}

std::string speed_table(const View& view) {
  std::string rows;
  std::string csv =
      "arm,train_tokens_per_second,decode_us_64,decode_us_1024,decode_us_16384,decode_us_65536,"
      "peak_bytes\n";
  for (const std::string& arm : view.arms) {
    const double rate = speed(view.timings, arm, "train_tokens_per_second"), us = 1e6 / rate;
    std::vector<std::string> row = {
        arm_label(view, arm), speed_text(view.timings, arm, "train_tokens_per_second", 1e-3),
        std::isnan(us) ? "-" : format(speed_disturbed(view.timings) ? "~%.2f" : "%.2f", us)};
    csv += csv_cell(arm) + "," + csv_cell(rate);
    for (const char* column : kDecodeColumns) {
      row.push_back(speed_text(view.timings, arm, column));
      csv += "," + csv_cell(speed(view.timings, arm, column));
    }
    const double peak = median_timing(view.results, view.timings, arm, "peak_rss_bytes");
    row.push_back(std::isnan(peak) ? "-" : format("%.0f", peak / 1e6));
    csv += "," + csv_cell(peak) + "\n";
    rows += table_row(row);
  }
  return table({"arm", "training, 1000 tokens/s", "training, us per token",
                "decode, us per token @64", "@1k", "@16k", "@64k", "peak memory of a run, MB"},
               rows) +
         note(csv_link("costs", csv));
}

// Speeds of the same task in other sizes.
std::string other_sizes(const View& view) {
  const Json* own = view.timings.find("speed");
  const Json* others = own ? own->find("other_sizes") : nullptr;
  if (!others || !others->is_object()) return "";
  std::string rows;
  for (const auto& [task, measured] : others->as_object()) {
    for (const std::string& arm : view.arms) {
      const Json* a = measured.at("arms").find(arm);
      if (!a) continue;
      const char* busy = measured.get("disturbed", false) ? "~" : "";
      std::vector<std::string> row = {
          html_escape(task), arm_label(view, arm),
          busy + format("%.0f", a->get("train_tokens_per_second", 0.0) / 1000)};
      for (const char* column : kDecodeColumns)
        row.push_back(busy + format("%.0f", a->get(column, 0.0)));
      rows += table_row(row);
    }
  }
  return "<h3>Other sizes</h3>" + table({"task", "arm", "training, 1000 tokens/s",
                                         "decode, us per token @64", "@1k", "@16k", "@64k"},
                                        rows, "second");
}

// What the whole study took, by arm.
std::string totals(const View& view) {
  const Json* runs = view.timings.find("runs");
  std::map<std::string, double> trial_macs;
  if (const Json* tuning = view.results.find("tuning"); tuning && tuning->find("trials")) {
    for (const Json& t : tuning->at("trials").as_array())
      trial_macs[t.get("arm", "")] += t.get("macs", 0.0);
  }
  std::string rows;
  for (const std::string& arm : view.arms) {
    int count = 0;
    double macs = 0, train = 0, evaluate = 0, joules = 0;
    for (const Json& r : view.results.at("runs").as_array()) {
      if (r.get("arm", "") != arm) continue;
      ++count;
      macs += r.get("training_macs_per_token", 0.0) * r.get("tokens", 0.0);
      const Json* t = runs ? runs->find(r.get("id", "")) : nullptr;
      if (!t) continue;
      train += t->get("train_seconds", 0.0);
      evaluate += t->get("evaluate_seconds", 0.0);
      const Json* energy = t->find("package_joules");
      joules += energy && energy->is_number() ? energy->as_double() : 0;
    }
    rows += table_row({arm_label(view, arm), std::to_string(count), short_number(2 * macs),
                       trial_macs.contains(arm) ? short_number(2 * trial_macs[arm]) : "-",
                       format("%.0f", train), format("%.0f", evaluate),
                       joules > 0 ? format("%.0f", joules) : "not measurable"});
  }
  return table({"arm", "runs", "training FLOPs", "tuning FLOPs", "training, worker s",
                "evaluation, worker s", "energy, J"},
               rows);
}

}  // namespace

std::string front_charts(const View& view, const std::string& task) {
  std::map<std::string, double> decode, train, memory, state;
  for (const std::string& arm : view.arms) {
    train[arm] = run_timing(view, task, arm, "train_seconds");
    decode[arm] = speed(view.timings, arm, "decode_us_16384");
    memory[arm] = run_timing(view, task, arm, "peak_rss_bytes") / 1e6;
    state[arm] = state_bytes(view, task, arm, "16384");
  }
  return front_chart(view, task, "training time, s", "training", train) +
         front_chart(view, task, "decode us/token @16k", "decode", decode) +
         front_chart(view, task, "peak memory, MB", "memory", memory) +
         front_chart(view, task, "state bytes @16k", "state", state);
}

std::string cost_section(const View& view) {
  const std::string task = cost_task(view.results, view.timings);
  std::string fronts;
  for (const std::string& t : view.tasks) {
    const std::string own = charts(front_charts(view, t));
    if (!own.empty())
      fronts += t == view.tasks.front() ? own : details("Fronts of " + html_escape(t), own);
  }
  const Json* s = view.timings.find("speed");
  return "<p>In short: " + html_escape(cost_sentence(view.results, view.timings)) + "</p>" +
         legend(view, view.arms) +
         charts(decode_chart(view) + state_chart(view, task) +
                runs_chart(view, "train_seconds", 1, "Training time of each run",
                           "seconds of one worker", "training-time") +
                runs_chart(view, "peak_rss_bytes", 1e-6, "Peak memory of each run", "MB",
                           "peak-memory")) +
         note((s ? "Quiet phase: " + html_escape(s->get("note", "")) + " "
                 : std::string("Decode times were not measured: the quiet phase has not run. ")) +
              "Training times and memory are the workers' own, taken while the study ran; runs of "
              "different tasks have different budgets. Peak memory is that of the whole worker "
              "process.") +
         speed_table(view) + other_sizes(view) + "<h3>Quality against cost</h3>" +
         legend(view, view.arms) + fronts +
         note(
             "Small marks: seeds; large: their median. Up and to the left is better (bits per "
             "byte: down and to the left). The line is the front: arms that no other arm beats in "
             "quality and cost at once; its probability comes from drawing the seeds anew.") +
         details("What the study took, by arm", totals(view));
}

}  // namespace subquad::report
