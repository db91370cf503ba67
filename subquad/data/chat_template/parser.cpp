// Parses the statements of a template.
#include <algorithm>
#include <initializer_list>
#include <set>

#include "subquad/data/chat_template/expressions.h"

namespace subquad::chat {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20;

class Parser {
 public:
  Parser(std::vector<Word> words, const std::string& source) : c_(std::move(words), source) {}

  Body run() {
    Body body = statements({}, "");
    for (const auto& [name, place] : called_) {
      if (is_function(name) || macros_.contains(name)) continue;
      c_.wrong(place, "the function ", name, " is not supported; known are ", known_functions(),
               " and the template's macros");
    }
    return body;
  }

 private:
  Body statements(std::initializer_list<std::string_view> until, const std::string& opened) {
    const Cursor::Deeper deeper(c_);
    const Place begin = c_.now().place;
    Body body;
    for (;;) {
      if (c_.now().kind == Word::Kind::end) {
        if (until.size() == 0) return body;
        c_.wrong(begin, "the block ", opened, " before this is never closed; wanted {% ",
                 *(until.end() - 1), " %}");
      }
      if (c_.now().kind == Word::Kind::data) {
        body.push_back({Statement::Kind::data, c_.now().place, c_.now().text, {}, {}, {}, nullptr});
        c_.take();
      } else if (c_.now().kind == Word::Kind::print_begin) {
        Statement s{Statement::Kind::print, c_.now().place, "", {}, {}, {}, nullptr};
        c_.take();
        s.expressions.push_back(parse_tuple(c_, called_));
        if (c_.now().kind != Word::Kind::print_end)
          c_.wrong(c_.now().place, "got ", Cursor::shown(c_.now()),
                   ", wanted the end of the print, }}");
        c_.take();
        body.push_back(std::move(s));
      } else {
        const Word& tag = c_.ahead(1);
        if (std::find(until.begin(), until.end(), tag.text) != until.end()) {
          c_.take();
          return body;  // the tag's name is next
        }
        body.push_back(statement());
      }
    }
  }

  Statement statement() {
    c_.take();
    const Word tag = c_.now();
    const std::string name = c_.expect_any_name("the name of a block");
    Statement s;
    s.place = tag.place;
    if (name == "if") return choose(std::move(s));
    if (name == "for") return loop(std::move(s));
    if (name == "set") return assign(std::move(s));
    if (name == "macro") return macro(std::move(s));
    if (name == "generation") {  // marks what an assistant says; prints it
      c_.end_block();
      s.kind = Statement::Kind::group;
      s.bodies.push_back(statements({"endgeneration"}, name));
      c_.take();
      c_.end_block();
      return s;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) c_.wrong(tag.place, name, " outside a for");
      s.kind = name == "break" ? Statement::Kind::leave : Statement::Kind::again;
      c_.end_block();
      return s;
    }
    c_.wrong(
        tag.place, "the block ", name,
        " is not supported here; known are if, for, set, macro, generation, break and continue");
  }

  Statement choose(Statement s) {
    s.kind = Statement::Kind::choose;
    s.expressions.push_back(parse_tuple(c_, called_));
    c_.end_block();
    for (;;) {
      s.bodies.push_back(statements({"elif", "else", "endif"}, "if"));
      const std::string next = c_.take().text;
      if (next == "elif") s.expressions.push_back(parse_tuple(c_, called_));
      c_.end_block();
      if (next == "endif") return s;
      if (next == "else") {
        s.bodies.push_back(statements({"endif"}, "if"));
        c_.take();
        c_.end_block();
        return s;
      }
    }
  }

  Statement loop(Statement s) {
    s.kind = Statement::Kind::loop;
    const bool bracket = c_.skip_sign("(");
    do {
      s.names.push_back(c_.expect_target());
    } while (c_.skip_sign(","));
    if (bracket) c_.expect_sign(")");
    c_.expect_name("in");
    s.expressions.push_back(parse_either(c_, called_));  // without "if": that is the loop's
    s.expressions.push_back(c_.skip_name("if") ? parse_expression(c_, called_) : nullptr);
    if (c_.is_name("recursive")) c_.wrong(c_.now().place, "a recursive for is not supported");
    c_.end_block();
    ++loops_;
    s.bodies.push_back(statements({"else", "endfor"}, "for"));
    --loops_;
    const bool otherwise = c_.take().text == "else";
    c_.end_block();
    if (otherwise) {
      s.bodies.push_back(statements({"endfor"}, "for"));
      c_.take();
      c_.end_block();
    }
    return s;
  }

  Statement assign(Statement s) {
    s.names.push_back(c_.expect_target());
    if (c_.skip_sign(".")) {
      s.text = c_.expect_any_name("the name of a part of a namespace");
    } else {
      while (c_.skip_sign(",")) s.names.push_back(c_.expect_target());
    }
    if (c_.skip_sign("=")) {
      s.kind = Statement::Kind::assign;
      s.expressions.push_back(parse_tuple(c_, called_));
      c_.end_block();
      return s;
    }
    if (s.names.size() > 1 || !s.text.empty() || c_.now().kind != Word::Kind::block_end)
      c_.wrong(c_.now().place, "got ", Cursor::shown(c_.now()), ", wanted \"=\"");
    c_.end_block();
    s.kind = Statement::Kind::capture;
    s.bodies.push_back(statements({"endset"}, "set"));
    c_.take();
    c_.end_block();
    return s;
  }

  Statement macro(Statement s) {
    if (loops_ > 0 || macro_) c_.wrong(s.place, "a macro inside a for or a macro is not supported");
    macro_ = true;
    s.kind = Statement::Kind::macro;
    s.macro = std::make_unique<Macro>();
    s.macro->name = c_.expect_target();
    if (!macros_.insert(s.macro->name).second)
      c_.wrong(s.place, "the macro ", s.macro->name, " is defined twice");
    c_.expect_sign("(");
    while (!c_.is_sign(")")) {
      std::string name = c_.expect_target();
      s.macro->parameters.emplace_back(std::move(name),
                                       c_.skip_sign("=") ? parse_expression(c_, called_) : nullptr);
      if (!c_.skip_sign(",")) break;
    }
    c_.expect_sign(")");
    c_.end_block();
    s.macro->body = statements({"endmacro"}, "macro");
    c_.take();
    c_.skip_name(s.macro->name);
    c_.end_block();
    macro_ = false;
    return s;
  }

  Cursor c_;
  Called called_;
  std::set<std::string, std::less<>> macros_;
  std::int32_t loops_ = 0;
  bool macro_ = false;
};

}  // namespace

Body parse_template(std::string_view text, const std::string& source) {
  require(text.size() <= kMostBytes, ErrorCode::format, source, ": ", text.size(),
          " bytes, wanted at most ", kMostBytes);
  return Parser(words_of(text, source), source).run();
}

}  // namespace subquad::chat
