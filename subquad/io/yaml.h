// YAML files as Json, as far as model configurations need it: one document of mappings, sequences
// and scalars. Plain scalars are null, true, false, integers or numbers where they read as such
// (YAML 1.2 core words, and .inf, .nan), quoted ones are strings. Refused: aliases, tags, keys
// that are not scalars, a key twice, files of more than 64 KiB.
#pragma once

#include <string>

#include "subquad/io/json.h"

namespace subquad {

// Errors name the file and the line.
Json read_yaml(const std::string& path);
Json parse_yaml(const std::string& text, const std::string& source);

}  // namespace subquad
