// The safetensors files of a published model, memory-mapped and seen as one set of named tensors.
//   model.safetensors                       one file
//   model.safetensors.index.json            names in several files ("weight_map")
//   model_0.safetensors, model_1..., ...    several files without an index
#pragma once

#include <map>
#include <string>
#include <vector>

#include "subquad/io/safetensors.h"

namespace subquad {

class WeightFiles {
 public:
  WeightFiles() = default;  // none
  // Checks every header and the index. Errors name the file and the tensor: a file that is not
  // there or lies outside the folder, a tensor that is in no file, in two, or not in the index.
  explicit WeightFiles(const std::string& folder);

  const std::string& folder() const { return folder_; }
  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const { return owner_.contains(name); }
  // Fails, naming the folder, if there is none.
  const Safetensors::Entry& entry(const std::string& name) const;
  const std::string& file_of(const std::string& name) const;  // the path
  template <class T>
  void read_elements(const std::string& name, std::int64_t first, std::int64_t stride,
                     std::span<T> to) const {
    files_[owner(name)].content.read_elements(name, first, stride, to);
  }
  Tensor in_place(const std::string& name) const {  // see Safetensors
    return files_[owner(name)].content.in_place(name);
  }
  // Reads every value. Errors: numeric, naming file, tensor and place of the first one that is NaN or
  // infinite as f32.
  void require_finite() const;
  // Odd, but harmless.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct File {
    std::string path;
    Safetensors content;
  };
  std::size_t owner(const std::string& name) const;
  std::size_t open(const std::string& name);
  void add_all(std::size_t file);
  void read_index(const std::string& path);

  std::string folder_;
  std::vector<File> files_;
  std::map<std::string, std::size_t> owner_;  // tensor -> file
  std::vector<std::string> warnings_;
};

}  // namespace subquad
