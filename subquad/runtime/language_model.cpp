#include "subquad/runtime/language_model.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "subquad/task/task.h"

namespace subquad {
namespace {

void load_tokenizer(LanguageModel& m, const std::string& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder + "/tokenizer.json", error)) return;
  m.tokenizer = Tokenizer::load(folder);
  m.outputs = std::min(m.outputs, m.tokenizer->vocabulary());
}

std::vector<std::int32_t> written_ids(const LanguageModel& m, const std::string& prompt) {
  std::vector<std::int32_t> ids;
  const char* at = prompt.c_str();
  while (*at == ' ') ++at;
  while (*at != 0) {
    char* end = nullptr;
    const long id = std::strtol(at, &end, 10);
    require(end != at && id >= 0 && id < m.inputs, ErrorCode::invalid_argument, "prompt at \"", at,
            "\": wanted ids from 0 to ", m.inputs - 1,
            m.published ? ", separated by spaces: the folder has no tokenizer.json" : "");
    ids.push_back(static_cast<std::int32_t>(id));
    for (at = end; *at == ' ';) ++at;
  }
  return ids;
}

}  // namespace

std::vector<std::int32_t> LanguageModel::encode(const std::string& prompt, bool start) const {
  if (!text()) return written_ids(*this, prompt);
  std::vector<std::int32_t> ids;
  if (bytes) {
    for (const char c : prompt) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  ids = tokenizer->encode(prompt, start);
  for (const std::int32_t id : ids)
    require(id < inputs, ErrorCode::format, folder, ": the tokenizer gave id ", id,
            ", the model has ", inputs, "; they do not belong together");
  return ids;
}

std::int32_t LanguageModel::prefix_id() const {
  if (tokenizer && !tokenizer->definition().before.empty())
    return tokenizer->definition().before.back();
  if (bytes) return 0;
  if (begin_id >= 0) return begin_id;
  return end_ids.empty() ? -1 : end_ids.front();
}

bool LanguageModel::ends_with(std::int32_t id) const {
  return id >= inputs || std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end();
}

namespace {
void require_ids(const ModelConfig& config, const std::string& folder) {
  require(!config.forecasts(), ErrorCode::invalid_argument, folder,
          " is a forecaster; wanted a model of token ids, or subquad forecast DATA.csv --model ",
          folder);
}

// Of the model that a run continues.
void read_text_files(LanguageModel& m, const std::string& folder) {
  load_tokenizer(m, folder);
  SpecialIds ids = read_special_ids(folder, m.inputs);
  m.begin_id = ids.begin;
  m.end_ids = std::move(ids.ends);
}
}  // namespace

LanguageModel language_model_of_run(const std::string& folder) {
  LanguageModel m;
  m.folder = folder;
  m.run = open_run(folder);
  require_ids(m.run->config.model, folder);
  const TaskEntry* entry = find_task(m.run->config.task);
  m.inputs = m.run->config.model.vocabulary;
  m.outputs = m.run->config.model.classes;
  m.precision = precision_named(m.run->config.train.precision);
  const InitialModel& init = m.run->config.init;
  m.bytes = entry && entry->bytes && !init.tokenizer;
  if (init.tokenizer) read_text_files(m, initial_model_folder(folder));
  return m;
}

LanguageModel published_language_model(const std::string& folder, bool ids) {
  LanguageModel m;
  m.folder = folder;
  m.published = open_pretrained(folder);
  require_ids(m.published->published.config, folder);
  m.weights = std::make_unique<ParameterStore>(m.published->weights());
  m.inputs = m.outputs = m.published->published.vocabulary;
  m.begin_id = m.published->special.begin;
  m.end_ids = m.published->special.ends;
  m.bytes = m.published->published.bytes && !ids;
  if (!ids) load_tokenizer(m, folder);
  return m;
}

}  // namespace subquad
