// Chat templates: what is refused, and where; what hostile ones cannot do.
#include "subquad/data/chat_template/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "subquad/base/file.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

std::string rendered(std::string_view text, const Json& variables = Json::object()) {
  return ChatTemplate(text, "t.jinja").render(variables);
}

void expect_refused(std::string_view text, const std::vector<std::string>& parts) {
  try {
    const std::string out = rendered(text);
    ADD_FAILURE() << "rendered \"" << out.substr(0, 100) << "\", wanted an error with " << parts[0];
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported) << e.what();
    EXPECT_TRUE(std::string_view(e.what()).starts_with("t.jinja line ")) << e.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string_view(e.what()).find(part), std::string_view::npos)
          << "wanted \"" << part << "\" in: " << e.what();
  }
}

TEST(ChatTemplate, RefusesByNameBeforeAnythingRuns) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"a\n  {{ x | attr('y') }}", {"line 2, column 10", "filter attr", "known are abs"}},
      {"{% if false %}{{ x is sameas y }}{% endif %}", {"column 23", "test sameas", "defined"}},
      {"{% if false %}{{ x.append(1) }}{% endif %}", {"method append", "startswith", "items"}},
      {"{{ lipsum() }}", {"function lipsum", "raise_exception"}},
      {"{% include 'x' %}", {"line 1, column 4", "block include", "macro"}},
      {"{% for x in y recursive %}{% endfor %}", {"recursive"}},
      {"{% for x in y %}", {"for", "never closed", "endfor"}},
      {"{% if x %}{% endfor %}", {"block endfor"}},
      {"{{ x", {"line 1, column 1", "never closed"}},
      {"{# x", {"comment", "never closed"}},
      {"{{ 'x }}", {"column 4", "a text is opened"}},
      {"{{ 1 + }}", {"column 8", "\"}}\"", "wanted a value"}},
      {"{{ a ? b }}", {"column 6", "\"?\""}},
      {"{{ f(*x) }}", {"arguments from a list"}},
      {"{{ x.y.z()() }}", {"method z"}},
      {"{{ 99999999999999999999 }}", {"64 bits"}},
      {"{% set loop = 1 %}", {"\"loop\" cannot be set"}},
      {"{% break %}", {"break outside a for"}},
      {"{{ x | selectattr('a', 'matches') }}", {"test matches"}},
      {"{{ x | map('unknown') }}", {"filter unknown"}},
      {"{% macro f() %}{% endmacro %}{% macro f() %}{% endmacro %}", {"f is defined twice"}}};
  for (const auto& [text, parts] : cases) expect_refused(text, parts);
}

TEST(ChatTemplate, ErrorsOfARenderingHaveTheirPlace) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"\n\n {{ 1 + 'a' }}", {"line 3, column 7", "an integer + a text"}},
      {"{{ x.y }}", {"column 6", "undefined"}},
      {"{{ [1] < [2] }}", {"cannot compare a list and a list"}},
      {"{{ 1 // 0 }}", {"division by zero"}},
      {"{{ 9223372036854775807 + 1 }}", {"beyond 64 bits"}},
      {"{{ (-9223372036854775807 - 1) // -1 }}", {"beyond 64 bits"}},
      {"{{ {1: 2} }}", {"an integer as a key"}},
      {"{{ 'a' | tojson(separators=[1]) }}", {"separators"}},
      {"{{ 'a' | trim(1, 2) }}", {"chars"}},
      {"{{ 'a'.strip('b', 'c') }}", {"2 arguments, wanted at most 1"}},
      {"{{ 'a' | upper(x=1) }}", {"the argument x"}},
      {"{{ {'items': 1}.items }}", {"the method items without a call"}},
      {"{% for a, b in [[1]] %}{% endfor %}", {"1 values for 2 names"}},
      {"{% set x = 1 %}{% set x.y = 2 %}", {"x is no namespace"}},
      {"{{ raise_exception('only users') }}", {"column 4", "the template refuses: only users"}},
      {"{{ f() }}{% macro f() %}{% endmacro %}", {"f is not defined yet"}},
      {"{{ loop }}{% for x in [1] %}{{ loop }}{% endfor %}", {"loop without one of its parts"}},
      {"{% for x in [1] %}{{ loop.depth }}{% endfor %}", {"loop.depth"}},
      {"{{ range(0, 9, 0) | list }}", {"step 0"}}};
  for (const auto& [text, parts] : cases) expect_refused(text, parts);
}

// Work, memory and output are bounded, whatever the template asks for.
TEST(ChatTemplate, HostileTemplatesEnd) {
  const auto times = [](std::string_view text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
  };
  const std::string many = "more time or memory", deep = "nested";
  const std::pair<std::string, std::string> cases[] = {
      {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", many},
      {"{{ range(9223372036854775807) | length }}", many},
      {"{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}"
       "{% endfor %}",
       many},
      {"{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor "
       "%}",
       many},
      {"{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}", many},
      {"{{ 'ab' * 9223372036854775807 }}", "too long"},
      {"{{ ['ab'] * 99999999999 }}", "too long"},
      {"{% set a = 'a' * 1000000 %}{% for i in range(999) %}{{ a.replace('a', 'bb') | length }}"
       "{% endfor %}",
       many},
      {"{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", deep},
      {"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
       deep},
      {"{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}",
       deep},
      {"{% set n = namespace() %}{% set n.n = n %}", "a namespace inside a namespace"},
      {"{% set n = namespace() %}{{ [n] }}", "a namespace inside a list"},
      {"{{ " + times("(", 99999) + "1" + times(")", 99999) + " }}", deep},
      {"{{ x" + times(".a", 99999) + " }}", deep},
      {"{{ 1" + times(" + 1", 99999) + " }}", deep},
      {"{{ " + times("not ", 99999) + "1 }}", deep},
      {"{{ " + times("-", 99999) + "1 }}", deep},
      {"{{ 1" + times(" if 1 else 1", 9999) + " }}", deep},
      {times("{% if 1 %}", 9999) + times("{% endif %}", 9999), deep},
      {"{{ x" + times("|trim", 9999) + " }}", deep}};
  for (const auto& [text, part] : cases) {
    SCOPED_TRACE(text.substr(0, 80));
    const auto start = std::chrono::steady_clock::now();
    expect_refused(text, {part});
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
  EXPECT_THROW(ChatTemplate(std::string((1 << 20) + 1, 'x'), "t.jinja"), Error);
  EXPECT_THROW(ChatTemplate("caf\xc3", "t.jinja"), Error);
  // A million bytes of data and of tags without nesting are no harm.
  EXPECT_EQ(rendered(times("{{ 1 }}", 100000)).size(), 100000U);
}

TEST(ChatTemplate, ScopesAreThoseOfTheLanguage) {
  EXPECT_EQ(rendered("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }};"
                     "{% endfor %}{{ x }}"),
            "12;12;1");
  EXPECT_EQ(rendered("{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}"), "2");
  EXPECT_EQ(rendered("{% macro f(a, b='B') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{% set c = 'C' %}"
                     "{{ f('A') }}{{ f(b='x', a='y') }}"),
            "ABCyxC");
  EXPECT_EQ(rendered("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}"
                     "{% if i == 3 %}{% break %}{% endif %}{% endfor %}"),
            "13");
}

TEST(ChatTemplate, FoldersAreReadWithCare) {
  namespace fs = std::filesystem;
  const std::string folder = temporary_path("chat");
  fs::create_directories(folder);
  const auto config = [&](const std::string& text) {
    write_file_atomically(folder + "/tokenizer_config.json", text);
  };
  const auto text_of = [&] { return ChatTemplate::load(folder)->render(Json::object()); };
  EXPECT_FALSE(ChatTemplate::load(folder).has_value());
  config("{}");
  EXPECT_FALSE(ChatTemplate::load(folder).has_value());
  config(R"({"chat_template":[{"name":"rag","template":"r"},{"name":"default","template":"d"}]})");
  EXPECT_EQ(text_of(), "d");
  config(R"({"chat_template":"{{ bos_token }}","bos_token":{"content":"<s>","lstrip":false}})");
  EXPECT_EQ(text_of(), "<s>");
  write_file_atomically(folder + "/chat_template.jinja", "own{{ bos_token }}\r\n");
  EXPECT_EQ(text_of(), "own<s>");
  fs::remove(folder + "/chat_template.jinja");
  for (const char* bad : {R"({"chat_template":7})", R"({"chat_template":[{"name":"default"}]})",
                          R"({"chat_template":[]})", R"({"chat_template":"{{"})", "{", "",
                          R"({"chat_template":"a","chat_template":"b"})"}) {
    config(bad);
    try {
      ChatTemplate::load(folder);
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("tokenizer_config.json"), std::string::npos) << e.what();
    }
  }
  config(std::string(100000, '['));
  EXPECT_THROW(ChatTemplate::load(folder), Error);
  fs::resize_file(folder + "/tokenizer_config.json", std::uintmax_t{1} << 40);
  EXPECT_THROW(ChatTemplate::load(folder), Error);
  fs::remove(folder + "/tokenizer_config.json");
  fs::create_symlink("/dev/zero", folder + "/chat_template.jinja");
  EXPECT_THROW(ChatTemplate::load(folder), Error);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace subquad
