#include "subquad/autograd/params.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "subquad/base/rng.h"
#include "subquad/base/round.h"

namespace subquad {
namespace {

double initial_value(const Init& init, const Rng& rng, std::int64_t element, std::int64_t last) {
  const auto e = static_cast<std::uint64_t>(element);
  const double fraction =
      last > 1 ? static_cast<double>(element % last) / static_cast<double>(last - 1) : 0.0;
  switch (init.kind) {
    case Init::Kind::constant: return init.a;
    case Init::Kind::normal: return init.a * rng.normal(0, e);
    case Init::Kind::uniform: return init.a + (init.b - init.a) * rng.uniform(0, e);
    case Init::Kind::linspace: return init.a + (init.b - init.a) * fraction;
    case Init::Kind::log_uniform:
      return std::log(std::max(init.a + (init.b - init.a) * rng.uniform(0, e), 1e-3));
    case Init::Kind::dt_bias: {
      const double lo = std::log(init.a), hi = std::log(init.b);
      const double dt = std::max(std::exp(lo + (hi - lo) * rng.uniform(0, e)), 1e-4);
      return dt + std::log(-std::expm1(-dt));
    }
    case Init::Kind::powerlaw: return -(init.a + init.b * std::pow(fraction, init.c));
  }
  return 0;
}

}  // namespace

std::string ParameterPlan::enter(const std::string& prefix) {
  std::string previous = prefix_;
  prefix_ += prefix + ".";
  return previous;
}

ParamId ParameterPlan::declare(const std::string& name, Shape shape, Init init, bool decay) {
  ParamInfo info{prefix_ + name, shape, init, decay, flat_size_};
  require(names_.insert(info.name).second, ErrorCode::internal, "parameter ", info.name,
          " declared twice");
  flat_size_ += round_up(shape.numel(), 16);
  params_.push_back(std::move(info));
  return {static_cast<std::int32_t>(params_.size()) - 1};
}

std::int64_t ParameterPlan::parameter_count() const {
  std::int64_t n = 0;
  for (const ParamInfo& p : params_) n += p.shape.numel();
  return n;
}

ParameterStore::ParameterStore(const ParameterPlan& plan, DType dtype, std::uint64_t seed)
    : plan_(&plan), values_(Tensor::zeros({plan.flat_size()}, dtype)) {
  with_scalar(dtype, [&]<class T>() {
    T* flat = values_.data<T>();
    for (const ParamInfo& p : plan.all()) {
      const Rng rng{seed, stream_id("init/" + p.name)};
      const std::int64_t n = p.shape.numel(), last = p.shape.rank ? p.shape[-1] : 1;
      for (std::int64_t i = 0; i < n; ++i) {
        // Through float, so that the f32 and the f64 store describe the same model exactly.
        flat[p.offset + i] =
            static_cast<T>(static_cast<float>(initial_value(p.init, rng, i, last)));
      }
    }
  });
}

ParameterStore ParameterStore::zeros(const ParameterPlan& plan, DType dtype) {
  ParameterStore store;
  store.plan_ = &plan;
  store.values_ = Tensor::zeros({plan.flat_size()}, dtype);
  return store;
}

Tensor ParameterStore::part(const Tensor& flat, ParamId id) const {
  require(id.index >= 0 && id.index < static_cast<std::int32_t>(plan_->all().size()),
          ErrorCode::internal, "parameter handle ", id.index, " is not in the plan");
  const ParamInfo& p = plan_->info(id);
  return flat.slice(p.offset, p.shape);
}

const Tensor& ParameterStore::flat_grads() const {
  if (!grads_) grads_ = Tensor::zeros(values_.shape(), values_.dtype());
  return grads_;
}

ParameterStore ParameterStore::with_own_grads() const {
  ParameterStore other = *this;
  other.grads_ = {};
  other.flat_grads();
  return other;
}

void ParameterStore::zero_grads() {
  std::memset(flat_grads().raw(), 0, static_cast<std::size_t>(values_.bytes()));
}

void ParameterStore::copy_values_from(const ParameterStore& other) {
  require(other.values_.numel() == values_.numel(), ErrorCode::shape_mismatch,
          "stores of different plans: ", other.values_.numel(), " and ", values_.numel(),
          " elements");
  with_scalar(dtype(), [&]<class T>() {
    with_scalar(other.dtype(), [&]<class U>() {
      const auto from = other.values_.host<U>();
      std::transform(from.begin(), from.end(), values_.data<T>(),
                     [](U x) { return static_cast<T>(x); });
    });
  });
}

}  // namespace subquad
