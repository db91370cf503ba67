#include "subquad/study/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace subquad {
namespace {

constexpr double kWidth = 460, kHeight = 280, kLeft = 56, kRight = 14, kTop = 30, kBottom = 44;

std::string number(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

struct Axis {
  double low = 0, high = 1;
  bool log = false;
  double from = 0, to = 1;  // pixels

  double at(double v) const {
    const double a = log ? std::log(low) : low, b = log ? std::log(high) : high,
                 x = log ? std::log(std::max(v, 1e-300)) : v;
    return from + (to - from) * (b > a ? (x - a) / (b - a) : 0.5);
  }
};

std::vector<double> log_ticks(const Axis& axis, const std::vector<double>& multiples) {
  std::vector<double> out;
  for (double t = std::pow(10, std::floor(std::log10(axis.low))); t <= axis.high * 1.0001;
       t *= 10) {
    for (double m : multiples) {
      if (t * m >= axis.low * 0.999 && t * m <= axis.high * 1.001) out.push_back(t * m);
    }
  }
  return out;
}

std::vector<double> ticks(const Axis& axis) {
  std::vector<double> out;
  if (axis.log) {  // the coarsest that gives three marks; a narrow range is as good as linear
    for (const auto& multiples :
         {std::vector<double>{1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 7}}) {
      out = log_ticks(axis, multiples);
      if (out.size() >= 3) return out;
    }
    out.clear();
  }
  const double span = axis.high - axis.low, raw = span / 4;
  const double power = std::pow(10, std::floor(std::log10(std::max(raw, 1e-12))));
  const double step = raw / power < 1.5   ? power
                      : raw / power < 3.5 ? 2 * power
                      : raw / power < 7.5 ? 5 * power
                                          : 10 * power;
  for (double t = std::ceil(axis.low / step) * step; t <= axis.high + step * 1e-6; t += step) {
    out.push_back(std::abs(t) < step * 1e-6 ? 0 : t);
  }
  return out;
}

void text(std::string& svg, double x, double y, const char* style, const std::string& content) {
  svg += "<text x='" + number(x) + "' y='" + number(y) + "' " + style + ">" + html_escape(content) +
         "</text>";
}

// With as many decimals as tell neighbours apart.
std::string tick_label(const std::vector<double>& all, std::size_t i) {
  double gap = std::abs(all[i]);
  for (std::size_t j = 1; j < all.size(); ++j) gap = std::min(gap, std::abs(all[j] - all[j - 1]));
  if (gap >= 1 || gap == 0 || std::abs(all[i]) >= 1000) return short_number(all[i]);
  char label[40];
  const int decimals = std::min(6, static_cast<int>(std::ceil(-std::log10(gap) - 1e-9)));
  std::snprintf(label, sizeof label, "%.*f", decimals, all[i]);
  return label;
}

}  // namespace

std::string html_escape(const std::string& s) {
  std::string out;
  for (char c : s) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string short_number(double v) {
  if (v == std::floor(v) && std::abs(v) < 10000) return std::to_string(static_cast<long>(v));
  const char* units[] = {"", "k", "M", "G", "T"};
  int u = 0;
  while (std::abs(v) >= 999.5 && u < 4) {
    v /= 1000;
    ++u;
  }
  char text[40];
  std::snprintf(text, sizeof text, std::abs(v) >= 100 || v == std::floor(v) ? "%.0f%s" : "%.3g%s",
                v, units[u]);
  return text;
}

std::string arm_colour(const std::string& arm) {
  static const std::pair<const char*, const char*> colours[] = {
      {"attention", "#7f7f7f"},      {"mlstm", "#0072b2"},
      {"slstm", "#56b4e9"},          {"xlstm[1:1]", "#009e73"},
      {"mamba2", "#e69f00"},         {"mamba2[-1,1]", "#b8860b"},
      {"gated_deltanet", "#d55e00"}, {"gated_deltanet[-1,1]", "#cc79a7"},
      {"ngram", "#999933"}};
  for (const auto& [name, colour] : colours) {
    if (arm == name) return colour;
  }
  static const char* others[] = {"#332288", "#117733", "#88ccee", "#882255", "#44aa99"};
  std::size_t hash = 0;
  for (char c : arm) hash = hash * 31 + static_cast<unsigned char>(c);
  return others[hash % 5];
}

std::string line_chart(const ChartSetup& c, const std::vector<Series>& series) {
  Axis x{1e300, -1e300, c.log_x, kLeft, kWidth - kRight},
      y{1e300, -1e300, c.log_y, kHeight - kBottom, kTop};
  for (const Series& s : series) {
    std::vector<const std::vector<Point>*> all = {&s.line, &s.dots};
    for (const Band& b : s.bands) all.insert(all.end(), {&b.low, &b.high});
    for (const auto* points : all) {
      for (const Point& p : *points) {
        if (std::isnan(p.y)) continue;
        x.low = std::min(x.low, p.x);
        x.high = std::max(x.high, p.x);
        y.low = std::min(y.low, p.y);
        y.high = std::max(y.high, p.y);
      }
    }
  }
  if (c.show_reference) {
    y.low = std::min(y.low, c.reference);
    y.high = std::max(y.high, c.reference);
  }
  if (x.low > x.high) return "<p class='note'>No data yet.</p>";
  if (c.y_low < c.y_high) {
    y.low = c.y_low;
    y.high = c.y_high;
  } else if (!c.log_y) {
    const double largest = std::max(std::abs(y.low), std::abs(y.high));
    const bool flat = y.high - y.low <= 1e-9 * largest;  // a range that can be labelled
    const double pad = flat ? 0.05 * std::max(largest, 1.0) : 0.06 * (y.high - y.low);
    y.low -= pad;
    y.high += pad;
  }
  if (x.low == x.high) {
    x.low *= c.log_x ? 0.8 : 0.95;
    x.high *= c.log_x ? 1.25 : 1.05;
  }
  std::string svg =
      "<svg viewBox='0 0 460 280' role='img' aria-label='" + html_escape(c.title) + "'>";
  text(svg, kLeft, 16, "class='title'", c.title);
  const std::vector<double> y_ticks = ticks(y);
  for (std::size_t i = 0; i < y_ticks.size(); ++i) {
    const double py = y.at(y_ticks[i]);
    svg += "<line class='grid' x1='" + number(kLeft) + "' x2='" + number(kWidth - kRight) +
           "' y1='" + number(py) + "' y2='" + number(py) + "'/>";
    text(svg, kLeft - 6, py + 4, "class='tick' text-anchor='end'",
         c.log_y ? number(y_ticks[i]) : tick_label(y_ticks, i));
  }
  const std::vector<double> x_ticks = c.x_ticks.empty() ? ticks(x) : c.x_ticks;
  for (std::size_t i = 0; i < x_ticks.size(); ++i) {
    const bool named = !c.x_tick_labels.empty();  // long ones: the outer two stay inside
    const char* style = named && i == 0                    ? "class='tick' text-anchor='start'"
                        : named && i + 1 == x_ticks.size() ? "class='tick' text-anchor='end'"
                                                           : "class='tick' text-anchor='middle'";
    text(svg, x.at(x_ticks[i]), kHeight - kBottom + 16, style,
         named ? c.x_tick_labels[i] : short_number(x_ticks[i]));
  }
  text(svg, (kLeft + kWidth - kRight) / 2, kHeight - 8, "class='label' text-anchor='middle'",
       c.x_label);
  svg += "<text class='label' transform='translate(13," + number((kTop + kHeight - kBottom) / 2) +
         ") rotate(-90)' text-anchor='middle'>" + html_escape(c.y_label) + "</text>";
  if (c.reference >= y.low && c.reference <= y.high) {
    const double py = y.at(c.reference);
    svg += "<line class='chance' x1='" + number(kLeft) + "' x2='" + number(kWidth - kRight) +
           "' y1='" + number(py) + "' y2='" + number(py) + "'/>";
  }
  const auto inside = [&](double v) {
    return std::clamp(v, std::min(y.low, y.high), std::max(y.low, y.high));
  };
  const auto place = [&](const Point& p) {
    svg += number(x.at(p.x)) + "," + number(y.at(inside(p.y))) + " ";
  };
  for (const Series& s : series) {
    for (const Band& band : s.bands) {
      svg += "<polygon stroke='none' fill='" + s.colour + "' fill-opacity='" +
             number(band.opacity) + "' points='";
      std::for_each(band.high.begin(), band.high.end(), place);
      std::for_each(band.low.rbegin(), band.low.rend(), place);
      svg += "'/>";
    }
    for (std::size_t i = 0, end; i < s.line.size(); i = end + 1) {
      for (end = i; end < s.line.size() && !std::isnan(s.line[end].y);) ++end;
      if (end - i < (s.line.size() > 1 ? 1 : 2)) continue;
      svg += "<polyline fill='none' stroke='" + s.colour + "' stroke-width='2' points='";
      std::for_each(s.line.begin() + static_cast<std::ptrdiff_t>(i),
                    s.line.begin() + static_cast<std::ptrdiff_t>(end), place);
      svg += "'><title>" + html_escape(s.name) + "</title></polyline>";
    }
    for (const Point& p : s.dots) {
      svg += "<circle r='3.4' fill='" + s.colour + "' fill-opacity='.75' cx='" + number(x.at(p.x)) +
             "' cy='" + number(y.at(inside(p.y))) + "'><title>" +
             html_escape(s.name + ": " + c.x_label + " " + short_number(p.x) + ", " + c.y_label +
                         " " + number(p.y)) +
             "</title></circle>";
    }
  }
  if (c.reference >= y.low && c.reference <= y.high)  // last: readable over the lines
    text(svg, kWidth - kRight - 2, y.at(c.reference) - 4, "class='tick halo' text-anchor='end'",
         c.reference_label);
  return svg + "</svg>";
}

}  // namespace subquad
