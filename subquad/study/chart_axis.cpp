#include "subquad/study/chart_axis.h"

#include <algorithm>
#include <cmath>

#include "subquad/study/chart.h"
#include "subquad/study/format.h"

namespace subquad {
namespace charts {
namespace {

std::vector<double> log_ticks(const Axis& axis, const std::vector<double>& multiples) {
  std::vector<double> out;
  for (double t = std::max(1e-300, std::pow(10, std::floor(std::log10(axis.low))));
       t <= axis.high * 1.0001; t *= 10) {
    for (double m : multiples) {
      if (t * m >= axis.low * 0.999 && t * m <= axis.high * 1.001) out.push_back(t * m);
    }
  }
  return out;
}

}  // namespace

void Axis::include(double v) {
  if (!std::isfinite(v) || (log && v <= 0)) return;
  low = std::min(low, v);
  high = std::max(high, v);
}

void Axis::pad(double share) {
  if (log) {
    if (low == high) {
      low *= 0.8;
      high *= 1.25;
    }
    return;
  }
  const double largest = std::max(std::abs(low), std::abs(high));
  const bool flat = high - low <= 1e-9 * largest || low == high;
  const double room = flat ? 0.05 * std::max(largest, 1.0) : share * (high - low);
  low -= room;
  high += room;
}

double Axis::at(double v) const {
  const auto scaled = [&](double x) { return log ? std::log(std::max(x, 1e-300)) : x; };
  const double a = scaled(low), b = scaled(high);
  return from + (to - from) * (b > a ? std::clamp((scaled(v) - a) / (b - a), 0.0, 1.0) : 0.5);
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
  const double power = std::pow(10, std::floor(std::log10(std::max(raw, 1e-300))));
  const double step = raw / power < 1.5   ? power
                      : raw / power < 3.5 ? 2 * power
                      : raw / power < 7.5 ? 5 * power
                                          : 10 * power;
  const double first = std::ceil(axis.low / step);
  for (int i = 0; i < 20 && (first + i) * step <= axis.high + step * 1e-6; ++i)
    out.push_back((first + i) * step);
  return out;
}

std::string tick_label(const std::vector<double>& all, std::size_t i) {
  double gap = std::abs(all[i]);
  for (std::size_t j = 1; j < all.size(); ++j) gap = std::min(gap, std::abs(all[j] - all[j - 1]));
  if (gap >= 1 || gap == 0 || std::abs(all[i]) >= 1000) return short_number(all[i]);
  return format("%.*f", std::min(6, static_cast<int>(std::ceil(-std::log10(gap) - 1e-9))), all[i]);
}

std::string number(double v) { return format("%.4g", v); }

void text(std::string& svg, double x, double y, const char* style, const std::string& content) {
  svg += "<text x='" + number(x) + "' y='" + number(y) + "' " + style + ">" + html_escape(content) +
         "</text>";
}

void line(std::string& svg, const char* style, double x1, double y1, double x2, double y2) {
  svg += format("<line class='%s' x1='%s' y1='%s' x2='%s' y2='%s'/>", style, number(x1), number(y1),
                number(x2), number(y2));
}

std::string open_svg(double width, double height, const std::string& title) {
  return format("<svg viewBox='0 0 %s %s' role='img' aria-label='%s'>", number(width),
                number(height), html_escape(title));
}

std::string hover(const std::string& note) {
  return note.empty() ? "" : "<title>" + html_escape(note) + "</title>";
}

}  // namespace charts

std::string mark(int marker, double x, double y, double r, const std::string& colour,
                 const std::string& note, double opacity) {
  using charts::number;
  // Corners in units of the radius; areas are about those of the circle.
  static const char* const shapes[] = {
      "M-.88,-.88H.88V.88H-.88Z",
      "M0,-1.2L1.1,.85H-1.1Z",
      "M0,-1.25L1.1,0L0,1.25L-1.1,0Z",
      "M0,1.2L1.1,-.85H-1.1Z",
      "M-.4,-1.15H.4V-.4H1.15V.4H.4V1.15H-.4V.4H-1.15V-.4H-.4Z",
      "M-1.1,-.6L-.6,-1.1L0,-.5L.6,-1.1L1.1,-.6L.5,0L1.1,.6L.6,1.1L0,.5L-.6,1.1L-1.1,.6L-.5,0Z",
      "M0,-1.35L.36,-.44L1.28,-.42L.58,.19L.8,1.1L0,.6L-.8,1.1L-.58,.19L-1.28,-.42L-.36,-.44Z"};
  const std::string paint = " fill='" + html_escape(colour) + "' fill-opacity='" + number(opacity) +
                            "'>" + charts::hover(note);
  if (marker <= 0 || marker > 7)
    return format("<circle cx='%s' cy='%s' r='%s'", number(x), number(y), number(r)) + paint +
           "</circle>";
  return format("<path transform='translate(%s,%s)scale(%s)' d='%s'", number(x), number(y),
                number(r), shapes[marker - 1]) +
         paint + "</path>";
}

std::map<std::string, ArmStyle> arm_styles(const std::vector<std::string>& arms) {
  static const std::map<std::string, ArmStyle> known = {
      {"attention", {"#7f7f7f", 1}},      {"mlstm", {"#0072b2", 0}},
      {"slstm", {"#56b4e9", 2}},          {"xlstm[1:1]", {"#009e73", 3}},
      {"mamba2", {"#e69f00", 4}},         {"mamba2[-1,1]", {"#a6761d", 5}},
      {"gated_deltanet", {"#d55e00", 6}}, {"gated_deltanet[-1,1]", {"#cc79a7", 7}},
      {"ngram", {"#999933", 1}}};
  static const ArmStyle others[] = {{"#8a63d2", 5}, {"#c2185b", 3}, {"#4f8f2f", 6}, {"#3f8f8f", 2},
                                    {"#b0603f", 7}, {"#6a7fd2", 4}, {"#b5479b", 0}};
  constexpr std::size_t kOthers = std::size(others);
  std::map<std::string, ArmStyle> out;
  std::vector<bool> taken(kOthers, false);
  for (const std::string& arm : arms) {
    if (out.contains(arm)) continue;
    if (const auto it = known.find(arm); it != known.end()) {
      out[arm] = it->second;
      continue;
    }
    std::size_t at = 0;  // the same in every study, unless another arm was there first
    for (char c : arm) at = at * 31 + static_cast<unsigned char>(c);
    for (std::size_t i = 0; i < kOthers && taken[at % kOthers]; ++i) ++at;
    taken[at % kOthers] = true;
    out[arm] = others[at % kOthers];
  }
  return out;
}

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
  if (!std::isfinite(v)) return "-";
  if (v == std::floor(v) && std::abs(v) < 10000) return std::to_string(static_cast<long>(v));
  const char* units[] = {"", "k", "M", "G", "T", "P", "E"};
  int u = 0;
  while (std::abs(v) >= 999.5 && u < 6) {
    v /= 1000;
    ++u;
  }
  return format(std::abs(v) >= 100 || v == std::floor(v) ? "%.0f%s" : "%.3g%s", v, units[u]);
}

}  // namespace subquad
