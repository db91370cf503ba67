// value.method(), and functions.
#include <algorithm>
#include <map>

#include "subquad/data/chat_template/operations.h"
#include "subquad/data/chat_template/syntax.h"

namespace subquad::chat {
namespace {

constexpr ErrorCode kWrong = ErrorCode::unsupported;
using TextMethod = Value (*)(const std::string&, Arguments&, Budget&);
using DictMethod = Value (*)(const Value&, Arguments&, Budget&);

template <Side side>
Value strip(const std::string& text, Arguments& arguments, Budget&) {
  const Value* set = arguments.find(0, "chars");
  require(!set || set->is_text() || set->is_none(), kWrong, "wanted a text of characters");
  return Value::text(stripped(text, side, set && set->is_text() ? &set->as_text() : nullptr));
}

template <std::string (*change)(std::string_view)>
Value changed(const std::string& text, Arguments&, Budget&) {
  return Value::text(change(text));
}

// At white space without a separator, else at each separator; from the right if asked.
std::vector<Value> split(std::string_view text, const Value* separator, std::int64_t most,
                         bool from_right, Budget& budget) {
  std::vector<Value> out;
  const auto put = [&](std::string_view part) {
    budget.spend(2 * Budget::kItem + part.size());
    out.push_back(Value::text(std::string(part)));
  };
  const auto full = [&] { return most >= 0 && static_cast<std::int64_t>(out.size()) >= most; };
  if (!separator || separator->is_none()) {
    require(!from_right || most < 0, kWrong, "rsplit at white space with a bound");
    std::string rest = stripped(text, Side::left, nullptr);
    while (!rest.empty() && !full()) {
      std::size_t end = 0;
      while (end < rest.size()) {  // up to the next white space
        if (stripped(std::string_view(rest).substr(end, 4), Side::left, nullptr).size() !=
            std::min<std::size_t>(4, rest.size() - end))
          break;
        ++end;
      }
      put(std::string_view(rest).substr(0, end));
      budget.spend(rest.size());
      rest = stripped(std::string_view(rest).substr(end), Side::left, nullptr);
    }
    if (!rest.empty()) put(rest);
    return out;
  }
  require(separator->is_text() && !separator->as_text().empty(), kWrong,
          "a split wants a separator that is a text and not empty");
  const std::string& s = separator->as_text();
  std::size_t from = 0, end = text.size();
  while (!full()) {
    const std::size_t at = from_right ? text.substr(0, end).rfind(s) : find_text(text, s, from);
    if (at == std::string_view::npos) break;
    if (from_right) {
      put(text.substr(at + s.size(), end - at - s.size()));
      end = at;
    } else {
      put(text.substr(from, at - from));
      from = at + s.size();
    }
  }
  put(text.substr(from, end - from));
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

template <bool from_right>
Value split_method(const std::string& text, Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.find(0, "sep");
  const std::int64_t most = arguments.integer(1, "maxsplit", -1);
  if (from_right)
    budget.spend(text.size() *
                 (separator && separator->is_text() ? separator->as_text().size() : 1));
  return Value::list(split(text, separator, most, from_right, budget));
}

Value split_lines(const std::string& text, Arguments&, Budget& budget) {
  std::vector<Value> out;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\n\r\v\f\x1c\x1d\x1e", from), text.size());
    budget.spend(2 * Budget::kItem + end - from);
    out.push_back(Value::text(text.substr(from, end - from)));
    from = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
  }
  return Value::list(std::move(out));
}

template <bool at_end>
Value affixed(const std::string& text, Arguments& arguments, Budget&) {
  const Value& affix = arguments.at(0, "prefix");
  const auto has = [&](const Value& v) {
    require(v.is_text(), kWrong, "wanted a text, got ", v.type_name());
    return at_end ? text.ends_with(v.as_text()) : text.starts_with(v.as_text());
  };
  if (!affix.is_list()) return Value::boolean(has(affix));
  return Value::boolean(std::any_of(affix.as_list().begin(), affix.as_list().end(), has));
}

template <bool at_end>
Value without(const std::string& text, Arguments& arguments, Budget&) {
  const std::string& affix = arguments.text(0, "prefix");
  if (!(at_end ? text.ends_with(affix) : text.starts_with(affix))) return Value::text(text);
  return Value::text(text.substr(at_end ? 0 : affix.size(), text.size() - affix.size()));
}

Value find(const std::string& text, Arguments& arguments, Budget&) {
  const std::size_t at = find_text(text, arguments.text(0, "sub"));
  if (at == std::string_view::npos) return Value::integer(-1);
  return Value::integer(length_of(std::string_view(text).substr(0, at)));
}

const std::map<std::string_view, TextMethod>& text_methods() {
  static const std::map<std::string_view, TextMethod> table = {
      {"capitalize", changed<capitalized>},
      {"count",
       [](const std::string& text, Arguments& a, Budget&) {
         const std::string& part = a.text(0, "sub");
         require(!part.empty(), kWrong, "a count of the empty text");
         std::int64_t n = 0;
         for (std::size_t at = find_text(text, part); at != std::string_view::npos;
              at = find_text(text, part, at + part.size()))
           ++n;
         return Value::integer(n);
       }},
      {"endswith", affixed<true>},
      {"find", find},
      {"join",
       [](const std::string& text, Arguments& a, Budget& budget) {
         return joined(items_of(a.at(0, "iterable"), budget), text, true, budget);
       }},
      {"lower", changed<lower>},
      {"lstrip", strip<Side::left>},
      {"removeprefix", without<false>},
      {"removesuffix", without<true>},
      {"replace",
       [](const std::string& text, Arguments& a, Budget& budget) {
         return Value::text(
             replaced(text, a.text(0, "old"), a.text(1, "new"), a.integer(2, "count", -1), budget));
       }},
      {"rsplit", split_method<true>},
      {"rstrip", strip<Side::right>},
      {"split", split_method<false>},
      {"splitlines", split_lines},
      {"startswith", affixed<false>},
      {"strip", strip<Side::both>},
      {"title", [](const std::string& text, Arguments&,
                   Budget&) { return Value::text(titled(text, true)); }},
      {"upper", changed<upper>},
  };
  return table;
}

const std::map<std::string_view, DictMethod>& dict_methods() {
  static const std::map<std::string_view, DictMethod> table = {
      {"get",
       [](const Value& v, Arguments& a, Budget& budget) {
         const Value& key = a.at(0, "key");
         const Value* other = a.find(1, "default");
         budget.spend(v.as_dict().size());
         const Value* found = key.is_text() ? v.find(key.as_text()) : nullptr;
         return found ? *found : other ? *other : Value::none();
       }},
      {"items", [](const Value& v, Arguments&,
                   Budget& budget) { return apply_filter("items", v, Arguments({}, {}), budget); }},
      {"keys",
       [](const Value& v, Arguments&, Budget& budget) { return Value::list(items_of(v, budget)); }},
      {"values",
       [](const Value& v, Arguments&, Budget& budget) {
         std::vector<Value> out;
         budget.spend(v.as_dict().size() * Budget::kItem);
         for (const auto& [key, value] : v.as_dict()) out.push_back(value);
         return Value::list(std::move(out));
       }},
  };
  return table;
}

constexpr const char* kFunctions[] = {"dict", "namespace", "raise_exception", "range",
                                      "strftime_now"};

Value range(Arguments& arguments, Budget& budget) {
  const Value* second = arguments.find(1, "stop");
  const std::int64_t a = arguments.integer(0, "start", 0), b = arguments.integer(1, "stop", 0),
                     step = arguments.integer(2, "step", 1);
  require(step != 0, kWrong, "a range with the step 0");
  const std::int64_t first = second ? a : 0, last = second ? b : a;
  std::vector<Value> out;
  for (std::int64_t i = first; step > 0 ? i < last : i > last;) {
    budget.spend(Budget::kItem);
    out.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::list(std::move(out));
}

Value time_text(const std::string& format, std::time_t now) {
  require(format.size() <= 256, kWrong, "a time format of ", format.size(), " bytes");
  std::tm local{};
  ::localtime_r(&now, &local);
  char out[4096];
  const std::size_t n = std::strftime(out, sizeof out, format.c_str(), &local);
  return Value::text(std::string(out, n));
}

}  // namespace

bool is_method(std::string_view name) {
  return text_methods().contains(name) || dict_methods().contains(name);
}
std::string known_methods() {
  std::string out;
  for (const auto& [name, entry] : text_methods()) out.append(out.empty() ? "" : ", ").append(name);
  out += " of texts, ";
  for (const auto& [name, entry] : dict_methods()) out.append(name).append(", ");
  return out.substr(0, out.size() - 2) + " of dictionaries";
}
bool is_function(std::string_view name) {
  return std::find(std::begin(kFunctions), std::end(kFunctions), name) != std::end(kFunctions);
}
std::string known_functions() {
  std::string out;
  for (const char* name : kFunctions) out.append(out.empty() ? "" : ", ").append(name);
  return out;
}

Value call_method(std::string_view name, const Value& object, Arguments arguments, Budget& budget) {
  Value out;
  if (object.is_text() && text_methods().contains(name)) {
    budget.spend(object.as_text().size());
    out = text_methods().at(name)(object.as_text(), arguments, budget);
    if (out.is_text()) budget.spend(out.as_text().size());
  } else {
    require(object.is_dict() && dict_methods().contains(name), kWrong, object.type_name(),
            " has no method ", name);
    out = dict_methods().at(name)(object, arguments, budget);
  }
  arguments.finish();
  return out;
}

Value call_function(std::string_view name, Arguments arguments, Budget& budget, std::time_t now) {
  Value out;
  if (name == "namespace" || name == "dict") {
    std::vector<std::pair<std::string, Value>> parts;
    if (const Value* first = arguments.find(0, "mapping")) {
      require(first->is_dict(), kWrong, name, " of ", first->type_name());
      parts = first->as_dict();
    }
    for (auto& [key, value] : arguments.take_named()) {
      require(!value.as_space() && !value.as_macro(), kWrong, value.type_name(), " inside a ", name,
              " is not supported");
      parts.emplace_back(key, std::move(value));
    }
    budget.spend(parts.size() * 2 * Budget::kItem);
    if (name == "dict") {
      out = Value::dict(std::move(parts));
    } else {
      out = Value::space(std::make_shared<Space>(Space{std::move(parts)}));
    }
  } else if (name == "range") {
    out = range(arguments, budget);
  } else if (name == "raise_exception") {
    fail(kWrong, "the template refuses: ", arguments.at(0, "message").printed(budget));
  } else {
    out = time_text(arguments.text(0, "format"), now);
  }
  arguments.finish();
  return out;
}

}  // namespace subquad::chat
