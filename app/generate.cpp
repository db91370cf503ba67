#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/base/interrupt.h"
#include "subquad/base/rng.h"
#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/model/engine.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/task/task.h"
#include "subquad/train/run.h"

namespace subquad::app {
namespace {

// Draws from softmax(logits / temperature) cut to the top_k largest and the top_p mass; temperature
// 0 is arg-max.
std::int32_t sample(std::span<const float> logits, double temperature, std::int64_t top_k,
                    double top_p, double uniform) {
  for (const float logit : logits)
    require(!std::isnan(logit), ErrorCode::numeric, "the model's output is not a number");
  if (temperature <= 0)
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) -
                                     logits.begin());
  std::vector<std::int32_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  if (top_k > 0 && static_cast<std::size_t>(top_k) < order.size())
    order.resize(static_cast<std::size_t>(top_k));
  std::vector<double> weight;
  double total = 0;
  const double top = static_cast<double>(logits[static_cast<std::size_t>(order[0])]);
  for (std::int32_t id : order) {
    weight.push_back(
        std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - top) / temperature));
    total += weight.back();
  }
  double kept = 0;
  std::size_t count = 0;
  while (count < weight.size() && (count == 0 || kept < top_p * total)) kept += weight[count++];
  double target = uniform * kept;
  for (std::size_t i = 0; i < count; ++i) {
    target -= weight[i];
    if (target < 0) return order[i];
  }
  return order[count - 1];
}

// Writes bytes so that a multi-byte UTF-8 character appears whole.
class Utf8Writer {
 public:
  void put(unsigned char byte) {
    pending_ += static_cast<char>(byte);
    const auto lead = static_cast<unsigned char>(pending_[0]);
    const std::size_t want = lead < 0x80    ? 1
                             : lead >= 0xF0 ? 4
                             : lead >= 0xE0 ? 3
                             : lead >= 0xC0 ? 2
                                            : 1;
    if (pending_.size() < want && (byte >= 0x80)) return;
    flush();
  }
  void flush() {
    std::fwrite(pending_.data(), 1, pending_.size(), stdout);
    std::fflush(stdout);
    pending_.clear();
  }

 private:
  std::string pending_;
};

// What a prompt is continued with: a run of ours, or a published model.
struct Speaker {
  std::unique_ptr<TrainedRun> run;
  std::unique_ptr<Pretrained> published;
  std::unique_ptr<ParameterStore> weights;  // of the published model
  std::optional<Tokenizer> tokenizer;       // of the published model, if its folder has one
  bool bytes = false;                       // ids are the bytes of a text
  std::int64_t inputs = 0, outputs = 0;     // ids below these may be read, and drawn
  std::vector<std::int32_t> end_ids;
  Precision precision = Precision::f32;

  bool text() const { return bytes || tokenizer.has_value(); }
  const Model& model() const { return run ? *run->model : *published->model; }
  ParameterStore& store() const { return run ? *run->store : *weights; }
};

Speaker speaker_of_run(const std::string& folder) {
  Speaker s;
  s.run = open_run(folder);
  const TaskEntry* entry = find_task(s.run->config.task);
  s.bytes = entry && entry->bytes;
  s.inputs = s.run->config.model.vocabulary;
  s.outputs = s.run->config.model.classes;
  s.precision = precision_named(s.run->config.train.precision);
  if (!s.bytes)
    std::fprintf(stderr, "task %s has no text: these are its class ids, 0 to %ld\n",
                 s.run->config.task.c_str(), static_cast<long>(s.outputs - 1));
  return s;
}

// With `ids` the prompt and what follows are ids, whether there is a tokenizer or not.
Speaker speaker_of_model(const std::string& folder, bool ids) {
  Speaker s;
  s.published = open_pretrained(folder);
  for (const std::string& w : s.published->files->warnings())
    std::fprintf(stderr, "warning: %s\n", w.c_str());
  s.weights = std::make_unique<ParameterStore>(s.published->weights());
  s.bytes = s.published->published.bytes && !ids;
  s.inputs = s.outputs = s.published->published.vocabulary;
  s.end_ids = s.published->end_ids;
  if (!ids && std::filesystem::exists(folder + "/tokenizer.json")) {
    s.tokenizer = Tokenizer::load(folder);
    s.outputs = std::min(s.outputs, s.tokenizer->vocabulary());
  }
  return s;
}

std::vector<std::int32_t> ids_of(const Speaker& speaker, std::string& prompt) {
  std::vector<std::int32_t> ids;
  if (speaker.bytes) {
    for (const char c : prompt) ids.push_back(static_cast<unsigned char>(c));
  } else if (speaker.tokenizer) {
    ids = speaker.tokenizer->encode(prompt, true);
    for (const std::int32_t id : ids)
      require(id < speaker.inputs, ErrorCode::format, "the tokenizer gave id ", id,
              ", the model has ", speaker.inputs, "; they do not belong together");
  } else {
    char* end = prompt.data();
    for (const char* at = end; *at != 0; at = end) {
      const long id = std::strtol(at, &end, 10);
      require(end != at && id >= 0 && id < speaker.inputs, ErrorCode::invalid_argument,
              "prompt at \"", at, "\": wanted ids from 0 to ", speaker.inputs - 1,
              speaker.published ? ", separated by spaces: the folder has no tokenizer.json" : "");
      ids.push_back(static_cast<std::int32_t>(id));
      while (*end == ' ') ++end;
    }
  }
  require(!ids.empty(), ErrorCode::invalid_argument, "the prompt is empty; give at least one ",
          speaker.text() ? "character" : "id");
  return ids;
}

struct Sampling {
  std::int64_t tokens = 200, top_k = 0, seed = 0, threads = 1;
  double temperature = 0.8, top_p = 0.95;
};

void stream(const Speaker& speaker, std::string prompt, const Sampling& how) {
  const Model& model = speaker.model();
  const std::vector<std::int32_t> ids = ids_of(speaker, prompt);
  Engine engine(static_cast<int>(how.threads), speaker.precision);
  Context cx = engine.context(speaker.store());
  ModelState state = model.new_state(1, DType::f32);
  Var logits = model.last_logits(
      cx, Tensor::from<std::int32_t>({1, static_cast<std::int64_t>(ids.size())}, ids), state);
  Utf8Writer out;
  if (speaker.text()) std::fwrite(prompt.data(), 1, prompt.size(), stdout);
  const Rng rng{static_cast<std::uint64_t>(how.seed), stream_id("generate")};
  std::int64_t generated = 0;
  std::vector<std::int32_t> said;  // by a model with a tokenizer; `written` bytes of it are out
  std::size_t written = 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < how.tokens && !interrupted(); ++i) {
    const std::int64_t last = logits.value.numel() - model.config().classes;
    const std::span<const float> row(logits.value.data<float>() + last,
                                     static_cast<std::size_t>(speaker.outputs));
    const std::int32_t id = sample(row, how.temperature, how.top_k, how.top_p,
                                   rng.uniform(static_cast<std::uint64_t>(i), 0));
    const auto& ends = speaker.end_ids;
    if (speaker.bytes) {
      out.put(static_cast<unsigned char>(id));
    } else if (!speaker.tokenizer) {
      std::printf("%s%d", i ? " " : "", id);
    } else if (!speaker.tokenizer->token(id).empty()) {  // else an unused row of the embedding
      said.push_back(id);
      const std::string text = speaker.tokenizer->decode_bytes(said, true);
      for (; written < text.size(); ++written) out.put(static_cast<unsigned char>(text[written]));
    }
    ++generated;
    if (generated == how.tokens || id >= speaker.inputs ||
        std::find(ends.begin(), ends.end(), id) != ends.end())
      break;
    const std::int32_t next[1] = {id};
    logits = model.logits(cx, Tensor::from<std::int32_t>({1, 1}, next), {}, &state);
  }
  if (!speaker.text()) std::printf("\n");
  out.flush();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::fprintf(stderr, "%s%ld tokens, %.0f tokens/s, state %ld bytes after %ld positions\n",
               speaker.text() ? "\n" : "", static_cast<long>(generated),
               static_cast<double>(generated) / seconds,
               static_cast<long>(model.state_bytes(state[0].positions())),
               static_cast<long>(state[0].positions()));
}

}  // namespace

int generate(Arguments arguments) {
  std::string folder, prompt, published;
  bool ids = false;
  Sampling how;
  Options options(
      "generate",
      "Continue a prompt from a trained run or a published model, streaming. Byte tasks and "
      "models with a tokenizer.json take and give text, others ids.",
      "subquad generate runs/code-mlstm-0 \"def \" --tokens 300");
  options.positional("run", folder, "run folder (not with --model)")
      .positional("prompt", prompt, "text, or ids separated by spaces")
      .option("--model", published, "folder of a published model, in place of a run")
      .flag("--ids", ids, "with --model: ids in and out, also where there is a tokenizer")
      .option("--tokens", how.tokens, "how many to generate", kTokens)
      .option("--temperature", how.temperature, "0 = greedy", {0, 1000})
      .option("--top-k", how.top_k, "keep the k likeliest (0: all)", {0, 1 << 24})
      .option("--top-p", how.top_p, "keep the likeliest that hold this much probability", {1e-6, 1})
      .option("--seed", how.seed, "of the sampler", kSeeds)
      .option("--threads", how.threads, "threads; the text is the same for any number", kThreads);
  if (!options.parse(arguments)) return 0;
  if (!published.empty()) {  // the first positional is the prompt
    require(prompt.empty(), ErrorCode::invalid_argument, "got --model and a run, \"", folder,
            "\", wanted one of them and a prompt");
    stream(speaker_of_model(published, ids), folder, how);
  } else {
    require(!folder.empty(), ErrorCode::invalid_argument,
            "wanted a run folder and a prompt, or --model DIR and a prompt");
    stream(speaker_of_run(folder), prompt, how);
  }
  return interrupted() ? 130 : 0;
}

}  // namespace subquad::app
