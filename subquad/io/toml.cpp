#include "subquad/io/toml.h"

#include <algorithm>

// The parser states with assertions what it takes for granted of its input, and some input breaks
// them: "[%]" is one. They throw here, in every kind of build.
#undef NDEBUG
namespace {
struct BrokenAssumption {};
[[noreturn]] void break_off() { throw BrokenAssumption(); }
}  // namespace
#define TOML_ASSERT(expression) ((expression) ? void() : break_off())

#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_WINDOWS_COMPAT 0
#include <toml++/toml.h>

#include "subquad/base/file.h"

namespace subquad {
namespace {

Json convert(const toml::node& node, const std::string& source) {
  if (const auto* table = node.as_table()) {
    // toml++ sorts keys; the order in the file is that of the source positions.
    std::vector<std::pair<toml::source_position, std::string>> order;
    for (const auto& [key, value] : *table)
      order.emplace_back(key.source().begin, std::string(key.str()));
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return a.first.line != b.first.line ? a.first.line < b.first.line
                                          : a.first.column < b.first.column;
    });
    Json out = Json::object();
    for (const auto& [position, key] : order) out[key] = convert(*table->get(key), source);
    return out;
  }
  if (const auto* array = node.as_array()) {
    Json out = Json::array();
    for (const auto& value : *array) out.push_back(convert(value, source));
    return out;
  }
  if (const auto* v = node.as_string()) return v->get();
  if (const auto* v = node.as_integer()) return std::int64_t{v->get()};
  if (const auto* v = node.as_floating_point()) return v->get();
  if (const auto* v = node.as_boolean()) return v->get();
  fail(ErrorCode::invalid_argument, source, ":", node.source().begin.line,
       ": dates and times have no meaning here; wanted a string, a number, true or false, an array "
       "or a table");
}

// The first line that looks like the header of a table without a key; 0 if none does.
int line_without_key(std::string_view text) {
  int line = 0;
  while (!text.empty()) {
    ++line;
    std::string_view rest = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(rest.size() + 1, text.size()));
    const std::size_t key = rest.find_first_not_of(" \t[");
    if (rest.find('[') >= key || key == std::string_view::npos) continue;
    const char c = rest[key];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && std::string_view("_-\"'").find(c) == std::string_view::npos) return line;
  }
  return 0;
}

toml::table parse(const std::string& text, const std::string& source) {
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& e) {
    fail(ErrorCode::invalid_argument, source, ":", e.source().begin.line,
         ": not valid TOML: ", e.description());
  } catch (const BrokenAssumption&) {
    const int line = line_without_key(text);
    fail(ErrorCode::invalid_argument, source, line ? ":" + std::to_string(line) : "",
         ": not valid TOML: the name of a table begins with a character that cannot stand there");
  }
}

}  // namespace

Json parse_toml(const std::string& text, const std::string& source) {
  return convert(parse(text, source), source);
}

Json read_toml(const std::string& path) { return parse_toml(read_file(path), path); }

int toml_line(const std::string& text, const std::string& dotted_key) {
  try {
    const toml::table table = toml::parse(text);
    const toml::node* node = &table;
    int line = 0;
    std::size_t from = 0;
    while (from <= dotted_key.size()) {
      const std::size_t dot = std::min(dotted_key.find('.', from), dotted_key.size());
      const auto* t = node->as_table();
      if (!t) break;
      const auto it = t->find(dotted_key.substr(from, dot - from));
      if (it == t->end()) break;
      line = static_cast<int>(it->first.source().begin.line);
      node = &it->second;
      from = dot + 1;
    }
    return line;
  } catch (const toml::parse_error&) {
    return 0;
  } catch (const BrokenAssumption&) {
    return 0;
  }
}

}  // namespace subquad
