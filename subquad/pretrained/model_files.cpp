#include "subquad/pretrained/model_files.h"

#include <filesystem>

#include "subquad/base/error.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

bool is_configuration(const std::string& name) {
  return name == "config.json" || name == "config.yaml";
}

}  // namespace

bool is_weights_file(const std::string& name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
}

bool is_text_file(const std::string& name) {
  return name == "generation_config.json" ||
         ((name.starts_with("tokenizer") || name.starts_with("chat_template") ||
           name.starts_with("special_tokens_map")) &&
          !is_weights_file(name));
}

bool is_model_file(const std::string& name) {
  return is_configuration(name) || is_text_file(name) || is_weights_file(name);
}

void copy_model_files(const std::string& from, const std::string& to,
                      bool (*wanted)(const std::string& name)) {
  std::error_code error;
  fs::create_directories(to, error);
  for (const auto& entry : fs::directory_iterator(from, error)) {
    const std::string name = entry.path().filename();
    if (error || !wanted(name) || !entry.is_regular_file()) continue;
    fs::copy_file(entry.path(), fs::path(to) / name, fs::copy_options::overwrite_existing, error);
    if (error) break;
  }
  require(!error, error == std::errc::no_space_on_device ? ErrorCode::out_of_space : ErrorCode::io,
          "cannot copy ", from, " to ", to, ": ", error.message());
}

void refuse_model_in(const std::string& folder) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename();
    require(!is_configuration(name) && !is_weights_file(name), ErrorCode::invalid_argument, folder,
            " holds ", name, " already; wanted a new folder");
  }
}

void create_model_folder(const std::string& folder) {
  refuse_model_in(folder);
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, ErrorCode::io, "cannot create folder ", folder, ": ", error.message());
}

}  // namespace subquad
