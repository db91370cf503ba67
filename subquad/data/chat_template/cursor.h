// Where the parsers of a template stand in its words.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "subquad/data/chat_template/lexer.h"

namespace subquad::chat {

inline constexpr std::int32_t kMostNesting = 200;  // of a syntax tree

class Cursor {
 public:
  Cursor(std::vector<Word> words, const std::string& source)
      : words_(std::move(words)), source_(source) {}

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

  // Recursion of the parsers; trees are as deep as it, and as deepen() allows.
  struct Deeper {
    explicit Deeper(Cursor& p) : p_(p) {
      if (++p_.depth_ > kMostNesting) p_.wrong(p_.now().place, "nested deeper than ", kMostNesting);
    }
    ~Deeper() { --p_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Cursor& p_;
  };

 private:
  const std::vector<Word> words_;
  const std::string& source_;
  std::size_t at_ = 0;
  std::int32_t depth_ = 0;
};

}  // namespace subquad::chat
