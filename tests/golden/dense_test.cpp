#include <gtest/gtest.h>

#include "subquad/autograd/ops.h"
#include "subquad/backend/dense.h"
#include "tests/golden/golden.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

struct Bench {
  KernelTable kernels;
  ThreadPool threads{2};
  StoragePool storage;
  Bench() {
    add_dense_cpu(kernels);
    add_dense_reference(kernels);
  }
};

TEST(GoldenDense, CrossEntropyRows) {
  for (const std::string& path : golden_files({"op_cross_entropy"})) {
    const Golden g(path);
    Bench bench;
    for (DType dtype : {DType::f64, DType::f32}) {
      with_scalar(dtype, [&]<class T>() {
        for (const auto& impl : bench.kernels.all<CrossEntropyRows<T>>()) {
          const Tensor logits = g.input("logits", dtype), target = g.indices("target");
          const Tensor losses = nan_tensor({g.size("rows")}, dtype);
          const bool mean = g.sizes().at("reduction").as_string() == "mean";
          const double weight =
              mean ? 1.0 / static_cast<double>(std::max<std::int64_t>(g.size("valid"), 1)) : 1;
          impl.run(CrossEntropyRows<T>{.logits = logits.view<T, 2>(),
                                       .targets = target.view<const std::int32_t, 1>(),
                                       .loss = losses.view<T, 1>(),
                                       .z_weight = g.number("z_weight"),
                                       .row_weight = weight},
                   bench.threads);
          const Tensor loss({1}, dtype);
          T sum = 0;
          for (T x : losses.template host<T>()) sum += x;
          *loss.data<T>() = sum * static_cast<T>(weight);
          g.expect("loss", loss);
          g.expect("dlogits", logits);
        }
      });
    }
  }
}

TEST(GoldenDense, LinearCrossEntropyThroughTheTape) {
  for (const std::string& path : golden_files({"op_linear_cross_entropy"})) {
    const Golden g(path);
    Bench bench;
    for (DType dtype : {DType::f64, DType::f32}) {
      ParameterPlan plan;
      const ParamId w = plan.declare("w", {g.size("V"), g.size("D")}, Init::zeros(), true);
      ParameterStore store(plan, dtype, 0);
      with_scalar(dtype, [&]<class T>() {
        const Tensor values = g.input("weight", dtype);
        std::copy_n(values.data<T>(), values.numel(), store.value(w).template data<T>());
      });
      Tape tape;
      Context cx{.kernels = bench.kernels,
                 .params = store,
                 .threads = bench.threads,
                 .storage = bench.storage,
                 .tape = &tape};
      const Var x = tape.leaf(g.input("x", dtype));
      const Var loss = linear_cross_entropy(
          cx, x, w, {}, g.indices("target"),
          {.z_weight = g.number("z_weight"), .soft_cap = g.sizes().get("cap", 0.0)});
      g.expect("loss", loss.value);
      tape.add_grad(cx, loss, g.input("dloss", dtype).reshaped({1}));
      tape.backward(cx);
      g.expect("dx", tape.grad(x));
      g.expect("dweight", store.grad(w));
    }
  }
}

}  // namespace
}  // namespace subquad
