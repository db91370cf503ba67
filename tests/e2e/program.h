// Runs the program as a user would.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "subquad/data/tokenizer/byte_alphabet.h"
#include "subquad/data/tokenizer/definition.h"

namespace subquad {

struct Outcome {
  int code = -1;
  std::string text;
};

inline std::string quoted(const std::string& s) { return "'" + s + "'"; }

// What a shell line prints to its standard output, and its exit status.
inline Outcome run_line(const std::string& line) {
  Outcome o;
  FILE* pipe = popen(line.c_str(), "r");
  if (!pipe) return o;
  char buffer[65536];
  while (const std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) o.text.append(buffer, n);
  const int status = pclose(pipe);
  o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return o;
}

// `arguments` is a shell line behind the program's name; `environment` stands before it.
inline Outcome run_program(const std::string& arguments, const std::string& environment = "") {
  return run_line(environment + " " + quoted(SUBQUAD_PROGRAM) + " " + arguments +
                  " 2>&1 < /dev/null");
}

// Of a file; "" if there is none.
inline std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A copy of a golden model, with a tokenizer whose 256 ids are the bytes.
inline void speaking_model(const std::string& name, const std::string& folder) {
  const std::string golden = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/" + name;
  std::filesystem::copy(golden, folder);
  std::filesystem::remove(folder + "/expected.safetensors");
  TokenizerDefinition d;
  for (int b = 0; b < 256; ++b)
    d.vocabulary.emplace_back(letter_of(static_cast<std::uint8_t>(b)), b);
  d.pattern = WordPattern::gpt2;
  write(folder + "/tokenizer.json", tokenizer_json(d).dump());
}

// A series of examples/, quoted.
inline std::string example(const std::string& name) {
  return quoted(std::string(SUBQUAD_SOURCE_DIR) + "/examples/series/" + name);
}

// Exit status and what is said.
inline void expect(const Outcome& o, int code, const std::vector<std::string>& parts) {
  EXPECT_EQ(o.code, code) << o.text;
  for (const std::string& part : parts)
    EXPECT_NE(o.text.find(part), std::string::npos) << "wanted \"" << part << "\" in:\n" << o.text;
  EXPECT_EQ(o.text.find("terminate"), std::string::npos) << o.text;
}

// A fresh folder that goes away with the test.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(testing::TempDir() + "/subquad-" + name + "-" + std::to_string(getpid())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace subquad
