#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "app/task_options.h"
#include "subquad/base/file.h"
#include "subquad/model/sizing.h"
#include "subquad/task/task.h"
#include "subquad/train/run.h"

namespace subquad::app {
namespace {

void show(const RunProgress& p, bool terminal) {
  const char* begin = terminal ? "\r\033[K" : "";
  const char* end = terminal ? "" : "\n";
  if (p.phase == "evaluate") {
    std::fprintf(stderr, "%strained; evaluating ...%s", begin, end);
  } else {
    const StepStats& s = p.stats;
    const auto left = static_cast<long>(s.seconds_left);
    std::fprintf(stderr, "%sstep %ld/%ld  loss %.4f  %.0fk tok/s  %ld:%02ld left%s", begin,
                 static_cast<long>(s.step), static_cast<long>(s.steps), s.loss,
                 s.tokens_per_second / 1000, left / 60, left % 60, end);
  }
  std::fflush(stderr);
}

// Ends this process as Ctrl-C would (checkpoint saved) when the study that started it dies.
void follow(std::int64_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGINT);
  require(getppid() == parent, ErrorCode::interrupted, "the study that started this run is gone");
}

struct Wishes {
  std::string run, arm = "xlstm[1:1]", task = "parity", init, out, data, precision = "f32";
  std::vector<std::string> task_options;
  std::int64_t seed = 0, tokens = 0, d_model = 64, blocks = 2, heads = 4, threads = 1;
  double learning_rate = 0;
};

// The settings of a new run, model included.
RunConfig new_run(const Wishes& w) {
  constexpr double kGentleRate = 1e-4;  // for weights that are good already
  RunConfig c;
  c.arm = w.arm;
  c.task = w.task;
  c.seed = static_cast<std::uint64_t>(w.seed);
  c.data = w.data;
  const TaskEntry* entry = find_task(w.task);
  require(w.data.empty() || !entry || entry->reads_data, ErrorCode::invalid_argument, "--data ",
          w.data, ": the task ", w.task, " reads none; leave it out");
  c.task_extra = parse_task_options(w.task_options);
  const auto made = make_task(w.task, {.data = w.data, .extra = c.task_extra});
  const TaskSpec spec = made->spec();
  require(w.arm != "ngram" || made->corpus(), ErrorCode::invalid_argument,
          "the ngram arm counts bytes: task ", w.task, " has none; it works with code and text");
  if (!w.init.empty()) {
    continue_published(w.init, c);
  } else if (w.arm != "ngram") {
    c.model = size_arms({w.arm}, {.vocabulary = spec.vocabulary,
                                  .classes = spec.classes,
                                  .d_model = w.d_model,
                                  .blocks = w.blocks,
                                  .heads = w.heads,
                                  .train_length = spec.train_length,
                                  .mixer_options = {},
                                  .patches = spec.patches})[0]
                  .config;
  }
  c.train.tokens = w.tokens > 0 ? w.tokens : spec.default_tokens;
  c.train.learning_rate = w.learning_rate > 0 ? w.learning_rate
                          : w.init.empty()    ? spec.learning_rate
                                              : kGentleRate;
  precision_named(w.precision);
  c.train.precision = w.precision;
  c.threads = static_cast<int>(w.threads);
  return c;
}

// Writes config.json of a new run, or finds the same run there.
std::string prepare(const Wishes& w) {
  const RunConfig c = new_run(w);
  const std::string run =
      w.out.empty() ? "runs/" + w.task + "-" + c.arm + "-" + std::to_string(w.seed) : w.out;
  std::error_code error;
  std::filesystem::create_directories(run, error);
  require(!error, ErrorCode::io, "cannot create folder ", run, ": ", error.message());
  const std::string path = run + "/config.json", text = c.to_json().dump(1) + "\n";
  if (std::filesystem::exists(path)) {
    const RunConfig old = RunConfig::from_json(Json::read(path), path);
    require(old.sha256() == c.sha256(), ErrorCode::invalid_argument, run,
            " holds a run with other settings; choose another --out, or continue it with --run ",
            run);
  }
  if (c.init) copy_initial_model(w.init, run);
  // The same run, perhaps with another number of threads.
  if (!std::filesystem::exists(path) || read_file(path) != text) write_file_atomically(path, text);
  return run;
}

void print(const Json& result, const std::string& run) {
  std::printf("%s on %s, seed %ld: %ld parameters, %ld tokens, training loss %.4f\n",
              result.at("arm").as_string().c_str(), result.at("task").as_string().c_str(),
              static_cast<long>(result.at("seed").as_int()),
              static_cast<long>(result.at("parameters").as_int()),
              static_cast<long>(result.at("tokens").as_int()), result.at("train_loss").as_double());
  for (const Json& m : result.at("metrics").as_array()) {
    if (m.at("split").as_string() != "test") continue;
    std::printf("  length %5ld  %-22s %.4f %s\n", static_cast<long>(m.at("length").as_int()),
                m.at("name").as_string().c_str(), m.at("value").as_double(),
                m.at("unit").as_string().c_str());
  }
  std::printf("run folder %s\n", run.c_str());
}

}  // namespace

int train(Arguments arguments) {
  Wishes w;
  std::int64_t parent = 0;
  bool quiet = false;
  Options options("train",
                  "Train one model on one task, evaluate it, and write it all to a run folder.",
                  "subquad train --arm mlstm --task anbn --tokens 800000 --out runs/anbn-mlstm");
  options
      .option(
          "--run", w.run,
          "a run folder with config.json in it: train or continue it, ignoring the options below")
      .option(
          "--arm", w.arm,
          "attention, mlstm, slstm, xlstm[1:1], mamba2, gated_deltanet[-1,1], a,b,... per layer")
      .option(
          "--init", w.init,
          "folder of a published model to train on, in place of --arm and its sizes; on code or "
          "text, in the ids of its tokenizer.json, or bytes")
      .option("--task", w.task, "see subquad tasks")
      .list("--task-options", w.task_options, kTaskOptionsHelp)
      .option("--tokens", w.tokens, "training tokens (0: the task's own budget)", kTokens)
      .option("--seed", w.seed, "of the weights and the training data", kSeeds)
      .option("--d-model", w.d_model, "model width", kWidths)
      .option("--blocks", w.blocks, "number of blocks", kBlocks)
      .option("--heads", w.heads, "heads per mixer", kHeads)
      .option("--learning-rate", w.learning_rate,
              "peak rate of AdamW (0: the task's own; with --init 0.0001)", {0, 10})
      .option("--precision", w.precision,
              "f32, or bf16: products with weights round their factors, all else stays f32")
      .option("--threads", w.threads, "threads; the result has the same bits for any number",
              kThreads)
      .option("--data", w.data, "folder or file, for tasks that read one")
      .option("--out", w.out, "run folder to create (default runs/TASK-ARM-SEED)")
      .internal("--parent", parent)  // process id of a study: end when it ends
      .flag("--quiet", quiet, "no progress");
  if (!options.parse(arguments)) return 0;
  if (parent > 0) follow(parent);
  const std::string run = w.run.empty() ? prepare(w) : w.run;
  const bool terminal = isatty(2) != 0;
  const Json result = execute_run(run, [&](const RunProgress& p) {
    if (!quiet) show(p, terminal);
  });
  if (quiet) return 0;
  if (terminal) std::fprintf(stderr, "\r\033[K");
  print(result, run);
  return 0;
}

}  // namespace subquad::app
