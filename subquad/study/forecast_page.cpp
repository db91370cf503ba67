#include "subquad/study/forecast_page.h"

#include <algorithm>
#include <cmath>

#include "subquad/study/chart.h"
#include "subquad/study/format.h"

namespace subquad {
namespace {

constexpr const char* kHistory = "#7f7f7f";
constexpr const char* kForecast = "#0072b2";
constexpr const char* kActual = "#d55e00";

constexpr const char* kChartStyle =
    "text{font:11px system-ui,sans-serif;fill:var(--soft,#555)}"
    ".title{font-size:12px;font-weight:600;fill:var(--fg,#1c1c1c)}"
    ".grid{stroke:var(--line,#ddd);stroke-width:1}.chance{stroke:var(--soft,#555);"
    "stroke-dasharray:4 3}";

constexpr const char* kPageStyle = R"(
:root{--bg:#fff;--fg:#1c1c1c;--soft:#555;--line:#ddd;--panel:#f6f6f4;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--bg:#17181a;--fg:#eee;--soft:#aaa;--line:#3a3c40;--panel:#202225}}
body{margin:0 auto;max-width:1180px;padding:28px 20px 60px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5em;margin:0 0 .3em}.note,li{color:var(--soft)}figure{margin:0;background:var(--panel);border-radius:8px;padding:8px}
figcaption{color:var(--soft);font-size:.85em;padding:0 6px 4px}.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr));gap:14px}
svg{width:100%;height:auto;display:block}.legend span{display:inline-block;margin-right:16px;white-space:nowrap}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#ccc;--panel:#fff}figure{break-inside:avoid}}
)";

// Ranges of what is drawn stay finite.
double drawable(double value) { return std::clamp(value, -5e307, 5e307); }

// Quantile lines that lie symmetrically around the median, widest first.
std::vector<Band> central_bands(const ForecastPicture& p) {
  std::vector<Band> bands;
  const double first = static_cast<double>(p.history.size());
  for (std::size_t low = 0, high = p.levels.size(); low + 1 < high; ++low) {
    --high;
    if (std::abs(p.levels[low] + p.levels[high] - 1) > 1e-9) break;
    Band band{{}, {}, 0.16};
    for (std::size_t i = 0; i < p.mean.size(); ++i) {
      if (std::isnan(p.quantiles[low][i])) continue;  // no forecast at a missing value
      band.low.push_back({first + static_cast<double>(i), drawable(p.quantiles[low][i])});
      band.high.push_back({first + static_cast<double>(i), drawable(p.quantiles[high][i])});
    }
    bands.push_back(std::move(band));
  }
  return bands;
}

std::string band_names(const ForecastPicture& p) {
  std::string text;
  for (std::size_t low = 0, high = p.levels.size(); low + 1 < high; ++low) {
    --high;
    if (std::abs(p.levels[low] + p.levels[high] - 1) > 1e-9) break;
    const int share = static_cast<int>(std::lround(100 * (p.levels[high] - p.levels[low])));
    text += (text.empty() ? "" : ", ") + std::to_string(share) + " %";
  }
  return text;
}

// A small mark at every step that says all its numbers.
void add_notes(const ForecastPicture& p, Series& series) {
  series.radius = 1.7;
  series.dots.clear();
  for (std::size_t i = 0; i < series.line.size(); ++i) {
    Point dot = series.line[i];
    dot.note = p.stamps[p.history.size() + i] + ", " + p.model + format(": %.4g", p.mean[i]);
    if (!p.levels.empty())
      dot.note += format(", %.0f %% from %.4g to %.4g", 100 * (p.levels.back() - p.levels.front()),
                         p.quantiles.front()[i], p.quantiles.back()[i]);
    if (i < p.actual.size()) dot.note += format("; what came: %.4g", p.actual[i]);
    series.dots.push_back(std::move(dot));
  }
}

}  // namespace

std::string forecast_chart(const ForecastPicture& p) {
  const bool own = !p.colour.empty();
  Series history{"history", kHistory, {}, {}, {}},
      forecast{p.model, own ? p.colour : kForecast, {}, {}, {}};
  for (std::size_t i = 0; i < p.history.size(); ++i)
    history.line.push_back({static_cast<double>(i), drawable(p.history[i])});
  const auto middle = std::find(p.levels.begin(), p.levels.end(), 0.5);
  const auto& line = middle == p.levels.end()
                         ? p.mean
                         : p.quantiles[static_cast<std::size_t>(middle - p.levels.begin())];
  for (std::size_t i = 0; i < line.size(); ++i)
    forecast.line.push_back({static_cast<double>(p.history.size() + i), drawable(line[i])});
  if (forecast.line.size() == 1) forecast.dots = forecast.line;
  forecast.bands = central_bands(p);
  Series actual{"what came", own ? "currentColor" : kActual, {}, {}, {}};
  for (std::size_t i = 0; i < p.actual.size(); ++i)
    actual.line.push_back({static_cast<double>(p.history.size() + i), drawable(p.actual[i])});
  // Marked values stand out against a line that is only there to be read beside them.
  if (!p.marked.empty()) actual.colour = kHistory;
  Series marked{"outside", kActual, {}, {}, {}};
  for (const std::size_t i : p.marked)
    marked.dots.push_back({static_cast<double>(p.history.size() + i), drawable(p.actual[i])});
  if (p.hover) {
    add_notes(p, forecast);
    add_notes(p, actual);
  }
  ChartSetup c{.title = p.id, .y_low = p.y_low, .y_high = p.y_high, .reference = NAN};
  const std::size_t last = p.stamps.size() - 1, start = p.history.size();
  // The outer two labels stay inside, so one in the middle keeps their width and half its own clear: a
  // character takes about 6.4 of the 390 pixels between the borders.
  std::size_t longest = 0;
  for (const std::size_t i : {std::size_t{0}, start, last})
    longest = std::max(longest, p.stamps[std::min(i, last)].size());
  const double clear = std::max(0.2, 0.03 + 1.5 * 6.4 / 390 * static_cast<double>(longest));
  for (const std::size_t i : {std::size_t{0}, start, last}) {
    const bool room = c.x_ticks.empty() ||
                      static_cast<double>(i) - c.x_ticks.back() > clear * static_cast<double>(last);
    if (!room && i == last) {  // the end matters more than where the forecast begins
      if (c.x_ticks.size() < 2) continue;
      c.x_ticks.pop_back();
      c.x_tick_labels.pop_back();
    } else if (!room) {
      continue;
    }
    c.x_ticks.push_back(static_cast<double>(i));
    c.x_tick_labels.push_back(p.stamps[i]);
  }
  return line_chart(c, {history, forecast, actual, marked});
}

std::string forecast_svg(const ForecastPicture& p) {
  std::string svg = forecast_chart(p);
  const std::string open = "<svg ";
  if (!svg.starts_with(open)) return {};
  svg.insert(open.size(), "xmlns='http://www.w3.org/2000/svg' width='920' height='560' ");
  std::string style = "<style>";
  style += kChartStyle;
  style += "</style><rect width='460' height='280' fill='#fff'/>";
  svg.insert(svg.find('>') + 1, style);
  svg += "\n";
  return svg;
}

std::string forecast_page(const std::string& title, const std::vector<ForecastPicture>& pictures,
                          const std::vector<std::string>& notes) {
  std::string h =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
      "content='width=device-width,initial-scale=1'><title>" +
      html_escape(title) + "</title><style>" + kPageStyle + kChartStyle +
      "</style></head><body><h1>" + html_escape(title) + "</h1>";
  if (!notes.empty()) {
    h += "<ul>";
    for (const std::string& n : notes) h += "<li>" + html_escape(n) + "</li>";
    h += "</ul>";
  }
  if (!pictures.empty()) {
    const std::string bands = band_names(pictures[0]);
    h += "<p class='legend'><span><i style='background:" + std::string(kHistory) +
         "'></i>history</span><span><i style='background:" + kForecast +
         "'></i>forecast (median)</span>" +
         (bands.empty() ? ""
                        : "<span><i style='opacity:.4;background:" + std::string(kForecast) +
                              "'></i>central " + bands + "</span>") +
         (pictures[0].actual.empty()
              ? ""
              : "<span><i style='background:" + std::string(kActual) + "'></i>what came</span>") +
         "</p>";
  }
  h += "<div class='charts'>";
  for (const ForecastPicture& p : pictures) {
    h += "<figure>" + forecast_chart(p) + "<figcaption>" + html_escape(p.model) +
         (p.note.empty() ? "" : ": " + html_escape(p.note)) + "</figcaption></figure>";
  }
  return h + "</div></body></html>\n";
}

std::string sparkline(const std::vector<double>& values) {
  static const char* const kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  std::string out;
  for (const double v : values) {
    // Halves: the whole range may be above the largest double.
    const double share = high > low ? (v / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
    out += std::isfinite(v) ? kBlocks[std::min(7, static_cast<int>(8 * share))] : " ";
  }
  return out;
}

}  // namespace subquad
