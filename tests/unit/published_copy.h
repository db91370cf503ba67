// A published model that a test may damage.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/pretrained/pretrained.h"
#include "tests/support/support.h"

namespace subquad {

inline const std::string kCases = std::string(SUBQUAD_SOURCE_DIR) + "/tests/golden/checkpoints/";

// A copy of a golden model that a test may damage.
class Copy {
 public:
  explicit Copy(const std::string& model) : folder_(temporary_path(model)) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (const auto& entry : std::filesystem::directory_iterator(kCases + model))
      if (entry.path().filename() != "expected.safetensors")
        std::filesystem::copy_file(entry.path(),
                                   std::filesystem::path(folder_) / entry.path().filename());
  }
  ~Copy() { std::filesystem::remove_all(folder_); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  const std::string& folder() const { return folder_; }
  std::string operator/(const std::string& name) const { return folder_ + "/" + name; }

  // Sets a key of a JSON file; `inside`: the object it is in.
  void set(const std::string& file, const std::string& key, Json value,
           const std::string& inside = "") const {
    Json json = Json::read(*this / file);
    (inside.empty() ? json : json[inside])[key] = std::move(value);
    write_file_atomically(*this / file, json.dump(1));
  }
  // Writes the weights again, changed by `change`.
  template <class Change>
  void rewrite(const std::string& file, Change&& change) const {
    NamedTensors tensors;
    {
      const Safetensors from(*this / file);
      for (const auto& [name, entry] : from.entries()) tensors.emplace_back(name, from.read(name));
    }
    change(tensors);
    write_safetensors(*this / file, tensors);
  }
  void expect_refused(const std::vector<std::string>& parts) const {
    try {
      const auto p = open_pretrained(folder_);
      ParameterStore store = ParameterStore::zeros(p->plan, DType::f32);
      p->load(store);
      ADD_FAILURE() << "opened; wanted an error with " << parts[0];
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::format || e.code() == ErrorCode::unsupported ||
                  e.code() == ErrorCode::io)
          << e.what();
      for (const std::string& part : parts)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
            << "wanted \"" << part << "\" in: " << e.what();
    }
  }

 private:
  std::string folder_;
};

}  // namespace subquad
