#include "subquad/study/report/html.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"

namespace subquad::report {

View::View(const ReportInput& input)
    : in(input),
      results(input.results),
      timings(input.timings),
      arms(arms_of(input.results)),
      tasks(tasks_of(input.results)),
      styles(arm_styles(arms)) {}

std::string View::primary(const std::string& name) const {
  return task(name).at("primary").as_string();
}

std::vector<Observation> observations(const View& view, const std::string& task,
                                      const std::string& arm, std::int64_t length) {
  const std::string primary = view.primary(task);
  std::vector<Observation> out;
  for_runs(view.results, task, arm, [&](const Json& r) {
    for (const Json& m : r.at("metrics").as_array()) {
      if (m.at("name").as_string() != primary || m.at("split").as_string() != "test") continue;
      const std::int64_t own = m.at("length").as_int();
      if (length != 0 && own != length) continue;
      out.push_back({r.at("id").as_string(), r.at("seed").as_int(), own,
                     m.at("value").is_null() ? NAN : m.at("value").as_double()});
    }
  });
  return out;
}

std::vector<Observation> primary_observations(const View& view, const std::string& task,
                                              const std::string& arm) {
  return observations(view, task, arm, view.task(task).at("primary_length").as_int());
}

std::string note_of(const Observation& o) { return o.run + format(": %.4g", o.value); }

double Scale::share(double value) const {
  if (stop) return std::clamp(1 - std::abs(1 - value), 0.0, 1.0);
  return good == bad ? 1 : std::clamp((value - bad) / (good - bad), 0.0, 1.0);
}

Scale scale_of(const View& view, const std::string& task) {
  const std::string primary = view.primary(task);
  if (primary == "stop_ratio") return {.stop = true};
  if (!lower_is_better(primary)) return {.bad = view.task(task).at("chance").as_double()};
  Scale s{-INFINITY, INFINITY};
  for (const std::string& arm : view.arms) {
    for (const Observation& o : observations(view, task, arm)) {
      s.bad = std::max(s.bad, o.value);
      s.good = std::min(s.good, o.value);
    }
  }
  return s;
}

std::vector<double> scores_of(const View& view, const std::string& task, const std::string& arm) {
  const Scale scale = scale_of(view, task);
  std::vector<double> scores;
  for (const Observation& o : primary_observations(view, task, arm))
    scores.push_back(std::isnan(o.value) ? 0 : scale.share(o.value));
  return scores;
}

std::string metric_text(const View& view, const std::string& task, double value) {
  if (std::isnan(value)) return "-";
  return format(lower_is_better(view.primary(task)) ? "%.3f" : "%.2f", value);
}

std::string table_row(const std::vector<std::string>& cells, const char* tag) {
  std::string out = "<tr>";
  for (const std::string& c : cells) out += std::string("<") + tag + ">" + c + "</" + tag + ">";
  return out + "</tr>";
}

std::string table(const std::vector<std::string>& head, const std::string& rows,
                  const char* style) {
  return std::string("<div class='wide'><table class='") + style + "'>" +
         (head.empty() ? "" : "<thead>" + table_row(head, "th") + "</thead>") + "<tbody>" + rows +
         "</tbody></table></div>";
}

std::string code(const std::string& text) { return "<code>" + html_escape(text) + "</code>"; }

std::string details(const std::string& summary, const std::string& body) {
  return "<details><summary>" + summary + "</summary>" + body + "</details>";
}

std::string note(const std::string& html) { return "<p class='note'>" + html + "</p>"; }

std::string arm_label(const View& view, const std::string& arm) {
  const ArmStyle& s = view.style(arm);
  return "<span class='arm'><svg class='mark' viewBox='0 0 12 12' aria-hidden='true'>" +
         mark(s.marker, 6, 6, 4.4, s.colour) + "</svg>" + html_escape(arm) + "</span>";
}

std::string legend(const View& view, const std::vector<std::string>& arms) {
  std::string out = "<p class='legend'>";
  for (const std::string& arm : arms) out += arm_label(view, arm) + " ";
  return out + "</p>";
}

std::string value_cell(const Json& value) {
  return code(value.is_string() ? value.as_string() : value.dump());
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv_cell(double value) { return std::isnan(value) ? "" : Json(value).dump(); }

std::string csv_link(const std::string& name, const std::string& csv) {
  std::string encoded;
  for (const char raw : csv) {
    const auto c = static_cast<unsigned char>(raw);
    if (c < 128 && (std::isalnum(c) || raw == '-' || raw == '.' || raw == '_' || raw == ',')) {
      encoded += raw;
    } else {
      encoded += format("%%%02X", static_cast<unsigned>(c));
    }
  }
  return "<a class='csv' download='" + html_escape(name) +
         ".csv' href='data:text/csv;charset=utf-8," + encoded + "'>CSV</a>";
}

std::string figure(const std::string& chart, const std::string& name, const std::string& csv,
                   const std::string& caption) {
  return "<figure>" + chart + "<figcaption>" +
         (caption.empty() ? "" : "<span>" + caption + "</span> ") + csv_link(name, csv) +
         "</figcaption></figure>";
}

std::string charts(const std::string& figures) {
  return figures.empty() ? "" : "<div class='charts'>" + figures + "</div>";
}

}  // namespace subquad::report
