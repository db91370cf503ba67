#include "subquad/io/json_differences.h"

namespace subquad {

std::vector<JsonDifference> json_differences(const Json& a, const Json& b,
                                             const std::string& path) {
  if (a == b) return {};
  if (!a.is_object() || !b.is_object()) return {{path, a.dump(), b.dump()}};
  std::vector<JsonDifference> out;
  const auto add = [&](const std::string& key, const Json& x, const Json& y) {
    for (JsonDifference& d : json_differences(x, y, path.empty() ? key : path + "." + key))
      out.push_back(std::move(d));
  };
  for (const auto& [key, value] : a.as_object()) {
    const Json* other = b.find(key);
    add(key, value, other ? *other : Json());
  }
  for (const auto& [key, value] : b.as_object()) {
    if (!a.contains(key)) add(key, Json(), value);
  }
  return out;
}

}  // namespace subquad
