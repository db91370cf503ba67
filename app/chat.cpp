#include "app/chat.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <optional>

#include "subquad/base/interrupt.h"
#include "subquad/base/memory.h"
#include "subquad/data/chat_template/chat_template.h"
#include "subquad/data/tokenizer/unicode.h"
#include "subquad/runtime/session.h"
#include "subquad/runtime/text_stream.h"

namespace subquad::app {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMostLine = std::size_t{1} << 20;

// False at the end. Whoever writes the line does not decide how much memory it takes.
bool read_line(std::istream& in, std::string& line) {
  line.clear();
  for (int c = in.get(); c != std::istream::traits_type::eof(); c = in.get()) {
    if (c == '\n') return true;
    require(line.size() < kMostLine, ErrorCode::invalid_argument, "a message of more than ",
            kMostLine, " bytes; wanted a shorter one");
    line += static_cast<char>(c);
  }
  return !line.empty();
}

ChatTemplate template_of(const LanguageModel& model) {
  const std::string folder = model.run ? model.folder + "/init" : model.folder;
  require(model.tokenizer.has_value(), ErrorCode::unsupported, model.folder,
          ": a chat needs text, and the folder has no tokenizer.json");
  std::optional<ChatTemplate> t = ChatTemplate::load(folder);
  require(t.has_value(), ErrorCode::unsupported, folder,
          ": holds no chat template (chat_template.jinja, or \"chat_template\" in "
          "tokenizer_config.json); a base model continues text: leave --chat out");
  return std::move(*t);
}

class Conversation {
 public:
  Conversation(const LanguageModel& model, const ChatWishes& wishes)
      : model_(model),
        wishes_(wishes),
        template_(template_of(model)),
        engine_(static_cast<int>(wishes.threads), model.precision),
        session_(engine_, model.model(), model.store()),
        sampler_(wishes.sampling) {
    const std::string* end = template_.token("eos_token");
    if (end) end_ = model.tokenizer->find(*end);
    if (!wishes.system.empty()) add("system", replace_invalid_utf8(wishes.system));
  }

  void say(const std::string& message) {
    add("user", replace_invalid_utf8(message));
    Json variables = Json::object();
    variables["messages"] = messages_;
    variables["add_generation_prompt"] = true;
    read(model_.encode(template_.render(variables, std::time(nullptr)), false));
    add("assistant", answer());
    ++turns_;
  }

  void report() const {
    std::fprintf(stderr,
                 "%ld turns: read %ld tokens, wrote %ld tokens at %.0f tokens/s; state %ld bytes "
                 "after %ld positions; peak memory %.1f MiB\n",
                 static_cast<long>(turns_), static_cast<long>(read_), static_cast<long>(written_),
                 static_cast<double>(written_) / std::max(seconds_, 1e-9),
                 static_cast<long>(model_.model().state_bytes(session_.positions())),
                 static_cast<long>(session_.positions()),
                 static_cast<double>(peak_memory_bytes()) / (1 << 20));
  }

 private:
  void add(const char* role, const std::string& content) {
    messages_.push_back(Json::Object{{"role", role}, {"content", content}});
  }

  // Only what the session has not read. A template may write earlier answers in another way than they
  // were said (without their thoughts): then the reading goes on from before the last answer, or
  // from the start.
  void read(const std::vector<std::int32_t>& ids) {
    const auto continues = [&](const Session& s) {
      const auto seen = s.ids();
      return seen.size() < ids.size() && std::equal(seen.begin(), seen.end(), ids.begin());
    };
    if (!continues(session_)) {
      if (before_answer_ && continues(*before_answer_)) {
        session_ = *before_answer_;
      } else {
        session_.reset();
      }
    }
    const auto from = static_cast<std::ptrdiff_t>(session_.positions());
    require(!ids.empty(), ErrorCode::format, model_.folder,
            ": the chat template writes this conversation as an empty text");
    session_.prefill(std::span(ids).subspan(static_cast<std::size_t>(from)));
    read_ += static_cast<std::int64_t>(ids.size()) - from;
    before_answer_ = session_;
    sampler_ = Sampler(wishes_.sampling);
    sampler_.read(ids);
  }

  // Draws, shows and reads an answer; returns its text.
  std::string answer() {
    TextStream stream(model_.tokenizer_or_null(), wishes_.stops, session_.ids().back());
    std::string text;
    const auto show = [&](const std::string& piece) {
      text += piece;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
    const auto start = Clock::now();
    bool full = false;
    for (std::int64_t n = 0; n < wishes_.tokens && !interrupted(); ++n) {
      const Tensor logits = session_.logits();
      const std::int32_t id =
          sampler_.next({logits.data<float>(), static_cast<std::size_t>(model_.outputs)});
      ++written_;
      full = session_.full();
      if (!full) session_.prefill(std::span(&id, 1));
      if (model_.ends_with(id) || id == end_) break;
      show(stream.push(id));
      if (stream.stopped() || full) break;
    }
    seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
    show(stream.finish());
    std::printf("\n");
    std::fflush(stdout);
    if (full) std::fputs(kNoRoom, stderr);
    return text;
  }

  const LanguageModel& model_;
  const ChatWishes& wishes_;
  const ChatTemplate template_;
  Engine engine_;
  Session session_;
  std::optional<Session> before_answer_;
  Sampler sampler_;
  std::optional<std::int32_t> end_;
  Json messages_ = Json::array();
  std::int64_t turns_ = 0, read_ = 0, written_ = 0;
  double seconds_ = 0;
};

}  // namespace

void chat(const LanguageModel& model, const ChatWishes& wishes) {
  Conversation conversation(model, wishes);
  const bool terminal = ::isatty(STDIN_FILENO) != 0;
  if (!wishes.first.empty()) {
    conversation.say(wishes.first);
    return conversation.report();
  }
  if (terminal) std::fprintf(stderr, "a message a line; Ctrl-D ends\n");
  for (std::string line; !interrupted();) {
    if (terminal) std::fprintf(stderr, "> ");
    if (!read_line(std::cin, line)) break;
    if (!line.empty()) conversation.say(line);
  }
  conversation.report();
}

}  // namespace subquad::app
