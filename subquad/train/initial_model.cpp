// Runs that continue a published model.
#include <filesystem>

#include "subquad/data/tokenizer/tokenizer.h"
#include "subquad/pretrained/model_files.h"
#include "subquad/pretrained/pretrained.h"
#include "subquad/train/run.h"

namespace subquad {
namespace fs = std::filesystem;

std::string initial_model_folder(const std::string& folder) { return folder + "/init"; }

// Beside its place first: a folder that is there is whole.
void copy_initial_model(const std::string& from, const std::string& folder) {
  const std::string to = initial_model_folder(folder);
  if (fs::exists(to)) return;
  const std::string part = to + ".part";
  std::error_code error;
  fs::remove_all(part, error);
  try {
    copy_model_files(from, part, is_model_file);
    fs::rename(part, to, error);
    require(!error, ErrorCode::io, "cannot rename ", part, " to ", to, ": ", error.message());
  } catch (const Error&) {
    fs::remove_all(part, error);
    throw;
  }
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
    const std::vector<std::int32_t>& ends = source->special.ends;
    if (!ends.empty() && ends.front() < needed) config.init.separator = ends.front();
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
