// Chat templates as tokenizer_config.json and chat_template.jinja hold them: how a conversation is
// written as one text for the model. A subset of the Jinja language, with the settings that the
// reference library has (no escaping, trim_blocks, lstrip_blocks); docs/chat_templates.md lists it.
// What is not in it is refused by name, with line and column, when the template is read.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "subquad/io/json.h"

namespace subquad {

class ChatTemplate {
 public:
  // `source` is named in errors. Bounds: 1 MiB; valid UTF-8.
  ChatTemplate(std::string_view text, std::string source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // That of a model's folder: chat_template.jinja, else "chat_template" of tokenizer_config.json (of
  // several, the one named "default"). With it come the special tokens that templates read, bos_token
  // and its kin. Nothing if the folder has none.
  static std::optional<ChatTemplate> load(const std::string& folder);

  // variables: an object with messages, [{"role": ..., "content": ...}, ...], add_generation_prompt,
  // and whatever else the template reads. now: seconds since 1970, for strftime_now.
  // Bounds: about a quarter of a second and 64 MiB, both more for conversations of more than 500 kB;
  // 16 MiB of text.
  // Errors: unsupported, naming line and column, for what the template asks for and cannot have, and
  // where it refuses the conversation itself.
  std::string render(const Json& variables, std::time_t now = 0) const;

  // The text of bos_token, eos_token, ... of the folder; null if it has none.
  const std::string* token(std::string_view name) const;

 private:
  struct Tree;
  std::unique_ptr<Tree> tree_;
  std::string source_;
  Json tokens_ = Json::object();  // bos_token and its kin
};

}  // namespace subquad
