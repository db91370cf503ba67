#include "subquad/data/chat_template/expressions.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

namespace subquad::chat {
namespace {

using Kind = Expression::Kind;

// The loosest binding first.
class ExpressionParser {
 public:
  ExpressionParser(Cursor& cursor, Called& called) : c_(cursor), called_(called) {}

  // "a, b" is a tuple where a whole expression may stand.
  ExpressionPtr tuple() {
    const Place place = c_.now().place;
    ExpressionPtr first = expression();
    if (!c_.is_sign(",")) return first;
    std::vector<ExpressionPtr> parts;
    parts.push_back(std::move(first));
    while (c_.skip_sign(",")) {
      if (c_.now().kind == Word::Kind::block_end || c_.now().kind == Word::Kind::print_end ||
          c_.is_sign(")"))
        break;
      parts.push_back(expression());
    }
    return made(Kind::tuple, place, "", std::move(parts));
  }

  ExpressionPtr expression() {
    const Cursor::Deeper deeper(c_);
    ExpressionPtr e = either();
    while (c_.is_name("if")) {
      const Place place = c_.take().place;
      ExpressionPtr condition = either();
      ExpressionPtr otherwise = c_.skip_name("else") ? expression() : nullptr;
      e = made(Kind::conditional, place, "", std::move(e), std::move(condition),
               std::move(otherwise));
    }
    return e;
  }
  ExpressionPtr either() {
    ExpressionPtr e = both();
    while (c_.is_name("or")) {
      const Place place = c_.take().place;
      e = made(Kind::either, place, "or", std::move(e), both());
    }
    return e;
  }

 private:
  ExpressionPtr made(Kind kind, Place place, std::string text, std::vector<ExpressionPtr> parts) {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->place = place;
    e->text = std::move(text);
    e->parts = std::move(parts);
    for (const auto& part : e->parts) deepen(*e, part);
    return e;
  }
  void deepen(Expression& e, const ExpressionPtr& part) const {
    if (part) e.depth = std::max(e.depth, part->depth + 1);
    if (e.depth > kMostNesting) c_.wrong(e.place, "nested deeper than ", kMostNesting);
  }
  template <class... Parts>
  ExpressionPtr made(Kind kind, Place place, std::string text, Parts... parts) {
    std::vector<ExpressionPtr> list;
    (list.push_back(std::move(parts)), ...);
    return made(kind, place, std::move(text), std::move(list));
  }
  ExpressionPtr constant(Place place, Value v) {
    ExpressionPtr e = made(Kind::constant, place, "");
    e->constant = std::move(v);
    return e;
  }

  ExpressionPtr both() {
    ExpressionPtr e = inverse();
    while (c_.is_name("and")) {
      const Place place = c_.take().place;
      e = made(Kind::both, place, "and", std::move(e), inverse());
    }
    return e;
  }
  ExpressionPtr inverse() {
    const Cursor::Deeper deeper(c_);
    if (!c_.is_name("not")) return compare();
    const Place place = c_.take().place;
    return made(Kind::inverse, place, "not", inverse());
  }
  ExpressionPtr compare() {
    const Place place = c_.now().place;
    std::vector<ExpressionPtr> parts;
    std::vector<std::string> signs;
    parts.push_back(sum());
    for (;;) {
      if (c_.is_sign("==") || c_.is_sign("!=") || c_.is_sign("<") || c_.is_sign("<=") ||
          c_.is_sign(">") || c_.is_sign(">=")) {
        signs.push_back(c_.take().text);
      } else if (c_.skip_name("in")) {
        signs.emplace_back("in");
      } else if (c_.is_name("not") && c_.ahead(1).kind == Word::Kind::name &&
                 c_.ahead(1).text == "in") {
        c_.take();
        c_.take();
        signs.emplace_back("not in");
      } else {
        break;
      }
      parts.push_back(sum());
    }
    if (signs.empty()) return std::move(parts[0]);
    ExpressionPtr e = made(Kind::compare, place, "", std::move(parts));
    e->signs = std::move(signs);
    return e;
  }
  template <class Next>
  ExpressionPtr binary(std::initializer_list<std::string_view> signs, Next&& next) {
    ExpressionPtr e = next();
    for (;;) {
      const auto found =
          std::find_if(signs.begin(), signs.end(), [&](auto s) { return c_.is_sign(s); });
      if (found == signs.end()) return e;
      const Word sign = c_.take();
      e = made(Kind::binary, sign.place, sign.text, std::move(e), next());
    }
  }
  ExpressionPtr sum() {
    return binary({"+", "-"}, [&] { return concatenate(); });
  }
  ExpressionPtr concatenate() {
    const Place place = c_.now().place;
    std::vector<ExpressionPtr> parts;
    parts.push_back(product());
    while (c_.skip_sign("~")) parts.push_back(product());
    return parts.size() == 1 ? std::move(parts[0])
                             : made(Kind::concatenate, place, "~", std::move(parts));
  }
  ExpressionPtr product() {
    return binary({"*", "/", "//", "%"}, [&] { return power(); });
  }
  ExpressionPtr power() {
    return binary({"**"}, [&] { return unary(true); });
  }
  ExpressionPtr unary(bool filters) {
    const Cursor::Deeper deeper(c_);
    ExpressionPtr e;
    if (c_.is_sign("-") || c_.is_sign("+")) {
      const Word sign = c_.take();
      e = unary(false);
      if (sign.text == "-") e = made(Kind::negative, sign.place, "-", std::move(e));
    } else {
      e = postfix(primary());
    }
    return filters ? filtered(std::move(e)) : std::move(e);
  }

  ExpressionPtr primary() {
    const Word w = c_.take();
    switch (w.kind) {
      case Word::Kind::text: {
        std::string text = w.text;
        while (c_.now().kind == Word::Kind::text) text += c_.take().text;
        return constant(w.place, Value::text(std::move(text)));
      }
      case Word::Kind::integer: {
        std::int64_t v = 0;
        const auto r = std::from_chars(w.text.data(), w.text.data() + w.text.size(), v);
        if (r.ec != std::errc()) c_.wrong(w.place, w.text.substr(0, 40), " is beyond 64 bits");
        return constant(w.place, Value::integer(v));
      }
      case Word::Kind::real: {
        double v = 0;
        const auto r = std::from_chars(w.text.data(), w.text.data() + w.text.size(), v);
        if (r.ec != std::errc()) c_.wrong(w.place, w.text.substr(0, 40), " is beyond a double");
        return constant(w.place, Value::real(v));
      }
      case Word::Kind::name: return named(w);
      case Word::Kind::sign: break;
      default: c_.wrong(w.place, "got ", Cursor::shown(w), ", wanted a value");
    }
    if (w.text == "(") {
      if (c_.skip_sign(")")) return made(Kind::tuple, w.place, "");
      ExpressionPtr e = tuple();
      c_.expect_sign(")");
      return e;
    }
    if (w.text == "[") return made(Kind::list, w.place, "", items("]", false));
    if (w.text == "{") return made(Kind::dict, w.place, "", items("}", true));
    c_.wrong(w.place, "got ", Cursor::shown(w), ", wanted a value");
  }
  ExpressionPtr named(const Word& w) {
    if (w.text == "true" || w.text == "True") return constant(w.place, Value::boolean(true));
    if (w.text == "false" || w.text == "False") return constant(w.place, Value::boolean(false));
    if (w.text == "none" || w.text == "None") return constant(w.place, Value::none());
    return made(Kind::name, w.place, w.text);
  }
  std::vector<ExpressionPtr> items(std::string_view close, bool keys) {
    std::vector<ExpressionPtr> list;
    while (!c_.is_sign(close)) {
      list.push_back(expression());
      if (keys) {
        c_.expect_sign(":");
        list.push_back(expression());
      }
      if (!c_.skip_sign(",")) break;
    }
    c_.expect_sign(close);
    return list;
  }

  // Arguments behind "(", appended to the expression.
  void arguments(Expression& e) {
    while (!c_.is_sign(")")) {
      if (c_.is_sign("*") || c_.is_sign("**"))
        c_.wrong(c_.now().place, "arguments from a list or dictionary are not supported");
      if (c_.now().kind == Word::Kind::name && c_.ahead(1).kind == Word::Kind::sign &&
          c_.ahead(1).text == "=") {
        const Word name = c_.take();
        c_.take();
        for (const auto& [other, value] : e.named)
          if (other == name.text)
            c_.wrong(name.place, "the argument ", name.text, " is given twice");
        e.named.emplace_back(name.text, expression());
        deepen(e, e.named.back().second);
      } else {
        if (!e.named.empty())
          c_.wrong(c_.now().place, "an argument without a name behind one with");
        e.parts.push_back(expression());
        deepen(e, e.parts.back());
      }
      if (!c_.skip_sign(",")) break;
    }
    c_.expect_sign(")");
  }

  ExpressionPtr postfix(ExpressionPtr e) {
    for (;;) {
      if (c_.is_sign(".")) {
        c_.take();
        const Word w = c_.take();
        if (w.kind != Word::Kind::name && w.kind != Word::Kind::integer)
          c_.wrong(w.place, "got ", Cursor::shown(w), ", wanted a name behind the dot");
        if (c_.is_sign("(")) {
          if (!is_method(w.text))
            c_.wrong(w.place, "the method ", w.text, " is not supported; known are ",
                     known_methods());
          c_.take();
          e = made(Kind::method, w.place, w.text, std::move(e));
          arguments(*e);
        } else if (w.kind == Word::Kind::integer) {
          std::int64_t index = 0;
          std::from_chars(w.text.data(), w.text.data() + w.text.size(), index);
          e = made(Kind::item, w.place, "", std::move(e), constant(w.place, Value::integer(index)));
        } else {
          e = made(Kind::attribute, w.place, w.text, std::move(e));
        }
      } else if (c_.is_sign("[")) {
        e = subscript(std::move(e));
      } else if (c_.is_sign("(")) {
        if (e->kind != Kind::name)
          c_.wrong(c_.now().place,
                   "a call of what is no function, macro or method is not supported");
        c_.take();
        e->kind = Kind::call;
        called_.emplace_back(e->text, e->place);
        arguments(*e);
      } else {
        return e;
      }
    }
  }
  ExpressionPtr subscript(ExpressionPtr object) {
    const Place place = c_.take().place;
    std::vector<ExpressionPtr> parts;
    parts.push_back(std::move(object));
    bool slice = false;
    for (;;) {
      parts.push_back(c_.is_sign(":") || c_.is_sign("]") ? nullptr : expression());
      if (!c_.is_sign(":")) break;
      c_.take();
      slice = true;
      if (parts.size() > 3) c_.wrong(place, "a slice with more than three parts");
    }
    c_.expect_sign("]");
    if (!slice) {
      if (!parts[1]) c_.wrong(place, "[] without an index");
      return made(Kind::item, place, "", std::move(parts));
    }
    parts.resize(4);
    return made(Kind::slice, place, "", std::move(parts));
  }

  ExpressionPtr filtered(ExpressionPtr e) {
    for (;;) {
      if (c_.is_sign("|")) {
        c_.take();
        const Word w = c_.now();
        const std::string name = c_.expect_any_name("the name of a filter");
        if (!is_filter(name))
          c_.wrong(w.place, "the filter ", name, " is not supported; known are ", known_filters());
        e = made(Kind::filter, w.place, name, std::move(e));
        if (c_.skip_sign("(")) arguments(*e);
        check_names_in(*e);
      } else if (c_.is_name("is")) {
        c_.take();
        e = test(std::move(e));
      } else {
        return e;
      }
    }
  }
  // selectattr and its like name a test, map a filter.
  void check_names_in(const Expression& e) const {
    const bool by_part = e.text == "selectattr" || e.text == "rejectattr";
    const std::size_t at = by_part ? 2 : 1;
    if (!by_part && e.text != "select" && e.text != "reject" && e.text != "map") return;
    if (e.parts.size() <= at || e.parts[at]->kind != Kind::constant ||
        !e.parts[at]->constant.is_text())
      return;
    const std::string& name = e.parts[at]->constant.as_text();
    if (e.text == "map" ? !is_filter(name) : !is_test(name))
      c_.wrong(e.parts[at]->place, "the ", e.text == "map" ? "filter " : "test ", name,
               " is not supported; known are ", e.text == "map" ? known_filters() : known_tests());
  }
  ExpressionPtr test(ExpressionPtr e) {
    const bool inverted = c_.skip_name("not");
    const Word w = c_.now();
    const std::string name = c_.expect_any_name("the name of a test");
    if (!is_test(name))
      c_.wrong(w.place, "the test ", name, " is not supported; known are ", known_tests());
    e = made(Kind::test, w.place, name, std::move(e));
    if (c_.skip_sign("(")) {
      arguments(*e);
    } else if (begins_value()) {
      e->parts.push_back(postfix(primary()));
      deepen(*e, e->parts.back());
    }
    return inverted ? made(Kind::inverse, w.place, "not", std::move(e)) : std::move(e);
  }
  bool begins_value() const {
    const Word& w = c_.now();
    if (w.kind == Word::Kind::name) {
      for (const char* word : {"else", "or", "and", "if", "is", "in", "not"})
        if (w.text == word) return false;
      return true;
    }
    return w.kind == Word::Kind::text || w.kind == Word::Kind::integer ||
           w.kind == Word::Kind::real || c_.is_sign("[") || c_.is_sign("{");
  }

  Cursor& c_;
  Called& called_;
};

}  // namespace

ExpressionPtr parse_tuple(Cursor& cursor, Called& called) {
  return ExpressionParser(cursor, called).tuple();
}
ExpressionPtr parse_expression(Cursor& cursor, Called& called) {
  return ExpressionParser(cursor, called).expression();
}
ExpressionPtr parse_either(Cursor& cursor, Called& called) {
  return ExpressionParser(cursor, called).either();
}

}  // namespace subquad::chat
