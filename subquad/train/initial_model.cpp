// Runs that continue a published model.
#include <filesystem>

#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/train/run.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

bool is_of_the_model(const fs::path& file) {
  const std::string name = file.filename();
  return name == "config.json" || name == "config.yaml" || name == "generation_config.json" ||
         name.starts_with("tokenizer") || name.starts_with("chat_template") ||
         name.starts_with("special_tokens_map") || file.extension() == ".safetensors" ||
         name.ends_with(".safetensors.index.json");
}

}  // namespace

std::string initial_model_folder(const std::string& folder) { return folder + "/init"; }

// Beside its place first: a folder that is there is whole. Links become files.
void copy_initial_model(const std::string& from, const std::string& folder) {
  const std::string to = initial_model_folder(folder);
  if (fs::exists(to)) return;
  const std::string part = to + ".part";
  std::error_code error;
  fs::remove_all(part, error);
  fs::create_directories(part, error);
  for (const auto& entry : fs::directory_iterator(from, error)) {
    if (error || !is_of_the_model(entry.path())) continue;
    fs::copy_file(entry.path(), fs::path(part) / entry.path().filename(), error);
    if (error) break;
  }
  if (!error) fs::rename(part, to, error);
  const bool full = error == std::errc::no_space_on_device;
  if (error) {
    std::error_code ignored;
    fs::remove_all(part, ignored);
  }
  require(!error, full ? ErrorCode::out_of_space : ErrorCode::io, "cannot copy ", from, " to ", to,
          ": ", error.message());
}

void continue_published(const std::string& published, RunConfig& config) {
  const auto source = open_pretrained(published);
  source->files->require_finite();
  const TaskEntry* entry = find_task(config.task);
  require(entry && entry->bytes, ErrorCode::invalid_argument, "task ", config.task,
          " has no text; a published model continues on code or text");
  config.arm = source->family->name;
  config.model = source->published.config;
  const std::int64_t ids = source->published.vocabulary;
  config.init.tokenizer = fs::exists(published + "/tokenizer.json");
  if (config.init.tokenizer) {
    const std::int64_t needed = Tokenizer::load(published).vocabulary();
    require(needed <= ids, ErrorCode::invalid_argument, published, ": the tokenizer has ", needed,
            " ids, the model ", ids, "; they do not belong together");
    if (!source->end_ids.empty() && source->end_ids.front() < needed)
      config.init.separator = source->end_ids.front();
  } else {
    require(ids >= 256, ErrorCode::invalid_argument, published, ": the model has ", ids,
            " ids and no tokenizer.json; wanted a tokenizer, or the 256 ids of bytes");
  }
  ParameterStore store = ParameterStore::zeros(source->plan, DType::f32);
  source->load(store);
  config.init.weights_sha256 = weights_digest(store);
}

void load_initial(const RunConfig& config, const std::string& folder, ParameterStore& store) {
  const std::string copy = initial_model_folder(folder);
  const auto source = open_pretrained(copy);
  require(source->published.config.to_json() == config.model.to_json(), ErrorCode::format, copy,
          ": another model than the run's config.json says");
  source->load(store);
  require(weights_digest(store) == config.init.weights_sha256, ErrorCode::format, copy,
          ": other weights than those that the run's config.json names");
}

}  // namespace subquad
