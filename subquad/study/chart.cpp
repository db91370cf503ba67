#include "subquad/study/chart.h"

#include <algorithm>
#include <cmath>

#include "subquad/study/chart_axis.h"
#include "subquad/study/format.h"

namespace subquad {
namespace {

using namespace charts;

constexpr double kWidth = 460, kHeight = 280, kLeft = 56, kRight = 14, kTop = 30, kBottom = 44;

struct Frame {
  const ChartSetup& c;
  Axis x, y;
};

Frame frame_of(const ChartSetup& c, const std::vector<Series>& series) {
  Frame f{c,
          {.log = c.log_x, .from = kLeft, .to = kWidth - kRight},
          {.log = c.log_y, .from = kHeight - kBottom, .to = kTop}};
  const auto include = [&](const std::vector<Point>& points) {
    for (const Point& p : points) {
      if (std::isnan(p.y)) continue;
      f.x.include(p.x);
      f.y.include(p.y);
    }
  };
  for (const Series& s : series) {
    include(s.line);
    include(s.dots);
    for (const Band& b : s.bands) {
      include(b.low);
      include(b.high);
    }
  }
  if (f.x.empty() || f.y.empty()) return f;
  if (c.show_reference) f.y.include(c.reference);
  if (c.y_low < c.y_high) {
    f.y.low = c.y_low;
    f.y.high = c.y_high;
  } else {
    f.y.pad(0.06);
  }
  if (f.x.low == f.x.high) f.x.pad(0.05);
  return f;
}

void draw_grid(std::string& svg, const Frame& f) {
  const std::vector<double> y_ticks = ticks(f.y);
  for (std::size_t i = 0; i < y_ticks.size(); ++i) {
    const double py = f.y.at(y_ticks[i]);
    line(svg, "grid", kLeft, py, kWidth - kRight, py);
    text(svg, kLeft - 6, py + 4, "class='tick' text-anchor='end'",
         f.c.log_y ? short_number(y_ticks[i]) : tick_label(y_ticks, i));
  }
  const std::vector<double> x_ticks = f.c.x_ticks.empty() ? ticks(f.x) : f.c.x_ticks;
  for (std::size_t i = 0; i < x_ticks.size(); ++i) {
    const bool named = i < f.c.x_tick_labels.size();  // long ones: the outer two stay inside
    const char* style = named && i == 0                    ? "class='tick' text-anchor='start'"
                        : named && i + 1 == x_ticks.size() ? "class='tick' text-anchor='end'"
                                                           : "class='tick' text-anchor='middle'";
    text(svg, f.x.at(x_ticks[i]), kHeight - kBottom + 16, style,
         named ? f.c.x_tick_labels[i] : short_number(x_ticks[i]));
  }
  text(svg, (kLeft + kWidth - kRight) / 2, kHeight - 8, "class='label' text-anchor='middle'",
       f.c.x_label);
  svg += "<text class='label' transform='translate(13," + number((kTop + kHeight - kBottom) / 2) +
         ") rotate(-90)' text-anchor='middle'>" + html_escape(f.c.y_label) + "</text>";
}

std::string place(const Frame& f, const Point& p) {
  return number(f.x.at(p.x)) + "," + number(f.y.at(p.y)) + " ";
}

void draw_series(std::string& svg, const Frame& f, const Series& s) {
  const std::string colour = html_escape(s.colour);
  for (const Band& band : s.bands) {
    svg += "<polygon stroke='none' fill='" + colour + "' fill-opacity='" + number(band.opacity) +
           "' points='";
    for (const Point& p : band.high) svg += place(f, p);
    for (auto p = band.low.rbegin(); p != band.low.rend(); ++p) svg += place(f, *p);
    svg += "'/>";
  }
  for (std::size_t i = 0, end; i < s.line.size(); i = end + 1) {
    for (end = i; end < s.line.size() && !std::isnan(s.line[end].y);) ++end;
    if (end - i < (s.line.size() > 1 ? 1 : 2)) continue;
    svg += "<polyline fill='none' stroke='" + colour + "' stroke-width='" + number(s.width) +
           (s.opacity < 1 ? "' stroke-opacity='" + number(s.opacity) : std::string()) +
           "' points='";
    for (std::size_t j = i; j < end; ++j) svg += place(f, s.line[j]);
    svg += "'>" + hover(s.name) + "</polyline>";
  }
  for (const Point& p : s.dots) {
    if (std::isnan(p.x) || std::isnan(p.y)) continue;
    const std::string note = p.note.empty()
                                 ? s.name + ": " + f.c.x_label + " " + short_number(p.x) + ", " +
                                       f.c.y_label + " " + number(p.y)
                                 : p.note;
    svg += mark(s.marker, f.x.at(p.x), f.y.at(p.y), s.radius, s.colour, note, 0.8);
  }
}

}  // namespace

std::string line_chart(const ChartSetup& c, const std::vector<Series>& series) {
  const Frame f = frame_of(c, series);
  if (f.x.empty() || f.y.empty()) return "<p class='note'>No data yet.</p>";
  std::string svg = open_svg(kWidth, kHeight, c.title);
  text(svg, kLeft, 16, "class='title'", c.title);
  draw_grid(svg, f);
  const bool reference = c.reference >= f.y.low && c.reference <= f.y.high;
  const double py = f.y.at(c.reference);
  if (reference) line(svg, "chance", kLeft, py, kWidth - kRight, py);
  for (const Series& s : series) draw_series(svg, f, s);
  if (reference)  // last: readable over the lines
    text(svg, kWidth - kRight - 2, py - 4, "class='tick halo' text-anchor='end'",
         c.reference_label);
  return svg + "</svg>";
}

}  // namespace subquad
