// Inline SVG charts: lines with dots and bands, rows of dots with intervals, heat maps. Every mark
// says its values on hover; no script, no reference to anything outside.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

namespace subquad {

struct Point {
  double x, y;
  std::string note = {};  // on hover; empty: series, x and y in words
};
struct Band {  // between two lines over the same x
  std::vector<Point> low, high;
  double opacity = 0.2;
};
struct Series {
  std::string name, colour;
  std::vector<Point> line = {};  // joined; a NaN interrupts it
  std::vector<Point> dots = {};  // single observations (seeds)
  std::vector<Band> bands = {};  // behind the line
  int marker = 0;                // shape of the dots, see mark()
  double width = 2;              // of the line
  double opacity = 1;            // of the line
  double radius = 3.4;           // of the dots
};
struct ChartSetup {
  std::string title = {}, x_label = {}, y_label = {};
  bool log_x = false, log_y = false;
  double y_low = 0, y_high = 0;                 // equal: from the data
  std::vector<double> x_ticks = {};             // empty: chosen
  std::vector<std::string> x_tick_labels = {};  // of x_ticks; empty: the numbers
  double reference = -1;  // a dashed line at this y (chance), if inside the range
  std::string reference_label = {};
  bool show_reference = false;  // widens a range from the data to it
};
std::string line_chart(const ChartSetup& setup, const std::vector<Series>& series);

// One row of a dot chart: observations, their interval and middle (NaN: none) and a text at the
// right end.
struct DotRow {
  std::string name, colour;
  int marker = 0;
  std::vector<Point> dots = {};  // y is not used
  double low = NAN, high = NAN, middle = NAN;
  std::string text = {}, note = {};  // note: of interval and middle, on hover
};
struct DotSetup {
  std::string title = {}, x_label = {};
  double x_low = 0, x_high = 0;  // equal: from the data
  double reference = NAN;        // a dashed upright line, if inside the range
  std::string reference_label = {};
  bool show_reference = false;  // widens a range from the data to it
};
std::string dot_chart(const DotSetup& setup, const std::vector<DotRow>& rows);

struct HeatCell {
  double share = NAN;  // 0 worst, 1 best; NaN: no value
  std::string text = {}, note = {};
};
struct HeatRow {
  std::string name = {}, colour = {};  // of a group's first row; empty: continues the group
  int marker = 0;
  std::vector<HeatCell> cells = {};
};
struct HeatSetup {
  std::string title = {}, x_label = {};
  std::vector<std::string> columns = {};
  int marked = -1;  // column with a frame
  std::string marked_label = {};
};
std::string heat_map(const HeatSetup& setup, const std::vector<HeatRow>& rows);

// A mark of radius r around (x, y): circle, square, triangle, diamond, triangle downwards, plus,
// cross, star (marker 0 to 7).
std::string mark(int marker, double x, double y, double r, const std::string& colour,
                 const std::string& note = {}, double opacity = 1);

// Colour and marker of every arm: fixed for the arms that we know (Okabe and Ito's colours, safe
// for the colour-blind; visible on white and on black), never the same colour twice in one list of
// up to sixteen.
struct ArmStyle {
  std::string colour;
  int marker = 0;
};
std::map<std::string, ArmStyle> arm_styles(const std::vector<std::string>& arms);

std::string html_escape(const std::string& text);
// "1.2k", "3.4M": at most three significant digits.
std::string short_number(double value);

}  // namespace subquad
