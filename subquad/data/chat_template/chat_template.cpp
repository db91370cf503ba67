#include "subquad/data/chat_template/chat_template.h"

#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/data/chat_template/interpreter.h"
#include "subquad/data/tokenizer/unicode.h"

namespace subquad {
namespace {

constexpr std::size_t kMostTemplate = std::size_t{1} << 20, kMostConfig = std::size_t{16} << 20;
constexpr JsonLimits kLimits{.depth = 64, .values = 1 << 20};

// As the reference library reads a template: one kind of line end, and not the last one.
std::string with_unix_lines(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
      continue;
    }
    out += '\n';
    if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

// A special token is written as its text, or as an object with it.
const Json* token_text(const Json& value) {
  if (value.is_string()) return &value;
  const Json* content = value.find("content");
  return content && content->is_string() ? content : nullptr;
}

std::string template_of(const Json& config, const std::string& source) {
  const Json* value = config.find("chat_template");
  if (!value || value->is_null()) return "";
  if (value->is_string()) return value->as_string();
  require(value->is_array(), ErrorCode::format, source, ": chat_template: got ", value->type_name(),
          ", wanted a text or a list of named ones");
  for (const Json& entry : value->as_array()) {
    const Json *name = entry.find("name"), *text = entry.find("template");
    require(name && name->is_string() && text && text->is_string(), ErrorCode::format, source,
            ": chat_template: wanted {\"name\": ..., \"template\": ...} in the list");
    if (name->as_string() == "default") return text->as_string();
  }
  fail(ErrorCode::unsupported, source, ": chat_template: none in the list is named \"default\"");
}

}  // namespace

struct ChatTemplate::Tree {
  chat::Body body;
};

ChatTemplate::ChatTemplate(std::string_view text, std::string source)
    : tree_(std::make_unique<Tree>()), source_(std::move(source)) {
  require(text.size() <= kMostTemplate, ErrorCode::format, source_, ": a template of ", text.size(),
          " bytes, wanted at most ", kMostTemplate);
  require(is_valid_utf8(text), ErrorCode::format, source_, ": the template is not valid UTF-8");
  tree_->body = chat::parse_template(with_unix_lines(text), source_);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::optional<ChatTemplate> ChatTemplate::load(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string config_path = folder + "/tokenizer_config.json",
                    own_path = folder + "/chat_template.jinja";
  Json config = Json::object();
  if (fs::exists(config_path, error))
    config = Json::parse(read_regular_file(config_path, kMostConfig), config_path, kLimits);
  const bool own = fs::exists(own_path, error);
  const std::string text =
      own ? read_regular_file(own_path, kMostTemplate) : template_of(config, config_path);
  if (text.empty()) return std::nullopt;
  ChatTemplate t(text, own ? own_path : config_path + " [chat_template]");
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    const Json* value = config.find(name);
    if (const Json* token = value ? token_text(*value) : nullptr) t.tokens_[name] = *token;
  }
  return t;
}

const std::string* ChatTemplate::token(std::string_view name) const {
  const Json* found = tokens_.find(name);
  return found ? &found->as_string() : nullptr;
}

std::string ChatTemplate::render(const Json& variables, std::time_t now) const {
  Json all = tokens_;
  for (const auto& [name, value] : variables.as_object()) all[name] = value;
  return chat::run_template(tree_->body, source_, all, now);
}

}  // namespace subquad
