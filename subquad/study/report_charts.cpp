#include "subquad/study/report_charts.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "subquad/study/chart.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/task/task.h"

namespace subquad {
namespace {

// Arm names hold commas: "gated_deltanet[-1,1]".
std::string field(const std::string& text) { return "\"" + text + "\""; }

std::string figure(const std::string& chart, const std::string& name, const std::string& csv) {
  return "<figure>" + chart + "<figcaption>" + csv_link(name, csv) + "</figcaption></figure>";
}

// Accuracies and stop ratios have one scale in every chart; 0: from the data.
double high_end(const std::string& primary) {
  return primary == "bits_per_byte" ? 0 : primary == "stop_ratio" ? 2.05 : 1.03;
}

}  // namespace

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

std::string legend(const Arms& arms) {
  std::string out = "<p class='legend'>";
  for (const std::string& arm : arms) {
    out +=
        "<span><i style='background:" + arm_colour(arm) + "'></i>" + html_escape(arm) + "</span>";
  }
  return out + "</p>";
}

std::string length_chart(const Json& results, const std::string& task, const Arms& arms) {
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
        csv += field(arm) + "," + std::to_string(r.at("seed").as_int()) + "," +
               std::to_string(length) + "," + m.at("value").dump() + "\n";
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
      line_chart({.title = task + ": " + words_of(primary) + " by length",
                  .x_label = "sequence length",
                  .y_label = words_of(primary),
                  .log_x = true,
                  .y_low = accuracy ? -0.03 : 0,
                  .y_high = high_end(primary),
                  .x_ticks = lengths,
                  .reference = primary == "stop_ratio" ? 1.0 : info.at("chance").as_double(),
                  .reference_label = primary == "stop_ratio" ? "exact" : "chance"},
                 series),
      task + "-by-length", csv);
}

std::string curve_chart(const Json& results, const std::string& task, const Arms& arms) {
  std::vector<Series> series;
  std::string csv = "arm,seed,tokens,loss\n";
  for (const std::string& arm : arms) {
    for_runs(results, task, arm, [&](const Json& r) {
      Series s{arm + " seed " + std::to_string(r.at("seed").as_int()), arm_colour(arm), {}, {}};
      for (const Json& p : r.at("curve").as_array()) {
        s.line.push_back({p[0].as_double(), std::max(p[1].as_double(), 1e-5)});
        csv += field(arm) + "," + std::to_string(r.at("seed").as_int()) + "," + p[0].dump() + "," +
               p[1].dump() + "\n";
      }
      if (!s.line.empty()) series.push_back(s);
    });
  }
  const bool bytes = is_byte_task(task);
  return figure(line_chart({.title = task + ": training loss",
                            .x_label = "training tokens",
                            .y_label = "loss (nats)",
                            .log_y = !bytes,
                            .x_ticks = {}},
                           series),
                task + "-learning-curve", csv);
}

std::string validation_chart(const Json& results, const std::string& task, const Arms& arms) {
  std::vector<Series> series;
  std::string csv = "arm,seed,tokens,validation_bits_per_byte\n";
  for (const std::string& arm : arms) {
    for_runs(results, task, arm, [&](const Json& r) {
      Series s{arm + " seed " + std::to_string(r.at("seed").as_int()), arm_colour(arm), {}, {}};
      for (const Json& p : r.at("curve").as_array()) {
        if (p.size() < 3) continue;
        s.line.push_back({p[0].as_double(), p[2].as_double()});
        csv += field(arm) + "," + std::to_string(r.at("seed").as_int()) + "," + p[0].dump() + "," +
               p[2].dump() + "\n";
      }
      if (!s.line.empty()) series.push_back(s);
    });
  }
  if (series.empty()) return "";
  const double bar = ngram_bits(results, task);
  return figure(line_chart({.title = task + ": validation during training",
                            .x_label = "training bytes",
                            .y_label = "bits per byte",
                            .reference = std::isnan(bar) ? -1 : bar,
                            .reference_label = "n-gram",
                            .show_reference = !std::isnan(bar)},
                           series),
                task + "-validation-curve", csv);
}

std::string cost_chart(const Json& results, const Json& timings, const std::string& task,
                       const Arms& arms) {
  std::vector<Series> series;
  std::string csv = "arm,decode_us_16384,value\n";
  for (const std::string& arm : arms) {
    const double us = speed(timings, arm, "decode_us_16384");
    const Cell c = cell(results, task, arm);
    if (std::isnan(us) || c.values.empty()) continue;
    Series s{arm, arm_colour(arm), {}, {}};
    for (double v : c.values) {
      s.dots.push_back({us, v});
      csv += field(arm) + "," + format("%.2f,%.6g\n", us, v);
    }
    series.push_back(s);
  }
  if (series.empty()) return "";
  const std::string primary = results.at("tasks").at(task).at("primary").as_string();
  return figure(line_chart({.title = task + ": quality against decode cost",
                            .x_label = "us per token after 16384 tokens",
                            .y_label = words_of(primary),
                            .log_x = true,
                            .y_low = primary == "bits_per_byte" ? 0 : -0.03,
                            .y_high = high_end(primary)},
                           series),
                task + "-quality-cost", csv);
}

std::string position_chart(const Json& results, const std::string& task, const Arms& arms) {
  std::int64_t longest = 0;
  for (const std::string& arm : arms) {
    for_runs(results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array())
        longest = std::max(longest, m.at("length").as_int());
    });
  }
  std::vector<Series> series;
  std::vector<double> centres;
  std::string csv = "arm,seed,from,to,bits_per_byte\n";
  for (const std::string& arm : arms) {
    Series s{arm, arm_colour(arm), {}, {}};
    std::map<double, std::vector<double>> by_centre;
    for_runs(results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array()) {
        int from = 0, to = 0;
        if (m.at("split").as_string() != "test" || m.at("length").as_int() != longest ||
            std::sscanf(m.at("name").as_string().c_str(), "loss_at_%d_%d", &from, &to) != 2)
          continue;
        const double centre = std::sqrt(static_cast<double>(std::max(from, 1)) * to);
        s.dots.push_back({centre, m.at("value").as_double()});
        by_centre[centre].push_back(m.at("value").as_double());
        csv += field(arm) + "," + std::to_string(r.at("seed").as_int()) + "," +
               std::to_string(from) + "," + std::to_string(to) + "," + m.at("value").dump() + "\n";
      }
    });
    for (const auto& [centre, values] : by_centre) {
      s.line.push_back({centre, median_of(values)});
      if (std::find(centres.begin(), centres.end(), centre) == centres.end())
        centres.push_back(centre);
    }
    if (!s.dots.empty()) series.push_back(s);
  }
  if (series.empty()) return "";
  return figure(line_chart({.title = task + ": loss by position, window " + std::to_string(longest),
                            .x_label = "position (centre of its range)",
                            .y_label = "bits per byte",
                            .log_x = true,
                            .x_ticks = centres},
                           series),
                task + "-by-position", csv);
}

}  // namespace subquad
