#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "subquad/autograd/ops.h"
#include "tests/golden/golden.h"

namespace subquad {
namespace {

struct Bench {
  KernelTable kernels;
  ThreadPool threads{2};
  StoragePool storage;
  ParameterPlan plan;
  std::unique_ptr<ParameterStore> store;
  std::vector<std::pair<ParamId, std::string>> loaded;
  Tape tape;

  explicit Bench(bool reference_only) {
    add_op_kernels(kernels);
    kernels.use_reference_only(reference_only);
  }
  ParamId declare(const Golden& g, const std::string& tensor, Shape shape) {
    const ParamId id = plan.declare(tensor, shape, Init::zeros(), false);
    if (g.has(tensor)) loaded.emplace_back(id, tensor);
    return id;
  }
  Context start(const Golden& g, DType dtype) {
    store = std::make_unique<ParameterStore>(plan, dtype, 0);
    for (const auto& [id, tensor] : loaded) {
      const Tensor t = g.input(tensor, dtype);
      std::memcpy(store->value(id).raw(), t.raw(), static_cast<std::size_t>(t.bytes()));
    }
    return {.kernels = kernels,
            .params = *store,
            .threads = threads,
            .storage = storage,
            .tape = &tape};
  }
  // Parameter gradients under the names "d" + tensor.
  void expect_parameter_gradients(const Golden& g) {
    for (const auto& [id, tensor] : loaded) g.expect("d" + tensor, store->grad(id));
  }
};

// Runs a check in f64, in f32 through the references, and in f32 through the fast kernels.
template <class Fn>
void in_all_modes(const std::vector<std::string>& prefixes,
                  const std::vector<std::string>& excluded, std::size_t at_least, Fn&& fn) {
  const auto files = golden_files(prefixes, excluded);
  EXPECT_GE(files.size(), at_least);
  for (const std::string& path : files) {
    const Golden g(path);
    for (const auto& [dtype, reference] :
         {std::pair{DType::f64, true}, {DType::f32, true}, {DType::f32, false}}) {
      SCOPED_TRACE(g.name() + " " + std::string(name_of(dtype)) +
                   (reference ? " reference" : " fast"));
      fn(g, dtype, reference);
    }
  }
}

TEST(GoldenOps, Pointwise) {
  in_all_modes({"op_pointwise"}, {}, 1, [](const Golden& g, DType dtype, bool reference) {
    const std::pair<const char*, Unary> kinds[] = {{"silu", Unary::silu},
                                                   {"sigmoid", Unary::sigmoid},
                                                   {"tanh", Unary::tanh},
                                                   {"softplus", Unary::softplus},
                                                   {"log_sigmoid", Unary::log_sigmoid},
                                                   {"gelu_erf", Unary::gelu},
                                                   {"gelu_tanh", Unary::gelu_tanh}};
    const auto check = [&](const std::string& name,
                           const std::function<Var(Context&, const Var&)>& fn) {
      Bench bench(reference);
      Context cx = bench.start(g, dtype);
      const Var x = bench.tape.leaf(g.input("x", dtype));
      const Var y = fn(cx, x);
      g.expect(name, y.value);
      const Tensor ones(y.shape(), dtype);
      with_scalar(dtype, [&]<class T>() { std::fill_n(ones.data<T>(), ones.numel(), T(1)); });
      bench.tape.add_grad(cx, y, ones);
      bench.tape.backward(cx);
      g.expect("d" + name, bench.tape.grad(x));
    };
    for (const auto& [name, kind] : kinds) {
      check(name, [kind = kind](Context& cx, const Var& x) { return unary(cx, kind, x); });
    }
    check("soft_cap_15", [](Context& cx, const Var& x) { return soft_cap(cx, x, 15); });
    check("soft_cap_30", [](Context& cx, const Var& x) { return soft_cap(cx, x, 30); });
  });
}

TEST(GoldenOps, Norms) {
  in_all_modes({"op_rmsnorm", "op_layernorm", "op_headnorm"}, {}, 7,
               [](const Golden& g, DType dtype, bool reference) {
                 Bench bench(reference);
                 const std::int64_t n = g.input("weight", DType::f32).numel();
                 const ParamId w = bench.declare(g, "weight", {n});
                 const ParamId b = g.has("bias") ? bench.declare(g, "bias", {n}) : ParamId{};
                 Context cx = bench.start(g, dtype);
                 const Var x = bench.tape.leaf(g.input("x", dtype));
                 const bool center = g.name().starts_with("op_layernorm") ||
                                     g.name().starts_with("op_headnorm_xlstm");
                 const bool plus_one = g.sizes().get("plus_one", g.name() == "op_headnorm_xlstm");
                 const Var y = norm(
                     cx, x, w, b, {.eps = g.number("eps"), .center = center, .plus_one = plus_one});
                 g.expect("y", y.value);
                 bench.tape.add_grad(cx, y, g.input("dy", dtype).reshaped(y.shape()));
                 bench.tape.backward(cx);
                 g.expect("dx", bench.tape.grad(x));
                 bench.expect_parameter_gradients(g);
               });
}

TEST(GoldenOps, L2Norm) {
  in_all_modes({"op_l2norm"}, {}, 1, [](const Golden& g, DType dtype, bool reference) {
    Bench bench(reference);
    Context cx = bench.start(g, dtype);
    const Var x = bench.tape.leaf(g.input("x", dtype));
    const Var y = l2_norm(cx, x, g.number("eps"));
    g.expect("y", y.value);
    bench.tape.add_grad(cx, y, g.input("dy", dtype));
    bench.tape.backward(cx);
    g.expect("dx", bench.tape.grad(x));
  });
}

TEST(GoldenOps, GatedNorms) {
  in_all_modes({"op_gated_norm"}, {}, 4, [](const Golden& g, DType dtype, bool reference) {
    Bench bench(reference);
    const ParamId w = bench.declare(g, "weight", {g.input("weight", DType::f32).numel()});
    Context cx = bench.start(g, dtype);
    const Var x = bench.tape.leaf(g.input("x", dtype)), z = bench.tape.leaf(g.input("gate", dtype));
    const std::string kind = g.sizes().at("kind").as_string();
    const Var y =
        gated_norm(cx, x, z, w,
                   {.eps = g.number("eps"),
                    .groups = g.size("groups"),
                    .gate_first = kind == "gate_first",
                    .activation = kind == "norm_first_sigmoid" ? Unary::sigmoid : Unary::silu});
    g.expect("y", y.value);
    bench.tape.add_grad(cx, y, g.input("dy", dtype));
    bench.tape.backward(cx);
    g.expect("dx", bench.tape.grad(x));
    g.expect("dgate", bench.tape.grad(z));
    bench.expect_parameter_gradients(g);
  });
}

// Files keep four columns (B,C,4) of which the next step reads the last three; our state is
// (B,3,C).
Tensor to_state(const Tensor& file, DType dtype) {
  if (!file) return Tensor();
  const std::int64_t B = file.shape()[0], C = file.shape()[1], W = file.shape()[2];
  const Tensor s({B, W - 1, C}, dtype);
  with_scalar(dtype, [&]<class T>() {
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t c = 0; c < C; ++c) {
        for (std::int64_t j = 1; j < W; ++j)
          s.data<T>()[(b * (W - 1) + j - 1) * C + c] = file.data<T>()[(b * C + c) * W + j];
      }
    }
  });
  return s;
}

TEST(GoldenOps, ShortConvolution) {
  in_all_modes({"op_conv"}, {}, 4, [](const Golden& g, DType dtype, bool reference) {
    Bench bench(reference);
    const std::int64_t C = g.size("C"), W = g.size("W");
    const ParamId w = bench.declare(g, "weight", {C, W});
    const ParamId b = g.has("bias") ? bench.declare(g, "bias", {C}) : ParamId{};
    Context cx = bench.start(g, dtype);
    const Var x = bench.tape.leaf(g.input("x", dtype));
    const bool from_state = g.has("conv_state_initial");
    const Var initial =
        bench.tape.leaf(from_state ? to_state(g.input("conv_state_initial", dtype), dtype)
                                   : Tensor::zeros({g.size("B"), W - 1, C}, dtype));
    Var state = initial;
    const Var y = short_conv(cx, x, w, b, g.sizes().at("silu").as_bool(),
                             Spans({}, g.size("B"), g.size("T")), &state);
    g.expect("y", y.value);
    // The final state must hold the file's last three columns: compare through a tensor of the
    // file's layout.
    const Tensor want = g.input("conv_state_final", DType::f64), ours = state.value;
    with_scalar(dtype, [&]<class T>() {
      for (std::int64_t bb = 0; bb < g.size("B"); ++bb) {
        for (std::int64_t c = 0; c < C; ++c) {
          for (std::int64_t j = 1; j < W; ++j) {
            EXPECT_NEAR(static_cast<double>(ours.data<T>()[(bb * (W - 1) + j - 1) * C + c]),
                        want.data<double>()[(bb * C + c) * W + j], 1e-6);
          }
        }
      }
    });
    bench.tape.add_grad(cx, y, g.input("dy", dtype));
    bench.tape.backward(cx);
    g.expect("dx", bench.tape.grad(x));
    bench.expect_parameter_gradients(g);
    if (!from_state) return;
    const Tensor d = bench.tape.grad(initial), full(Shape{g.size("B"), C, W}, dtype);
    with_scalar(dtype, [&]<class T>() {
      std::fill_n(full.data<T>(), full.numel(), T(0));
      for (std::int64_t bb = 0; bb < g.size("B"); ++bb) {
        for (std::int64_t c = 0; c < C; ++c) {
          for (std::int64_t j = 1; j < W; ++j)
            full.data<T>()[(bb * C + c) * W + j] = d.data<T>()[(bb * (W - 1) + j - 1) * C + c];
        }
      }
    });
    g.expect("dconv_state_initial", full);
  });
}

TEST(GoldenOps, GatedMlps) {
  in_all_modes({"op_swiglu", "op_geglu"}, {}, 2, [](const Golden& g, DType dtype, bool reference) {
    Bench bench(reference);
    const std::int64_t D = g.size("D"), U = g.size("U");
    const ParamId gate = bench.declare(g, "w_gate", {U, D}), up = bench.declare(g, "w_up", {U, D}),
                  down = bench.declare(g, "w_down", {D, U});
    Context cx = bench.start(g, dtype);
    const Var x = bench.tape.leaf(g.input("x", dtype));
    const Unary kind = g.name() == "op_swiglu" ? Unary::silu : Unary::gelu;
    const Var y = linear(cx, gated(cx, kind, linear(cx, x, gate), linear(cx, x, up)), down);
    g.expect("y", y.value);
    bench.tape.add_grad(cx, y, g.input("dy", dtype));
    bench.tape.backward(cx);
    g.expect("dx", bench.tape.grad(x));
    bench.expect_parameter_gradients(g);
  });
}

TEST(GoldenOps, Gates) {
  in_all_modes(
      {"op_gates_gdn", "op_gates_mamba2"}, {}, 4, [](const Golden& g, DType dtype, bool reference) {
        Bench bench(reference);
        const std::int64_t H = g.size("H");
        const bool gdn = g.sizes().at("kind").as_string() == "gdn";
        const ParamId A = bench.declare(g, "A_log", {H}), bias = bench.declare(g, "dt_bias", {H});
        Context cx = bench.start(g, dtype);
        if (gdn) {
          const Var a = bench.tape.leaf(g.input("a", dtype)),
                    b = bench.tape.leaf(g.input("b", dtype));
          const DecayGates out =
              gdn_gates(cx, a, b, A, bias, g.name() == "op_gates_gdn_extreme" ? 2 : 1);
          g.expect("log_decay", out.decay.value);
          g.expect("write", out.write.value);
          bench.tape.add_grad(cx, out.decay, g.input("dlog_decay", dtype));
          bench.tape.add_grad(cx, out.write, g.input("dwrite", dtype));
          bench.tape.backward(cx);
          g.expect("da", bench.tape.grad(a));
          g.expect("db", bench.tape.grad(b));
        } else {
          const bool limit = g.name() == "op_gates_mamba2_limit";
          const Var raw = bench.tape.leaf(g.input("dt_raw", dtype));
          const DecayGates out =
              mamba2_gates(cx, raw, A, bias, limit ? 0.05 : 0, limit ? 0.5 : 1e300, false);
          g.expect("dt", out.write.value);
          bench.tape.add_grad(cx, out.write, g.input("ddt", dtype));
          bench.tape.backward(cx);
          g.expect("ddt_raw", bench.tape.grad(raw));
        }
        bench.expect_parameter_gradients(g);
      });
  in_all_modes({"op_gates_soft_cap"}, {}, 1, [](const Golden& g, DType dtype, bool reference) {
    Bench bench(reference);
    Context cx = bench.start(g, dtype);
    const Var x = bench.tape.leaf(g.input("x", dtype));
    const Var gate = soft_cap(cx, x, 15), log_f = unary(cx, Unary::log_sigmoid, gate);
    g.expect("gate", gate.value);
    g.expect("log_f", log_f.value);
    bench.tape.add_grad(cx, gate, g.input("dgate", dtype));
    bench.tape.add_grad(cx, log_f, g.input("dlog_f", dtype));
    bench.tape.backward(cx);
    g.expect("dx", bench.tape.grad(x));
  });
}

}  // namespace
}  // namespace subquad
