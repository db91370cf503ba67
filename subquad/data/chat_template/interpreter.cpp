#include "subquad/data/chat_template/interpreter.h"

#include <map>

#include "subquad/data/chat_template/operations.h"

namespace subquad::chat {
namespace {

using Kind = Expression::Kind;
// A rendering's budget, and what each byte of the conversation adds to it.
constexpr std::int64_t kUnits = std::int64_t{1} << 25, kUnitsPerByte = 64;
constexpr std::int32_t kMostDepth = 400;
constexpr std::size_t kMostOutput = std::size_t{16} << 20;

// Where a loop stands.
struct Turn {
  const std::vector<Value>& items;
  std::size_t index;
};

// Variables; what is not here is looked for outside. `set` sets in the innermost one.
struct Scope {
  Scope* outside;
  const Turn* turn = nullptr;
  std::map<std::string_view, Value> variables = {};
};

enum class Flow : std::uint8_t { on, again, leave };

class Interpreter {
 public:
  Interpreter(const std::string& source, std::time_t now, std::int64_t units)
      : source_(source), now_(now), budget_(units) {}

  std::string run(const Body& body, const Json& variables) {
    for (const auto& [name, value] : variables.as_object())
      root_.variables[name] = Value::from_json(value);
    execute(body, root_, 0);
    return std::move(out_);
  }

 private:
  // An error gets its place, once.
  template <class Body>
  auto at(Place place, Body&& body) {
    try {
      return body();
    } catch (const Error& e) {
      fail_at(source_, place, e.what());
    }
  }
  void enter(Place place, std::int32_t depth) {
    at(place, [&] {
      budget_.spend(Budget::kStep);
      require(depth < kMostDepth, ErrorCode::unsupported, "calls nested too deep");
    });
  }
  void print(std::string_view text, Place place) {
    at(place, [&] {
      budget_.spend(text.size());
      require(out_.size() + text.size() <= kMostOutput, ErrorCode::unsupported, "more than ",
              kMostOutput, " bytes are printed");
    });
    out_ += text;
  }

  // Statements.
  Flow execute(const Body& body, Scope& scope, std::int32_t depth) {
    for (const Statement& s : body) {
      enter(s.place, depth);
      const Flow flow = execute(s, scope, depth + 1);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow execute(const Statement& s, Scope& scope, std::int32_t depth) {
    switch (s.kind) {
      case Statement::Kind::data: print(s.text, s.place); return Flow::on;
      case Statement::Kind::print: {
        const Value v = evaluate(*s.expressions[0], scope, depth);
        print(at(s.expressions[0]->place, [&] { return v.printed(budget_); }), s.place);
        return Flow::on;
      }
      case Statement::Kind::choose:
        for (std::size_t i = 0; i < s.expressions.size(); ++i)
          if (evaluate(*s.expressions[i], scope, depth).truth())
            return execute(s.bodies[i], scope, depth);
        return s.bodies.size() > s.expressions.size() ? execute(s.bodies.back(), scope, depth)
                                                      : Flow::on;
      case Statement::Kind::loop: return loop(s, scope, depth);
      case Statement::Kind::assign: assign(s, scope, depth); return Flow::on;
      case Statement::Kind::capture:
        scope.variables[s.names[0]] = captured(s.bodies[0], scope, depth);
        return Flow::on;
      case Statement::Kind::macro:
        scope.variables[s.macro->name] = Value::macro(s.macro.get());
        return Flow::on;
      case Statement::Kind::group: return execute(s.bodies[0], scope, depth);
      case Statement::Kind::leave: return Flow::leave;
      case Statement::Kind::again: return Flow::again;
    }
    return Flow::on;
  }

  // What a body prints, as a value.
  Value captured(const Body& body, Scope& scope, std::int32_t depth) {
    std::string outer = std::move(out_);
    out_.clear();
    execute(body, scope, depth);
    std::swap(outer, out_);
    return Value::text(std::move(outer));
  }

  void set(const std::vector<std::string>& names, const Value& v, Scope& scope, Place place) {
    if (names.size() == 1) {
      scope.variables[names[0]] = v;
      return;
    }
    const std::vector<Value> parts = at(place, [&] {
      std::vector<Value> list = items_of(v, budget_);
      require(list.size() == names.size(), ErrorCode::unsupported, list.size(), " values for ",
              names.size(), " names");
      return list;
    });
    for (std::size_t i = 0; i < names.size(); ++i) scope.variables[names[i]] = parts[i];
  }

  void assign(const Statement& s, Scope& scope, std::int32_t depth) {
    const Value v = evaluate(*s.expressions[0], scope, depth);
    if (s.text.empty()) return set(s.names, v, scope, s.place);
    at(s.place, [&] {
      const Value* object = find(s.names[0], scope);
      Space* space = object ? object->as_space() : nullptr;
      require(space != nullptr, ErrorCode::unsupported, s.names[0],
              " is no namespace, only the parts of one can be set");
      require(!v.as_space() && !v.as_macro(), ErrorCode::unsupported, v.type_name(),
              " inside a namespace is not supported");
      budget_.spend(space->parts.size());
      for (auto& [name, part] : space->parts) {
        if (name != s.text) continue;
        part = v;
        return;
      }
      budget_.spend(2 * Budget::kItem);
      space->parts.emplace_back(s.text, v);
    });
  }

  Flow loop(const Statement& s, Scope& scope, std::int32_t depth) {
    const Value over = evaluate(*s.expressions[0], scope, depth);
    std::vector<Value> items = at(s.expressions[0]->place, [&] { return items_of(over, budget_); });
    if (s.expressions[1]) {
      std::vector<Value> kept;
      for (Value& item : items) {
        Scope inner{&scope};
        set(s.names, item, inner, s.place);
        if (evaluate(*s.expressions[1], inner, depth).truth()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) return s.bodies.size() > 1 ? execute(s.bodies[1], scope, depth) : Flow::on;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const Turn turn{items, i};
      Scope inner{&scope, &turn};
      set(s.names, items[i], inner, s.place);
      enter(s.place, depth);
      if (execute(s.bodies[0], inner, depth) == Flow::leave) break;
    }
    return Flow::on;
  }

  // Variables.
  static const Value* find(std::string_view name, const Scope& scope) {
    for (const Scope* s = &scope; s; s = s->outside) {
      const auto found = s->variables.find(name);
      if (found != s->variables.end()) return &found->second;
    }
    return nullptr;
  }
  static const Turn* turn_of(const Scope& scope) {
    for (const Scope* s = &scope; s; s = s->outside)
      if (s->turn) return s->turn;
    return nullptr;
  }
  static bool is_turn(const Expression& e, const Scope& scope) {
    return e.kind == Kind::name && e.text == "loop" && !find("loop", scope) && turn_of(scope);
  }
  static Value of_turn(const Turn& turn, const std::string& name) {
    const auto i = static_cast<std::int64_t>(turn.index),
               n = static_cast<std::int64_t>(turn.items.size());
    if (name == "index") return Value::integer(i + 1);
    if (name == "index0") return Value::integer(i);
    if (name == "revindex") return Value::integer(n - i);
    if (name == "revindex0") return Value::integer(n - i - 1);
    if (name == "first") return Value::boolean(i == 0);
    if (name == "last") return Value::boolean(i + 1 == n);
    if (name == "length") return Value::integer(n);
    if (name == "previtem") return i > 0 ? turn.items[turn.index - 1] : Value();
    if (name == "nextitem") return i + 1 < n ? turn.items[turn.index + 1] : Value();
    fail(ErrorCode::unsupported, "loop.", name,
         " is not supported; known are index, index0, revindex, revindex0, first, last, length, "
         "previtem and nextitem");
  }

  // Expressions.
  Value evaluate(const Expression& e, Scope& scope, std::int32_t depth) {
    enter(e.place, depth);
    const auto part = [&](std::size_t i) { return evaluate(*e.parts[i], scope, depth + 1); };
    switch (e.kind) {
      case Kind::constant: return e.constant;
      case Kind::name: return variable(e, scope);
      case Kind::attribute: {
        if (is_turn(*e.parts[0], scope))
          return at(e.place, [&] { return of_turn(*turn_of(scope), e.text); });
        const Value object = part(0);
        return at(e.place, [&] { return part_of(object, e.text, budget_); });
      }
      case Kind::item: {
        const Value object = part(0), index = part(1);
        return at(e.place, [&] { return item_of(object, index, budget_); });
      }
      case Kind::slice: {
        Value v[4];
        for (std::size_t i = 0; i < 4; ++i)
          if (e.parts[i]) v[i] = part(i);
        return at(e.place, [&] { return slice_of(v[0], v[1], v[2], v[3], budget_); });
      }
      case Kind::call: return call(e, scope, depth);
      case Kind::method:
      case Kind::filter: {
        const Value object = part(0);
        Arguments given = arguments(e, 1, scope, depth);
        return at(e.place, [&] {
          return e.kind == Kind::filter ? apply_filter(e.text, object, std::move(given), budget_)
                                        : call_method(e.text, object, std::move(given), budget_);
        });
      }
      case Kind::test: return Value::boolean(test(e, scope, depth));
      case Kind::inverse: return Value::boolean(!part(0).truth());
      case Kind::negative: {
        const Value v = part(0);
        return at(e.place, [&] {
          require(v.is_number(), ErrorCode::unsupported, "minus ", v.type_name());
          if (v.is_real()) return Value::real(-v.as_real());
          return binary_operation("-", Value::integer(0), v, budget_);
        });
      }
      case Kind::binary: {
        const Value a = part(0), b = part(1);
        return at(e.place, [&] { return binary_operation(e.text, a, b, budget_); });
      }
      case Kind::both: {
        Value a = part(0);
        return a.truth() ? part(1) : a;
      }
      case Kind::either: {
        Value a = part(0);
        return a.truth() ? a : part(1);
      }
      case Kind::compare: return compare(e, scope, depth);
      case Kind::concatenate: {
        std::vector<Value> parts;
        for (std::size_t i = 0; i < e.parts.size(); ++i) parts.push_back(part(i));
        return at(e.place, [&] { return joined(parts, "", false, budget_); });
      }
      case Kind::conditional:
        if (part(1).truth()) return part(0);
        return e.parts[2] ? part(2) : Value();
      case Kind::list:
      case Kind::tuple: {
        std::vector<Value> items;
        for (std::size_t i = 0; i < e.parts.size(); ++i) items.push_back(part(i));
        return at(e.place, [&] {
          budget_.spend(items.size() * Budget::kItem);
          return Value::list(std::move(items), e.kind == Kind::tuple);
        });
      }
      case Kind::dict: return dict(e, scope, depth);
    }
    return {};
  }

  Value variable(const Expression& e, const Scope& scope) {
    if (const Value* v = find(e.text, scope)) return *v;
    at(e.place, [&] {
      require(!is_function(e.text), ErrorCode::unsupported, "the function ", e.text,
              " without a call is not supported");
      require(e.text != "loop" || !turn_of(scope), ErrorCode::unsupported,
              "loop without one of its parts is not supported");
    });
    return {};
  }

  bool test(const Expression& e, Scope& scope, std::int32_t depth) {
    const Expression& object = *e.parts[0];
    const bool about = e.text == "defined" || e.text == "undefined";
    if (about && object.kind == Kind::name && !find(object.text, scope))
      return (is_function(object.text) || is_turn(object, scope)) == (e.text == "defined");
    const Value v = evaluate(object, scope, depth + 1);
    Arguments given = arguments(e, 1, scope, depth);
    return at(e.place, [&] { return apply_test(e.text, v, std::move(given), budget_); });
  }

  Value compare(const Expression& e, Scope& scope, std::int32_t depth) {
    Value a = evaluate(*e.parts[0], scope, depth + 1);
    for (std::size_t i = 0; i < e.signs.size(); ++i) {
      Value b = evaluate(*e.parts[i + 1], scope, depth + 1);
      const std::string& sign = e.signs[i];
      const bool holds = at(e.place, [&] {
        if (sign == "==") return equal(a, b, budget_);
        if (sign == "!=") return !equal(a, b, budget_);
        if (sign == "in") return contains(b, a, budget_);
        if (sign == "not in") return !contains(b, a, budget_);
        if (sign == "<") return less(a, b, budget_);
        if (sign == ">") return less(b, a, budget_);
        return sign == "<=" ? !less(b, a, budget_) : !less(a, b, budget_);
      });
      if (!holds) return Value::boolean(false);
      a = std::move(b);
    }
    return Value::boolean(true);
  }

  Value dict(const Expression& e, Scope& scope, std::int32_t depth) {
    std::vector<std::pair<std::string, Value>> entries;
    for (std::size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = evaluate(*e.parts[i], scope, depth + 1);
      Value value = evaluate(*e.parts[i + 1], scope, depth + 1);
      at(e.parts[i]->place, [&] {
        require(key.is_text(), ErrorCode::unsupported, "a dictionary with ", key.type_name(),
                " as a key, wanted a text");
        budget_.spend(2 * Budget::kItem + key.as_text().size() + entries.size());
        for (auto& [name, old] : entries) {
          if (name != key.as_text()) continue;
          old = std::move(value);
          return;
        }
        entries.emplace_back(key.as_text(), std::move(value));
      });
    }
    return at(e.place, [&] { return Value::dict(std::move(entries)); });
  }

  Arguments arguments(const Expression& e, std::size_t from, Scope& scope, std::int32_t depth) {
    std::vector<Value> placed;
    std::vector<std::pair<std::string, Value>> named;
    for (std::size_t i = from; i < e.parts.size(); ++i)
      placed.push_back(evaluate(*e.parts[i], scope, depth + 1));
    for (const auto& [name, value] : e.named)
      named.emplace_back(name, evaluate(*value, scope, depth + 1));
    return {std::move(placed), std::move(named)};
  }

  Value call(const Expression& e, Scope& scope, std::int32_t depth) {
    const Value* callee = find(e.text, scope);
    const Macro* macro = callee ? callee->as_macro() : nullptr;
    Arguments given = arguments(e, 0, scope, depth);
    if (!macro) {
      return at(e.place, [&] {
        require(!callee && is_function(e.text), ErrorCode::unsupported, e.text,
                callee ? " is no function" : " is not defined yet");
        return call_function(e.text, std::move(given), budget_, now_);
      });
    }
    Scope inner{&root_};
    for (std::size_t i = 0; i < macro->parameters.size(); ++i) {
      const auto& [name, fallback] = macro->parameters[i];
      const Value* v = at(e.place, [&] { return given.find(i, name); });
      inner.variables[name] = v ? *v : fallback ? evaluate(*fallback, inner, depth + 1) : Value();
    }
    at(e.place, [&] { given.finish(); });
    return captured(macro->body, inner, depth + 1);
  }

  const std::string& source_;
  const std::time_t now_;
  Budget budget_;
  Scope root_{nullptr};
  std::string out_;
};

}  // namespace

std::string run_template(const Body& body, const std::string& source, const Json& variables,
                         std::time_t now) {
  const auto bytes = static_cast<std::int64_t>(variables.dump().size());
  return Interpreter(source, now, kUnits + kUnitsPerByte * bytes).run(body, variables);
}

}  // namespace subquad::chat
