// Leaves in which two JSON values differ.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

struct JsonDifference {
  std::string path;  // "train.tokens"
  std::string a, b;  // as JSON; "null" where absent
};
std::vector<JsonDifference> json_differences(const Json& a, const Json& b,
                                             const std::string& path = "");

}  // namespace subquad
