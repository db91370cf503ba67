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
  constexpr std::int64_t kMost = std::int64_t{1} << 62;
  const std::int64_t size = round_up(shape.numel(), 16);
  require(size <= kMost - flat_size_, ErrorCode::invalid_argument, "parameter ", info.name,
          " of shape ", shape, ": more than 2^62 elements with those before it");
  flat_size_ += size;
  params_.push_back(std::move(info));
  return {static_cast<std::int32_t>(params_.size()) - 1};
}

void ParameterPlan::keep_exact(ParamId id, std::int64_t first, std::int64_t count) {
  ParamInfo& p = params_[static_cast<std::size_t>(id.index)];
  require(first >= 0 && count >= 0 && first + count <= p.shape.rows(), ErrorCode::internal,
          "exact rows ", first, " to ", first + count, " of ", p.name);
  if (count > 0) p.exact_rows.emplace_back(first, first + count);
}

std::int64_t ParameterPlan::parameter_count() const {
  std::int64_t n = 0;
  for (const ParamInfo& p : params_) n += p.shape.numel();
  return n;
}

ParameterStore::ParameterStore(const ParameterPlan& plan, DType dtype, std::uint64_t seed)
    : plan_(&plan), dtype_(dtype), values_(Tensor::zeros({plan.flat_size()}, dtype)) {
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
  store.dtype_ = dtype;
  store.values_ = Tensor::zeros({plan.flat_size()}, dtype);
  return store;
}

ParameterStore ParameterStore::read_only(const ParameterPlan& plan, std::vector<Weight> weights) {
  require(weights.size() == plan.all().size(), ErrorCode::internal, weights.size(),
          " weights for a plan of ", plan.all().size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Shape shape = std::visit([](const auto& w) -> Shape { return w.shape(); }, weights[i]);
    require(shape == plan.all()[i].shape, ErrorCode::internal, "weight ", plan.all()[i].name,
            " of shape ", shape, ", wanted ", plan.all()[i].shape);
  }
  ParameterStore store;
  store.plan_ = &plan;
  store.weights_ = std::move(weights);
  return store;
}

const ParamInfo& ParameterStore::info(ParamId id) const {
  require(id.index >= 0 && id.index < static_cast<std::int32_t>(plan_->all().size()),
          ErrorCode::internal, "parameter handle ", id.index, " is not in the plan");
  return plan_->info(id);
}

Tensor ParameterStore::part(const Tensor& flat, ParamId id) const {
  const ParamInfo& p = info(id);
  return flat.slice(p.offset, p.shape);
}

Tensor ParameterStore::value(ParamId id) const {
  if (weights_.empty()) return part(values_, id);
  const ParamInfo& p = info(id);
  const auto* tensor = std::get_if<Tensor>(&weights_[static_cast<std::size_t>(id.index)]);
  require(tensor != nullptr, ErrorCode::unsupported, p.name, " is stored as ",
          tensor ? "f32" : packed(id)->packing_name(),
          ", which only products and embeddings read; wanted f32 here");
  return *tensor;
}

const PackedWeight* ParameterStore::packed(ParamId id) const {
  if (weights_.empty()) return nullptr;
  info(id);
  return std::get_if<PackedWeight>(&weights_[static_cast<std::size_t>(id.index)]);
}

const Tensor& ParameterStore::flat_values() const {
  require(!is_read_only(), ErrorCode::unsupported,
          "these weights are used as their file stores them and are only read; training, exporting "
          "and gradients want a copy in f32");
  return values_;
}

std::int64_t ParameterStore::bytes() const {
  if (weights_.empty()) return values_.bytes();
  std::int64_t bytes = 0;
  for (const Weight& weight : weights_)
    bytes += std::visit([](const auto& w) { return w.bytes(); }, weight);
  return bytes;
}

const Tensor& ParameterStore::flat_grads() const {
  if (!grads_) grads_ = Tensor::zeros(flat_values().shape(), dtype_);
  return grads_;
}

ParameterStore ParameterStore::with_own_grads() const {
  ParameterStore other = *this;
  other.grads_ = {};
  other.flat_grads();
  return other;
}

void ParameterStore::zero_grads() {
  std::memset(flat_grads().raw(), 0, static_cast<std::size_t>(flat_values().bytes()));
}

void ParameterStore::copy_values_from(const ParameterStore& other) {
  const Tensor& theirs = other.flat_values();
  require(theirs.numel() == flat_values().numel(), ErrorCode::shape_mismatch,
          "stores of different plans: ", theirs.numel(), " and ", values_.numel(), " elements");
  with_scalar(dtype(), [&]<class T>() {
    with_scalar(other.dtype(), [&]<class U>() {
      const auto from = theirs.host<U>();
      std::transform(from.begin(), from.end(), values_.data<T>(),
                     [](U x) { return static_cast<T>(x); });
    });
  });
}

}  // namespace subquad
