// Indexing, arithmetic and the arguments of calls.
#include "subquad/data/chat_template/operations.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "subquad/data/tokenizer/unicode.h"

namespace subquad::chat {
namespace {

constexpr ErrorCode kWrong = ErrorCode::unsupported;

std::int64_t checked(bool overflow, std::int64_t value) {
  require(!overflow, kWrong, "a result beyond 64 bits");
  return value;
}

std::int64_t floor_divided(std::int64_t a, std::int64_t b) {
  require(b != 0, kWrong, "a division by zero");
  if (b == -1) {
    std::int64_t r = 0;
    return checked(__builtin_sub_overflow(std::int64_t{0}, a, &r), r);
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Value power(const Value& a, const Value& b) {
  if (a.is_real() || b.is_real() || b.as_integer() < 0) {
    const double r = std::pow(a.as_real(), b.as_real());
    require(std::isfinite(r), kWrong, "a power that is no finite number");
    return Value::real(r);
  }
  std::int64_t r = 1, base = a.as_integer();
  if (base == 0 || base == 1) return Value::integer(b.as_integer() == 0 ? 1 : base);
  if (base == -1) return Value::integer(b.as_integer() % 2 == 0 ? 1 : -1);
  for (std::int64_t n = b.as_integer(); n > 0; --n)  // ends after 63 steps: then it overflows
    r = checked(__builtin_mul_overflow(r, base, &r), r);
  return Value::integer(r);
}

Value of_integers(std::string_view sign, std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  if (sign == "+") return Value::integer(checked(__builtin_add_overflow(a, b, &r), r));
  if (sign == "-") return Value::integer(checked(__builtin_sub_overflow(a, b, &r), r));
  if (sign == "*") return Value::integer(checked(__builtin_mul_overflow(a, b, &r), r));
  if (sign == "//") return Value::integer(floor_divided(a, b));
  if (sign == "%") return Value::integer(b == -1 ? 0 : a - floor_divided(a, b) * b);
  require(b != 0, kWrong, "a division by zero");
  return Value::real(static_cast<double>(a) / static_cast<double>(b));
}

Value of_reals(std::string_view sign, double a, double b) {
  if (sign == "+") return Value::real(a + b);
  if (sign == "-") return Value::real(a - b);
  if (sign == "*") return Value::real(a * b);
  require(b != 0, kWrong, "a division by zero");
  if (sign == "/") return Value::real(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return Value::real(sign == "%" ? rest : std::floor((a - rest) / b + 0.5));
}

Value repeated(const Value& v, std::int64_t times, Budget& budget) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const std::size_t one = v.is_text() ? v.as_text().size() : v.as_list().size() * Budget::kItem;
  std::size_t total = 0;
  require(!__builtin_mul_overflow(one, n, &total) && total < (std::size_t{1} << 40), kWrong,
          "a repetition that is too long");
  budget.spend(total);
  if (one == 0) return v;
  if (v.is_text()) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += v.as_text();
    return Value::text(std::move(out));
  }
  std::vector<Value> out;
  for (std::size_t i = 0; i < n; ++i) out.insert(out.end(), v.as_list().begin(), v.as_list().end());
  return Value::list(std::move(out));
}

// Python's rules: a slice's first index and how many follow.
struct Range {
  std::int64_t first, step, count;
};
Range range_of(std::int64_t size, const Value& first, const Value& last, const Value& step) {
  const auto given = [](const Value& v, const char* what) {
    if (v.is_undefined() || v.is_none()) return false;
    require(v.is_integer() || v.is_boolean(), kWrong, "a slice with ", v.type_name(), " as its ",
            what);
    return true;
  };
  Range r{0, given(step, "step") ? step.as_integer() : 1, 0};
  require(r.step != 0 && r.step > -(std::int64_t{1} << 62), kWrong, "a slice with the step ",
          r.step);
  const std::int64_t low = r.step > 0 ? 0 : -1, high = r.step > 0 ? size : size - 1;
  const auto bound = [&](const Value& v, const char* what, std::int64_t fallback) {
    if (!given(v, what)) return fallback;
    const std::int64_t i = v.as_integer();
    return std::clamp(i < 0 ? std::max(i, -size - 1) + size : i, low, high);
  };
  r.first = bound(first, "first index", r.step > 0 ? low : high);
  const std::int64_t end = bound(last, "last index", r.step > 0 ? high : low);
  const std::int64_t span = r.step > 0 ? end - r.first : r.first - end;
  if (span > 0) r.count = (span - 1) / std::abs(r.step) + 1;
  return r;
}

}  // namespace

const Value* Arguments::find(std::size_t place, std::string_view name) {
  asked_ = std::max(asked_, place + 1);
  seen_.push_back(name);
  const Value* found = place < placed_.size() ? &placed_[place] : nullptr;
  for (const auto& [other, value] : named_) {
    if (other != name) continue;
    require(!found, kWrong, "the argument ", name, " is given twice");
    found = &value;
  }
  return found;
}
const Value& Arguments::at(std::size_t place, std::string_view name) {
  const Value* v = find(place, name);
  require(v != nullptr, kWrong, "the argument ", name, " is missing");
  return *v;
}
bool Arguments::flag(std::size_t place, std::string_view name, bool fallback) {
  const Value* v = find(place, name);
  return v ? v->truth() : fallback;
}
std::int64_t Arguments::integer(std::size_t place, std::string_view name, std::int64_t fallback) {
  const Value* v = find(place, name);
  if (!v || v->is_none()) return fallback;
  require(v->is_integer() || v->is_boolean(), kWrong, "the argument ", name, " is ", v->type_name(),
          ", wanted an integer");
  return v->as_integer();
}
const std::string& Arguments::text(std::size_t place, std::string_view name) {
  const Value& v = at(place, name);
  require(v.is_text(), kWrong, "the argument ", name, " is ", v.type_name(), ", wanted a text");
  return v.as_text();
}
std::vector<Value> Arguments::rest(std::size_t from) {
  asked_ = std::max(asked_, placed_.size());
  if (from >= placed_.size()) return {};
  return {placed_.begin() + static_cast<std::ptrdiff_t>(from), placed_.end()};
}
void Arguments::finish() const {
  require(placed_.size() <= asked_, kWrong, placed_.size(), " arguments, wanted at most ", asked_);
  for (const auto& [name, value] : named_) {
    require(std::find(seen_.begin(), seen_.end(), name) != seen_.end(), kWrong, "the argument ",
            name, " is not supported");
  }
}

std::vector<Value> items_of(const Value& v, Budget& budget) {
  std::vector<Value> out;
  if (v.is_undefined()) return out;
  if (v.is_list()) {
    budget.spend(v.as_list().size() * Budget::kItem);
    return v.as_list();
  }
  if (v.is_dict()) {
    for (const auto& [key, value] : v.as_dict()) {
      budget.spend(Budget::kItem + key.size());
      out.push_back(Value::text(key));
    }
    return out;
  }
  require(v.is_text(), kWrong, "cannot go through ", v.type_name(),
          ", wanted a list, a dictionary or a text");
  const auto starts = starts_of(v.as_text());
  for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
    budget.spend(2 * Budget::kItem);
    out.push_back(Value::text(v.as_text().substr(starts[i], starts[i + 1] - starts[i])));
  }
  return out;
}

Value part_of(const Value& object, std::string_view name, Budget& budget) {
  require(!object.is_undefined(), kWrong, "the part ", name, " of an undefined value");
  const Value* found = nullptr;
  if (const Space* s = object.as_space()) {
    budget.spend(s->parts.size());
    for (const auto& [other, value] : s->parts)
      if (other == name) found = &value;
  } else if (object.is_dict()) {
    for (const char* method : {"items", "keys", "values", "get", "pop", "update", "copy", "clear",
                               "setdefault", "popitem", "fromkeys"}) {
      require(name != method, kWrong, "the method ", name,
              " without a call is not supported; a "
              "key of that name is reached by [\"",
              name, "\"]");
    }
    budget.spend(object.as_dict().size());
    found = object.find(name);
  }
  return found ? *found : Value();
}

Value item_of(const Value& object, const Value& index, Budget& budget) {
  require(!object.is_undefined(), kWrong, "an item of an undefined value");
  if (index.is_text()) {
    if (!object.is_dict()) return part_of(object, index.as_text(), budget);
    budget.spend(object.as_dict().size());
    const Value* found = object.find(index.as_text());
    return found ? *found : Value();
  }
  if (!index.is_integer() || !(object.is_list() || object.is_text())) return {};
  if (object.is_text()) budget.spend(object.as_text().size());
  const auto size = object.is_list() ? static_cast<std::int64_t>(object.as_list().size())
                                     : length_of(object.as_text());
  std::int64_t i = index.as_integer();
  if (i < 0) i = i < -size ? -1 : i + size;
  if (i < 0 || i >= size) return {};
  if (object.is_list()) return object.as_list()[static_cast<std::size_t>(i)];
  const auto starts = starts_of(object.as_text());
  const auto at = static_cast<std::size_t>(i);
  budget.spend(8 * starts.size());
  return Value::text(object.as_text().substr(starts[at], starts[at + 1] - starts[at]));
}

Value slice_of(const Value& object, const Value& first, const Value& last, const Value& step,
               Budget& budget) {
  if (object.is_list()) {
    const auto& items = object.as_list();
    const Range r = range_of(static_cast<std::int64_t>(items.size()), first, last, step);
    budget.spend(static_cast<std::size_t>(r.count) * Budget::kItem);
    std::vector<Value> out;
    for (std::int64_t i = 0; i < r.count; ++i)
      out.push_back(items[static_cast<std::size_t>(r.first + i * r.step)]);
    return Value::list(std::move(out));
  }
  require(object.is_text(), kWrong, "a slice of ", object.type_name(), ", wanted a list or a text");
  const auto starts = starts_of(object.as_text());
  budget.spend(9 * starts.size());
  const Range r = range_of(static_cast<std::int64_t>(starts.size()) - 1, first, last, step);
  std::string out;
  for (std::int64_t i = 0; i < r.count; ++i) {
    const auto at = static_cast<std::size_t>(r.first + i * r.step);
    out.append(object.as_text(), starts[at], starts[at + 1] - starts[at]);
  }
  return Value::text(std::move(out));
}

Value binary_operation(std::string_view sign, const Value& a, const Value& b, Budget& budget) {
  if (a.is_number() && b.is_number()) {
    if (sign == "**") return power(a, b);
    if (a.is_real() || b.is_real()) return of_reals(sign, a.as_real(), b.as_real());
    return of_integers(sign, a.as_integer(), b.as_integer());
  }
  if (sign == "+" && a.is_text() && b.is_text()) {
    budget.spend(a.as_text().size() + b.as_text().size());
    return Value::text(a.as_text() + b.as_text());
  }
  if (sign == "+" && a.is_list() && b.is_list()) {
    budget.spend((a.as_list().size() + b.as_list().size()) * Budget::kItem);
    std::vector<Value> out = a.as_list();
    out.insert(out.end(), b.as_list().begin(), b.as_list().end());
    return Value::list(std::move(out));
  }
  const auto repeats = [](const Value& x, const Value& n) {
    return (x.is_text() || x.is_list()) && (n.is_integer() || n.is_boolean());
  };
  if (sign == "*" && repeats(a, b)) return repeated(a, b.as_integer(), budget);
  if (sign == "*" && repeats(b, a)) return repeated(b, a.as_integer(), budget);
  fail(kWrong, a.type_name(), " ", sign, " ", b.type_name(), " is not supported",
       sign == "+" ? "; texts are joined with ~ whatever stands beside them" : "");
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_undefined()) return false;
  if (container.is_text()) {
    require(item.is_text(), kWrong, item.type_name(), " in a text, wanted a text");
    budget.spend(container.as_text().size());
    return find_text(container.as_text(), item.as_text()) != std::string_view::npos;
  }
  if (container.is_dict()) {
    budget.spend(container.as_dict().size());
    return item.is_text() && container.find(item.as_text()) != nullptr;
  }
  require(container.is_list(), kWrong, "cannot look into ", container.type_name());
  const auto& items = container.as_list();
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& v) { return equal(v, item, budget); });
}

}  // namespace subquad::chat
