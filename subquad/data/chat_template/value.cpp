#include "subquad/data/chat_template/value.h"

#include <string.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "subquad/data/chat_template/operations.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad::chat {
namespace {

constexpr std::int64_t kMostDepth = 100;

std::int64_t one_deeper(std::int64_t depth) {
  require(depth < kMostDepth, ErrorCode::unsupported, "lists and dictionaries nested deeper than ",
          kMostDepth);
  return depth + 1;
}

// Spaces and macros stay in variables: so values form no cycles.
void require_plain(const Value& v) {
  require(!v.as_space() && !v.as_macro(), ErrorCode::unsupported, v.type_name(),
          " inside a list or dictionary is not supported");
}

// The shortest digits that read back, laid out as Python does.
std::string number_text(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, end, exponent);
  std::string out, digits;
  for (const char c : text.substr(0, e)) {
    if (c == '-') out = "-";
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out.append(".").append(digits, 1);
    out += exponent < 0 ? "e-" : "e+";
    const std::string power = std::to_string(std::abs(exponent));
    return out + (power.size() < 2 ? "0" : "") + power;
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

void append_json_text(std::string& out, const std::string& text, bool ascii) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const char* named = nullptr;
    switch (c.value) {
      case '"': named = "\\\""; break;
      case '\\': named = "\\\\"; break;
      case '\n': named = "\\n"; break;
      case '\r': named = "\\r"; break;
      case '\t': named = "\\t"; break;
      case '\b': named = "\\b"; break;
      case '\f': named = "\\f"; break;
      default: break;
    }
    if (named) {
      out += named;
    } else if (c.value < 0x20 || (ascii && c.value >= 0x7f && c.value < 0x10000)) {
      if (c.value == 0x7f) {
        out += '\x7f';
      } else {
        append_hex(out, "\\u", c.value, 4);
      }
    } else if (ascii && c.value >= 0x10000 && c.value != kNoCodePoint) {
      append_hex(out, "\\u", 0xD800 + ((c.value - 0x10000) >> 10), 4);
      append_hex(out, "\\u", 0xDC00 + (c.value & 0x3FF), 4);
    } else {
      out.append(text, at, c.bytes);
    }
    at += c.bytes;
  }
  out += '"';
}

// Writes one value after the other into `out`, and pays for each.
class JsonWriter {
 public:
  JsonWriter(Budget& budget, std::int64_t indent, bool ascii, bool sorted)
      : budget_(budget), indent_(indent), ascii_(ascii), sorted_(sorted) {}

  std::string write(const Value& v) {
    append(v, 0);
    return std::move(out_);
  }

 private:
  void append(const Value& v, std::int64_t level) {
    budget_.spend(Budget::kStep);
    if (v.is_none()) {
      out_ += "null";
    } else if (v.is_boolean()) {
      out_ += v.as_integer() ? "true" : "false";
    } else if (v.is_integer()) {
      out_ += std::to_string(v.as_integer());
    } else if (v.is_real()) {
      const double x = v.as_real();
      out_ += std::isnan(x)   ? "NaN"
              : std::isinf(x) ? (x < 0 ? "-Infinity" : "Infinity")
                              : number_text(x);
    } else if (v.is_text()) {
      budget_.spend(v.as_text().size());
      append_json_text(out_, v.as_text(), ascii_);
    } else if (v.is_list()) {
      const auto& items = v.as_list();
      out_ += '[';
      for (std::size_t i = 0; i < items.size(); ++i) {
        separate(i, level + 1);
        append(items[i], level + 1);
      }
      close(items.empty(), level, ']');
    } else if (v.is_dict()) {
      std::vector<const std::pair<std::string, Value>*> entries;
      for (const auto& entry : v.as_dict()) entries.push_back(&entry);
      if (sorted_)
        std::sort(entries.begin(), entries.end(),
                  [](auto* a, auto* b) { return a->first < b->first; });
      out_ += '{';
      for (std::size_t i = 0; i < entries.size(); ++i) {
        separate(i, level + 1);
        budget_.spend(entries[i]->first.size());
        append_json_text(out_, entries[i]->first, ascii_);
        out_ += ": ";
        append(entries[i]->second, level + 1);
      }
      close(entries.empty(), level, '}');
    } else {
      fail(ErrorCode::unsupported, "JSON of ", v.type_name());
    }
  }
  void line(std::int64_t level) {
    const auto spaces = static_cast<std::size_t>(indent_ * level);
    budget_.spend(spaces);
    out_ += '\n';
    out_.append(spaces, ' ');
  }
  void separate(std::size_t i, std::int64_t level) {
    if (i > 0) out_ += indent_ > 0 ? "," : ", ";
    if (indent_ > 0) line(level);
  }
  void close(bool empty, std::int64_t level, char bracket) {
    if (indent_ > 0 && !empty) line(level);
    out_ += bracket;
  }

  Budget& budget_;
  const std::int64_t indent_;
  const bool ascii_, sorted_;
  std::string out_;
};

}  // namespace

void Budget::exhausted() {
  fail(ErrorCode::unsupported, "the template takes more time or memory than a rendering may");
}

Value Value::list(std::vector<Value> items, bool tuple) {
  std::int64_t depth = 0;
  for (const Value& v : items) {
    require_plain(v);
    depth = std::max(depth, v.depth());
  }
  return Value(
      Data(std::make_shared<const List>(List{std::move(items), tuple, one_deeper(depth)})));
}

Value Value::dict(std::vector<std::pair<std::string, Value>> entries) {
  std::int64_t depth = 0;
  for (const auto& [key, v] : entries) {
    require_plain(v);
    depth = std::max(depth, v.depth());
  }
  return Value(Data(std::make_shared<const Dict>(Dict{std::move(entries), one_deeper(depth)})));
}

Value Value::from_json(const Json& json) {
  if (json.is_null()) return none();
  if (json.is_bool()) return boolean(json.as_bool());
  if (json.is_int()) return integer(json.as_int());
  if (json.is_number()) return real(json.as_double());
  if (json.is_string()) return text(json.as_string());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json.as_array()) items.push_back(from_json(item));
    return list(std::move(items));
  }
  std::vector<std::pair<std::string, Value>> entries;
  for (const auto& [key, value] : json.as_object()) entries.emplace_back(key, from_json(value));
  return dict(std::move(entries));
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"an undefined value", "none",   "a boolean", "an integer",
                                    "a number",           "a text", "a list",    "a dictionary",
                                    "a namespace",        "a macro"};
  return kNames[data_.index()];
}

const std::vector<Value>& Value::as_list() const {
  return std::get<std::shared_ptr<const List>>(data_)->items;
}
const std::vector<std::pair<std::string, Value>>& Value::as_dict() const {
  return std::get<std::shared_ptr<const Dict>>(data_)->entries;
}
const Value* Value::find(std::string_view key) const {
  for (const auto& [name, value] : as_dict())
    if (name == key) return &value;
  return nullptr;
}
std::int64_t Value::as_integer() const {
  return is_boolean() ? std::int64_t{std::get<bool>(data_)} : std::get<std::int64_t>(data_);
}
double Value::as_real() const {
  return is_real() ? std::get<double>(data_) : static_cast<double>(as_integer());
}
Space* Value::as_space() const {
  const auto* s = std::get_if<std::shared_ptr<Space>>(&data_);
  return s ? s->get() : nullptr;
}
const Macro* Value::as_macro() const {
  const auto* m = std::get_if<const Macro*>(&data_);
  return m ? *m : nullptr;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return as_real() != 0;
  if (is_text()) return !as_text().empty();
  if (is_list()) return !as_list().empty();
  return !is_dict() || !as_dict().empty();
}

std::int64_t Value::depth() const {
  if (is_list()) return std::get<std::shared_ptr<const List>>(data_)->depth;
  return is_dict() ? std::get<std::shared_ptr<const Dict>>(data_)->depth : 0;
}

std::string Value::quoted(Budget& budget) const {
  budget.spend(Budget::kStep);
  if (is_text()) {
    budget.spend(as_text().size());
    return python_quoted(as_text());
  }
  if (is_undefined()) return "Undefined";
  std::string out;
  const auto add = [&](const std::string& part) {
    budget.spend(part.size());
    out += part;
  };
  if (is_list()) {
    const bool tuple = std::get<std::shared_ptr<const List>>(data_)->tuple;
    const auto& items = as_list();
    for (std::size_t i = 0; i < items.size(); ++i) add((i ? ", " : "") + items[i].quoted(budget));
    if (tuple) return "(" + out + (items.size() == 1 ? ",)" : ")");
    return "[" + out + "]";
  }
  if (is_dict()) {
    for (const auto& [key, value] : as_dict())
      add((out.empty() ? "" : ", ") + python_quoted(key) + ": " + value.quoted(budget));
    return "{" + out + "}";
  }
  return printed(budget);
}

std::string Value::printed(Budget& budget) const {
  if (is_undefined()) return "";
  if (is_none()) return "None";
  if (is_boolean()) return as_integer() ? "True" : "False";
  if (is_integer()) return std::to_string(as_integer());
  if (is_real()) return number_text(as_real());
  if (is_text()) {
    budget.spend(as_text().size());
    return as_text();
  }
  if (is_list() || is_dict()) return quoted(budget);
  fail(ErrorCode::unsupported, type_name(), " cannot be printed");
}

std::string Value::json(Budget& budget, std::int64_t indent, bool ascii, bool sorted) const {
  return JsonWriter(budget, indent, ascii, sorted).write(*this);
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend(Budget::kStep);
  if (a.is_number() && b.is_number()) {
    return a.is_real() || b.is_real() ? a.as_real() == b.as_real()
                                      : a.as_integer() == b.as_integer();
  }
  if (a.is_text() && b.is_text()) {
    budget.spend(std::min(a.as_text().size(), b.as_text().size()));
    return a.as_text() == b.as_text();
  }
  if (a.is_list() && b.is_list()) {
    const auto &x = a.as_list(), &y = b.as_list();
    if (x.size() != y.size()) return false;
    for (std::size_t i = 0; i < x.size(); ++i)
      if (!equal(x[i], y[i], budget)) return false;
    return true;
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.as_dict().size() != b.as_dict().size()) return false;
    for (const auto& [key, value] : a.as_dict()) {
      budget.spend(b.as_dict().size());
      const Value* other = b.find(key);
      if (!other || !equal(value, *other, budget)) return false;
    }
    return true;
  }
  if (a.as_space() || a.as_macro())
    return a.as_space() == b.as_space() && a.as_macro() == b.as_macro();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b, Budget& budget) {
  if (a.is_number() && b.is_number()) {
    return a.is_real() || b.is_real() ? a.as_real() < b.as_real() : a.as_integer() < b.as_integer();
  }
  require(a.is_text() && b.is_text(), ErrorCode::unsupported, "cannot compare ", a.type_name(),
          " and ", b.type_name());
  budget.spend(std::min(a.as_text().size(), b.as_text().size()));
  return a.as_text() < b.as_text();  // UTF-8 sorts as its code points do
}

std::int64_t length_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

std::vector<std::size_t> starts_of(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}

std::size_t find_text(std::string_view text, std::string_view part, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* at = ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return at ? static_cast<std::size_t>(static_cast<const char*>(at) - text.data())
            : std::string_view::npos;
}

}  // namespace subquad::chat
