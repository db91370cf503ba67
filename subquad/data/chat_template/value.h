// Values of the template language: those of JSON, without ever changing, and names without a value.
// Texts are sequences of code points; dictionaries keep their order and have texts as keys.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "subquad/io/json.h"

namespace subquad::chat {

struct Macro;  // of a syntax tree
struct Space;  // of namespace(): the one thing whose parts can be set

// What a rendering may still use, in units of about a nanosecond and of bytes made. Spending more is
// an error, so time, memory and output are bounded whatever the template is.
class Budget {
 public:
  explicit Budget(std::int64_t units) : left_(units) {}
  void spend(std::size_t units) {
    left_ -= static_cast<std::int64_t>(units);
    if (left_ < 0) exhausted();
  }
  static constexpr std::size_t kStep = 32, kItem = 32;

 private:
  [[noreturn]] static void exhausted();
  std::int64_t left_;
};

class Value {
 public:
  struct List;
  struct Dict;
  struct Undefined {
    bool operator==(const Undefined&) const = default;
  };
  using Text = std::shared_ptr<const std::string>;

  Value() = default;  // undefined
  static Value none() { return Value(Data(std::monostate())); }
  static Value boolean(bool v) { return Value(Data(v)); }
  static Value integer(std::int64_t v) { return Value(Data(v)); }
  static Value real(double v) { return Value(Data(v)); }
  static Value text(std::string v) {
    return Value(Data(std::make_shared<const std::string>(std::move(v))));
  }
  static Value list(std::vector<Value> items, bool tuple = false);
  static Value dict(std::vector<std::pair<std::string, Value>> entries);
  static Value space(std::shared_ptr<Space> s) { return Value(Data(std::move(s))); }
  static Value macro(const Macro* m) { return Value(Data(m)); }
  static Value from_json(const Json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<std::monostate>(data_); }
  bool is_boolean() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_boolean() || is_integer() || is_real(); }
  bool is_text() const { return std::holds_alternative<Text>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(data_); }
  const char* type_name() const;  // "a string"

  // Only where the kind is right.
  const std::string& as_text() const { return *std::get<Text>(data_); }
  const std::vector<Value>& as_list() const;
  const std::vector<std::pair<std::string, Value>>& as_dict() const;
  const Value* find(std::string_view key) const;  // of a dictionary; null if absent
  std::int64_t as_integer() const;                // also of a boolean
  double as_real() const;                         // of any number
  Space* as_space() const;                        // null for anything else
  const Macro* as_macro() const;                  // null for anything else

  bool truth() const;
  std::int64_t depth() const;  // of nested lists and dictionaries
  // As {{ }} prints it, and as it stands inside a printed list.
  std::string printed(Budget& budget) const;
  std::string quoted(Budget& budget) const;
  // As JSON; indent 0: on one line, with ", " and ": ". Errors: unsupported, for what JSON cannot say.
  std::string json(Budget& budget, std::int64_t indent, bool ascii, bool sorted) const;

 private:
  using Data = std::variant<Undefined, std::monostate, bool, std::int64_t, double, Text,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                            std::shared_ptr<Space>, const Macro*>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

struct Value::List {
  std::vector<Value> items;
  bool tuple;
  std::int64_t depth;
};
struct Value::Dict {
  std::vector<std::pair<std::string, Value>> entries;
  std::int64_t depth;
};
struct Space {
  std::vector<std::pair<std::string, Value>> parts;
};

bool equal(const Value& a, const Value& b, Budget& budget);
// a < b, of numbers or of texts. Errors: unsupported for anything else.
bool less(const Value& a, const Value& b, Budget& budget);

// A text's code points: their number, and where each begins, the end included.
std::int64_t length_of(std::string_view text);
std::vector<std::size_t> starts_of(std::string_view text);
// The first place of `part` at or behind `from`, or npos; linear time for any text.
std::size_t find_text(std::string_view text, std::string_view part, std::size_t from = 0);

}  // namespace subquad::chat
