#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/model/engine.h"
#include "subquad/pretrained/model_files.h"
#include "subquad/pretrained/stored_weights.h"
#include "subquad/quant/pack.h"
#include "subquad/runtime/text_evaluation.h"

namespace subquad::app {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kWindow = 1024;  // tokens of a text that are scored at a time

// Packing twice would add the second error to the first.
void refuse_packed(const ParameterStore& store, const std::string& folder) {
  std::int32_t index = 0;
  for (const ParamInfo& p : store.plan().all()) {
    const PackedWeight* packed = store.packed({index++});
    if (!packed) continue;
    for (const PackedWeight::Run& run : packed->runs()) {
      require(run.packing == Packing::f32 || run.packing == Packing::bf16,
              ErrorCode::invalid_argument, folder, ": ", p.name, " is stored in ",
              name_of(run.packing), " already; wanted the model it was made from");
    }
  }
}

LanguageModel open_source(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder + "/checkpoints", error)) return language_model_of_run(folder);
  LanguageModel m = published_language_model(folder);
  refuse_packed(m.store(), folder);
  m.published->files->require_finite();
  return m;
}

// Windows follow each other; the state starts anew in each.
TextScore score_text(Engine& engine, const LanguageModel& model, const std::string& path) {
  require(model.text(), ErrorCode::internal, model.folder, ": its text cannot be scored");
  const std::int64_t positions = model.model().config().positions;
  return evaluate_text(engine, model, text_files(path),
                       {.window = positions > 0 ? std::min(kWindow, positions) : kWindow,
                        .execution = Execution::chunkwise});
}

void print_errors(const std::vector<PackingError>& errors) {
  std::fputs(fmt::format("{:<24} {:>12} {:>10} {:>10}  {}\n", "tensors", "parameters", "bits each",
                         "error", "worst")
                 .c_str(),
             stdout);
  for (const PackingError& e : errors) {
    if (e.parameters == 0) continue;
    const double bits = 8 * static_cast<double>(e.bytes) / static_cast<double>(e.parameters);
    std::fputs(
        e.worst.empty()
            ? fmt::format("{:<24} {:>12} {:>10.2f}\n", e.name, e.parameters, bits).c_str()
            : fmt::format("{:<24} {:>12} {:>10.2f} {:>9.3f}%  {} {:.3f}%\n", e.name, e.parameters,
                          bits, 100 * e.relative_error, e.worst, 100 * e.worst_error)
                  .c_str(),
        stdout);
  }
}

Json error_json(const std::vector<PackingError>& errors) {
  Json list = Json::array();
  for (const PackingError& e : errors) {
    list.push_back(Json::Object{{"tensors", e.name},
                                {"parameters", e.parameters},
                                {"bytes", e.bytes},
                                {"relative_error", e.relative_error},
                                {"worst", e.worst},
                                {"worst_relative_error", e.worst_error}});
  }
  return list;
}

void write_model(const LanguageModel& s, const ParameterStore& packed, Packing packing,
                 const std::string& from, const std::string& to) {
  create_model_folder(to);
  const OwnLayout layout{.model = s.model().config(),
                         .packing = packing,
                         .vocabulary = s.inputs,
                         .bytes = s.bytes,
                         .special = {.begin = s.begin_id, .ends = s.end_ids}};
  if (s.published) {
    copy_model_files(from, to, is_text_file);
  } else if (s.run->config.init.tokenizer) {
    copy_model_files(initial_model_folder(from), to, is_text_file);
  }
  write_safetensors((fs::path(to) / "model.safetensors").string(), named_weights(packed),
                    {{"format", "pt"}});
  // Last: a folder with a configuration is whole.
  write_file_atomically((fs::path(to) / "config.json").string(),
                        own_configuration(layout).dump(2) + "\n");
}

// What was written is what was packed: the same names and bytes.
void verify(const ParameterStore& packed, const std::string& folder) {
  const auto back = open_pretrained(folder);
  const NamedTensors ours = named_weights(packed), theirs = named_weights(back->weights());
  bool same = ours.size() == theirs.size();
  for (std::size_t i = 0; same && i < ours.size(); ++i) {
    const auto& [name, a] = ours[i];
    const auto& [other, b] = theirs[i];
    same = name == other && a.shape() == b.shape() && a.dtype() == b.dtype() &&
           std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
  }
  require(same, ErrorCode::internal, folder, ": the model that was read back is another one");
}

}  // namespace

int quantize(Arguments arguments) {
  std::string from, to, weights = "int8", text_path;
  std::int64_t threads = 1;
  bool json = false;
  Options options("quantize",
                  "Write a published model or a trained run with its matrices in fewer bits, for "
                  "generate --model, and report what that changes. Norms, biases, gates, decays, "
                  "convolutions and recurrent weights stay f32.",
                  "subquad quantize models/code models/code-int8 --weights int8 --text README.md");
  options.positional("model", from, "folder of a published model, or of a run", true)
      .positional("folder", to, "of the packed model; new", true)
      .option("--weights", weights, "bf16, int8 (a scale per row) or int4 (a scale per 64)")
      .option("--text", text_path, "text file or folder: bits per byte before and after")
      .option("--threads", threads, "threads; the result is the same for any number", kThreads)
      .flag("--json", json, "the report as JSON");
  if (!options.parse(arguments)) return 0;
  const Packing packing = packing_named(weights);
  require(packing != Packing::f32, ErrorCode::invalid_argument,
          "--weights f32: nothing to pack, wanted bf16, int8 or int4");
  refuse_model_in(to);
  const LanguageModel source = open_source(from);
  const ModelConfig& config = source.model().config();
  require(config.classes >= source.inputs, ErrorCode::unsupported, from, ": ", source.inputs,
          " ids and ", config.classes, " classes; wanted as many classes, as a language model has");
  require(text_path.empty() || source.text(), ErrorCode::invalid_argument,
          "--text: this model has no tokenizer.json and does not read bytes, so no text can be "
          "scored; leave out --text");
  Engine engine(static_cast<int>(threads));
  ParameterStore packed = packed_store(source.store(), packing, engine.threads);
  write_model(source, packed, packing, from, to);
  verify(packed, to);

  const std::vector<PackingError> errors = packing_errors(source.store(), packed);
  Json report = Json::Object{{"folder", to},
                             {"weights", weights},
                             {"parameters", source.store().plan().parameter_count()},
                             {"bytes", packed.bytes()},
                             {"tensors", error_json(errors)}};
  TextScore before, after;
  if (!text_path.empty()) {
    before = score_text(engine, source, text_path);
    after = score_text(engine, published_language_model(to), text_path);
    report["bits_per_byte_before"] = before.bits_per_byte();
    report["bits_per_byte"] = after.bits_per_byte();
  }
  if (json) {
    std::printf("%s\n", report.dump().c_str());
    return 0;
  }
  print_errors(errors);
  if (!text_path.empty())
    std::printf("bits per byte of %s: %.4f, was %.4f (%+.4f), %ld tokens\n", text_path.c_str(),
                after.bits_per_byte(), before.bits_per_byte(),
                after.bits_per_byte() - before.bits_per_byte(), static_cast<long>(after.tokens));
  std::printf("%s: %s, %ld parameters in %ld bytes\n", to.c_str(), weights.c_str(),
              static_cast<long>(source.store().plan().parameter_count()),
              static_cast<long>(packed.bytes()));
  return 0;
}

}  // namespace subquad::app
