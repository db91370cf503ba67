#include "subquad/io/yaml.h"

#include <yaml.h>

#include <charconv>
#include <limits>

#include "subquad/base/file.h"

namespace subquad {
namespace {

constexpr std::size_t kMaxBytes = 1 << 16;
constexpr int kMaxDepth = 64;

void require_small(std::size_t bytes, const std::string& source) {
  require(bytes <= kMaxBytes, ErrorCode::format, source, ": ", bytes, " bytes, wanted at most ",
          kMaxBytes);
}

std::string_view text_of(const yaml_char_t* text) {
  return reinterpret_cast<const char*>(text ? text : reinterpret_cast<const yaml_char_t*>(""));
}

// The parser's current event, one at a time.
class Events {
 public:
  Events(const std::string& text, const std::string& source) : source_(source) {
    require(yaml_parser_initialize(&parser_) == 1, ErrorCode::out_of_memory, source,
            ": no memory for a YAML parser");
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const yaml_char_t*>(text.data()),
                                 text.size());
  }
  ~Events() {
    yaml_event_delete(&event_);
    yaml_parser_delete(&parser_);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  const yaml_event_t& next() {
    yaml_event_delete(&event_);
    event_ = {};
    require(yaml_parser_parse(&parser_, &event_) == 1, ErrorCode::format, source_, " line ",
            parser_.problem_mark.line + 1,
            ": not valid YAML: ", parser_.problem ? parser_.problem : "unknown problem");
    return event_;
  }
  // "config.yaml line 7"
  std::string place() const {
    return source_ + " line " + std::to_string(event_.start_mark.line + 1);
  }

 private:
  const std::string& source_;
  yaml_parser_t parser_{};
  yaml_event_t event_{};
};

Json plain_scalar(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL")
    return Json();
  if (text == "true" || text == "True" || text == "TRUE") return Json(true);
  if (text == "false" || text == "False" || text == "FALSE") return Json(false);
  constexpr double kLargest = std::numeric_limits<double>::max();  // as Json reads Infinity
  if (text == ".inf" || text == "+.inf") return Json(kLargest);
  if (text == "-.inf") return Json(-kLargest);
  if (text == ".nan") return Json();
  const std::string_view digits = text[0] == '+' ? text.substr(1) : text;
  const char *first = digits.data(), *last = first + digits.size();
  std::int64_t integer = 0;
  if (const auto r = std::from_chars(first, last, integer); r.ec == std::errc() && r.ptr == last)
    return Json(integer);
  double number = 0;
  const bool numeric = digits.find_first_not_of("0123456789+-.eE") == std::string_view::npos;
  if (const auto r = std::from_chars(first, last, number);
      numeric && r.ec == std::errc() && r.ptr == last)
    return Json(number);
  return Json(text);
}

Json value_of(Events& events, const yaml_event_t& event, int depth) {
  require(depth < kMaxDepth, ErrorCode::format, events.place(), ": nested deeper than ", kMaxDepth);
  switch (event.type) {
    case YAML_SCALAR_EVENT: {
      const auto& s = event.data.scalar;
      require(s.tag == nullptr, ErrorCode::unsupported, events.place(), ": tag ", text_of(s.tag),
              ", wanted a value without a tag");
      const std::string_view text(reinterpret_cast<const char*>(s.value), s.length);
      return s.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(text) : Json(text);
    }
    case YAML_SEQUENCE_START_EVENT: {
      Json list = Json::array();
      for (;;) {
        const yaml_event_t& item = events.next();
        if (item.type == YAML_SEQUENCE_END_EVENT) return list;
        list.push_back(value_of(events, item, depth + 1));
      }
    }
    case YAML_MAPPING_START_EVENT: {
      Json map = Json::object();
      for (;;) {
        const yaml_event_t& item = events.next();
        if (item.type == YAML_MAPPING_END_EVENT) return map;
        require(item.type == YAML_SCALAR_EVENT, ErrorCode::unsupported, events.place(),
                ": a key that is no scalar");
        const std::string key(reinterpret_cast<const char*>(item.data.scalar.value),
                              item.data.scalar.length);
        require(!map.contains(key), ErrorCode::format, events.place(), ": key \"", key,
                "\" appears twice in one mapping");
        Json value = value_of(events, events.next(), depth + 1);
        map[key] = std::move(value);
      }
    }
    case YAML_ALIAS_EVENT:
      fail(ErrorCode::unsupported, events.place(), ": alias *", text_of(event.data.alias.anchor),
           ", wanted the value itself");
    default: fail(ErrorCode::format, events.place(), ": a value is missing");
  }
}

}  // namespace

Json parse_yaml(const std::string& text, const std::string& source) {
  require_small(text.size(), source);
  Events events(text, source);
  events.next();                                               // start of the stream
  if (events.next().type == YAML_STREAM_END_EVENT) return {};  // an empty file
  Json root = value_of(events, events.next(), 0);
  events.next();  // end of the document
  require(events.next().type == YAML_STREAM_END_EVENT, ErrorCode::format, events.place(),
          ": a second document, wanted one");
  return root;
}

Json read_yaml(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  require_small(bytes.size(), path);
  return parse_yaml(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path);
}

}  // namespace subquad
