// value | filter, value is test.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "subquad/data/chat_template/operations.h"
#include "subquad/data/chat_template/syntax.h"

namespace subquad::chat {
namespace {

constexpr ErrorCode kWrong = ErrorCode::unsupported;
using Filter = Value (*)(const Value&, Arguments&, Budget&);
using Test = bool (*)(const Value&, Arguments&, Budget&);

// Filters of texts take anything, as it is printed.
std::string text_of(const Value& v, Budget& budget) { return v.printed(budget); }

template <std::string (*change)(std::string_view)>
Value changed(const Value& v, Arguments&, Budget& budget) {
  return Value::text(change(text_of(v, budget)));
}

Value trim(const Value& v, Arguments& arguments, Budget& budget) {
  const Value* set = arguments.find(0, "chars");
  require(!set || set->is_text() || set->is_none(), kWrong, "chars: wanted a text");
  return Value::text(
      stripped(text_of(v, budget), Side::both, set && set->is_text() ? &set->as_text() : nullptr));
}

Value length(const Value& v, Arguments&, Budget& budget) {
  if (v.is_undefined()) return Value::integer(0);
  if (v.is_list()) return Value::integer(static_cast<std::int64_t>(v.as_list().size()));
  if (v.is_dict()) return Value::integer(static_cast<std::int64_t>(v.as_dict().size()));
  require(v.is_text(), kWrong, "the length of ", v.type_name());
  budget.spend(v.as_text().size());
  return Value::integer(length_of(v.as_text()));
}

Value tojson(const Value& v, Arguments& arguments, Budget& budget) {
  const bool ascii = arguments.flag(0, "ensure_ascii", false);
  const std::int64_t indent = arguments.integer(1, "indent", 0);
  const Value* separators = arguments.find(2, "separators");
  require(!separators || separators->is_none(), kWrong, "separators are not supported");
  const bool sorted = arguments.flag(3, "sort_keys", false);
  require(indent >= 0 && indent <= 16, kWrong, "indent ", indent, ", wanted 0 to 16");
  return Value::text(v.json(budget, indent, ascii, sorted));
}

Value items(const Value& v, Arguments&, Budget& budget) {
  std::vector<Value> out;
  if (v.is_undefined()) return Value::list(out);
  require(v.is_dict(), kWrong, "the items of ", v.type_name(), ", wanted a dictionary");
  for (const auto& [key, value] : v.as_dict()) {
    budget.spend(3 * Budget::kItem + key.size());
    out.push_back(Value::list({Value::text(key), value}, true));
  }
  return Value::list(std::move(out));
}

Value dictsort(const Value& v, Arguments& arguments, Budget& budget) {
  std::vector<Value> pairs = items(v, arguments, budget).as_list();
  const auto key = [](const Value& pair) { return lower(pair.as_list()[0].as_text()); };
  budget.spend(pairs.size() * Budget::kStep * 8);
  std::stable_sort(pairs.begin(), pairs.end(),
                   [&](const Value& a, const Value& b) { return key(a) < key(b); });
  return Value::list(std::move(pairs));
}

Value fallback(const Value& v, Arguments& arguments, Budget&) {
  const Value* given = arguments.find(0, "default_value");
  const Value other = given ? *given : Value::text("");
  return v.is_undefined() || (arguments.flag(1, "boolean", false) && !v.truth()) ? other : v;
}

// a.b.0 of an item, as attribute= names it.
Value path_of(Value v, const std::string& path, Budget& budget) {
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t dot = std::min(path.find('.', from), path.size());
    const std::string part = path.substr(from, dot - from);
    std::int64_t index = 0;
    const auto r = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = !part.empty() && r.ec == std::errc() && r.ptr == part.data() + part.size();
    if (v.is_undefined()) return v;
    v = item_of(v, number ? Value::integer(index) : Value::text(part), budget);
    from = dot + 1;
  }
  return v;
}

Value join(const Value& v, Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.find(0, "d");
  const Value* attribute = arguments.find(1, "attribute");
  std::vector<Value> list = items_of(v, budget);
  if (attribute) {
    require(attribute->is_text(), kWrong, "attribute: wanted a text");
    for (Value& item : list) item = path_of(item, attribute->as_text(), budget);
  }
  return joined(list, separator ? text_of(*separator, budget) : "", false, budget);
}

Value replace(const Value& v, Arguments& arguments, Budget& budget) {
  return Value::text(replaced(text_of(v, budget), arguments.text(0, "old"),
                              arguments.text(1, "new"), arguments.integer(2, "count", -1), budget));
}

Value indented(const Value& v, Arguments& arguments, Budget& budget) {
  const Value* width = arguments.find(0, "width");
  const bool first = arguments.flag(1, "first", false), blank = arguments.flag(2, "blank", false);
  std::string space = "    ";
  if (width && width->is_text()) {
    space = width->as_text();
  } else if (width) {
    require(width->is_integer() && width->as_integer() >= 0 && width->as_integer() <= 64, kWrong,
            "width: wanted a text, or 0 to 64");
    space.assign(static_cast<std::size_t>(width->as_integer()), ' ');
  }
  const std::string text = text_of(v, budget);
  std::string out = first ? space : "";
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    budget.spend(end - from + 1 + space.size());
    if (from > 0 && (end > from || blank)) out += space;
    out.append(text, from, end - from);
    if (end < text.size()) out += '\n';
    from = end + 1;
  }
  return Value::text(std::move(out));
}

template <bool last>
Value end_of(const Value& v, Arguments&, Budget& budget) {
  const auto list = items_of(v, budget);
  if (list.empty()) return {};
  return last ? list.back() : list.front();
}

Value reversed(const Value& v, Arguments&, Budget& budget) {
  if (v.is_text()) return slice_of(v, Value(), Value(), Value::integer(-1), budget);
  auto list = items_of(v, budget);
  std::reverse(list.begin(), list.end());
  return Value::list(std::move(list));
}

Value as_list(const Value& v, Arguments&, Budget& budget) {
  return Value::list(items_of(v, budget));
}

// Texts compare without case, unless asked.
Value sorted(const Value& v, Arguments& arguments, Budget& budget) {
  const bool down = arguments.flag(0, "reverse", false),
             exact = arguments.flag(1, "case_sensitive", false);
  const Value* attribute = arguments.find(2, "attribute");
  require(!attribute || attribute->is_text(), kWrong, "attribute: wanted a text");
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items_of(v, budget)) {
    Value key = attribute ? path_of(item, attribute->as_text(), budget) : item;
    if (!exact && key.is_text()) {
      budget.spend(key.as_text().size());
      key = Value::text(lower(key.as_text()));
    }
    keyed.emplace_back(std::move(key), std::move(item));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    budget.spend(Budget::kStep);
    return down ? less(b.first, a.first, budget) : less(a.first, b.first, budget);
  });
  std::vector<Value> out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return Value::list(std::move(out));
}

Value unique(const Value& v, Arguments& arguments, Budget& budget) {
  const bool exact = arguments.flag(0, "case_sensitive", false);
  std::vector<Value> keys, out;
  for (const Value& item : items_of(v, budget)) {
    const Value key = !exact && item.is_text() ? Value::text(lower(item.as_text())) : item;
    if (std::any_of(keys.begin(), keys.end(),
                    [&](const Value& k) { return equal(k, key, budget); }))
      continue;
    keys.push_back(key);
    out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value to_integer(const Value& v, Arguments& arguments, Budget&) {
  const Value* other = arguments.find(0, "default");
  const Value wrong = other ? *other : Value::integer(0);
  if (v.is_integer() || v.is_boolean()) return Value::integer(v.as_integer());
  double x = 0;
  if (v.is_real()) {
    x = v.as_real();
  } else if (v.is_text()) {
    const std::string text = stripped(v.as_text(), Side::both, nullptr);
    std::int64_t whole = 0;
    const char *begin = text.data() + (text.starts_with('+') ? 1 : 0),
               *end = text.data() + text.size();
    if (const auto r = std::from_chars(begin, end, whole); r.ec == std::errc() && r.ptr == end)
      return Value::integer(whole);
    const auto r = std::from_chars(begin, end, x);
    if (r.ec != std::errc() || r.ptr != end) return wrong;
  } else {
    return wrong;
  }
  return std::abs(x) < 9e18 ? Value::integer(static_cast<std::int64_t>(x)) : wrong;
}

Value to_real(const Value& v, Arguments& arguments, Budget&) {
  const Value* other = arguments.find(0, "default");
  const Value wrong = other ? *other : Value::real(0);
  if (v.is_number()) return Value::real(v.as_real());
  if (!v.is_text()) return wrong;
  const std::string text = stripped(v.as_text(), Side::both, nullptr);
  double x = 0;
  const char *begin = text.data() + (text.starts_with('+') ? 1 : 0),
             *end = text.data() + text.size();
  const auto r = std::from_chars(begin, end, x);
  return r.ec == std::errc() && r.ptr == end && begin != end ? Value::real(x) : wrong;
}

Value absolute(const Value& v, Arguments&, Budget& budget) {
  require(v.is_number(), kWrong, "abs of ", v.type_name());
  if (v.is_real()) return Value::real(std::abs(v.as_real()));
  return v.as_integer() < 0 ? binary_operation("-", Value::integer(0), v, budget) : v;
}

// map(attribute="name", default=...) or map("filter", arguments of it)
Value map(const Value& v, Arguments& arguments, Budget& budget) {
  std::vector<Value> list = items_of(v, budget);
  const Value* attribute = arguments.find(1000, "attribute");
  if (attribute) {
    require(attribute->is_text(), kWrong, "attribute: wanted a text");
    const Value* other = arguments.find(1000, "default");
    for (Value& item : list) {
      item = path_of(item, attribute->as_text(), budget);
      if (item.is_undefined() && other) item = *other;
    }
    return Value::list(std::move(list));
  }
  const std::string name = arguments.text(0, "filter");
  require(is_filter(name) && name != "map", kWrong, "map of the filter ", name,
          " is not supported");
  const std::vector<Value> more = arguments.rest(1);
  for (Value& item : list) {
    budget.spend(Budget::kStep);
    item = apply_filter(name, item, Arguments(more, {}), budget);
  }
  return Value::list(std::move(list));
}

// select(test, arguments), and by a part of each item, selectattr(part, test, arguments).
template <bool by_part, bool keep>
Value select(const Value& v, Arguments& arguments, Budget& budget) {
  const std::string part = by_part ? arguments.text(0, "attribute") : "";
  const std::vector<Value> test = arguments.rest(by_part ? 1 : 0);
  require(test.empty() || (test[0].is_text() && is_test(test[0].as_text())), kWrong,
          "the name of the test is not known");
  std::vector<Value> out;
  for (const Value& item : items_of(v, budget)) {
    budget.spend(Budget::kStep);
    const Value what = by_part ? path_of(item, part, budget) : item;
    const bool holds = test.empty()
                           ? what.truth()
                           : apply_test(test[0].as_text(), what,
                                        Arguments({test.begin() + 1, test.end()}, {}), budget);
    if (holds == keep) out.push_back(item);
  }
  return Value::list(std::move(out));
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> table = {
      {"abs", absolute},
      {"capitalize", changed<capitalized>},
      {"count", length},
      {"d", fallback},
      {"default", fallback},
      {"dictsort", dictsort},
      {"first", end_of<false>},
      {"float", to_real},
      {"indent", indented},
      {"int", to_integer},
      {"items", items},
      {"join", join},
      {"last", end_of<true>},
      {"length", length},
      {"list", as_list},
      {"lower", changed<lower>},
      {"map", map},
      {"reject", select<false, false>},
      {"rejectattr", select<true, false>},
      {"replace", replace},
      {"reverse", reversed},
      {"safe", [](const Value& v, Arguments&, Budget&) { return v; }},
      {"select", select<false, true>},
      {"selectattr", select<true, true>},
      {"sort", sorted},
      {"string",
       [](const Value& v, Arguments&, Budget& budget) { return Value::text(v.printed(budget)); }},
      {"title", [](const Value& v, Arguments&,
                   Budget& budget) { return Value::text(titled(text_of(v, budget), false)); }},
      {"tojson", tojson},
      {"trim", trim},
      {"unique", unique},
      {"upper", changed<upper>},
  };
  return table;
}

std::int64_t whole(const Value& v) {
  require(v.is_integer() || v.is_boolean(), kWrong, "a test of whole numbers on ", v.type_name());
  return v.as_integer();
}

const std::map<std::string_view, Test>& tests() {
  static constexpr Test kEqual = [](const Value& v, Arguments& a, Budget& b) {
    return equal(v, a.at(0, "other"), b);
  };
  static constexpr Test kUnequal = [](const Value& v, Arguments& a, Budget& b) {
    return !equal(v, a.at(0, "other"), b);
  };
  static constexpr Test kLess = [](const Value& v, Arguments& a, Budget& b) {
    return less(v, a.at(0, "other"), b);
  };
  static constexpr Test kGreater = [](const Value& v, Arguments& a, Budget& b) {
    return less(a.at(0, "other"), v, b);
  };
  static const std::map<std::string_view, Test> table = {
      {"boolean", [](const Value& v, Arguments&, Budget&) { return v.is_boolean(); }},
      {"callable", [](const Value& v, Arguments&, Budget&) { return v.as_macro() != nullptr; }},
      {"defined", [](const Value& v, Arguments&, Budget&) { return !v.is_undefined(); }},
      {"divisibleby",
       [](const Value& v, Arguments& a, Budget&) {
         const std::int64_t by = whole(a.at(0, "num"));
         require(by != 0, kWrong, "a division by zero");
         return by == -1 || whole(v) % by == 0;
       }},
      {"eq", kEqual},
      {"equalto", kEqual},
      {"even", [](const Value& v, Arguments&, Budget&) { return whole(v) % 2 == 0; }},
      {"false", [](const Value& v, Arguments&, Budget&) { return v.is_boolean() && !v.truth(); }},
      {"float", [](const Value& v, Arguments&, Budget&) { return v.is_real(); }},
      {"ge", [](const Value& v, Arguments& a, Budget& b) { return !kLess(v, a, b); }},
      {"greaterthan", kGreater},
      {"gt", kGreater},
      {"in",
       [](const Value& v, Arguments& a, Budget& b) { return contains(a.at(0, "seq"), v, b); }},
      {"integer", [](const Value& v, Arguments&, Budget&) { return v.is_integer(); }},
      {"iterable",
       [](const Value& v, Arguments&, Budget&) {
         return v.is_undefined() || v.is_list() || v.is_dict() || v.is_text();
       }},
      {"le", [](const Value& v, Arguments& a, Budget& b) { return !kGreater(v, a, b); }},
      {"lessthan", kLess},
      {"lt", kLess},
      {"mapping", [](const Value& v, Arguments&, Budget&) { return v.is_dict(); }},
      {"ne", kUnequal},
      {"none", [](const Value& v, Arguments&, Budget&) { return v.is_none(); }},
      {"number", [](const Value& v, Arguments&, Budget&) { return v.is_number(); }},
      {"odd", [](const Value& v, Arguments&, Budget&) { return whole(v) % 2 != 0; }},
      {"sequence",
       [](const Value& v, Arguments&, Budget&) {
         return v.is_undefined() || v.is_list() || v.is_dict() || v.is_text();
       }},
      {"string", [](const Value& v, Arguments&, Budget&) { return v.is_text(); }},
      {"true", [](const Value& v, Arguments&, Budget&) { return v.is_boolean() && v.truth(); }},
      {"undefined", [](const Value& v, Arguments&, Budget&) { return v.is_undefined(); }},
  };
  return table;
}

template <class Table>
std::string names_of(const Table& table) {
  std::string out;
  for (const auto& [name, entry] : table) out.append(out.empty() ? "" : ", ").append(name);
  return out;
}

}  // namespace

bool is_filter(std::string_view name) { return filters().contains(name); }
bool is_test(std::string_view name) { return tests().contains(name); }
std::string known_filters() { return names_of(filters()); }
std::string known_tests() { return names_of(tests()); }

Value apply_filter(std::string_view name, const Value& v, Arguments arguments, Budget& budget) {
  Value out = filters().at(name)(v, arguments, budget);
  arguments.finish();
  return out;
}

bool apply_test(std::string_view name, const Value& v, Arguments arguments, Budget& budget) {
  const bool out = tests().at(name)(v, arguments, budget);
  arguments.finish();
  return out;
}

}  // namespace subquad::chat
