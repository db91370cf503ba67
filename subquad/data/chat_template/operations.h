// Filters, tests, methods and functions of the template language, as tables of names.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "subquad/data/chat_template/value.h"

namespace subquad::chat {

// The arguments of a call. Each is asked for by its place and its name; what nobody asked for is an
// error.
class Arguments {
 public:
  Arguments(std::vector<Value> placed, std::vector<std::pair<std::string, Value>> named)
      : placed_(std::move(placed)), named_(std::move(named)) {}

  // Null if it was not given.
  const Value* find(std::size_t place, std::string_view name);
  const Value& at(std::size_t place, std::string_view name);
  bool flag(std::size_t place, std::string_view name, bool fallback);
  std::int64_t integer(std::size_t place, std::string_view name, std::int64_t fallback);
  const std::string& text(std::size_t place, std::string_view name);
  // Those behind `from`, all of them.
  std::vector<Value> rest(std::size_t from);
  std::vector<std::pair<std::string, Value>> take_named() { return std::move(named_); }
  void finish() const;

 private:
  std::vector<Value> placed_;
  std::vector<std::pair<std::string, Value>> named_;
  std::size_t asked_ = 0;               // places below
  std::vector<std::string_view> seen_;  // names
};

// What a value is iterated over: items, keys, or characters. Errors: unsupported.
std::vector<Value> items_of(const Value& v, Budget& budget);
// object.name as data: an undefined value where there is none.
Value part_of(const Value& object, std::string_view name, Budget& budget);
Value item_of(const Value& object, const Value& index, Budget& budget);
Value slice_of(const Value& object, const Value& first, const Value& last, const Value& step,
               Budget& budget);
Value binary_operation(std::string_view sign, const Value& a, const Value& b, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);

Value apply_filter(std::string_view name, const Value& v, Arguments arguments, Budget& budget);
bool apply_test(std::string_view name, const Value& v, Arguments arguments, Budget& budget);
Value call_method(std::string_view name, const Value& object, Arguments arguments, Budget& budget);
// `now`: seconds since 1970, for strftime_now.
Value call_function(std::string_view name, Arguments arguments, Budget& budget, std::time_t now);

// Texts.
std::string python_quoted(std::string_view text);  // as it stands inside a printed list
// The value in `digits` hexadecimal digits behind a prefix.
void append_hex(std::string& out, const char* prefix, std::uint32_t value, int digits);
enum class Side : std::uint8_t { left = 1, right = 2, both = 3 };
// Without white space, or the characters of `set` if it is not null, at its ends.
std::string stripped(std::string_view text, Side side, const std::string* set);
std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::int64_t most, Budget& budget);
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalized(std::string_view text);
std::string titled(std::string_view text, bool after_letters_only);
Value joined(const std::vector<Value>& items, std::string_view separator, bool texts_only,
             Budget& budget);

}  // namespace subquad::chat
