// A JSON value. Objects keep their order; integers and doubles stay apart; doubles print in the
// shortest form that reads back exactly, so equal values give equal text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "subquad/base/error.h"

namespace subquad {

// What a text may hold, for files that others wrote: a value takes up to twenty times the bytes that
// it is written with.
struct JsonLimits {
  std::size_t depth = 512;  // of nested arrays and objects
  std::size_t values = static_cast<std::size_t>(-1);
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;                         // null
  Json(bool v) : value_(v) {}               // NOLINT(google-explicit-constructor)
  Json(int v) : value_(std::int64_t{v}) {}  // NOLINT
  Json(std::int64_t v) : value_(v) {}       // NOLINT
  Json(std::uint64_t v) : value_(static_cast<std::int64_t>(v)) {}  // NOLINT
  Json(double v) : value_(v) {}                                    // NOLINT
  Json(const char* v) : value_(std::string(v)) {}                  // NOLINT
  Json(std::string v) : value_(std::move(v)) {}                    // NOLINT
  Json(std::string_view v) : value_(std::string(v)) {}             // NOLINT
  Json(Array v) : value_(std::move(v)) {}                          // NOLINT
  Json(Object v) : value_(std::move(v)) {}                         // NOLINT
  static Json object() { return Json(Object{}); }
  static Json array() { return Json(Array{}); }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<std::int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }
  std::string_view type_name() const;

  // Typed access; a wrong type throws Error(format) that says what was there.
  bool as_bool() const;
  std::int64_t as_int() const;  // also a double that is a whole number
  double as_double() const;     // also an integer
  const std::string& as_string() const;
  const Array& as_array() const;
  const Object& as_object() const;

  // Objects. find: null pointer if absent. at: throws Error(format) naming the key.
  const Json* find(std::string_view key) const;
  const Json& at(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  Json& operator[](std::string_view key);  // inserts null if absent; turns null into an object
  // With a default for an absent key.
  std::int64_t get(std::string_view key, std::int64_t fallback) const;
  std::int64_t get(std::string_view key, int fallback) const {
    return get(key, std::int64_t{fallback});
  }
  double get(std::string_view key, double fallback) const;
  bool get(std::string_view key, bool fallback) const;
  std::string get(std::string_view key, const char* fallback) const;

  // Arrays.
  void push_back(Json v);  // turns null into an array
  std::size_t size() const;
  const Json& operator[](std::size_t i) const;

  bool operator==(const Json&) const = default;

  // One line without spaces; indent > 0: pretty-printed. NaN and infinities print as null.
  std::string dump(int indent = 0) const;
  // Accepts the non-standard literals NaN, Infinity, -Infinity, as some model configs hold them.
  // `source` is named in errors, with line and column.
  static Json parse(std::string_view text, const std::string& source,
                    const JsonLimits& limits = {});
  static Json read(const std::string& path);
  // JSON lines: one value per line, as an array.
  static Json read_lines(const std::string& path);

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

// The key of `known` nearest to `key` in edit distance, or "" if none is near or `key` is longer than
// 256 bytes: for "did you mean".
std::string nearest_key(std::string_view key, const std::vector<std::string>& known);

}  // namespace subquad
