#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/base/rng.h"
#include "subquad/model/sizing.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/study/speed.h"

namespace subquad::app {
namespace {

constexpr std::int64_t kRows = 16, kLength = 128;
constexpr Range<std::int64_t> kBudgets{0, std::int64_t{1} << 40};

// Training data that any vocabulary has; its values do not change the time of a step.
Batch random_batch(std::int64_t vocabulary, int step) {
  Batch b{Tensor({kRows, kLength}, DType::i32), Tensor({kRows, kLength}, DType::i32)};
  const auto fill = [&](const Tensor& t, std::uint64_t stream) {
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      t.data<std::int32_t>()[i] = static_cast<std::int32_t>(Rng{0, stream}.below(
          vocabulary, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(i)));
    }
  };
  fill(b.inputs, 0);
  fill(b.targets, 1);
  return b;
}

// What a published model is, in our terms.
int describe(const std::string& folder, bool check) {
  const auto p = open_pretrained(folder);
  const ModelConfig& c = p->published.config;
  const Model& model = *p->model;
  std::int64_t stored = 0;
  for (const std::string& name : p->files->names()) {
    const Safetensors::Entry& e = p->files->entry(name);
    stored += e.end - e.begin;
  }
  for (const std::string& w : p->files->warnings())
    std::fprintf(stderr, "warning: %s\n", w.c_str());
  std::printf("family       %s (%s)\n", p->family->name, p->family->summary);
  std::printf("parameters   %ld (%ld bytes stored)\n", static_cast<long>(p->plan.parameter_count()),
              static_cast<long>(stored));
  if (c.forecasts()) {
    std::printf("patches      %ld points, %zu quantiles, contexts of %ld points%s\n",
                static_cast<long>(c.patches.length), c.patches.levels.size(),
                static_cast<long>(c.patches.context), c.patches.padded ? ", padded" : "");
  } else {
    std::printf("vocabulary   %ld ids", static_cast<long>(p->published.vocabulary));
    if (c.vocabulary != p->published.vocabulary)
      std::printf(", padded to %ld rows", static_cast<long>(c.vocabulary));
    std::printf(", head %s\n", c.tied ? "tied to the embedding" : "of its own");
  }
  std::printf("d_model      %ld\n", static_cast<long>(c.d_model));
  std::printf("layers       %zu:", c.layers.size());
  for (std::size_t i = 0, run = 0; i < c.layers.size(); i += run) {  // runs of one kind
    for (run = 1; i + run < c.layers.size() && c.layers[i + run] == c.layers[i];) ++run;
    std::printf(" %zu x %s", run, c.layers[i].c_str());
  }
  std::printf("\nstate bytes ");
  for (const std::int64_t depth : kDepths)
    std::printf(" %ld @%ld", static_cast<long>(model.state_bytes(depth)), static_cast<long>(depth));
  const double macs = model.cost(1024).macs / 1024;
  std::printf("\nFLOP/token   %.0f over 1024 positions\n", 2 * macs);
  if (!check) return 0;
  std::fflush(stdout);
  p->files->require_finite();
  std::printf("weights      all finite\n");
  return 0;
}

}  // namespace

int info(Arguments arguments) {
  std::vector<std::string> arms = {
      "attention", "mlstm",        "slstm",          "xlstm[1:1]",
      "mamba2",    "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"};
  std::int64_t d_model = 64, blocks = 2, heads = 4, vocabulary = 256, parameters = 0,
               state_bytes = 0;
  bool time = false, check = false;
  std::string match = "parameters", published;
  Options options("info",
                  "Sizes, training cost and state bytes of arms matched to one budget, or of a "
                  "published model.",
                  "subquad info --arms attention,mlstm --d-model 256 --blocks 4");
  options.positional("model", published, "folder of a published model; then only --check applies")
      .flag("--check", check, "read every weight of the model: each must be a finite number")
      .list("--arms", arms, "arms to size")
      .option("--d-model", d_model, "model width", kWidths)
      .option("--blocks", blocks, "number of blocks", kBlocks)
      .option("--heads", heads, "heads per mixer", kHeads)
      .option("--vocabulary", vocabulary, "input ids and classes", {1, 1 << 24})
      .option("--parameters", parameters,
              "budget (0: that of the largest arm with an MLP of its width)", kBudgets)
      .option("--match", match, "parameters, flops, time or state")
      .option("--state-bytes", state_bytes, "state of one sequence, for --match state", kBudgets)
      .flag("--time", time, "measure training steps, too");
  if (!options.parse(arguments)) return 0;
  if (!published.empty()) return describe(published, check);
  const MeasureTimes measure = [&](std::span<const ModelConfig> models) {
    return training_seconds_per_token(
        models, [&](int step) { return random_batch(vocabulary, step); }, Precision::f32);
  };
  const auto sized = size_arms(arms, {.vocabulary = vocabulary,
                                      .classes = vocabulary,
                                      .d_model = d_model,
                                      .blocks = blocks,
                                      .heads = heads,
                                      .match = match_from(match),
                                      .parameters = parameters,
                                      .state_bytes = state_bytes,
                                      .train_length = kLength,
                                      .mixer_options = {},
                                      .measure = measure});
  std::vector<ModelConfig> models;
  for (const SizedArm& s : sized) models.push_back(s.config);
  const std::vector<double> seconds = time ? measure(models) : std::vector<double>(models.size());
  std::printf("%-22s %11s %6s %9s %13s %11s %11s %11s %11s\n", "arm", "parameters", "width",
              "MLP width", "train FLOP/tok", time ? "us/token" : "", "state @64", "state @1k",
              "state @64k");
  for (std::size_t i = 0; i < sized.size(); ++i) {
    const SizedArm& s = sized[i];
    char us[40] = "";
    if (time) std::snprintf(us, sizeof us, "%.2f", 1e6 * seconds[i]);
    std::printf("%-22s %11ld %6ld %9ld %14.0f %11s %11ld %11ld %11ld\n", s.arm.c_str(),
                static_cast<long>(s.parameters), static_cast<long>(s.config.d_model),
                static_cast<long>(s.config.mlp_hidden), 2 * s.training_macs_per_token, us,
                static_cast<long>(s.state_bytes[0]), static_cast<long>(s.state_bytes[1]),
                static_cast<long>(s.state_bytes[3]));
    if (!s.note.empty()) std::printf("  %s\n", s.note.c_str());
  }
  return 0;
}

}  // namespace subquad::app
