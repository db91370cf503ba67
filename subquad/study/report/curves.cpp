#include "subquad/study/report/curves.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"

namespace subquad::report {
namespace {

constexpr std::size_t kMostPoints = 80;  // of one curve: more are not seen, and fill the file

struct Curve {
  std::string run;
  std::int64_t seed = 0;
  std::vector<Point> points;  // training tokens; field of the curve
};

// `field`: 1 training loss, 2 validation bits per byte.
std::vector<Curve> curves_of(const View& view, const std::string& task, const std::string& arm,
                             std::size_t field) {
  std::vector<Curve> out;
  for_runs(view.results, task, arm, [&](const Json& r) {
    const Json* curve = r.find("curve");
    if (!curve) return;
    Curve c{r.get("id", ""), r.get("seed", 0), {}};
    const std::size_t step = field == 1 ? 1 + curve->size() / kMostPoints : 1;
    for (std::size_t i = 0; i < curve->size(); ++i) {
      const Json& p = (*curve)[i];
      if (p.size() <= field || p[field].is_null()) continue;
      if (i % step == 0 || i + 1 == curve->size())
        c.points.push_back({p[0].as_double(), p[field].as_double()});
    }
    if (!c.points.empty()) out.push_back(std::move(c));
  });
  return out;
}

// Medians over seeds where at least half of them have a point.
std::vector<Point> median_line(const std::vector<Curve>& curves) {
  std::map<double, std::vector<double>> by_x;
  for (const Curve& c : curves) {
    for (const Point& p : c.points) by_x[p.x].push_back(p.y);
  }
  std::vector<Point> out;
  for (const auto& [x, values] : by_x) {
    if (2 * values.size() >= curves.size()) out.push_back({x, median_of(values)});
  }
  return out;
}

// Per training token: 1, FLOPs or seconds; NaN: not known.
double price(const View& view, const std::string& task, const std::string& arm, Budget budget) {
  if (budget == Budget::tokens) return 1;
  std::vector<double> prices;
  for_runs(view.results, task, arm, [&](const Json& r) {
    if (budget == Budget::flops) {
      const Json* macs = r.find("training_macs_per_token");
      if (macs) prices.push_back(2 * macs->as_double());
      return;
    }
    const Json* runs = view.timings.find("runs");
    const Json* t = runs ? runs->find(r.get("id", "")) : nullptr;
    const double tokens = r.get("tokens", 0.0);
    if (t && t->find("train_seconds") && tokens > 0)
      prices.push_back(t->at("train_seconds").as_double() / tokens);
  });
  return prices.empty() ? NAN : median_of(prices);
}

void add_curves(std::vector<Series>& series, std::string& csv, const View& view,
                const std::string& arm, std::vector<Curve> curves, double scale, bool seeds,
                double floor) {
  const std::string& colour = view.style(arm).colour;
  for (Curve& c : curves) {
    for (Point& p : c.points) {
      csv += csv_cell(arm) + "," + std::to_string(c.seed) + "," + csv_cell(p.x) + "," +
             format("%.5g\n", p.y);
      p.x *= scale;
      p.y = std::max(p.y, floor);
    }
    if (seeds)
      series.push_back({.name = c.run,
                        .colour = colour,
                        .line = c.points,
                        .dots = {},
                        .width = 1,
                        .opacity = curves.size() > 1 ? 0.4 : 1});
  }
  if (curves.size() > 1 || !seeds)
    series.push_back({.name = arm + ", median over seeds",
                      .colour = colour,
                      .line = median_line(curves),
                      .dots = {},
                      .width = 2.4});
}

}  // namespace

std::string curve_chart(const View& view, const std::string& task, Budget budget) {
  std::vector<Series> series;
  std::string csv = "arm,seed,tokens,loss\n";
  const bool tokens = budget == Budget::tokens;
  for (const std::string& arm : view.arms) {
    auto curves = curves_of(view, task, arm, 1);
    const double scale = price(view, task, arm, budget);
    if (curves.empty() || std::isnan(scale)) continue;
    add_curves(series, csv, view, arm, std::move(curves), scale, tokens, 1e-5);
  }
  if (series.empty()) return "";
  const char* labels[] = {"training tokens", "training FLOPs", "training seconds of one worker"};
  const std::string chart = line_chart({.title = task + ": training loss",
                                        .x_label = labels[static_cast<int>(budget)],
                                        .y_label = "loss (nats)",
                                        .log_y = !lower_is_better(view.primary(task))},
                                       series);
  return tokens ? figure(chart, task + "-learning-curve", csv)
                : "<figure>" + chart + "</figure>";  // the numbers are those of the first
}

std::string validation_chart(const View& view, const std::string& task) {
  std::vector<Series> series;
  std::string csv = "arm,seed,tokens,validation_bits_per_byte\n";
  for (const std::string& arm : view.arms) {
    auto curves = curves_of(view, task, arm, 2);
    if (!curves.empty()) add_curves(series, csv, view, arm, std::move(curves), 1, true, -INFINITY);
  }
  if (series.empty()) return "";
  const double bar = ngram_bits(view.results, task);
  return figure(line_chart({.title = task + ": validation during training",
                            .x_label = "training bytes",
                            .y_label = "bits per byte",
                            .reference = std::isnan(bar) ? -1 : bar,
                            .reference_label = "n-gram",
                            .show_reference = !std::isnan(bar)},
                           series),
                task + "-validation-curve", csv);
}

std::string position_chart(const View& view, const std::string& task) {
  std::int64_t longest = 0;
  for (const std::string& arm : view.arms) {
    for_runs(view.results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array())
        longest = std::max(longest, m.at("length").as_int());
    });
  }
  const auto short_form = [](int n) {
    return n > 0 && n % 1024 == 0 ? format("%dk", n / 1024) : std::to_string(n);
  };
  std::vector<Series> series;
  std::map<double, std::string> names;  // of the ranges, by centre
  std::string csv = "arm,run,seed,from,to,bits_per_byte\n";
  for (const std::string& arm : view.arms) {
    Series s{.name = arm, .colour = view.style(arm).colour, .marker = view.style(arm).marker};
    std::map<double, std::vector<double>> by_centre;
    for_runs(view.results, task, arm, [&](const Json& r) {
      for (const Json& m : r.at("metrics").as_array()) {
        int from = 0, to = 0;
        if (m.at("split").as_string() != "test" || m.at("length").as_int() != longest ||
            m.at("value").is_null() ||
            std::sscanf(m.at("name").as_string().c_str(), "loss_at_%d_%d", &from, &to) != 2)
          continue;
        const double centre = std::sqrt(static_cast<double>(std::max(from, 1)) * to),
                     value = m.at("value").as_double();
        names[centre] = short_form(from) + "-" + short_form(to);
        s.dots.push_back(
            {centre, value,
             r.get("id", "") + ": " + names[centre] + format(" %.3f bits per byte", value)});
        by_centre[centre].push_back(value);
        csv += csv_cell(arm) + "," + csv_cell(r.get("id", "")) + "," +
               std::to_string(r.get("seed", 0)) + "," + format("%d,%d,", from, to) +
               csv_cell(value) + "\n";
      }
    });
    for (const auto& [centre, values] : by_centre) s.line.push_back({centre, median_of(values)});
    if (!s.dots.empty()) series.push_back(s);
  }
  if (series.empty()) return "";
  ChartSetup c{.title = task + ": loss by position, window " + std::to_string(longest),
               .x_label = "bytes of the window already seen",
               .y_label = "bits per byte",
               .log_x = true};
  for (const auto& [centre, name] : names) {
    c.x_ticks.push_back(centre);
    c.x_tick_labels.push_back(name);
  }
  return figure(line_chart(c, series), task + "-by-position", csv);
}

}  // namespace subquad::report
