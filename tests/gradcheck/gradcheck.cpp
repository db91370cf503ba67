#include "tests/gradcheck/gradcheck.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/support.h"

namespace subquad {

Tensor random_f64(Shape shape, std::uint64_t stream, double amplitude) {
  return to_double(random_tensor(shape, stream, amplitude));
}

void gradcheck(const KernelTable& kernels, const GradcheckSetup& setup, const std::string& what) {
  ThreadPool threads(1);
  StoragePool storage;
  const ParameterPlan empty;
  ParameterStore none(empty, DType::f64, 0);
  ParameterStore& store = setup.store ? *setup.store : none;

  // loss = sum over outputs of <output, fixed random weights>
  const auto evaluate = [&](Tape* tape, std::vector<Var>* leaves) {
    Context cx{
        .kernels = kernels, .params = store, .threads = threads, .storage = storage, .tape = tape};
    std::vector<Var> in;
    for (const Tensor& t : setup.inputs) in.push_back(tape ? tape->leaf(t) : Var{t});
    const std::vector<Var> out = setup.build(cx, in);
    double loss = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Tensor weights = random_f64(out[i].shape(), 1000 + i);
      for (std::int64_t j = 0; j < weights.numel(); ++j) {
        loss += weights.data<double>()[j] * out[i].value.data<double>()[j];
      }
      if (tape) tape->add_grad(cx, out[i], weights);
    }
    if (tape) {
      tape->backward(cx);
      *leaves = in;
    }
    return loss;
  };

  store.zero_grads();
  Tape tape;
  std::vector<Var> leaves;
  evaluate(&tape, &leaves);

  const auto check = [&](const std::string& name, double* values, std::int64_t count,
                         const double* grads) {
    double largest = 1e-6;
    for (std::int64_t i = 0; grads && i < count; ++i) {
      EXPECT_TRUE(std::isfinite(grads[i])) << what << ": " << name << "[" << i << "]";
      largest = std::max(largest, std::abs(grads[i]));
    }
    const std::int64_t step = std::max<std::int64_t>(1, count / setup.probes);
    for (std::int64_t i = (count > step ? step / 2 : 0); i < count; i += step) {
      const double kept = values[i];
      const double h = 1e-4 * std::max(1.0, std::abs(kept));
      const auto at = [&](double x) {
        values[i] = x;
        return evaluate(nullptr, nullptr);
      };
      // Five points: the error is of order h^4.
      const double near = at(kept + h) - at(kept - h), far = at(kept + 2 * h) - at(kept - 2 * h);
      const double numeric = (8 * near - far) / (12 * h);
      values[i] = kept;
      const double analytic = grads ? grads[i] : 0;
      EXPECT_LE(std::abs(numeric - analytic), setup.bound * largest + 1e-9)
          << what << ": " << name << "[" << i << "] analytic " << analytic << " numeric "
          << numeric;
    }
  };
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const Tensor g = tape.grad(leaves[i]);
    check("input " + std::to_string(i), setup.inputs[i].data<double>(), setup.inputs[i].numel(),
          g ? g.data<double>() : nullptr);
  }
  for (const ParamInfo& p : store.plan().all()) {
    check(p.name, store.flat_values().data<double>() + p.offset, p.shape.numel(),
          store.flat_grads().data<double>() + p.offset);
  }
}

}  // namespace subquad
