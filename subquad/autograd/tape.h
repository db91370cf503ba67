// Reverse-mode differentiation in one page: a Var is a value with the number of its gradient slot;
// an op computes its outputs, then records a closure that turns output gradients into input
// gradients; backward() runs the closures in reverse order and frees everything as it goes.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "subquad/autograd/params.h"
#include "subquad/backend/kernel_table.h"
#include "subquad/backend/segments.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

struct Context;

struct Var {
  Tensor value;
  std::int32_t node = -1;  // -1: a constant, no gradient wanted

  const Shape& shape() const { return value.shape(); }
};

class Tape {
 public:
  // Receives the gradient of every output of the op; an empty Tensor means zero.
  using Backward = std::function<void(Context&, std::span<const Tensor>)>;

  // A differentiable input from outside (gradient checks, states, embeddings of a recomputed
  // block).
  Var leaf(Tensor value);
  std::vector<Var> record(std::string_view op, std::vector<Tensor> outputs, Backward backward);

  // Adds a gradient; takes the tensor over when it is the first one. A constant ignores it.
  void add_grad(Context& cx, const Var& x, Tensor grad);
  // The gradient collected so far; empty if none.
  Tensor grad(const Var& x) const;
  // Seeds d(loss) = 1 (scalar loss) and runs everything recorded, in reverse.
  void backward(Context& cx, const Var& loss);
  // Runs backward from the gradients already added.
  void backward(Context& cx);

  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string op;  // with the scope in front when finite checks are on
    std::int32_t first_node;
    std::int32_t outputs;
    Backward backward;
  };
  std::vector<Entry> entries_;
  std::vector<Tensor> grads_;  // by node
  std::vector<bool> leaf_;     // leaves keep their gradient after backward
};

// Passed first, everywhere; nothing is global.
struct Context {
  const KernelTable& kernels;
  ParameterStore& params;
  ThreadPool& threads;
  StoragePool& storage;
  Tape* tape = nullptr;  // null = do not record
  bool training = false;
  Precision precision = Precision::f32;  // of products with weights
  bool check_finite = false;  // every op output and gradient is scanned; the first bad one is named
  std::string scope{};        // "blocks.1.mixer": where in the model we are, for error messages

  DType dtype() const { return params.dtype(); }
  Tensor empty(Shape shape) { return Tensor(shape, dtype(), &storage); }
  Tensor zeros(Shape shape) { return Tensor::zeros(shape, dtype(), &storage); }

  // Finishes an op with one output: checks it if asked, records it if there is a tape. The closure
  // gets the output's gradient and is not called when there is none.
  Var record(std::string_view op, Tensor output,
             std::function<void(Context&, const Tensor&)> backward);
  // The same for several outputs. At least one of the gradients passed to the closure is present.
  std::vector<Var> record(std::string_view op, std::vector<Tensor> outputs,
                          Tape::Backward backward);
  // Shorthand for tape->add_grad.
  void add_grad(const Var& x, Tensor grad) { tape->add_grad(*this, x, std::move(grad)); }

  template <class Args>
  void run(const Args& args) {
    kernels.run(args, threads);
  }
};

// Sets cx.scope for one block of code.
class Scope {
 public:
  Scope(Context& cx, const std::string& name) : cx_(cx), previous_(cx.scope) {
    cx.scope += (cx.scope.empty() ? "" : ".") + name;
  }
  ~Scope() { cx_.scope = previous_; }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Context& cx_;
  std::string previous_;
};

// Runs block(cx, x) without recording its inside and runs it again in the backward pass:
// activations of the block are traded for one more forward. (The word checkpoint means files here.)
Var recompute(Context& cx, const Var& x, std::function<Var(Context&, const Var&)> block);

}  // namespace subquad
