#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/commands.h"
#include "app/options.h"
#include "subquad/base/rng.h"
#include "subquad/mixer/all_mixers.h"
#include "subquad/model/engine.h"

namespace subquad::app {
namespace {

constexpr double kBound = 2e-5;

struct Bench {
  ParameterPlan plan;
  std::unique_ptr<Mixer> mixer;
  std::unique_ptr<ParameterStore> store;
  Engine engine;
  Tensor x;

  Bench(const std::string& kind, std::int64_t d, std::int64_t heads, std::int64_t B,
        std::int64_t T) {
    mixer = make_mixer(kind, {.d_model = d, .heads = heads, .options = {}}, plan);
    store = std::make_unique<ParameterStore>(plan, DType::f32, 5);
    x = Tensor({B, T, d}, DType::f32);
    const Rng rng{9, stream_id(kind)};
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      x.data<float>()[i] = static_cast<float>(rng.normal(0, static_cast<std::uint64_t>(i)));
    }
  }
  Tensor columns(std::int64_t from, std::int64_t count) const {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], d = x.shape()[2];
    Tensor part({B, count, d}, DType::f32);
    for (std::int64_t b = 0; b < B; ++b) {
      std::copy_n(x.data<float>() + (b * T + from) * d, count * d,
                  part.data<float>() + b * count * d);
    }
    return part;
  }
  // Runs the sequence in pieces of the given size through a state; the outputs put back together.
  Tensor in_pieces(std::int64_t piece) {
    const std::int64_t B = x.shape()[0], T = x.shape()[1], d = x.shape()[2];
    Context cx = engine.context(*store);
    State state(mixer->state_spec(), B, DType::f32);
    Tensor y(x.shape(), DType::f32);
    for (std::int64_t t = 0; t < T; t += piece) {
      const std::int64_t count = std::min(piece, T - t);
      const Var part = mixer->forward(cx, {columns(t, count)}, {}, &state);
      for (std::int64_t b = 0; b < B; ++b) {
        std::copy_n(part.value.data<float>() + b * count * d, count * d,
                    y.data<float>() + (b * T + t) * d);
      }
    }
    return y;
  }
  // Whole sequence with gradients of the sum of squares: y and all parameter gradients.
  std::pair<Tensor, Tensor> whole(bool reference_only) {
    engine.kernels.use_reference_only(reference_only);
    store->zero_grads();
    Tape tape;
    Context cx = engine.context(*store, &tape);
    const Var y = mixer->forward(cx, {x}, {}, nullptr);
    tape.add_grad(cx, y, y.value);
    tape.backward(cx);
    engine.kernels.use_reference_only(false);
    return {y.value, store->flat_grads().clone()};
  }
};

// The larger one; a NaN is larger than any number.
double worse(double a, double b) { return std::isnan(a) || a >= b ? a : b; }

double deviation(const Tensor& a, const Tensor& b) {
  double worst = 0, scale = 1e-30;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double difference =
        std::abs(static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i]));
    worst = worse(worst, difference);
    scale = std::max(scale, std::abs(static_cast<double>(b.data<float>()[i])));
  }
  return worst / scale;
}

}  // namespace

int verify(Arguments arguments) {
  std::string only;
  Options options("verify",
                  "Largest relative deviation between the execution modes of every mixer (f32); "
                  "fails above 2e-5.",
                  "subquad verify --mixer gated_deltanet");
  options.option("--mixer", only, "one mixer only");
  if (!options.parse(arguments)) return 0;
  bool good = true, found = false;
  std::printf("%-22s %10s %10s %10s %10s %10s\n", "mixer", "reference", "split", "step",
              "gradients", "verdict");
  for (const MixerEntry& entry : all_mixers()) {
    if (!only.empty() && entry.kind != only) continue;
    found = true;
    double worst[4] = {0, 0, 0, 0};
    const std::int64_t sizes[][4] = {{64, 4, 2, 150}, {32, 1, 3, 33}, {128, 2, 1, 97}};
    for (const auto& s : sizes) {
      Bench bench(entry.kind, s[0], s[1], s[2], s[3]);
      const auto [y, grads] = bench.whole(false);
      const auto [y_reference, grads_reference] = bench.whole(true);
      const double d[4] = {
          deviation(y, y_reference),
          worse(deviation(bench.in_pieces(37), y), deviation(bench.in_pieces(5), y)),
          deviation(bench.in_pieces(1), y), deviation(grads, grads_reference)};
      for (int i = 0; i < 4; ++i) worst[i] = worse(worst[i], d[i]);
    }
    const bool ok =
        std::all_of(std::begin(worst), std::end(worst), [](double w) { return w <= kBound; });
    good = good && ok;
    std::printf("%-22s %10.1e %10.1e %10.1e %10.1e %10s\n", entry.kind.c_str(), worst[0], worst[1],
                worst[2], worst[3], ok ? "agree" : "DIFFER");
  }
  if (!found)
    make_mixer(only, {.options = {}}, *std::make_unique<ParameterPlan>());  // names the nearest
  return good ? 0 : 1;
}

}  // namespace subquad::app
