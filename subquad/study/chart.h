// Inline SVG charts: lines with dots and bands, scatter. One colour per arm everywhere; values on hover.
#pragma once

#include <string>
#include <vector>

namespace subquad {

struct Point {
  double x, y;
};
struct Band {  // between two lines over the same x
  std::vector<Point> low, high;
  double opacity = 0.2;
};
struct Series {
  std::string name, colour;
  std::vector<Point> line;       // joined; a NaN interrupts it
  std::vector<Point> dots;       // single observations (seeds)
  std::vector<Band> bands = {};  // behind the line
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
// Colour-blind safe (Okabe and Ito), fixed per arm key.
std::string arm_colour(const std::string& arm);
std::string html_escape(const std::string& text);
// "1.2k", "3.4M": at most three significant digits.
std::string short_number(double value);

}  // namespace subquad
