#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/pretrained/export.h"
#include "subquad/pretrained/model_files.h"
#include "subquad/train/run.h"

namespace subquad::app {
namespace {

// What the model that is continued says, else the longest sequence that the run was scored on.
std::int64_t positions_of(const TrainedRun& run, const std::string& folder) {
  if (run.config.init) {
    const auto config = PublishedConfig::read(initial_model_folder(folder));
    return config.count("max_position_embeddings", 0);
  }
  std::error_code error;
  const std::string path = folder + "/result.json";
  std::int64_t longest = 0;
  if (!std::filesystem::exists(path, error)) return longest;
  const Json result = Json::read(path);
  for (const Json& m : result.at("metrics").as_array())
    longest = std::max(longest, m.at("length").as_int());
  return longest;
}

}  // namespace

int convert(Arguments arguments) {
  std::string folder, to, family, dtype = "f32";
  Options options(
      "convert",
      "Write a trained run as a published model: Llama, Qwen3 or Gated DeltaNet with its "
      "hybrids; forecasters in our own layout; a run of train --init in the layout it came in, or "
      "in another that has its architecture, with its tokenizer. It is read back and compared bit "
      "for bit.",
      "subquad convert runs/code-attention-0 models/code --to llama");
  options.positional("run", folder, "run folder", true)
      .positional("folder", to, "of the model; new", true)
      .option("--to", family, "layout (default: the one it came in, else the first that fits)")
      .option("--dtype", dtype, "of the weights: f32, or bf16, half the size");
  if (!options.parse(arguments)) return 0;
  const auto run = open_run(folder);
  ExportFacts facts{.dtype = precision_named(dtype) == Precision::bf16 ? DType::bf16 : DType::f32};
  std::string written = run->config.arm;
  if (run->config.init && family.empty()) {
    require(facts.dtype == DType::f32, ErrorCode::unsupported,
            "--dtype bf16 with the layout the model came in; wanted f32, or a layout by --to");
    export_like(*open_pretrained(initial_model_folder(folder)), *run->store, to);
  } else {
    const bool text = run->config.init.tokenizer;
    const std::string initial = initial_model_folder(folder);
    if (text) facts.special = read_special_ids(initial, run->config.model.vocabulary);
    facts.positions = positions_of(*run, folder);
    written = export_model(*run->model, *run->store, to, family, facts);
    if (text) copy_model_files(initial, to, is_text_file);
  }
  std::printf("%s: %s, %ld parameters\n", to.c_str(), written.c_str(),
              static_cast<long>(run->plan.parameter_count()));
  return 0;
}

}  // namespace subquad::app
