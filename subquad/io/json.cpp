#include "subquad/io/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "subquad/base/file.h"

namespace subquad {
namespace {

// Builds a Json from nlohmann's event stream, so that no second tree is held.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(const std::string& source, const JsonLimits& limits) : source_(source), limits_(limits) {}
  Json result() { return std::move(root_); }

  bool null() override { return put(Json()); }
  bool boolean(bool v) override { return put(Json(v)); }
  bool number_integer(std::int64_t v) override { return put(Json(v)); }
  bool number_unsigned(std::uint64_t v) override {
    return put(v <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
                   ? Json(static_cast<std::int64_t>(v))
                   : Json(static_cast<double>(v)));
  }
  bool number_float(double v, const std::string&) override { return put(Json(v)); }
  bool string(std::string& v) override { return put(Json(std::move(v))); }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(); }
  bool key(std::string& k) override {
    stack_.back().keys.push_back(std::move(k));
    return true;
  }
  bool end_object() override {
    Open& top = stack_.back();
    refuse_repeated(top.keys);
    Json::Object object;
    object.reserve(top.keys.size());
    for (std::size_t i = 0; i < top.keys.size(); ++i) {
      object.emplace_back(std::move(top.keys[i]), std::move(top.values[i]));
    }
    return close(Json(std::move(object)));
  }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(Json(std::move(stack_.back().values))); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    std::string what = e.what();
    if (const auto at = what.find("parse error"); at != std::string::npos) what = what.substr(at);
    fail(ErrorCode::format, source_, ": not valid JSON: ", what);
  }

 private:
  // A container whose end has not come yet; keys only in an object.
  struct Open {
    std::vector<std::string> keys;
    Json::Array values;
  };

  bool open() {
    require(stack_.size() < limits_.depth, ErrorCode::format, source_, ": nested deeper than ",
            limits_.depth);
    stack_.emplace_back();
    return true;
  }
  bool close(Json done) {
    stack_.pop_back();
    return put(std::move(done));
  }
  bool put(Json v) {
    require(++values_ <= limits_.values, ErrorCode::format, source_, ": more than ", limits_.values,
            " values");
    if (stack_.empty()) {
      root_ = std::move(v);
    } else {
      stack_.back().values.push_back(std::move(v));
    }
    return true;
  }
  // Sorted, as objects may have a million keys.
  void refuse_repeated(const std::vector<std::string>& keys) const {
    std::vector<std::string_view> sorted(keys.begin(), keys.end());
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    require(twice == sorted.end(), ErrorCode::format, source_, ": key \"",
            twice == sorted.end() ? "" : *twice, "\" appears twice in one object");
  }

  const std::string& source_;
  const JsonLimits& limits_;
  std::size_t values_ = 0;
  Json root_;
  std::vector<Open> stack_;
};

void append_string(std::string& out, const std::string& s) {
  out += '"';
  for (const char raw : s) {
    const auto c = static_cast<unsigned char>(raw);
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (c < 0x20) {
          char hex[8];
          std::snprintf(hex, sizeof hex, "\\u%04x", c);
          out += hex;
        } else {
          out += raw;
        }
    }
  }
  out += '"';
}

void append_double(std::string& out, double v) {
  if (!std::isfinite(v)) {
    out += "null";
    return;
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  out += text;
  if (text.find_first_of(".en") == std::string_view::npos) out += ".0";
}

void append(std::string& out, const Json& v, int indent, int depth) {
  const auto line = [&](int d) {
    if (indent > 0) {
      out += '\n';
      out.append(static_cast<std::size_t>(indent * d), ' ');
    }
  };
  if (v.is_null()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.as_bool() ? "true" : "false";
  } else if (v.is_int()) {
    out += std::to_string(v.as_int());
  } else if (v.is_number()) {
    append_double(out, v.as_double());
  } else if (v.is_string()) {
    append_string(out, v.as_string());
  } else if (v.is_array()) {
    out += '[';
    const auto& items = v.as_array();
    const bool flat = std::none_of(items.begin(), items.end(),
                                   [](const Json& i) { return i.is_array() || i.is_object(); });
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i) out += flat && indent > 0 ? ", " : ",";
      if (!flat) line(depth + 1);
      append(out, items[i], indent, depth + 1);
    }
    if (!flat) line(depth);
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [key, value] : v.as_object()) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      append_string(out, key);
      out += indent > 0 ? ": " : ":";
      append(out, value, indent, depth + 1);
    }
    if (!first) line(depth);
    out += '}';
  }
}

// Replaces the literals NaN, Infinity and -Infinity outside strings by null and the largest
// doubles.
std::string replace_literals(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out += c;
      if (c == '\\' && i + 1 < text.size())
        out += text[++i];
      else if (c == '"')
        in_string = false;
      continue;
    }
    const std::string_view rest = text.substr(i);
    if (rest.starts_with("NaN")) {
      out += "null";
      i += 2;
    } else if (rest.starts_with("-Infinity")) {
      out += "-1.7976931348623157e308";
      i += 8;
    } else if (rest.starts_with("Infinity")) {
      out += "1.7976931348623157e308";
      i += 7;
    } else {
      in_string = c == '"';
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string_view Json::type_name() const {
  if (is_null()) return "null";
  if (is_bool()) return "a boolean";
  if (is_int()) return "an integer";
  if (is_number()) return "a number";
  if (is_string()) return "a string";
  return is_array() ? "an array" : "an object";
}

bool Json::as_bool() const {
  require(is_bool(), ErrorCode::format, "got ", type_name(), ", wanted true or false");
  return std::get<bool>(value_);
}

std::int64_t Json::as_int() const {
  if (is_int()) return std::get<std::int64_t>(value_);
  require(is_number(), ErrorCode::format, "got ", type_name(), ", wanted an integer");
  const double v = std::get<double>(value_);
  require(std::floor(v) == v && std::abs(v) < 9e15, ErrorCode::format, "got ", v,
          ", wanted an integer");
  return static_cast<std::int64_t>(v);
}

double Json::as_double() const {
  if (is_int()) return static_cast<double>(std::get<std::int64_t>(value_));
  require(is_number(), ErrorCode::format, "got ", type_name(), ", wanted a number");
  return std::get<double>(value_);
}

const std::string& Json::as_string() const {
  require(is_string(), ErrorCode::format, "got ", type_name(), ", wanted a string");
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array() const {
  require(is_array(), ErrorCode::format, "got ", type_name(), ", wanted an array");
  return std::get<Array>(value_);
}

const Json::Object& Json::as_object() const {
  require(is_object(), ErrorCode::format, "got ", type_name(), ", wanted an object");
  return std::get<Object>(value_);
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const auto& [k, v] : std::get<Object>(value_)) {
    if (k == key) return &v;
  }
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* v = find(key);
  require(v != nullptr, ErrorCode::format, "key \"", key, "\" is missing");
  return *v;
}

Json& Json::operator[](std::string_view key) {
  if (is_null()) value_ = Object{};
  require(is_object(), ErrorCode::format, "got ", type_name(), ", wanted an object");
  auto& object = std::get<Object>(value_);
  for (auto& [k, v] : object) {
    if (k == key) return v;
  }
  return object.emplace_back(std::string(key), Json()).second;
}

std::int64_t Json::get(std::string_view key, std::int64_t fallback) const {
  const Json* v = find(key);
  return v ? v->as_int() : fallback;
}
double Json::get(std::string_view key, double fallback) const {
  const Json* v = find(key);
  return v ? v->as_double() : fallback;
}
bool Json::get(std::string_view key, bool fallback) const {
  const Json* v = find(key);
  return v ? v->as_bool() : fallback;
}
std::string Json::get(std::string_view key, const char* fallback) const {
  const Json* v = find(key);
  return v ? v->as_string() : std::string(fallback);
}

void Json::push_back(Json v) {
  if (is_null()) value_ = Array{};
  require(is_array(), ErrorCode::format, "got ", type_name(), ", wanted an array");
  std::get<Array>(value_).push_back(std::move(v));
}

std::size_t Json::size() const {
  if (is_array()) return std::get<Array>(value_).size();
  if (is_object()) return std::get<Object>(value_).size();
  return 0;
}

const Json& Json::operator[](std::size_t i) const {
  const Array& a = as_array();
  require(i < a.size(), ErrorCode::format, "index ", i, " of an array of ", a.size());
  return a[i];
}

std::string Json::dump(int indent) const {
  std::string out;
  append(out, *this, indent, 0);
  return out;
}

Json Json::parse(std::string_view text, const std::string& source, const JsonLimits& limits) {
  Builder builder(source, limits);
  const std::string standard = replace_literals(text);
  nlohmann::json::sax_parse(standard, &builder);
  return builder.result();
}

Json Json::read(const std::string& path) { return parse(read_file(path), path); }

Json Json::read_lines(const std::string& path) {
  const std::string text = read_file(path);
  Json out = array();
  std::size_t line = 0;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    out.push_back(parse(std::string_view(text).substr(from, end - from),
                        path + ":" + std::to_string(++line)));
    from = end + 1;
  }
  return out;
}

std::string nearest_key(std::string_view key, const std::vector<std::string>& known) {
  constexpr std::size_t kLongest = 256;  // the cost is the product of two lengths
  std::string best;
  if (key.size() > kLongest) return best;
  std::size_t best_distance = std::max<std::size_t>(2, key.size() / 3) + 1;
  for (const std::string& candidate : known) {
    if (candidate.size() >= key.size() + best_distance) continue;
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= key.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j < row.size(); ++j) {
        const std::size_t up = row[j];
        row[j] = std::min({up + 1, row[j - 1] + 1, diagonal + (key[i - 1] != candidate[j - 1])});
        diagonal = up;
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace subquad
