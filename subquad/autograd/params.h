// ParameterPlan: what a model needs. ParameterStore: values and gradients for one plan, each in one
// flat buffer, so that optimiser, clipping, checkpoint and reduction are single loops.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

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
};

class ParameterPlan {
 public:
  // Prefix for the names declared from now on; returns the previous one.
  std::string enter(const std::string& prefix);
  void leave(std::string previous) { prefix_ = std::move(previous); }

  ParamId declare(const std::string& name, Shape shape, Init init, bool decay);
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

  const ParameterPlan& plan() const { return *plan_; }
  DType dtype() const { return values_.dtype(); }
  Tensor value(ParamId id) const { return part(values_, id); }
  Tensor grad(ParamId id) const { return part(flat_grads(), id); }
  const Tensor& flat_values() const { return values_; }  // 1-D; the alignment gaps hold zeros
  const Tensor& flat_grads() const;  // made and zero when first asked for: inference has none
  void zero_grads();
  ParameterStore with_own_grads() const;  // the same values, shared; gradients of its own, zero
  void copy_values_from(const ParameterStore& other);  // converts between f32 and f64

 private:
  ParameterStore() = default;
  Tensor part(const Tensor& flat, ParamId id) const;

  const ParameterPlan* plan_ = nullptr;
  Tensor values_;
  mutable Tensor grads_;  // not to be asked for the first time by two threads at once
};

}  // namespace subquad
