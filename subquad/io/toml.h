// TOML files as Json. Tables keep their order; dates are refused.
#pragma once

#include <string>

#include "subquad/io/json.h"

namespace subquad {

// Errors name the file and the line.
Json read_toml(const std::string& path);
Json parse_toml(const std::string& text, const std::string& source);
// The line of a top-level or nested key ("tasks.code.tokens"), for messages; 0 if unknown.
int toml_line(const std::string& text, const std::string& dotted_key);

}  // namespace subquad
