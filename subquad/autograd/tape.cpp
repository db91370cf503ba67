#include "subquad/autograd/tape.h"

#include <cmath>
#include <cstring>

#include "subquad/backend/pointwise.h"

namespace subquad {
namespace {

void require_finite(const Tensor& t, std::string_view what, std::string_view op,
                    const std::string& scope) {
  if (!t) return;
  with_scalar(t.dtype(), [&]<class T>() {
    const T* x = t.data<T>();
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      require(std::isfinite(x[i]), ErrorCode::numeric, what, " of op ", op, " in ",
              scope.empty() ? "the model" : scope.c_str(), " is ", x[i], " at element ", i, " of ",
              t.shape());
    }
  });
}

}  // namespace

Var Tape::leaf(Tensor value) {
  grads_.emplace_back();
  leaf_.push_back(true);
  return {std::move(value), static_cast<std::int32_t>(grads_.size()) - 1};
}

std::vector<Var> Tape::record(std::string_view op, std::vector<Tensor> outputs, Backward backward) {
  entries_.push_back({std::string(op), static_cast<std::int32_t>(grads_.size()),
                      static_cast<std::int32_t>(outputs.size()), std::move(backward)});
  std::vector<Var> vars;
  for (Tensor& t : outputs) {
    vars.push_back({std::move(t), static_cast<std::int32_t>(grads_.size())});
    grads_.emplace_back();
    leaf_.push_back(false);
  }
  return vars;
}

void Tape::add_grad(Context& cx, const Var& x, Tensor grad) {
  if (x.node < 0 || !grad) return;
  require(grad.numel() == x.value.numel(), ErrorCode::internal, "gradient of shape ", grad.shape(),
          " for a value of shape ", x.value.shape());
  if (cx.check_finite) require_finite(grad, "gradient", "input", cx.scope);
  Tensor& slot = grads_[static_cast<std::size_t>(x.node)];
  if (!slot) {
    slot = grad.reshaped(x.value.shape());
    return;
  }
  // A shared slot (the same gradient reached two inputs) is not disturbed: the sum is a new tensor.
  const Tensor sum = slot.unique() ? slot : cx.empty(slot.shape());
  with_scalar(slot.dtype(), [&]<class T>() {
    const auto flat = [](const Tensor& t) { return t.reshaped({t.numel()}); };
    cx.run(Sum<T>{flat(slot).template view<const T, 1>(), flat(grad).template view<const T, 1>(),
                  flat(sum).template view<T, 1>()});
  });
  slot = sum;
}

Tensor Tape::grad(const Var& x) const {
  return x.node < 0 ? Tensor() : grads_[static_cast<std::size_t>(x.node)];
}

void Tape::backward(Context& cx, const Var& loss) {
  require(loss.node >= 0 && loss.value.numel() == 1, ErrorCode::invalid_argument,
          "backward needs a recorded scalar, got shape ", loss.value.shape());
  Tensor one(loss.value.shape(), loss.value.dtype(), &cx.storage);
  with_scalar(one.dtype(), [&]<class T>() { *one.data<T>() = T(1); });
  add_grad(cx, loss, one);
  backward(cx);
}

void Tape::backward(Context& cx) {
  const std::string scope = cx.scope;
  for (; !entries_.empty(); entries_.pop_back()) {
    Entry& entry = entries_.back();
    const auto first = static_cast<std::size_t>(entry.first_node);
    const auto count = static_cast<std::size_t>(entry.outputs);
    bool any = false;
    for (std::size_t i = first; i < first + count; ++i) any = any || static_cast<bool>(grads_[i]);
    if (any) {
      cx.scope = entry.op;
      entry.backward(cx, std::span<const Tensor>(grads_).subspan(first, count));
    }
    for (std::size_t i = first; i < first + count; ++i) grads_[i] = Tensor();
  }
  cx.scope = scope;
}

std::vector<Var> Context::record(std::string_view op, std::vector<Tensor> outputs,
                                 Tape::Backward backward) {
  if (check_finite) {
    for (const Tensor& t : outputs) require_finite(t, "output", op, scope);
  }
  if (tape) {
    const std::string where = scope.empty() ? std::string(op) : scope + "." + std::string(op);
    return tape->record(check_finite ? std::string_view(where) : op, std::move(outputs),
                        std::move(backward));
  }
  std::vector<Var> vars;
  for (Tensor& t : outputs) vars.push_back({std::move(t)});
  return vars;
}

Var Context::record(std::string_view op, Tensor output,
                    std::function<void(Context&, const Tensor&)> backward) {
  std::vector<Tensor> outputs;
  outputs.push_back(std::move(output));
  return record(op, std::move(outputs),
                [backward = std::move(backward)](Context& cx, std::span<const Tensor> grads) {
                  backward(cx, grads[0]);
                })[0];
}

Var recompute(Context& cx, const Var& x, std::function<Var(Context&, const Var&)> block) {
  if (!cx.tape) return block(cx, x);
  Context quiet = cx;
  quiet.tape = nullptr;
  const Var y = block(quiet, {x.value});
  return cx.record("recompute", y.value,
                   [x, block = std::move(block)](Context& cx, const Tensor& dy) {
                     Tape inner;
                     Context again = cx;
                     again.tape = &inner;
                     const Var leaf = inner.leaf(x.value);
                     const Var y = block(again, leaf);
                     inner.add_grad(again, y, dy);
                     inner.backward(again);
                     cx.add_grad(x, inner.grad(leaf));
                   });
}

}  // namespace subquad
