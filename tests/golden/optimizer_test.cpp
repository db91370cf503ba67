#include <gtest/gtest.h>

#include "subquad/autograd/ops.h"
#include "subquad/train/optimizer.h"
#include "tests/golden/golden.h"

namespace subquad {
namespace {

TEST(GoldenOptimizer, AdamW) {
  for (const std::string& path : golden_files({"op_adamw"})) {
    const Golden g(path);
    for (const auto& [dtype, reference] :
         {std::pair{DType::f64, true}, {DType::f32, true}, {DType::f32, false}}) {
      with_scalar(dtype, [&, dtype = dtype, reference = reference]<class T>() {
        const Tensor a = g.input("a", dtype), b = g.input("b", dtype), da = g.input("da", dtype),
                     db = g.input("db", dtype);
        ParameterPlan plan;
        const ParamId ia = plan.declare("a", a.shape(), Init::zeros(), true),
                      ib = plan.declare("b", b.shape(), Init::zeros(), false);
        ParameterStore store(plan, dtype, 0);
        std::copy_n(a.data<T>(), a.numel(), store.value(ia).template data<T>());
        std::copy_n(b.data<T>(), b.numel(), store.value(ib).template data<T>());
        TrainConfig c;
        c.beta1 = g.number("beta1");
        c.beta2 = g.number("beta2");
        c.eps = g.number("eps");
        c.weight_decay = g.number("weight_decay");
        AdamW adam(plan, dtype);
        KernelTable kernels;
        add_op_kernels(kernels);
        kernels.use_reference_only(reference);
        ThreadPool threads(2);
        const std::int64_t steps = g.size("steps");
        const Tensor a_steps(Shape{steps, a.shape()[0], a.shape()[1]}, dtype),
            b_steps(Shape{steps, b.numel()}, dtype);
        const Tensor rates = g.has("lr_steps") ? g.input("lr_steps", DType::f64) : Tensor();
        for (std::int64_t s = 0; s < steps; ++s) {
          std::copy_n(da.data<T>() + s * a.numel(), a.numel(), store.grad(ia).template data<T>());
          std::copy_n(db.data<T>() + s * b.numel(), b.numel(), store.grad(ib).template data<T>());
          const double clip = g.number("clip");
          adam.step(kernels, threads, store, c, rates ? rates.data<double>()[s] : g.number("lr"),
                    clip_factor(flat_norm(store.flat_grads()), clip));
          std::copy_n(store.value(ia).template data<T>(), a.numel(),
                      a_steps.data<T>() + s * a.numel());
          std::copy_n(store.value(ib).template data<T>(), b.numel(),
                      b_steps.data<T>() + s * b.numel());
        }
        g.expect("a_steps", a_steps);
        g.expect("b_steps", b_steps);
        g.expect("a_m", adam.first_moment().slice(plan.info(ia).offset, a.shape()));
        g.expect("a_v", adam.second_moment().slice(plan.info(ia).offset, a.shape()));
        g.expect("b_m", adam.first_moment().slice(plan.info(ib).offset, b.shape()));
        g.expect("b_v", adam.second_moment().slice(plan.info(ib).offset, b.shape()));
      });
    }
  }
}

TEST(GoldenOptimizer, ClippingByTheGlobalNorm) {
  for (const std::string& path : golden_files({"op_clip"})) {
    const Golden g(path);
    for (const DType dtype : {DType::f64, DType::f32}) {
      with_scalar(dtype, [&]<class T>() {
        std::vector<T> all;
        const std::string names[] = {"da", "db", "dc"};
        for (const std::string& name : names) {
          const Tensor t = g.input(name, dtype);
          all.insert(all.end(), t.data<T>(), t.data<T>() + t.numel());
        }
        const double norm =
            flat_norm(Tensor::from<T>({static_cast<std::int64_t>(all.size())}, all));
        const T got[1] = {static_cast<T>(norm)};
        g.expect("norm", Tensor::from<T>({1}, got));
        for (const std::string& name : names) {
          const Tensor t = g.input(name, dtype);
          for (T& x : t.host<T>()) x *= static_cast<T>(clip_factor(norm, g.number("max_norm")));
          g.expect(name + "_clipped", t);
        }
      });
    }
  }
}

TEST(GoldenOptimizer, Schedules) {
  for (const std::string& path : golden_files({"op_schedules"})) {
    const Golden g(path);
    const struct {
      const char *result, *schedule;
      bool floor;
    } cases[] = {{"linear", "linear", false},        {"cosine", "cosine", false},
                 {"cosine_min", "cosine", true},     {"wsd_linear", "wsd", true},
                 {"wsd_cosine", "wsd_cosine", true}, {"wsd_1_sqrt", "wsd_sqrt", true}};
    for (const auto& k : cases) {
      TrainConfig c;
      c.learning_rate = g.number("peak");
      c.warmup_steps = g.size("warmup");
      c.schedule = k.schedule;
      c.final_fraction = k.floor ? g.number("minimum") : 0;
      c.decay_fraction = g.number("decay") / g.number("total");
      std::vector<double> rates;
      const Tensor steps = g.indices("t");
      for (std::int32_t t : steps.host<std::int32_t>())
        rates.push_back(learning_rate_at(c, t, g.size("total")));
      g.expect(k.result, Tensor::from<double>({static_cast<std::int64_t>(rates.size())}, rates));
    }
  }
}

}  // namespace
}  // namespace subquad
