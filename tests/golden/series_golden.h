// Golden cases of forecasting: JSON lines. The tests enumerate every file `<prefix>*.jsonl` below
// tests/golden, or below SUBQUAD_GOLDEN=DIR, so cases are added without code.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "subquad/base/file.h"
#include "subquad/io/json.h"

namespace subquad {

// Empty only where SUBQUAD_GOLDEN holds no such file (that of other tests).
inline std::vector<Json> golden_lines(const std::string& prefix) {
  const char* other = std::getenv("SUBQUAD_GOLDEN");
  const std::string root = other ? other : std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden";
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() == ".jsonl" &&
        entry.path().filename().string().starts_with(prefix))
      paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Json> lines;
  for (const std::string& path : paths) {
    const std::string text = read_file(path);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      if (end > at) lines.push_back(Json::parse(text.substr(at, end - at), path));
      at = end + 1;
    }
  }
  EXPECT_TRUE(other || !lines.empty()) << "no " << prefix << "*.jsonl below " << root;
  return lines;
}

// null = NaN, "inf" and "-inf" = infinities.
inline double golden_number(const Json& j) {
  if (j.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!j.is_string()) return j.as_double();
  EXPECT_TRUE(j.as_string() == "inf" || j.as_string() == "-inf") << j.as_string();
  return j.as_string() == "inf" ? HUGE_VAL : -HUGE_VAL;
}

inline std::vector<double> golden_numbers(const Json& j) {
  std::vector<double> out;
  for (const Json& x : j.as_array()) out.push_back(golden_number(x));
  return out;
}

// NaN equals NaN, infinity itself; otherwise |got - want| <= bound * max(|want|, scale).
inline void expect_near(double got, double want, double bound, double scale,
                        const std::string& what) {
  if (std::isnan(want) || std::isinf(want)) {
    EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want)
        << what << ": got " << got << ", wanted " << want;
    return;
  }
  EXPECT_LE(std::abs(got - want), bound * std::max(std::abs(want), scale))
      << what << ": got " << got << ", wanted " << want;
}

}  // namespace subquad
