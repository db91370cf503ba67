#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "subquad/data/chat_template/syntax.h"

namespace subquad::chat {
namespace {

using Kind = Expression::Kind;
constexpr std::int32_t kMostDepth = 200;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;

class Parser {
 public:
  Parser(std::vector<Word> words, const std::string& source)
      : words_(std::move(words)), source_(source) {}

  Body run() {
    Body body = statements({}, "");
    for (const auto& [name, place] : called_) {
      if (is_function(name) || macros_.contains(name)) continue;
      fail_at(source_, place, "the function ", name, " is not supported; known are ",
              known_functions(), " and the template's macros");
    }
    return body;
  }

 private:
  // Words.
  const Word& now() const { return words_[at_]; }
  const Word& ahead(std::size_t n) const { return words_[std::min(at_ + n, words_.size() - 1)]; }
  Word take() { return words_[at_ + 1 < words_.size() ? at_++ : at_]; }
  template <class... Parts>
  [[noreturn]] void wrong(Place place, const Parts&... parts) const {
    fail_at(source_, place, parts...);
  }
  static std::string shown(const Word& w) {
    if (w.kind == Word::Kind::end) return "the end of the template";
    if (w.kind == Word::Kind::data) return "text outside tags";
    return "\"" + w.text.substr(0, 40) + "\"";
  }
  bool is_sign(std::string_view s) const {
    return now().kind == Word::Kind::sign && now().text == s;
  }
  bool is_name(std::string_view s) const {
    return now().kind == Word::Kind::name && now().text == s;
  }
  bool skip_sign(std::string_view s) {
    if (!is_sign(s)) return false;
    take();
    return true;
  }
  bool skip_name(std::string_view s) {
    if (!is_name(s)) return false;
    take();
    return true;
  }
  void expect_sign(std::string_view s) {
    if (!skip_sign(s)) wrong(now().place, "got ", shown(now()), ", wanted \"", s, "\"");
  }
  void expect_name(std::string_view s) {
    if (!skip_name(s)) wrong(now().place, "got ", shown(now()), ", wanted \"", s, "\"");
  }
  std::string expect_any_name(const char* what) {
    if (now().kind != Word::Kind::name) wrong(now().place, "got ", shown(now()), ", wanted ", what);
    return take().text;
  }
  std::string expect_target() {
    const Place place = now().place;
    std::string name = expect_any_name("the name of a variable");
    for (const char* word : {"loop", "not", "in", "is", "and", "or", "if", "else", "true", "false",
                             "none", "True", "False", "None"})
      if (name == word) wrong(place, "\"", name, "\" cannot be set");
    return name;
  }
  void end_block() {
    if (now().kind != Word::Kind::block_end)
      wrong(now().place, "got ", shown(now()), ", wanted the end of the block, %}");
    take();
  }

  // Recursion of this class; trees are as deep as it, and as `made` allows.
  struct Deeper {
    explicit Deeper(Parser& p) : p_(p) {
      if (++p_.depth_ > kMostDepth) p_.wrong(p_.now().place, "nested deeper than ", kMostDepth);
    }
    ~Deeper() { --p_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& p_;
  };

  // Statements.
  Body statements(std::initializer_list<std::string_view> until, const std::string& opened) {
    const Deeper deeper(*this);
    const Place begin = now().place;
    Body body;
    for (;;) {
      if (now().kind == Word::Kind::end) {
        if (until.size() == 0) return body;
        wrong(begin, "the block ", opened, " before this is never closed; wanted {% ",
              *(until.end() - 1), " %}");
      }
      if (now().kind == Word::Kind::data) {
        body.push_back({Statement::Kind::data, now().place, now().text, {}, {}, {}, nullptr});
        take();
      } else if (now().kind == Word::Kind::print_begin) {
        Statement s{Statement::Kind::print, now().place, "", {}, {}, {}, nullptr};
        take();
        s.expressions.push_back(tuple());
        if (now().kind != Word::Kind::print_end)
          wrong(now().place, "got ", shown(now()), ", wanted the end of the print, }}");
        take();
        body.push_back(std::move(s));
      } else {
        const Word& tag = ahead(1);
        if (std::find(until.begin(), until.end(), tag.text) != until.end()) {
          take();
          return body;  // the tag's name is next
        }
        body.push_back(statement());
      }
    }
  }

  Statement statement() {
    take();
    const Word tag = now();
    const std::string name = expect_any_name("the name of a block");
    Statement s;
    s.place = tag.place;
    if (name == "if") return choose(std::move(s));
    if (name == "for") return loop(std::move(s));
    if (name == "set") return assign(std::move(s));
    if (name == "macro") return macro(std::move(s));
    if (name == "generation") {  // marks what an assistant says; prints it
      end_block();
      s.kind = Statement::Kind::group;
      s.bodies.push_back(statements({"endgeneration"}, name));
      take();
      end_block();
      return s;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) wrong(tag.place, name, " outside a for");
      s.kind = name == "break" ? Statement::Kind::leave : Statement::Kind::again;
      end_block();
      return s;
    }
    wrong(tag.place, "the block ", name,
          " is not supported here; known are if, for, set, macro, generation, break and continue");
  }

  Statement choose(Statement s) {
    s.kind = Statement::Kind::choose;
    s.expressions.push_back(tuple());
    end_block();
    for (;;) {
      s.bodies.push_back(statements({"elif", "else", "endif"}, "if"));
      const std::string next = take().text;
      if (next == "elif") s.expressions.push_back(tuple());
      end_block();
      if (next == "endif") return s;
      if (next == "else") {
        s.bodies.push_back(statements({"endif"}, "if"));
        take();
        end_block();
        return s;
      }
    }
  }

  Statement loop(Statement s) {
    s.kind = Statement::Kind::loop;
    const bool bracket = skip_sign("(");
    do {
      s.names.push_back(expect_target());
    } while (skip_sign(","));
    if (bracket) expect_sign(")");
    expect_name("in");
    s.expressions.push_back(either());  // without "if": that is the loop's
    s.expressions.push_back(skip_name("if") ? expression() : nullptr);
    if (is_name("recursive")) wrong(now().place, "a recursive for is not supported");
    end_block();
    ++loops_;
    s.bodies.push_back(statements({"else", "endfor"}, "for"));
    --loops_;
    const bool otherwise = take().text == "else";
    end_block();
    if (otherwise) {
      s.bodies.push_back(statements({"endfor"}, "for"));
      take();
      end_block();
    }
    return s;
  }

  Statement assign(Statement s) {
    s.names.push_back(expect_target());
    if (skip_sign(".")) {
      s.text = expect_any_name("the name of a part of a namespace");
    } else {
      while (skip_sign(",")) s.names.push_back(expect_target());
    }
    if (skip_sign("=")) {
      s.kind = Statement::Kind::assign;
      s.expressions.push_back(tuple());
      end_block();
      return s;
    }
    if (s.names.size() > 1 || !s.text.empty() || now().kind != Word::Kind::block_end)
      wrong(now().place, "got ", shown(now()), ", wanted \"=\"");
    end_block();
    s.kind = Statement::Kind::capture;
    s.bodies.push_back(statements({"endset"}, "set"));
    take();
    end_block();
    return s;
  }

  Statement macro(Statement s) {
    if (loops_ > 0 || macro_) wrong(s.place, "a macro inside a for or a macro is not supported");
    macro_ = true;
    s.kind = Statement::Kind::macro;
    s.macro = std::make_unique<Macro>();
    s.macro->name = expect_target();
    if (!macros_.insert(s.macro->name).second)
      wrong(s.place, "the macro ", s.macro->name, " is defined twice");
    expect_sign("(");
    while (!is_sign(")")) {
      std::string name = expect_target();
      s.macro->parameters.emplace_back(std::move(name), skip_sign("=") ? expression() : nullptr);
      if (!skip_sign(",")) break;
    }
    expect_sign(")");
    end_block();
    s.macro->body = statements({"endmacro"}, "macro");
    take();
    skip_name(s.macro->name);
    end_block();
    macro_ = false;
    return s;
  }

  // Expressions, the loosest binding first.
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
    if (e.depth > kMostDepth) wrong(e.place, "nested deeper than ", kMostDepth);
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

  // "a, b" is a tuple where a whole expression may stand.
  ExpressionPtr tuple() {
    const Place place = now().place;
    ExpressionPtr first = expression();
    if (!is_sign(",")) return first;
    std::vector<ExpressionPtr> parts;
    parts.push_back(std::move(first));
    while (skip_sign(",")) {
      if (now().kind == Word::Kind::block_end || now().kind == Word::Kind::print_end ||
          is_sign(")"))
        break;
      parts.push_back(expression());
    }
    return made(Kind::tuple, place, "", std::move(parts));
  }

  ExpressionPtr expression() {
    const Deeper deeper(*this);
    ExpressionPtr e = either();
    while (is_name("if")) {
      const Place place = take().place;
      ExpressionPtr condition = either();
      ExpressionPtr otherwise = skip_name("else") ? expression() : nullptr;
      e = made(Kind::conditional, place, "", std::move(e), std::move(condition),
               std::move(otherwise));
    }
    return e;
  }
  ExpressionPtr either() {
    ExpressionPtr e = both();
    while (is_name("or")) {
      const Place place = take().place;
      e = made(Kind::either, place, "or", std::move(e), both());
    }
    return e;
  }
  ExpressionPtr both() {
    ExpressionPtr e = inverse();
    while (is_name("and")) {
      const Place place = take().place;
      e = made(Kind::both, place, "and", std::move(e), inverse());
    }
    return e;
  }
  ExpressionPtr inverse() {
    const Deeper deeper(*this);
    if (!is_name("not")) return compare();
    const Place place = take().place;
    return made(Kind::inverse, place, "not", inverse());
  }
  ExpressionPtr compare() {
    const Place place = now().place;
    std::vector<ExpressionPtr> parts;
    std::vector<std::string> signs;
    parts.push_back(sum());
    for (;;) {
      if (is_sign("==") || is_sign("!=") || is_sign("<") || is_sign("<=") || is_sign(">") ||
          is_sign(">=")) {
        signs.push_back(take().text);
      } else if (skip_name("in")) {
        signs.emplace_back("in");
      } else if (is_name("not") && ahead(1).kind == Word::Kind::name && ahead(1).text == "in") {
        take();
        take();
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
          std::find_if(signs.begin(), signs.end(), [&](auto s) { return is_sign(s); });
      if (found == signs.end()) return e;
      const Word sign = take();
      e = made(Kind::binary, sign.place, sign.text, std::move(e), next());
    }
  }
  ExpressionPtr sum() {
    return binary({"+", "-"}, [&] { return concatenate(); });
  }
  ExpressionPtr concatenate() {
    const Place place = now().place;
    std::vector<ExpressionPtr> parts;
    parts.push_back(product());
    while (skip_sign("~")) parts.push_back(product());
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
    const Deeper deeper(*this);
    ExpressionPtr e;
    if (is_sign("-") || is_sign("+")) {
      const Word sign = take();
      e = unary(false);
      if (sign.text == "-") e = made(Kind::negative, sign.place, "-", std::move(e));
    } else {
      e = postfix(primary());
    }
    return filters ? filtered(std::move(e)) : std::move(e);
  }

  ExpressionPtr primary() {
    const Word w = take();
    switch (w.kind) {
      case Word::Kind::text: {
        std::string text = w.text;
        while (now().kind == Word::Kind::text) text += take().text;
        return constant(w.place, Value::text(std::move(text)));
      }
      case Word::Kind::integer: {
        std::int64_t v = 0;
        const auto r = std::from_chars(w.text.data(), w.text.data() + w.text.size(), v);
        if (r.ec != std::errc()) wrong(w.place, w.text.substr(0, 40), " is beyond 64 bits");
        return constant(w.place, Value::integer(v));
      }
      case Word::Kind::real: {
        double v = 0;
        const auto r = std::from_chars(w.text.data(), w.text.data() + w.text.size(), v);
        if (r.ec != std::errc()) wrong(w.place, w.text.substr(0, 40), " is beyond a double");
        return constant(w.place, Value::real(v));
      }
      case Word::Kind::name: return named(w);
      case Word::Kind::sign: break;
      default: wrong(w.place, "got ", shown(w), ", wanted a value");
    }
    if (w.text == "(") {
      if (skip_sign(")")) return made(Kind::tuple, w.place, "");
      ExpressionPtr e = tuple();
      expect_sign(")");
      return e;
    }
    if (w.text == "[") return made(Kind::list, w.place, "", items("]", false));
    if (w.text == "{") return made(Kind::dict, w.place, "", items("}", true));
    wrong(w.place, "got ", shown(w), ", wanted a value");
  }
  ExpressionPtr named(const Word& w) {
    if (w.text == "true" || w.text == "True") return constant(w.place, Value::boolean(true));
    if (w.text == "false" || w.text == "False") return constant(w.place, Value::boolean(false));
    if (w.text == "none" || w.text == "None") return constant(w.place, Value::none());
    return made(Kind::name, w.place, w.text);
  }
  std::vector<ExpressionPtr> items(std::string_view close, bool keys) {
    std::vector<ExpressionPtr> list;
    while (!is_sign(close)) {
      list.push_back(expression());
      if (keys) {
        expect_sign(":");
        list.push_back(expression());
      }
      if (!skip_sign(",")) break;
    }
    expect_sign(close);
    return list;
  }

  // Arguments behind "(", appended to the expression.
  void arguments(Expression& e) {
    while (!is_sign(")")) {
      if (is_sign("*") || is_sign("**"))
        wrong(now().place, "arguments from a list or dictionary are not supported");
      if (now().kind == Word::Kind::name && ahead(1).kind == Word::Kind::sign &&
          ahead(1).text == "=") {
        const Word name = take();
        take();
        for (const auto& [other, value] : e.named)
          if (other == name.text) wrong(name.place, "the argument ", name.text, " is given twice");
        e.named.emplace_back(name.text, expression());
        deepen(e, e.named.back().second);
      } else {
        if (!e.named.empty()) wrong(now().place, "an argument without a name behind one with");
        e.parts.push_back(expression());
        deepen(e, e.parts.back());
      }
      if (!skip_sign(",")) break;
    }
    expect_sign(")");
  }

  ExpressionPtr postfix(ExpressionPtr e) {
    for (;;) {
      if (is_sign(".")) {
        take();
        const Word w = take();
        if (w.kind != Word::Kind::name && w.kind != Word::Kind::integer)
          wrong(w.place, "got ", shown(w), ", wanted a name behind the dot");
        if (is_sign("(")) {
          if (!is_method(w.text))
            wrong(w.place, "the method ", w.text, " is not supported; known are ", known_methods());
          take();
          e = made(Kind::method, w.place, w.text, std::move(e));
          arguments(*e);
        } else if (w.kind == Word::Kind::integer) {
          std::int64_t index = 0;
          std::from_chars(w.text.data(), w.text.data() + w.text.size(), index);
          e = made(Kind::item, w.place, "", std::move(e), constant(w.place, Value::integer(index)));
        } else {
          e = made(Kind::attribute, w.place, w.text, std::move(e));
        }
      } else if (is_sign("[")) {
        e = subscript(std::move(e));
      } else if (is_sign("(")) {
        if (e->kind != Kind::name)
          wrong(now().place, "a call of what is no function, macro or method is not supported");
        take();
        e->kind = Kind::call;
        called_.emplace_back(e->text, e->place);
        arguments(*e);
      } else {
        return e;
      }
    }
  }
  ExpressionPtr subscript(ExpressionPtr object) {
    const Place place = take().place;
    std::vector<ExpressionPtr> parts;
    parts.push_back(std::move(object));
    bool slice = false;
    for (;;) {
      parts.push_back(is_sign(":") || is_sign("]") ? nullptr : expression());
      if (!is_sign(":")) break;
      take();
      slice = true;
      if (parts.size() > 3) wrong(place, "a slice with more than three parts");
    }
    expect_sign("]");
    if (!slice) {
      if (!parts[1]) wrong(place, "[] without an index");
      return made(Kind::item, place, "", std::move(parts));
    }
    parts.resize(4);
    return made(Kind::slice, place, "", std::move(parts));
  }

  ExpressionPtr filtered(ExpressionPtr e) {
    for (;;) {
      if (is_sign("|")) {
        take();
        const Word w = now();
        const std::string name = expect_any_name("the name of a filter");
        if (!is_filter(name))
          wrong(w.place, "the filter ", name, " is not supported; known are ", known_filters());
        e = made(Kind::filter, w.place, name, std::move(e));
        if (skip_sign("(")) arguments(*e);
        check_names_in(*e);
      } else if (is_name("is")) {
        take();
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
      wrong(e.parts[at]->place, "the ", e.text == "map" ? "filter " : "test ", name,
            " is not supported; known are ", e.text == "map" ? known_filters() : known_tests());
  }
  ExpressionPtr test(ExpressionPtr e) {
    const bool inverted = skip_name("not");
    const Word w = now();
    const std::string name = expect_any_name("the name of a test");
    if (!is_test(name))
      wrong(w.place, "the test ", name, " is not supported; known are ", known_tests());
    e = made(Kind::test, w.place, name, std::move(e));
    if (skip_sign("(")) {
      arguments(*e);
    } else if (begins_value()) {
      e->parts.push_back(postfix(primary()));
      deepen(*e, e->parts.back());
    }
    return inverted ? made(Kind::inverse, w.place, "not", std::move(e)) : std::move(e);
  }
  bool begins_value() const {
    const Word& w = now();
    if (w.kind == Word::Kind::name) {
      for (const char* word : {"else", "or", "and", "if", "is", "in", "not"})
        if (w.text == word) return false;
      return true;
    }
    return w.kind == Word::Kind::text || w.kind == Word::Kind::integer ||
           w.kind == Word::Kind::real || is_sign("[") || is_sign("{");
  }

  const std::vector<Word> words_;
  const std::string& source_;
  std::size_t at_ = 0;
  std::int32_t depth_ = 0, loops_ = 0;
  bool macro_ = false;
  std::set<std::string, std::less<>> macros_;
  std::vector<std::pair<std::string, Place>> called_;
};

}  // namespace

Body parse_template(std::string_view text, const std::string& source) {
  require(text.size() <= kMostBytes, ErrorCode::format, source, ": ", text.size(),
          " bytes, wanted at most ", kMostBytes);
  return Parser(words_of(text, source), source).run();
}

}  // namespace subquad::chat
