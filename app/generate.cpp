#include <algorithm>
#include <chrono>
#include <cstdio>

#include "app/chat.h"
#include "app/commands.h"
#include "app/options.h"
#include "subquad/base/interrupt.h"
#include "subquad/base/memory.h"
#include "subquad/runtime/language_model.h"
#include "subquad/runtime/sampler.h"
#include "subquad/runtime/session.h"
#include "subquad/runtime/text_stream.h"

namespace subquad::app {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Wishes {
  std::string prompt, load_state, save_state;
  std::vector<std::string> stops;
  std::int64_t tokens = 200, threads = 1, seed = 0, fork = 1;
  SamplerOptions sampling;
};

// One sequence of the batch: what was said, and what of it is still to be shown.
struct Continuation {
  Sampler sampler;
  TextStream text;
  std::string shown;  // of several continuations, until their end
  std::int32_t last = -1;
};

class Generation {
 public:
  Generation(const LanguageModel& model, const Wishes& wishes)
      : model_(model),
        wishes_(wishes),
        engine_(static_cast<int>(wishes.threads), model.precision),
        session_(wishes.load_state.empty()
                     ? Session(engine_, model.model(), model.store())
                     : Session::load(engine_, model.model(), model.store(), wishes.load_state)) {}

  void run() {
    read_prompt();
    if (model_.text()) show(wishes_.prompt);
    begin_continuations();
    const auto start = Clock::now();
    while (!running_.empty() && generated_ < wishes_.tokens && !ended() && !interrupted())
      advance();
    decode_seconds_ = seconds_since(start);
    end_continuations();
    if (!wishes_.save_state.empty()) save();
    report();
  }

 private:
  // What was drawn last cannot be read.
  bool ended() const { return !drawn_.empty() && session_.full(); }

  void read_prompt() {
    require(session_.rows() == 1, ErrorCode::unsupported, wishes_.load_state, " holds ",
            session_.rows(), " sequences, wanted one");
    const bool fresh = session_.positions() == 0;
    const std::vector<std::int32_t> ids = model_.encode(wishes_.prompt, fresh);
    require(!ids.empty() || !fresh, ErrorCode::invalid_argument,
            "the prompt is empty; give at least one ", model_.text() ? "character" : "id");
    const auto start = Clock::now();
    session_.prefill(ids);
    prefill_seconds_ = seconds_since(start);
    prompt_tokens_ = static_cast<std::int64_t>(ids.size());
  }

  void begin_continuations() {
    const auto start = Clock::now();
    if (wishes_.fork > 1) session_ = session_.fork(wishes_.fork);
    fork_seconds_ = seconds_since(start);
    for (std::int64_t i = 0; i < wishes_.fork; ++i) {
      SamplerOptions sampling = wishes_.sampling;
      sampling.seed = static_cast<std::uint64_t>(wishes_.seed + i);
      const auto ids = session_.ids(i);
      all_.push_back({Sampler(sampling),
                      TextStream(model_.tokenizer_or_null(), wishes_.stops, ids.back()),
                      {},
                      -1});
      all_.back().sampler.read(ids);
      running_.push_back(static_cast<std::size_t>(i));
    }
  }

  // Reads what was drawn last and draws one token for every sequence that goes on.
  void advance() {
    const Tensor logits = drawn_.empty() ? session_.logits() : session_.step(drawn_);
    const std::int64_t classes = logits.shape()[1];
    drawn_.clear();
    std::vector<std::int64_t> rows;
    std::vector<std::size_t> running;
    for (std::size_t r = 0; r < running_.size(); ++r) {
      Continuation& c = all_[running_[r]];
      const std::span<const float> row(
          logits.data<float>() + static_cast<std::int64_t>(r) * classes,
          static_cast<std::size_t>(model_.outputs));
      c.last = c.sampler.next(row);
      say(c);
      ++drawn_count_;
      if (model_.ends_with(c.last) || c.text.stopped()) continue;
      rows.push_back(static_cast<std::int64_t>(r));
      running.push_back(running_[r]);
      drawn_.push_back(c.last);
    }
    ++generated_;
    if (rows.size() < running_.size() && !rows.empty()) session_ = session_.select(rows);
    running_ = std::move(running);
  }

  void say(Continuation& c) {
    if (model_.text()) {
      emit(c, c.text.push(c.last));
    } else {
      emit(c, (generated_ ? " " : "") + std::to_string(c.last));
    }
  }
  void emit(Continuation& c, const std::string& text) {
    if (wishes_.fork > 1) {
      c.shown += text;
    } else {
      show(text);
    }
  }
  static void show(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  void end_continuations() {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (model_.text()) emit(all_[i], all_[i].text.finish());
      if (wishes_.fork > 1)
        show("\n--- continuation " + std::to_string(i + 1) + ", seed " +
             std::to_string(wishes_.seed + static_cast<std::int64_t>(i)) + "\n" + all_[i].shown);
    }
    if (!model_.text() || wishes_.fork > 1) show("\n");
  }

  // With everything that was drawn, an end id or a stop string included, if there is room for it.
  void save() {
    const std::int32_t last = all_.front().last;
    if (last >= 0 && !session_.full()) session_.prefill(std::span(&last, 1));
    session_.save(wishes_.save_state);
  }

  void report() const {
    const auto rate = [](std::int64_t tokens, double seconds) {
      return static_cast<double>(tokens) / std::max(seconds, 1e-9);
    };
    std::fprintf(stderr, "%s", model_.text() && wishes_.fork == 1 ? "\n" : "");
    if (ended() && generated_ < wishes_.tokens) std::fputs(kNoRoom, stderr);
    std::fprintf(stderr,
                 "read %ld tokens at %.0f tokens/s, wrote %ld tokens, %.0f tokens/s; state %ld "
                 "bytes after %ld positions; peak memory %.1f MiB\n",
                 static_cast<long>(prompt_tokens_), rate(prompt_tokens_, prefill_seconds_),
                 static_cast<long>(drawn_count_), rate(drawn_count_, decode_seconds_),
                 static_cast<long>(model_.model().state_bytes(session_.positions())),
                 static_cast<long>(session_.positions()),
                 static_cast<double>(peak_memory_bytes()) / (1 << 20));
    if (wishes_.fork > 1)
      std::fprintf(stderr, "fork into %ld: %.1f us each, reading the prompt took %.1f us\n",
                   static_cast<long>(wishes_.fork),
                   1e6 * fork_seconds_ / static_cast<double>(wishes_.fork), 1e6 * prefill_seconds_);
  }

  const LanguageModel& model_;
  const Wishes& wishes_;
  Engine engine_;
  Session session_;
  std::vector<Continuation> all_;
  std::vector<std::size_t> running_;  // of all_, by row of the session
  std::vector<std::int32_t> drawn_;   // by the running ones, not read yet
  std::int64_t prompt_tokens_ = 0, generated_ = 0, drawn_count_ = 0;
  double prefill_seconds_ = 0, decode_seconds_ = 0, fork_seconds_ = 0;
};

LanguageModel open_model(const std::string& published, const std::string& run, bool ids) {
  LanguageModel m =
      published.empty() ? language_model_of_run(run) : published_language_model(published, ids);
  if (m.published) {
    for (const std::string& w : m.published->files->warnings())
      std::fprintf(stderr, "warning: %s\n", w.c_str());
  } else if (!m.text()) {
    std::fprintf(stderr, "task %s has no text: these are its class ids, 0 to %ld\n",
                 m.run->config.task.c_str(), static_cast<long>(m.outputs - 1));
  }
  return m;
}

void converse(const LanguageModel& model, const Wishes& w, const std::string& system) {
  require(w.fork == 1 && w.save_state.empty() && w.load_state.empty(), ErrorCode::invalid_argument,
          "--chat with --fork, --save-state or --load-state; wanted --chat alone");
  ChatWishes c{system, w.prompt, w.stops, w.tokens, w.threads, w.sampling};
  c.sampling.seed = static_cast<std::uint64_t>(w.seed);
  chat(model, c);
}

}  // namespace

int generate(Arguments arguments) {
  std::string folder, published, system;
  bool ids = false, chats = false;
  Wishes w;
  Options options(
      "generate",
      "Continue a prompt from a trained run or a published model, streaming. Byte tasks and "
      "models with a tokenizer.json take and give text, others ids.",
      "subquad generate runs/code-mlstm-0 \"def \" --tokens 300 --stop $'\\n\\n'");
  options.positional("run", folder, "run folder (not with --model)")
      .positional("prompt", w.prompt, "text, or ids separated by spaces")
      .option("--model", published, "folder of a published model, in place of a run")
      .flag("--ids", ids, "with --model: ids in and out, also where there is a tokenizer")
      .option("--tokens", w.tokens, "how many to generate", kTokens)
      .option("--temperature", w.sampling.temperature, "0 = greedy", {0, 1000})
      .option("--top-k", w.sampling.top_k, "keep the k likeliest (0: all)", {0, 1 << 24})
      .option("--top-p", w.sampling.top_p, "keep the likeliest that hold this much probability",
              {1e-6, 1})
      .option("--min-p", w.sampling.min_p,
              "keep those at least this many times as likely as the likeliest", {0, 1})
      .option("--repetition-penalty", w.sampling.repetition_penalty,
              "makes what was there before less likely (1: no)", {0.01, 100})
      .option("--seed", w.seed, "of the sampler; continuation i of a fork has seed + i",
              {0, kSeeds.high - kForks.high})
      .repeated("--stop", w.stops, "end before this text; may be given several times")
      .option("--save-state", w.save_state, "write the state after the last token to this file")
      .option("--load-state", w.load_state, "go on from such a file; the prompt may be empty")
      .option("--fork", w.fork, "so many continuations of the prompt, which is read once", kForks)
      .flag("--chat", chats,
            "a conversation, as the model's chat template writes it: the prompt is a message, "
            "without "
            "one every line of the input is")
      .option("--system", system, "with --chat: the system's message")
      .option("--threads", w.threads, "threads; the text is the same for any number", kThreads);
  if (!options.parse(arguments)) return 0;
  if (!published.empty()) {  // the first positional is the prompt
    require(w.prompt.empty(), ErrorCode::invalid_argument, "got --model and a run, \"", folder,
            "\", wanted one of them and a prompt");
    std::swap(w.prompt, folder);
  } else {
    require(!folder.empty(), ErrorCode::invalid_argument,
            "wanted a run folder and a prompt, or --model DIR and a prompt");
  }
  require(w.fork == 1 || w.save_state.empty(), ErrorCode::invalid_argument,
          "--save-state writes one sequence, --fork makes ", w.fork,
          "; save the prompt's state with --tokens 0, then fork it with --load-state");
  for (const std::string& stop : w.stops)
    require(!stop.empty(), ErrorCode::invalid_argument,
            "--stop: got an empty text, wanted one byte or more");
  const LanguageModel model = open_model(published, folder, ids);
  require(model.text() || w.stops.empty(), ErrorCode::invalid_argument,
          "--stop is a text, this model speaks ids; leave it out");
  if (chats) {
    converse(model, w, system);
  } else {
    require(system.empty(), ErrorCode::invalid_argument, "--system is a message of --chat");
    Generation(model, w).run();
  }
  return interrupted() ? 130 : 0;
}

}  // namespace subquad::app
