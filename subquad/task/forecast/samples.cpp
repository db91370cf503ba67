#include "subquad/task/forecast/samples.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace subquad {
namespace {

// Six digits draw the same picture and a third of the bytes.
Json numbers(std::span<const double> values) {
  Json out = Json::array();
  for (const double x : values) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", x);
    out.push_back(std::isfinite(x) ? Json(std::strtod(text, nullptr)) : Json());
  }
  return out;
}

}  // namespace

Json sample_json(const std::string& name, std::span<const double> past,
                 std::span<const double> actual,
                 const std::function<std::string(std::size_t)>& stamp,
                 const std::vector<double>& levels) {
  constexpr std::size_t kLeast = 48;
  const std::size_t shown = std::min(past.size(), std::max(kLeast, 3 * actual.size()));
  Json out = Json::object();
  out["name"] = name;
  out["levels"] = numbers(levels);
  Json& stamps = out["stamps"] = Json::array();
  for (std::size_t i = past.size() - shown; i < past.size() + actual.size(); ++i)
    stamps.push_back(stamp(i));
  out["history"] = numbers(past.last(shown));
  out["actual"] = numbers(actual);
  return out;
}

Json answer_json(const std::vector<std::vector<double>>& quantiles) {
  Json out = Json::array();
  for (const auto& level : quantiles) out.push_back(numbers(level));
  return out;
}

}  // namespace subquad
