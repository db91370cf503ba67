// The published xLSTM blocks (7B and NeurIPS), written with our ops and cores: outputs and all
// gradients.
#include <gtest/gtest.h>

#include <cmath>

#include "subquad/autograd/ops.h"
#include "subquad/mixer/common/linear_core.h"
#include "subquad/mixer/slstm/core.h"
#include "tests/golden/layer.h"

namespace subquad {
namespace {

// Declares a parameter for every weight of the file under its own name and runs `build` in all
// modes.
struct BlockBench {
  const Golden& g;
  ParameterPlan plan;
  std::vector<Mapping> mappings;

  explicit BlockBench(const Golden& golden) : g(golden) {}
  ParamId weight(const std::string& name, Shape shape) {
    mappings.push_back({name, {{"w." + name}}});
    return plan.declare(name, shape, Init::zeros(), false);
  }
  template <class Build>
  void run(Build&& build) {
    for (const auto& [dtype, reference] :
         {std::pair{DType::f64, true}, {DType::f32, true}, {DType::f32, false}}) {
      SCOPED_TRACE(g.name() + " " + std::string(name_of(dtype)) +
                   (reference ? " reference" : " fast"));
      ParameterStore store(plan, dtype, 0);
      load_mapped(g, mappings, store);
      Engine engine(2);
      engine.kernels.use_reference_only(reference);
      Tape tape;
      Context cx = engine.context(store, &tape);
      const Var x = tape.leaf(g.input("x", dtype));
      const Var y = build(cx, x);
      g.expect("y", y.value);
      tape.add_grad(cx, y, g.input("dy", dtype));
      tape.backward(cx);
      g.expect("dx", tape.grad(x));
      expect_mapped_gradients(g, mappings, store);
      if (more) more(store);
    }
  }
  std::function<void(const ParameterStore&)> more;  // further comparisons after each mode
};

LinearCoreOptions mlstm_options(std::int64_t dk) {
  return {.exponential_input = true,
          .normalizer = true,
          .scale = 1 / std::sqrt(static_cast<double>(dk)),
          .eps = 1e-6};
}

TEST(GoldenXlstmBlocks, The7BBlock) {
  const auto files = golden_files({"xlstm_large_block"});
  ASSERT_GE(files.size(), 2U);
  for (const std::string& path : files) {
    const Golden g(path);
    BlockBench bench(g);
    const std::int64_t B = g.size("B"), T = g.size("T"), D = g.size("D"), H = g.size("H"),
                       dk = g.size("Dk"), dv = g.size("Dv"), U = g.size("U");
    const std::string l = "mlstm_layer.";
    const ParamId n1 = bench.weight("norm_mlstm.weight", {D}),
                  n2 = bench.weight("norm_ffn.weight", {D});
    const ParamId q = bench.weight(l + "q.weight", {H * dk, D}),
                  k = bench.weight(l + "k.weight", {H * dk, D}),
                  v = bench.weight(l + "v.weight", {H * dv, D});
    const ParamId o = bench.weight(l + "ogate_preact.weight", {H * dv, D}),
                  out = bench.weight(l + "out_proj.weight", {D, H * dv});
    const ParamId i = bench.weight(l + "igate_preact.weight", {H, D}),
                  ib = bench.weight(l + "igate_preact.bias", {H});
    const ParamId f = bench.weight(l + "fgate_preact.weight", {H, D}),
                  fb = bench.weight(l + "fgate_preact.bias", {H});
    const ParamId hn = bench.weight(l + "multihead_norm.weight", {H * dv});
    const ParamId gate = bench.weight("ffn.proj_up_gate.weight", {U, D}),
                  up = bench.weight("ffn.proj_up.weight", {U, D}),
                  down = bench.weight("ffn.proj_down.weight", {D, U});
    bench.run([&](Context& cx, const Var& x) {
      const NormOptions rms{.eps = 1e-6};
      const Spans spans({}, B, T);
      const Var u = norm(cx, x, n1, {}, rms);
      const auto heads = [&](const Var& a, std::int64_t d) { return reshape(cx, a, {B, T, H, d}); };
      const Var h =
          linear_core(cx,
                      {.q = heads(linear(cx, u, q), dk),
                       .k = heads(linear(cx, u, k), dk),
                       .v = heads(linear(cx, u, v), dv),
                       .decay = unary(cx, Unary::log_sigmoid,
                                      soft_cap(cx, linear(cx, u, f, fb), g.number("cap"))),
                       .write = soft_cap(cx, linear(cx, u, i, ib), g.number("cap"))},
                      spans, mlstm_options(dk), nullptr);
      const Var y = reshape(cx, norm(cx, h, hn, {}, {.eps = 1e-6, .center = true}), {B, T, H * dv});
      const Var r = add(cx, x, linear(cx, gated(cx, Unary::sigmoid, linear(cx, u, o), y), out));
      const Var m = norm(cx, r, n2, {}, rms);
      return add(cx, r,
                 linear(cx, gated(cx, Unary::silu, linear(cx, m, gate), linear(cx, m, up)), down));
    });
  }
}

// The same layer as our mixer with options, decoded with its state.
TEST(GoldenXlstmBlocks, The7BLayerIsTheMlstmMixerWithOptions) {
  for (const std::string& path : golden_files({"xlstm_large_block"})) {
    const Golden g(path);
    ParameterPlan plan;
    Json options = Json::object();
    options["conv"] = 0;
    options["qk_factor"] =
        static_cast<double>(g.size("H") * g.size("Dk")) / static_cast<double>(g.size("D"));
    options["gate_soft_cap"] = g.number("cap");
    options["norm_eps"] = 1e-6;
    const auto mixer = make_mixer(
        "mlstm", {.d_model = g.size("D"), .heads = g.size("H"), .options = options}, plan);
    const ParamId n1 = plan.declare("n1", {g.size("D")}, Init::zeros(), false);
    ParameterStore store(plan, DType::f64, 0);
    const std::string l = "w.mlstm_layer.";
    load_mapped(g,
                {{"in_proj.weight",
                  {{l + "q.weight"},
                   {l + "k.weight"},
                   {l + "v.weight"},
                   {l + "igate_preact.weight"},
                   {l + "fgate_preact.weight"},
                   {l + "ogate_preact.weight"}}},
                 {"gate_i.bias", {{l + "igate_preact.bias"}}},
                 {"gate_f.bias", {{l + "fgate_preact.bias"}}},
                 {"norm.weight", {{l + "multihead_norm.weight"}}},
                 {"out_proj.weight", {{l + "out_proj.weight"}}},
                 {"n1", {{"w.norm_mlstm.weight"}}}},
                store);
    Engine engine;
    Context cx = engine.context(store);
    State state(mixer->state_spec(), g.size("B"), DType::f64);
    mixer->forward(cx, norm(cx, {g.input("x", DType::f64)}, n1, {}, {.eps = 1e-6}), {}, &state);
    g.expect("S_prefill", state["S"].value);
    g.expect("n_prefill", state["n"].value);
    g.expect("m_prefill", state["m"].value);
    mixer->forward(cx, norm(cx, {g.input("x_decode", DType::f64)}, n1, {}, {.eps = 1e-6}), {},
                   &state);
    g.expect("S_final", state["S"].value);
    g.expect("n_final", state["n"].value);
    g.expect("m_final", state["m"].value);
  }
}

TEST(GoldenXlstmBlocks, TheNeurIpsMlstmBlock) {
  for (const std::string& path : golden_files({"xlstm_mlstm_block"})) {
    const Golden g(path);
    BlockBench bench(g);
    const std::int64_t B = g.size("B"), T = g.size("T"), D = g.size("D"), H = g.size("H"),
                       I = g.size("I"), dk = g.size("Dk");
    const ParamId ln = bench.weight("xlstm_norm.weight", {D}),
                  up = bench.weight("xlstm.proj_up.weight", {2 * I, D});
    const ParamId conv = bench.weight("xlstm.conv1d.conv.weight", {I, 4}),
                  conv_bias = bench.weight("xlstm.conv1d.conv.bias", {I});
    const ParamId q = bench.weight("xlstm.q_proj.weight", {I / 4, 4, 4}),
                  k = bench.weight("xlstm.k_proj.weight", {I / 4, 4, 4}),
                  v = bench.weight("xlstm.v_proj.weight", {I / 4, 4, 4});
    const ParamId i = bench.weight("xlstm.mlstm_cell.igate.weight", {H, 3 * I}),
                  ib = bench.weight("xlstm.mlstm_cell.igate.bias", {H});
    const ParamId f = bench.weight("xlstm.mlstm_cell.fgate.weight", {H, 3 * I}),
                  fb = bench.weight("xlstm.mlstm_cell.fgate.bias", {H});
    const ParamId hn = bench.weight("xlstm.mlstm_cell.outnorm.weight", {I}),
                  skip = bench.weight("xlstm.learnable_skip", {I}),
                  down = bench.weight("xlstm.proj_down.weight", {D, I});
    bench.run([&](Context& cx, const Var& x) {
      const Spans spans({}, B, T);
      const NormOptions layer_norm{.eps = 1e-5, .center = true, .plus_one = true};
      const auto halves = split_last(cx, linear(cx, norm(cx, x, ln, {}, layer_norm), up),
                                     std::vector<std::int64_t>{I, I});
      const Var xc = short_conv(cx, halves[0], conv, conv_bias, true, spans, nullptr);
      const Var qkv[3] = {head_linear(cx, xc, q), head_linear(cx, xc, k),
                          head_linear(cx, halves[0], v)};
      const Var all = concat_last(cx, qkv);
      const auto heads = [&](const Var& a) { return reshape(cx, a, {B, T, H, dk}); };
      const Var h = linear_core(cx,
                                {.q = heads(qkv[0]),
                                 .k = heads(qkv[1]),
                                 .v = heads(qkv[2]),
                                 .decay = unary(cx, Unary::log_sigmoid, linear(cx, all, f, fb)),
                                 .write = linear(cx, all, i, ib)},
                                spans, mlstm_options(dk), nullptr);
      const Var y = add(cx, reshape(cx, norm(cx, h, hn, {}, layer_norm), {B, T, I}),
                        mul_weight(cx, xc, skip));
      return add(cx, x, linear(cx, gated(cx, Unary::silu, halves[1], y), down));
    });
  }
}

TEST(GoldenXlstmBlocks, TheNeurIpsSlstmBlock) {
  for (const std::string& path : golden_files({"xlstm_slstm_block"})) {
    const Golden g(path);
    BlockBench bench(g);
    const std::int64_t B = g.size("B"), T = g.size("T"), D = g.size("D"), H = g.size("H"),
                       U = g.size("U"), d = D / H;
    const ParamId ln = bench.weight("xlstm_norm.weight", {D}),
                  fn = bench.weight("ffn_norm.weight", {D});
    const ParamId conv = bench.weight("xlstm.conv1d.conv.weight", {D, 4}),
                  conv_bias = bench.weight("xlstm.conv1d.conv.bias", {D});
    // The file's fgate feeds the input gate, its igate the forget gate.
    const ParamId wi = bench.weight("xlstm.fgate.weight", {H, d, d}),
                  wf = bench.weight("xlstm.igate.weight", {H, d, d});
    const ParamId wz = bench.weight("xlstm.zgate.weight", {H, d, d}),
                  wo = bench.weight("xlstm.ogate.weight", {H, d, d});
    const ParamId gn = bench.weight("xlstm.group_norm.weight", {D});
    const ParamId up = bench.weight("ffn.proj_up.weight", {2 * U, D}),
                  down = bench.weight("ffn.proj_down.weight", {D, U});
    // Stored [H,(gate,out),in] and (gate,H,D); ours [H,in,gate,out] and (H,gate,D): compared
    // through our own copies.
    const ParamId R = bench.plan.declare("R", {H, d, 4, d}, Init::zeros(), false),
                  b = bench.plan.declare("b", {H, 4, d}, Init::zeros(), false);
    const auto each = [&](auto&& fn2) {
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t gate = 0; gate < 4; ++gate) {
          for (std::int64_t o = 0; o < d; ++o) {
            for (std::int64_t in = 0; in < d; ++in)
              fn2(((h * d + in) * 4 + gate) * d + o, (h * 4 * d + gate * d + o) * d + in,
                  (h * 4 + gate) * d + o, (gate * H + h) * d + o);
          }
        }
      }
    };
    bench.more = [&](const ParameterStore& store) {
      with_scalar(store.dtype(), [&]<class S>() {
        const Tensor kernel({H, 4 * d, d}, store.dtype()), bias({4 * D}, store.dtype());
        each([&](std::int64_t ours, std::int64_t theirs, std::int64_t our_bias,
                 std::int64_t their_bias) {
          kernel.data<S>()[theirs] = store.grad(R).template data<S>()[ours];
          bias.data<S>()[their_bias] = store.grad(b).template data<S>()[our_bias];
        });
        g.expect("dw.xlstm.slstm_cell._recurrent_kernel_", kernel);
        g.expect("dw.xlstm.slstm_cell._bias_", bias);
      });
    };
    bench.run([&](Context& cx, const Var& x) {
      with_scalar(cx.dtype(), [&]<class S>() {
        const Tensor kernel = g.input("w.xlstm.slstm_cell._recurrent_kernel_", cx.dtype()),
                     bias = g.input("w.xlstm.slstm_cell._bias_", cx.dtype());
        each([&](std::int64_t ours, std::int64_t theirs, std::int64_t our_bias,
                 std::int64_t their_bias) {
          cx.params.value(R).template data<S>()[ours] = kernel.data<S>()[theirs];
          cx.params.value(b).template data<S>()[our_bias] = bias.data<S>()[their_bias];
        });
      });
      const Spans spans({}, B, T);
      const NormOptions layer_norm{.eps = 1e-5, .center = true, .plus_one = true};
      const Var u = norm(cx, x, ln, {}, layer_norm),
                xc = short_conv(cx, u, conv, conv_bias, true, spans, nullptr);
      const auto heads = [&](const Var& a) { return reshape(cx, a, {B, T, H, d}); };
      const Var gates[4] = {heads(head_linear(cx, xc, wi)), heads(head_linear(cx, xc, wf)),
                            heads(head_linear(cx, u, wz)), heads(head_linear(cx, u, wo))};
      const Var h = slstm_core(cx, reshape(cx, concat_last(cx, gates), {B, T, H, 4, d}), R, b,
                               spans, false, nullptr);
      const Var r = add(cx, x, reshape(cx, norm(cx, h, gn, {}, layer_norm), {B, T, D}));
      return add(
          cx, r,
          linear(cx, gated_halves(cx, Unary::gelu, linear(cx, norm(cx, r, fn, {}, layer_norm), up)),
                 down));
    });
  }
}

}  // namespace
}  // namespace subquad
