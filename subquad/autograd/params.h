// ParameterPlan: what a model needs. ParameterStore: values and gradients for one plan, each in one
// flat buffer, so that optimiser, clipping, checkpoint and reduction are single loops.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "subquad/tensor/packed.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

struct ParamId {
  std::int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
};

// How a parameter starts. Values depend on (seed, parameter name, element) only, so equal names and
// shapes start equal in different models.
struct Init {
  enum class Kind : std::uint8_t {
    constant,     // a
    normal,       // mean 0, standard deviation a
    uniform,      // in [a, b)
    linspace,     // a ... b over the last dimension
    log_uniform,  // log of a uniform number in [a, b): the A_log of Mamba-2
    dt_bias,      // inverse softplus of exp(U(log a, log b)), floor 1e-4: Mamba-2 and GDN
    powerlaw,     // sLSTM forget bias over the last dimension j: -(a + b (j/(n-1))^c)
  };
  Kind kind = Kind::constant;
  double a = 0, b = 0, c = 0;

  static Init zeros() { return {}; }
  static Init ones() { return {Kind::constant, 1}; }
  static Init constant(double value) { return {Kind::constant, value}; }
  static Init normal(double deviation) { return {Kind::normal, deviation}; }
  static Init uniform(double lo, double hi) { return {Kind::uniform, lo, hi}; }
  static Init linspace(double first, double last) { return {Kind::linspace, first, last}; }
};

struct ParamInfo {
  std::string name;  // "blocks.0.mixer.in_proj.weight"
  Shape shape;
  Init init;
  bool decay = true;  // weight decay applies: matrices yes; gains, biases, decays, recurrent R no
  std::int64_t offset = 0;  // elements into the flat buffers, a multiple of 16
  // Rows [first, second) of gates and decays, in order: never stored in fewer bits by us.
  std::vector<std::pair<std::int64_t, std::int64_t>> exact_rows{};
};

// How a store holds one parameter. Only linear and embedding look inside a PackedWeight.
using Weight = std::variant<Tensor, PackedWeight>;

class ParameterPlan {
 public:
  // Prefix for the names declared from now on; returns the previous one.
  std::string enter(const std::string& prefix);
  void leave(std::string previous) { prefix_ = std::move(previous); }

  ParamId declare(const std::string& name, Shape shape, Init init, bool decay);
  // `count` rows from `first` are gates or decays (ParamInfo::exact_rows).
  void keep_exact(ParamId id, std::int64_t first, std::int64_t count);
  const std::vector<ParamInfo>& all() const { return params_; }
  const ParamInfo& info(ParamId id) const { return params_[static_cast<std::size_t>(id.index)]; }
  std::int64_t parameter_count() const;  // without alignment padding
  std::int64_t flat_size() const { return flat_size_; }

 private:
  std::vector<ParamInfo> params_;
  std::unordered_set<std::string> names_;
  std::string prefix_;
  std::int64_t flat_size_ = 0;
};

class ParameterStore {
 public:
  // Values are drawn in double from `seed` and rounded, so an f32 and an f64 store agree to
  // rounding.
  ParameterStore(const ParameterPlan& plan, DType dtype, std::uint64_t seed);

  // For weights that are read from somewhere.
  static ParameterStore zeros(const ParameterPlan& plan, DType dtype);

  // Weights that are only read, f32 or packed, in the plan's order: no flat buffers, no gradients.
  static ParameterStore read_only(const ParameterPlan& plan, std::vector<Weight> weights);

  const ParameterPlan& plan() const { return *plan_; }
  DType dtype() const { return dtype_; }
  const Shape& shape(ParamId id) const { return info(id).shape; }
  // Errors: unsupported if the parameter is packed: then packed() has it.
  Tensor value(ParamId id) const;
  const PackedWeight* packed(ParamId id) const;  // null where value() has it
  Tensor grad(ParamId id) const { return part(flat_grads(), id); }
  // 1-D; the alignment gaps hold zeros. Errors: unsupported of a store that is read only.
  const Tensor& flat_values() const;
  bool is_read_only() const { return !weights_.empty(); }
  std::int64_t bytes() const;        // of the values as stored
  const Tensor& flat_grads() const;  // made and zero when first asked for: inference has none
  void zero_grads();
  ParameterStore with_own_grads() const;  // the same values, shared; gradients of its own, zero
  void copy_values_from(const ParameterStore& other);  // converts between f32 and f64

 private:
  ParameterStore() = default;
  const ParamInfo& info(ParamId id) const;
  Tensor part(const Tensor& flat, ParamId id) const;

  const ParameterPlan* plan_ = nullptr;
  DType dtype_ = DType::f32;
  Tensor values_;                // or
  std::vector<Weight> weights_;  // by parameter, if read only
  mutable Tensor grads_;         // not to be asked for the first time by two threads at once
};

}  // namespace subquad
