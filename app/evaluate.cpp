#include "subquad/train/evaluator.h"

#include <cstdio>

#include "app/commands.h"
#include "app/evaluate_text.h"
#include "app/options.h"
#include "subquad/train/evidence.h"
#include "subquad/train/run.h"

namespace subquad::app {
namespace {

constexpr std::int64_t kLongest = 1 << 24;

std::vector<std::int64_t> lengths_of(const std::vector<std::string>& words) {
  std::vector<std::int64_t> lengths;
  for (const std::string& text : words) {
    require(!text.empty() && text.size() < 10 &&
                text.find_first_not_of("0123456789") == std::string::npos && std::stoll(text) > 0 &&
                std::stoll(text) <= kLongest,
            ErrorCode::invalid_argument, "--lengths: got \"", text, "\", wanted 1 to ", kLongest);
    lengths.push_back(std::stoll(text));
  }
  return lengths;
}

void evaluate_task(const std::string& folder, const EvaluationSetup& setup,
                   const std::string& reason, std::int64_t threads) {
  const auto run = open_run(folder);
  const RunConfig& c = run->config;
  const auto task = task_of(c, folder);
  if (setup.split == Split::test) {
    log_test_access(folder, "evaluate", weights_digest(*run->store), reason);
    if (reason.empty())
      std::fprintf(stderr,
                   "subquad: the test split was opened again, which an audit of the study counts "
                   "(C6); say why with --reason, or use --split validation\n");
  }
  Engine engine(static_cast<int>(threads), precision_named(c.train.precision));
  for (const LengthResult& r : subquad::evaluate(engine, *run->model, *run->store, *task, setup)) {
    for (const Metric& m : r.metrics) {
      std::printf("length %6ld  %-22s %.4f %s\n", static_cast<long>(r.length), m.name.c_str(),
                  m.value, m.unit.c_str());
    }
    if (r.agreement >= 0)
      std::printf("length %6ld  %-22s %.4f\n", static_cast<long>(r.length), "chunkwise = recurrent",
                  r.agreement);
  }
}

}  // namespace

int evaluate(Arguments arguments) {
  std::string split = "test", reason;
  std::vector<std::string> lengths;
  TextWishes w;
  Options options(
      "evaluate",
      "Score a trained run on its task, or a run or a published model on texts and "
      "multiple-choice questions; chunkwise and one position at a time.",
      "subquad evaluate --model models/qwen --text book.txt --window 1024 --stride 512");
  options.positional("run", w.run, "run folder (not with --model)")
      .list("--lengths", lengths, "sequence lengths (default: the task's own)")
      .option("--split", split, "test or validation")
      .option("--reason", reason, "why the test split is opened again, for the audit of the study")
      .option("--model", w.model, "folder of a published model, in place of a run")
      .option("--text", w.text, "file, or folder of files, each a text: bits per byte, perplexity")
      .option("--window", w.window,
              "most tokens before the scored one; 0: all (default: 2048 with attention, less where "
              "learned positions end before, else 0)",
              {-1, 1 << 24})
      .option("--stride", w.stride, "scored tokens of each window (0: all)", {0, 1 << 24})
      .option("--choices", w.choices,
              "JSON lines with context, choices and answer: acc and acc_norm")
      .option("--most-tokens", w.most_tokens,
              "of a question; its context loses the start (0: as many as the model can read)",
              {0, 1 << 24})
      .flag("--bytes", w.ids_are_bytes, "without a tokenizer.json: ids are bytes")
      .option("--execution", w.execution, "chunkwise, recurrent, or both and compare")
      .flag("--json", w.json, "texts and choices as one JSON object, with every log-likelihood")
      .option("--threads", w.threads, "threads", kThreads);
  if (!options.parse(arguments)) return 0;
  require(w.run.empty() != w.model.empty(), ErrorCode::invalid_argument,
          "wanted a run folder, or --model DIR");
  if (!w.text.empty() || !w.choices.empty()) {
    evaluate_texts(w);
    return 0;
  }
  require(w.model.empty(), ErrorCode::invalid_argument,
          "a published model has no task of its own; give --text PATH or --choices FILE");
  require(split == "test" || split == "validation", ErrorCode::invalid_argument, "--split ", split,
          ", wanted test or validation");
  const EvaluationSetup setup{.lengths = lengths_of(lengths),
                              .split = split == "test" ? Split::test : Split::validation};
  evaluate_task(w.run, setup, reason, w.threads);
  return 0;
}

}  // namespace subquad::app
