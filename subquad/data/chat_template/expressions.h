// Parses the expressions of a template.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "subquad/data/chat_template/cursor.h"
#include "subquad/data/chat_template/syntax.h"

namespace subquad::chat {

// The expression at the cursor, which is left behind it; functions that are called are noted in
// `called`, as macros may be defined behind their use.
// Errors: unsupported, naming line and column.
using Called = std::vector<std::pair<std::string, Place>>;
ExpressionPtr parse_tuple(Cursor& cursor, Called& called);       // "a, b" is a tuple
ExpressionPtr parse_expression(Cursor& cursor, Called& called);  // ends before a comma
ExpressionPtr parse_either(Cursor& cursor, Called& called);      // and before an if

}  // namespace subquad::chat
