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

}  // namespace

int train(Arguments arguments) {
  std::string run, arm = "xlstm[1:1]", task = "parity", out, data, precision = "f32";
  std::vector<std::string> task_options;
  std::int64_t seed = 0, tokens = 0, d_model = 64, blocks = 2, heads = 4, threads = 1, parent = 0;
  double learning_rate = 0;
  bool quiet = false;
  Options options("train",
                  "Train one model on one task, evaluate it, and write it all to a run folder.",
                  "subquad train --arm mlstm --task anbn --tokens 800000 --out runs/anbn-mlstm");
  options
      .option(
          "--run", run,
          "a run folder with config.json in it: train or continue it, ignoring the options below")
      .option(
          "--arm", arm,
          "attention, mlstm, slstm, xlstm[1:1], mamba2, gated_deltanet[-1,1], a,b,... per layer")
      .option("--task", task, "see subquad tasks")
      .list("--task-options", task_options, kTaskOptionsHelp)
      .option("--tokens", tokens, "training tokens (0: the task's own budget)", kTokens)
      .option("--seed", seed, "of the weights and the training data", kSeeds)
      .option("--d-model", d_model, "model width", kWidths)
      .option("--blocks", blocks, "number of blocks", kBlocks)
      .option("--heads", heads, "heads per mixer", kHeads)
      .option("--learning-rate", learning_rate, "peak rate of AdamW (0: the task's own)", {0, 10})
      .option("--precision", precision,
              "f32, or bf16: products with weights round their factors, all else stays f32")
      .option("--threads", threads, "threads; the result has the same bits for any number",
              kThreads)
      .option("--data", data, "folder or file, for tasks that read one")
      .option("--out", out, "run folder to create (default runs/TASK-ARM-SEED)")
      .internal("--parent", parent)  // process id of a study: end when it ends
      .flag("--quiet", quiet, "no progress");
  if (!options.parse(arguments)) return 0;
  if (parent > 0) follow(parent);
  if (run.empty()) {
    RunConfig c;
    c.arm = arm;
    c.task = task;
    c.seed = static_cast<std::uint64_t>(seed);
    c.data = data;
    const TaskEntry* entry = find_task(task);
    require(data.empty() || !entry || entry->reads_data, ErrorCode::invalid_argument, "--data ",
            data, ": the task ", task, " reads none; leave it out");
    c.task_extra = parse_task_options(task_options);
    const auto made = make_task(task, {.data = data, .extra = c.task_extra});
    const TaskSpec spec = made->spec();
    require(arm != "ngram" || made->corpus(), ErrorCode::invalid_argument,
            "the ngram arm counts bytes: task ", task, " has none; it works with code and text");
    if (arm != "ngram")
      c.model = size_arms({arm}, {.vocabulary = spec.vocabulary,
                                  .classes = spec.classes,
                                  .d_model = d_model,
                                  .blocks = blocks,
                                  .heads = heads,
                                  .train_length = spec.train_length,
                                  .mixer_options = {},
                                  .patches = spec.patches})[0]
                    .config;
    c.train.tokens = tokens > 0 ? tokens : spec.default_tokens;
    c.train.learning_rate = learning_rate > 0 ? learning_rate : spec.learning_rate;
    precision_named(precision);
    c.train.precision = precision;
    c.threads = static_cast<int>(threads);
    run = out.empty() ? "runs/" + task + "-" + arm + "-" + std::to_string(seed) : out;
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
    // The same run, perhaps with another number of threads.
    if (!std::filesystem::exists(path) || read_file(path) != text)
      write_file_atomically(path, text);
  }
  const bool terminal = isatty(2) != 0;
  const Json result = execute_run(run, [&](const RunProgress& p) {
    if (!quiet) show(p, terminal);
  });
  if (quiet) return 0;
  if (terminal) std::fprintf(stderr, "\r\033[K");
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
  return 0;
}

}  // namespace subquad::app
