// The syntax tree of a template. What is not known is refused here, by name, before anything runs.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "subquad/data/chat_template/lexer.h"
#include "subquad/data/chat_template/value.h"

namespace subquad::chat {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind : std::uint8_t {
    constant,
    name,         // text
    attribute,    // parts[0].text
    item,         // parts[0][parts[1]]
    slice,        // parts[0][parts[1] : parts[2] : parts[3]], null where left out
    call,         // text(parts..., named...)
    method,       // parts[0].text(parts[1]..., named...)
    filter,       // parts[0] | text(parts[1]..., named...)
    test,         // parts[0] is text(parts[1]...)
    inverse,      // not parts[0]
    negative,     // -parts[0]
    binary,       // parts[0] text parts[1], text one of + - * / // % **
    both,         // parts[0] and parts[1]
    either,       // parts[0] or parts[1]
    compare,      // parts[0] signs[0] parts[1] signs[1] parts[2] ...
    concatenate,  // parts joined by ~
    conditional,  // parts[0] if parts[1] else parts[2], the last null where left out
    list,
    tuple,
    dict,  // parts: key, value, key, value, ...
  };
  Kind kind = Kind::constant;
  Place place;
  std::string text;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> signs;
  std::int32_t depth = 1;
};

struct Statement;
using Body = std::vector<Statement>;

struct Macro {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with a default or null
  Body body;
};

struct Statement {
  enum class Kind : std::uint8_t {
    data,     // text
    print,    // expressions[0]
    choose,   // bodies[i] of the first expressions[i] that is true, else the last body
    loop,     // names in expressions[0], if expressions[1] (or null): bodies[0], else bodies[1]
    assign,   // names = expressions[0]; or names[0].text = ...
    capture,  // names[0] = what bodies[0] prints
    macro,    // definition
    group,    // bodies[0]
    leave,    // break
    again,    // continue
  };
  Kind kind = Kind::data;
  Place place;
  std::string text;
  std::vector<ExpressionPtr> expressions;
  std::vector<std::string> names;
  std::vector<Body> bodies;
  std::unique_ptr<Macro> macro;
};

// Bounds: 1 MiB, 200 levels of nesting.
// Errors: unsupported, naming line and column, for what is no template or not in the subset.
Body parse_template(std::string_view text, const std::string& source);

// What the interpreter has (operations.cpp, functions.cpp), for the parser to refuse anything else.
bool is_filter(std::string_view name);
bool is_test(std::string_view name);
bool is_method(std::string_view name);
bool is_function(std::string_view name);
std::string known_filters();
std::string known_tests();
std::string known_methods();
std::string known_functions();

}  // namespace subquad::chat
