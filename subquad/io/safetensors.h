// The safetensors format: 8-byte little-endian header length, JSON header, raw little-endian
// tensors. Reading trusts nothing: every offset is compared with the real file size before it is
// used. Source: huggingface/safetensors, format description.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "subquad/base/file.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

class Json;

class Safetensors {
 public:
  struct Entry {
    DType dtype;
    Shape shape;
    std::int64_t begin, end;  // bytes into the data section
  };

  // Maps the file and checks the whole header. Errors name the file and the tensor.
  // Bounds: a header of 16 MiB, 65536 tensors, names of 512 bytes of printable ASCII.
  explicit Safetensors(const std::string& path);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::span<const std::byte> data() const { return data_; }  // of all tensors
  bool contains(const std::string& name) const { return entries_.contains(name); }
  // A copy of one tensor, as stored.
  Tensor read(const std::string& name) const;
  // The mapped bytes themselves, which live as long as the tensor and must not be written; a copy
  // where they are not aligned to an element.
  Tensor in_place(const std::string& name) const;
  // A copy, converted to f32 or f64 from f64, f32, bf16 or f16.
  Tensor read_as(const std::string& name, DType dtype) const;
  // Elements first, first + stride, ... of a tensor, converted likewise; one for each of `to`.
  template <class T>
  void read_elements(const std::string& name, std::int64_t first, std::int64_t stride,
                     std::span<T> to) const;

 private:
  void read_metadata(const Json& value);

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> data_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

struct TensorHeader {
  std::string name;
  DType dtype;
  Shape shape;
};
// What stands before the data of these tensors, for a writer that streams them in this order.
std::string safetensors_header(const std::vector<TensorHeader>& tensors,
                               const std::map<std::string, std::string>& metadata = {});
// The bytes of a file holding `tensors` in the given order. Equal input gives equal bytes.
std::string safetensors_bytes(const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata = {});
// The same, written atomically.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace subquad
