#include "subquad/train/gradients.h"

#include <algorithm>
#include <exception>

namespace subquad {
namespace {

std::int64_t count_scored(const Tensor& targets) {
  if (targets.dtype() == DType::f32) {
    const auto values = targets.host<float>();
    return std::count_if(values.begin(), values.end(), [](float y) { return y == y; });
  }
  const auto ids = targets.host<std::int32_t>();
  return std::count_if(ids.begin(), ids.end(), [](std::int32_t t) { return t >= 0; });
}

// Part of the mean over `scored` positions that a slice makes; adds its gradients.
double add_slice(Context cx, Tape& tape, const Model& model, const Batch& slice,
                 std::int64_t scored) {
  const Var loss = model.loss(cx, slice.inputs, slice.targets, {}, scored);
  tape.backward(cx, loss);
  double value = 0;
  with_scalar(cx.dtype(), [&]<class T>() { value = static_cast<double>(*loss.value.data<T>()); });
  return value;
}

}  // namespace

struct Gradients::Group {
  explicit Group(const ParameterStore& all) : store(all.with_own_grads()) {}
  ParameterStore store;
  ThreadPool threads;
  StoragePool storage;
};

Gradients::Gradients(Engine& engine, const Model& model, ParameterStore& store)
    : engine_(engine), model_(model), store_(store) {}
Gradients::~Gradients() = default;

double Gradients::add(const Batch& batch, bool check_finite) {
  const std::int64_t rows = batch.inputs.shape()[0],
                     row_bytes = batch.inputs.shape()[1] * model_.config().d_model * 4;
  if (store_.plan().flat_size() <= kSmallModel && rows * row_bytes > kSliceBytes && rows > 1)
    return add_groups(batch, std::max<std::int64_t>(1, kSliceBytes / row_bytes), check_finite);
  Tape tape;
  Context cx = engine_.context(store_, &tape);
  cx.check_finite = check_finite;
  return add_slice(cx, tape, model_, batch, count_scored(batch.targets));
}

double Gradients::add_groups(const Batch& batch, std::int64_t slice, bool check_finite) {
  const std::int64_t rows = batch.inputs.shape()[0], slices = (rows + slice - 1) / slice,
                     groups = std::min(kGroups, slices), scored = count_scored(batch.targets);
  while (static_cast<std::int64_t>(groups_.size()) < groups)
    groups_.push_back(std::make_unique<Group>(store_));
  std::vector<double> losses(static_cast<std::size_t>(slices));
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(groups));
  const auto walk = [&](std::int64_t g) {
    Group& group = *groups_[static_cast<std::size_t>(g)];
    group.store.zero_grads();
    for (std::int64_t s = g; s < slices; s += groups) {
      const std::int64_t first = s * slice, count = std::min(slice, rows - first);
      Tape tape;
      losses[static_cast<std::size_t>(s)] =
          add_slice({.kernels = engine_.kernels,
                     .params = group.store,
                     .threads = group.threads,
                     .storage = group.storage,
                     .tape = &tape,
                     .training = true,
                     .precision = engine_.precision,
                     .check_finite = check_finite},
                    tape, model_,
                    {batch.inputs.rows(first, count), batch.targets.rows(first, count)}, scored);
    }
  };
  engine_.threads.run(groups, [&](std::int64_t g, Scratch& worker) {
    Group& group = *groups_[static_cast<std::size_t>(g)];
    const std::int64_t macs = group.threads.macs(), packed = group.threads.packed_bytes();
    try {
      walk(g);
    } catch (...) {
      errors[static_cast<std::size_t>(g)] = std::current_exception();
    }
    worker.count_macs(group.threads.macs() - macs);
    worker.count_packed(group.threads.packed_bytes() - packed);
  });
  for (const std::exception_ptr& e : errors) {
    if (e) std::rethrow_exception(e);  // the first group's, whichever came first in time
  }
  double total = 0;
  for (const double loss : losses) total += loss;
  with_scalar(store_.dtype(), [&]<class T>() {
    const auto sums = store_.flat_grads().host<T>();
    for (std::int64_t g = 0; g < groups; ++g) {
      const auto part = groups_[static_cast<std::size_t>(g)]->store.flat_grads().host<T>();
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += part[i];
    }
  });
  return total;
}

}  // namespace subquad
