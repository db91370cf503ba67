#include "tests/fuzz/targets.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace subquad::fuzz {

namespace fs = std::filesystem;

const std::vector<Target>& all_targets() {
  static const std::vector<Target> targets = {
      {"safetensors", safetensors},
      {"config", config},
      {"tokenizer_file", tokenizer_file},
      {"tokenizer_text", tokenizer_text},
      {"checkpoint", checkpoint},
      {"plan", plan},
      {"ledger", ledger},
      {"jsonl", jsonl},
      {"csv", csv},
      {"chat_template", chat_template},
      {"state", state},
      {"shards", shards},
      {"own_layout", own_layout},
      {"choices", choices},
  };
  return targets;
}

void promise(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

std::string scratch_folder() {
  static const std::string folder = [] {
    const char* base = fs::is_directory("/dev/shm") ? "/dev/shm" : "/var/tmp";
    std::string path = std::string(base) + "/subquad-fuzz-" + std::to_string(::getpid());
    fs::create_directories(path);
    static const std::string gone = path;
    std::atexit([] {
      std::error_code ignored;
      fs::remove_all(gone, ignored);
    });
    return path;
  }();
  return folder;
}

std::string empty_folder(const std::string& name) {
  std::string path = scratch_folder() + "/" + name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

// Not written atomically: a sync for each of a million runs buys nothing here.
std::string scratch_file(const std::string& name, std::string_view content) {
  std::string path = scratch_folder() + "/" + name;
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  promise(file >= 0, "the scratch folder can be written");
  while (!content.empty()) {
    const ssize_t n = ::write(file, content.data(), content.size());
    promise(n > 0, "the scratch folder has space");
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  ::close(file);
  return path;
}

std::string_view take_section(std::string_view& input) {
  constexpr std::string_view kSeparator = "\n%%\n";
  const std::size_t at = input.find(kSeparator);
  const std::string_view section = input.substr(0, at);
  input = at == std::string_view::npos ? std::string_view() : input.substr(at + kSeparator.size());
  return section;
}

}  // namespace subquad::fuzz
