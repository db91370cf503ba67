// Options of a task on the command line: KEY=VALUE,...
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"

namespace subquad::app {

inline constexpr const char* kTaskOptionsHelp =
    "options of the task as KEY=VALUE, listed by subquad tasks show NAME";

// {"supervision=final", "modulus=7"} as an object; whole numbers, true and false are read as such.
// Null if there are none. Errors: invalid_argument for a part without = or a key given twice.
Json parse_task_options(const std::vector<std::string>& parts);

}  // namespace subquad::app
