#include "subquad/train/evaluator.h"

#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/train/evidence.h"
#include "subquad/train/run.h"

namespace subquad::app {
namespace {

constexpr std::int64_t kLongest = 1 << 24;

}  // namespace

int evaluate(Arguments arguments) {
  std::string folder, split = "test", reason;
  std::vector<std::string> lengths;
  std::int64_t threads = 1;
  Options options("evaluate",
                  "Score a trained run on its task, chunkwise and one position at a time.",
                  "subquad evaluate runs/parity-xlstm[1:1]-0 --lengths 32,4096");
  options.positional("run", folder, "run folder", true)
      .list("--lengths", lengths, "sequence lengths (default: the task's own)")
      .option("--split", split, "test or validation")
      .option("--reason", reason, "why the test split is opened again, for the audit of the study")
      .option("--threads", threads, "threads", kThreads);
  if (!options.parse(arguments)) return 0;
  require(split == "test" || split == "validation", ErrorCode::invalid_argument, "--split ", split,
          ", wanted test or validation");
  EvaluationSetup setup{.lengths = {}, .split = split == "test" ? Split::test : Split::validation};
  for (const std::string& text : lengths) {
    require(!text.empty() && text.size() < 10 &&
                text.find_first_not_of("0123456789") == std::string::npos && std::stoll(text) > 0 &&
                std::stoll(text) <= kLongest,
            ErrorCode::invalid_argument, "--lengths: got \"", text, "\", wanted 1 to ", kLongest);
    setup.lengths.push_back(std::stoll(text));
  }
  const auto run = open_run(folder);
  const RunConfig& c = run->config;
  const auto task = make_task(
      c.task, {.seed = c.seed, .batch_size = c.batch_size, .data = c.data, .extra = c.task_extra});
  if (split == "test") log_test_access(folder, "evaluate", weights_digest(*run->store), reason);
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
  return 0;
}

}  // namespace subquad::app
