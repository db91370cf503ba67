#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/pretrained/export.h"
#include "subquad/train/run.h"

namespace subquad::app {

int convert(Arguments arguments) {
  std::string folder, to, family, dtype = "f32";
  Options options(
      "convert",
      "Write a trained run as a published model: Llama, Qwen3 or Gated DeltaNet with its "
      "hybrids; forecasters in our own layout; a run of train --init in the layout it came in, "
      "with its tokenizer. It is read back and compared bit for bit.",
      "subquad convert runs/code-attention-0 models/code --to llama");
  options.positional("run", folder, "run folder", true)
      .positional("folder", to, "of the model; new", true)
      .option("--to", family, "layout (default: the one it came in, else the first that fits)")
      .option("--dtype", dtype, "of the weights: f32, or bf16, half the size");
  if (!options.parse(arguments)) return 0;
  const auto run = open_run(folder);
  const DType type = precision_named(dtype) == Precision::bf16 ? DType::bf16 : DType::f32;
  std::string written = run->config.arm;
  if (run->config.init && family.empty()) {
    require(type == DType::f32, ErrorCode::unsupported,
            "--dtype bf16 with the layout the model came in; wanted f32, or a layout by --to");
    export_like(*open_pretrained(initial_model_folder(folder)), *run->store, to);
  } else {
    written = export_model(*run->model, *run->store, to, family, type);
  }
  std::printf("%s: %s, %ld parameters\n", to.c_str(), written.c_str(),
              static_cast<long>(run->plan.parameter_count()));
  return 0;
}

}  // namespace subquad::app
