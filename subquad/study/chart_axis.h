// What the kinds of charts share: axes, their ticks, text and grid lines.
#pragma once

#include <string>
#include <vector>

namespace subquad::charts {

struct Axis {
  double low = 1e300, high = -1e300;  // no value yet
  bool log = false;
  double from = 0, to = 1;  // pixels

  bool empty() const { return low > high; }
  void include(double v);  // NaN and infinities are ignored
  // Room at both ends of a linear range; a single value becomes a range that can be labelled.
  void pad(double share);
  double at(double v) const;  // pixel; values outside stay at the border
};

std::vector<double> ticks(const Axis& axis);
// With as many decimals as tell neighbours apart.
std::string tick_label(const std::vector<double>& all, std::size_t i);
// At most four significant digits.
std::string number(double v);

void text(std::string& svg, double x, double y, const char* style, const std::string& content);
void line(std::string& svg, const char* style, double x1, double y1, double x2, double y2);
std::string open_svg(double width, double height, const std::string& title);
// <title>, escaped; nothing for an empty note.
std::string hover(const std::string& note);

}  // namespace subquad::charts
