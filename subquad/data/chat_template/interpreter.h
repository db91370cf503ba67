// Runs a template's syntax tree.
#pragma once

#include <ctime>

#include "subquad/data/chat_template/syntax.h"

namespace subquad::chat {

// What the template prints. variables: names that it may read, an object.
// Errors: unsupported, naming line and column.
std::string run_template(const Body& body, const std::string& source, const Json& variables,
                         std::time_t now);

}  // namespace subquad::chat
