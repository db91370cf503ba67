// Golden cases: inputs and results of the published implementations, one safetensors file each.
// The tests enumerate the folder and learn each case from its metadata; SUBQUAD_GOLDEN=DIR points
// them at another folder, so cases are added without code.
#pragma once

#include <string>
#include <vector>

#include "subquad/io/json.h"
#include "subquad/io/safetensors.h"

namespace subquad {

class Golden {
 public:
  explicit Golden(const std::string& path);

  const std::string& name() const { return name_; }
  std::string mixer() const { return file_.metadata().at("mixer"); }
  const Json& sizes() const { return sizes_; }
  std::int64_t size(const std::string& key) const { return sizes_.at(key).as_int(); }
  double number(const std::string& key) const { return sizes_.at(key).as_double(); }
  bool has(const std::string& tensor) const { return file_.contains(tensor); }
  std::vector<std::string> names() const;  // of all tensors

  // Inputs are float32 numbers; the same problem in f32 and f64. Absent: an empty Tensor.
  Tensor input(const std::string& tensor, DType dtype) const;
  Tensor indices(const std::string& tensor) const;  // i32
  // Compares with the stored result at the file's bound for got.dtype():
  // max|got - want| <= tolerance * max(max|want|, 1e-4 * M), M the largest magnitude of the results
  // of the same kind (gradients or not). `slack` multiplies the bound.
  void expect(const std::string& result, const Tensor& got, double slack = 1) const;

 private:
  std::string name_;
  Safetensors file_;
  Json sizes_, tolerance_f32_;
  double tolerance_f64_ = 1e-10;
  double largest_value_ = 0, largest_gradient_ = 0;
};

// Where cases of a kind ("cores", "checkpoints") lie: below SUBQUAD_GOLDEN, or tests/golden.
std::string golden_folder(const std::string& kind);
// Files whose name starts with one of the prefixes and with none of the excluded ones, sorted.
std::vector<std::string> golden_files(const std::vector<std::string>& prefixes,
                                      const std::vector<std::string>& excluded = {});

}  // namespace subquad
