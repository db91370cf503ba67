// Charts of named rows: observations with their interval, and heat maps.
#include <algorithm>
#include <cmath>

#include "subquad/study/chart.h"
#include "subquad/study/chart_axis.h"
#include "subquad/study/format.h"

namespace subquad {
namespace {

using namespace charts;

constexpr double kWidth = 460, kTop = 40, kBottom = 40;
constexpr double kNames = 142;  // ends here: room for a mark and "gated_deltanet[-1,1]"

void draw_name(std::string& svg, const std::string& name, const std::string& colour, int marker,
               double y) {
  svg += mark(marker, 8, y, 4, colour);
  text(svg, 17, y + 4, "class='name'", name);
}

Axis axis_of(const DotSetup& c, const std::vector<DotRow>& rows, double to) {
  Axis x{.from = kNames + 8, .to = to};
  for (const DotRow& r : rows) {
    for (const Point& p : r.dots) x.include(p.x);
    if (c.x_low < c.x_high) continue;
    for (const double v : {r.low, r.high, r.middle}) x.include(v);
  }
  if (x.empty()) return x;
  if (c.show_reference) x.include(c.reference);
  if (c.x_low < c.x_high) {
    x.low = c.x_low;
    x.high = c.x_high;
  } else {
    x.pad(0.06);
  }
  return x;
}

void draw_row(std::string& svg, const DotRow& r, const Axis& x, double y) {
  draw_name(svg, r.name, r.colour, r.marker, y);
  if (!std::isnan(r.low) && !std::isnan(r.high))
    svg += format(
        "<line stroke='%s' stroke-width='5' stroke-opacity='.3' x1='%s' x2='%s' y1='%s' "
        "y2='%s'>%s</line>",
        html_escape(r.colour), number(x.at(r.low)), number(x.at(r.high)), number(y), number(y),
        hover(r.note));
  for (const Point& p : r.dots) {
    if (std::isnan(p.x)) continue;
    const std::string note = p.note.empty() ? r.name + ": " + number(p.x) : p.note;
    svg += mark(r.marker, x.at(p.x), y, 3.6, r.colour, note, 0.8);
  }
  if (!std::isnan(r.middle))
    svg += format("<line class='middle' x1='%s' x2='%s' y1='%s' y2='%s'>%s</line>",
                  number(x.at(r.middle)), number(x.at(r.middle)), number(y - 7), number(y + 7),
                  hover(r.note));
  text(svg, kWidth - 4, y + 4, "class='tick' text-anchor='end'", r.text);
}

// viridis at nine places: dark is worst; told apart by any eye, and in grey.
struct Rgb {
  double r, g, b;
};
Rgb heat_colour(double share) {
  static const Rgb map[] = {{68, 1, 84},    {71, 45, 123},  {59, 82, 139},
                            {44, 114, 142}, {33, 145, 140}, {40, 174, 128},
                            {94, 201, 98},  {173, 220, 48}, {253, 231, 37}};
  const double at = std::clamp(share, 0.0, 1.0) * 8;
  const auto i = std::min<std::size_t>(static_cast<std::size_t>(at), 7);
  const double t = at - static_cast<double>(i);
  const auto mix = [&](double a, double b) { return a + (b - a) * t; };
  return {mix(map[i].r, map[i + 1].r), mix(map[i].g, map[i + 1].g), mix(map[i].b, map[i + 1].b)};
}

void draw_cell(std::string& svg, const HeatCell& cell, double x, double y, double width,
               double height) {
  if (std::isnan(cell.share)) {
    svg += format("<rect class='none' x='%s' y='%s' width='%s' height='%s'>%s</rect>", number(x),
                  number(y), number(width), number(height), hover(cell.note));
    return;
  }
  const Rgb c = heat_colour(cell.share);
  svg +=
      format("<rect fill='rgb(%.0f,%.0f,%.0f)' x='%s' y='%s' width='%s' height='%s'>%s</rect>", c.r,
             c.g, c.b, number(x), number(y), number(width), number(height), hover(cell.note));
  const bool bright = 0.3 * c.r + 0.6 * c.g + 0.1 * c.b > 125;
  text(svg, x + width / 2, y + height - 4, bright ? "class='dark'" : "class='light'", cell.text);
}

}  // namespace

std::string dot_chart(const DotSetup& c, const std::vector<DotRow>& rows) {
  constexpr double kRow = 22;
  std::size_t longest = 0;
  for (const DotRow& r : rows) longest = std::max(longest, r.text.size());
  const Axis x = axis_of(c, rows, kWidth - 12 - 5.8 * static_cast<double>(longest));
  if (x.empty()) return "<p class='note'>No data yet.</p>";
  const double bottom = kTop + kRow * static_cast<double>(rows.size()), height = bottom + kBottom;
  std::string svg = open_svg(kWidth, height, c.title);
  text(svg, 4, 16, "class='title'", c.title);
  const std::vector<double> x_ticks = ticks(x);
  for (std::size_t i = 0; i < x_ticks.size(); ++i) {
    line(svg, "grid", x.at(x_ticks[i]), kTop, x.at(x_ticks[i]), bottom);
    text(svg, x.at(x_ticks[i]), bottom + 14, "class='tick' text-anchor='middle'",
         tick_label(x_ticks, i));
  }
  const bool reference = c.reference >= x.low && c.reference <= x.high;
  if (reference) {
    line(svg, "chance", x.at(c.reference), kTop - 4, x.at(c.reference), bottom);
    text(svg, x.at(c.reference), kTop - 6, "class='tick halo' text-anchor='middle'",
         c.reference_label);
  }
  double y = kTop + kRow / 2;
  for (const DotRow& r : rows) {
    draw_row(svg, r, x, y);
    y += kRow;
  }
  text(svg, (x.from + x.to) / 2, height - 8, "class='label' text-anchor='middle'", c.x_label);
  return svg + "</svg>";
}

std::string heat_map(const HeatSetup& c, const std::vector<HeatRow>& rows) {
  if (rows.empty() || c.columns.empty()) return "<p class='note'>No data yet.</p>";
  constexpr double kRow = 16, kGap = 4, kLeft = kNames + 8, kHead = 62;
  const double width = (kWidth - kLeft - 4) / static_cast<double>(c.columns.size());
  double bottom = kHead;
  for (const HeatRow& r : rows) bottom += kRow + (r.name.empty() || bottom == kHead ? 0 : kGap);
  std::string svg = open_svg(kWidth, bottom + 24, c.title);
  text(svg, 4, 16, "class='title'", c.title);
  for (std::size_t i = 0; i < c.columns.size(); ++i)
    text(svg, kLeft + width * (static_cast<double>(i) + 0.5), kHead - 6,
         "class='tick' text-anchor='middle'", c.columns[i]);
  double y = kHead;
  for (const HeatRow& r : rows) {
    if (!r.name.empty()) {
      if (y > kHead) y += kGap;
      draw_name(svg, r.name, r.colour, r.marker, y + kRow / 2);
    }
    for (std::size_t i = 0; i < std::min(r.cells.size(), c.columns.size()); ++i)
      draw_cell(svg, r.cells[i], kLeft + width * static_cast<double>(i), y, width - 1, kRow - 1);
    y += kRow;
  }
  if (c.marked >= 0 && c.marked < static_cast<int>(c.columns.size())) {
    const double x = kLeft + width * c.marked;
    svg += format("<rect class='frame' x='%s' y='%s' width='%s' height='%s'/>", number(x - 1),
                  number(kHead - 19), number(width + 1), number(bottom - kHead + 20));
    text(svg, x + width / 2, kHead - 23, "class='tick' text-anchor='middle'", c.marked_label);
  }
  text(svg, (kLeft + kWidth) / 2, bottom + 17, "class='label' text-anchor='middle'", c.x_label);
  return svg + "</svg>";
}

}  // namespace subquad
