// The laws that every mixer of the list obeys, with its defaults and with a few option variants. A
// new mixer is covered by being in the list. (L6, gradients, lives in tests/gradcheck.)
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "subquad/io/safetensors.h"
#include "subquad/mixer/all_mixers.h"
#include "subquad/model/engine.h"
#include "tests/property/counting.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

struct Variant {
  std::string kind, options;
};

std::vector<Variant> variants() {
  std::vector<Variant> list;
  for (const MixerEntry& e : all_mixers()) list.push_back({e.kind, "{}"});
  list.push_back({"mlstm", R"({"conv":0,"qk_factor":0.5,"gate_soft_cap":15.0})"});
  list.push_back({"mlstm", R"({"exponential_input":false,"normalizer":false})"});
  list.push_back({"slstm", R"({"conv":4,"gates":"headwise","output_projection":false})"});
  list.push_back({"slstm", R"({"conv":4})"});
  list.push_back({"mamba2", R"({"groups":2,"head_dim":8,"dt_low":0.01,"dt_high":0.5})"});
  list.push_back({"gated_deltanet", R"({"value_heads":8,"value_dim":6,"conv":2})"});
  list.push_back({"gated_deltanet", R"({"erase":false})"});
  list.push_back({"mlstm", R"({"tied_gates":true})"});
  list.push_back({"mlstm", R"({"tied_gates":true,"exponential_input":false})"});
  list.push_back({"mlstm", R"({"decay":false})"});
  list.push_back({"mlstm", R"({"erase":true})"});
  list.push_back({"mamba2", R"({"erase":true})"});
  list.push_back({"mamba2", R"({"normalizer":true})"});
  list.push_back({"mamba2", R"({"tied_gates":false})"});
  list.push_back({"mamba2", R"({"exponential_input":true,"normalizer":true})"});
  list.push_back({"mamba2", R"({"decay":false})"});
  list.push_back({"mamba2", R"({"decay":false,"tied_gates":false,"erase":true})"});
  list.push_back({"gated_deltanet", R"({"tied_gates":true})"});
  list.push_back({"gated_deltanet", R"({"decay":false})"});
  list.push_back(
      {"gated_deltanet", R"({"erase":false,"exponential_input":true,"normalizer":true})"});
  list.push_back({"attention", R"({"kv_heads":2,"window":9,"qk_norm":true})"});
  list.push_back({"attention", R"({"rope":false})"});
  list.push_back({"attention", R"({"heads":2,"head_dim":8,"kv_heads":1,"qkv_bias":true,)"
                               R"("out_bias":true,"scale":0.5,"output_gate":true})"});
  list.push_back({"attention", R"({"rope_factor":8,"rope_original_length":16,"rope_theta":50})"});
  list.push_back({"mlstm", R"({"heads":2})"});
  list.push_back({"gated_deltanet", R"({"heads":2,"value_heads":4,"head_dim":6})"});
  list.push_back({"mamba2", R"({"conv_bias":false,"bias":true})"});
  list.push_back({"slstm", R"({"heads":2,"conv":4,"gates":"headwise","input_bias":true,)"
                           R"("norm_plus_one":true,"output_projection":false})"});
  list.push_back({"attention", R"({"rope":false,"head_dim":7,"kv_heads":2})"});
  list.push_back({"kda", R"({"value_heads":8,"value_dim":6,"head_dim":5,"write_range":2.0})"});
  list.push_back({"kda", R"({"erase":false,"gate_rank":0,"decay_rank":0})"});
  list.push_back({"kda", R"({"output_gate":false,"decay_rank":3,"gate":"silu"})"});
  list.push_back({"gated_deltanet", R"({"channel_decay":true})"});
  list.push_back({"latent_attention", R"({"shared_dim":0,"latent":5,"value_dim":3})"});
  return list;
}

constexpr std::int64_t kWidth = 32, kHeads = 4;

struct Bench {
  Variant v;
  ParameterPlan plan;
  std::unique_ptr<Mixer> mixer;
  std::unique_ptr<ParameterStore> store;
  Engine engine;

  explicit Bench(const Variant& variant, int threads = 1) : v(variant), engine(threads) {
    mixer = make_mixer(
        v.kind, {.d_model = kWidth, .heads = kHeads, .options = Json::parse(v.options, "options")},
        plan);
    store = std::make_unique<ParameterStore>(plan, DType::f32, 11);
  }
  std::string name() const { return v.kind + " " + v.options; }
  bool grows() const {
    const StateSpec spec = mixer->state_spec();
    return std::any_of(spec.begin(), spec.end(),
                       [](const StateField& f) { return f.grows_with_time; });
  }
  State fresh(std::int64_t batch) const { return State(mixer->state_spec(), batch, DType::f32); }
  Tensor run(const Tensor& x, const Segments& segments = {}, State* state = nullptr) {
    Context cx = engine.context(*store);
    return mixer->forward(cx, {x}, segments, state).value;
  }
};

Tensor inputs(std::int64_t B, std::int64_t T, std::uint64_t stream = 1, double amplitude = 1) {
  return random_tensor({B, T, kWidth}, stream, amplitude);
}

// Rows [b0, b0 + nb), columns [t0, t0 + nt).
Tensor part(const Tensor& x, std::int64_t b0, std::int64_t nb, std::int64_t t0, std::int64_t nt) {
  const std::int64_t T = x.shape()[1], D = x.shape()[2];
  Tensor y({nb, nt, D}, DType::f32);
  for (std::int64_t b = 0; b < nb; ++b) {
    std::copy_n(x.data<float>() + ((b0 + b) * T + t0) * D, nt * D, y.data<float>() + b * nt * D);
  }
  return y;
}

constexpr double kBound = 2e-5;

TEST(Laws, L1SplitInvariance) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const std::int64_t T = 75;
    const Tensor x = inputs(2, T);
    State whole_state = bench.fresh(2);
    const Tensor whole = bench.run(x, {}, &whole_state);
    EXPECT_LE(deviation(bench.run(x), whole), kBound) << bench.name() << ": with and without state";
    for (const std::vector<std::int64_t>& pieces : {std::vector<std::int64_t>{1, 74},
                                                    {74, 1},
                                                    {37, 38},
                                                    {1, 2, 3, 64, 5},
                                                    std::vector<std::int64_t>(75, 1)}) {
      State state = bench.fresh(2);
      std::int64_t t = 0;
      for (const std::int64_t n : pieces) {
        EXPECT_LE(deviation(bench.run(part(x, 0, 2, t, n), {}, &state), part(whole, 0, 2, t, n)),
                  5 * kBound)
            << bench.name() << " at " << t;
        t += n;
      }
      for (const auto& [field, var] : whole_state.fields()) {
        if (bench.grows()) continue;  // caches differ in spare room
        EXPECT_LE(deviation(state[field].value, var.value), kBound)
            << bench.name() << " state " << field;
      }
    }
  }
}

TEST(Laws, L2PaddingAndPackedDocumentsChangeNothing) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const Tensor x = inputs(2, 40);
    const std::vector<std::int64_t> valid = {40, 23};
    const Tensor padded = bench.run(x, {.document_starts = {}, .valid_lengths = valid});
    EXPECT_LE(deviation(part(padded, 1, 1, 0, 23), bench.run(part(x, 1, 1, 0, 23))), kBound)
        << bench.name() << " padding";
    if (!bench.grows()) {
      State state = bench.fresh(2), alone = bench.fresh(1);
      bench.run(x, {.document_starts = {}, .valid_lengths = valid}, &state);
      bench.run(part(x, 1, 1, 0, 23), {}, &alone);
      const std::vector<std::int64_t> second = {1};
      const State row = state.select(second);
      for (const auto& [field, var] : alone.fields()) {
        EXPECT_LE(deviation(row[field].value, var.value), kBound)
            << bench.name() << " state after padding " << field;
      }
    }
    const std::vector<std::int64_t> starts = {0, 13, 14, 40, 60};
    const Tensor packed = bench.run(x, {.document_starts = starts, .valid_lengths = {}});
    EXPECT_LE(deviation(part(packed, 0, 1, 14, 26), bench.run(part(x, 0, 1, 14, 26))), kBound)
        << bench.name() << " packing";
    EXPECT_LE(deviation(part(packed, 1, 1, 20, 20), bench.run(part(x, 1, 1, 20, 20))), kBound)
        << bench.name() << " packing";
  }
}

TEST(Laws, L3BatchIndependence) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const Tensor x = inputs(5, 33);
    const Tensor all = bench.run(x);
    for (std::int64_t b : {0, 4}) {
      EXPECT_LE(deviation(part(all, b, 1, 0, 33), bench.run(part(x, b, 1, 0, 33))), kBound)
          << bench.name() << " row " << b;
    }
  }
}

// What a state field holds: a cache may have spare room behind it, nobody's to compare.
Tensor held(const Bench& bench, const State& row, const std::string& field) {
  const Tensor& t = row[field].value;
  if (!bench.grows()) return t;
  return t.reshaped({t.shape()[1], t.numel() / t.shape()[1]}).rows(0, row.positions());
}

// In a batch on two threads and alone on one.
TEST(Laws, L3DecodingGivesTheSameBitsAloneAndInABatch) {
  constexpr std::int64_t kBatch = 5, kPrefill = 33, kSteps = 6;
  for (const Variant& v : variants()) {
    Bench batch(v, 2), single(v, 1);
    const Tensor x = inputs(kBatch, kPrefill + kSteps);
    State all = batch.fresh(kBatch);
    const Tensor prefilled = batch.run(part(x, 0, kBatch, 0, kPrefill), {}, &all);
    std::vector<State> alone;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      State& own = alone.emplace_back(single.fresh(1));
      const Tensor y = single.run(part(x, b, 1, 0, kPrefill), {}, &own);
      EXPECT_TRUE(same_bits(y, prefilled.rows(b, 1))) << batch.name() << " prefill of row " << b;
      const std::int64_t rows[] = {b};
      const State of_all = all.select(rows);
      for (const auto& [field, var] : own.fields()) {
        EXPECT_TRUE(same_bits(held(single, own, field), held(batch, of_all, field)))
            << batch.name() << " prefill of row " << b << ", state " << field;
      }
      own = of_all;
    }
    for (std::int64_t t = kPrefill; t < kPrefill + kSteps; ++t) {
      const Tensor y = batch.run(part(x, 0, kBatch, t, 1), {}, &all);
      for (std::int64_t b = 0; b < kBatch; ++b) {
        State& own = alone[static_cast<std::size_t>(b)];
        EXPECT_TRUE(same_bits(single.run(part(x, b, 1, t, 1), {}, &own), y.rows(b, 1)))
            << batch.name() << " row " << b << " position " << t;
        const std::int64_t rows[] = {b};
        const State of_all = all.select(rows);
        for (const auto& [field, var] : own.fields()) {
          EXPECT_TRUE(same_bits(held(single, own, field), held(batch, of_all, field)))
              << batch.name() << " row " << b << " position " << t << ", state " << field;
        }
      }
    }
  }
}

TEST(Laws, L4Causality) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const Tensor x = inputs(1, 50), changed = x.clone();
    for (std::int64_t i = 31 * kWidth; i < 50 * kWidth; ++i) changed.data<float>()[i] = 100;
    EXPECT_LE(deviation(part(bench.run(changed), 0, 1, 0, 31), part(bench.run(x), 0, 1, 0, 31)),
              1e-6)
        << bench.name();
  }
}

TEST(Laws, L5FastImplementationsEqualTheLiteralRecurrence) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    for (const double amplitude : {0.1, 1.0, 5.0}) {
      const Tensor x = inputs(2, 65, 3, amplitude);
      const Tensor fast = bench.run(x);
      bench.engine.kernels.use_reference_only(true);
      EXPECT_LE(deviation(fast, bench.run(x)), kBound)
          << bench.name() << " amplitude " << amplitude;
      bench.engine.kernels.use_reference_only(false);
    }
  }
}

TEST(Laws, L7StateRoundTripAndFork) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const Tensor x = inputs(2, 30), other = inputs(2, 10, 8);
    State state = bench.fresh(2);
    bench.run(part(x, 0, 2, 0, 20), {}, &state);
    // Save and load through a file's bytes.
    NamedTensors named;
    for (const auto& [field, var] : state.fields()) named.emplace_back(field, var.value);
    const std::string path = testing::TempDir() + "/state.safetensors";
    write_safetensors(path, named);
    const Safetensors file(path);
    State loaded = bench.fresh(2);
    for (const auto& [field, tensor] : named) loaded[field] = Var{file.read(field)};
    loaded.set_positions(state.positions());
    State fork = state;
    const Tensor on_fork = bench.run(other, {}, &fork);  // must not disturb the original
    const Tensor continued = bench.run(part(x, 0, 2, 20, 10), {}, &state);
    EXPECT_TRUE(same_bits(bench.run(part(x, 0, 2, 20, 10), {}, &loaded), continued))
        << bench.name() << " load";
    State again = bench.fresh(2);
    bench.run(part(x, 0, 2, 0, 20), {}, &again);
    EXPECT_TRUE(same_bits(bench.run(other, {}, &again), on_fork)) << bench.name() << " fork";
    EXPECT_LE(deviation(continued, part(bench.run(x), 0, 2, 20, 10)), 5 * kBound) << bench.name();
  }
}

// The law allows 1 %; both counts are exact, and a wrong term of a small core must not hide behind
// the projections. The mixer's text runs as it is; each core behind it is the literal recurrence on
// a counting scalar.
TEST(Laws, L8RecurrentCostIsWhatTheReferenceMultiplies) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    bench.engine.kernels = counting_kernels();
    for (const std::int64_t T : {1, 7, 64, 200}) {
      Counted::multiplications = 0;
      bench.run(inputs(1, T));
      const auto counted = static_cast<double>(Counted::multiplications);
      EXPECT_NEAR(bench.mixer->cost(T).macs, counted, 1e-3 * counted)
          << bench.name() << " of " << T << " tokens";
    }
    // Cost of recurrent mixers is linear in the length; attention's core is quadratic.
    const double one = bench.mixer->cost(1000).macs, two = bench.mixer->cost(2000).macs;
    if (!bench.grows()) EXPECT_DOUBLE_EQ(two, 2 * one) << bench.name();
  }
}

TEST(Laws, L8ExecutedCostIsWhatEntersTheLeafProducts) {
  constexpr std::int64_t kBatch = 8;  // so that heads of a group share their key's work
  for (const Variant& v : variants()) {
    for (const int threads : {1, 2}) {
      Bench bench(v, threads);
      for (const std::int64_t T : {1, 7, 64, 200, 300}) {
        const std::int64_t before = bench.engine.threads.macs();
        bench.run(inputs(kBatch, T));
        const auto counted = static_cast<double>(bench.engine.threads.macs() - before) / kBatch;
        EXPECT_NEAR(bench.mixer->cost(T).executed_macs, counted, 1e-3 * counted)
            << bench.name() << " of " << T << " tokens, " << threads << " threads";
      }
    }
  }
}

TEST(Laws, L8StateBytesAreWhatIsAllocated) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const StateSpec spec = bench.mixer->state_spec();
    State state = bench.fresh(1);
    for (const std::int64_t T : {1, 63}) {  // the second meets a state that is not fresh
      bench.run(inputs(1, T), {}, &state);
      std::int64_t bytes = 0;
      for (const auto& [field, var] : state.fields()) {
        // A cache may have spare room of at most half of what it holds; the spec counts what it
        // holds.
        const std::int64_t rows = bench.grows() ? var.shape()[1] : 1;
        const std::int64_t used = bench.grows() ? state.positions() : 1;
        EXPECT_LE(rows, used + used / 2) << bench.name() << " " << field;
        bytes += var.value.bytes() / rows * used;
      }
      EXPECT_EQ(bytes, state_bytes(spec, state.positions())) << bench.name();
    }
  }
}

TEST(Laws, L9FullLongRunsStayFinite) {
  for (const MixerEntry& e : all_mixers()) {
    Bench bench({e.kind, "{}"});
    if (bench.grows()) continue;                                       // nothing accumulates
    for (float& w : bench.store->flat_values().host<float>()) w *= 4;  // saturated gates
    State state = bench.fresh(1);
    const Tensor x = inputs(1, 1000, 2, 30);
    for (int piece = 0; piece < 100; ++piece) {
      for (float y : bench.run(x, {}, &state).host<float>())
        ASSERT_TRUE(std::isfinite(y)) << e.kind << " piece " << piece;
    }
    for (const auto& [field, var] : state.fields()) {
      for (float s : var.value.host<float>())
        ASSERT_TRUE(std::isfinite(s)) << e.kind << " " << field;
    }
  }
}

// Maxima and minima in vector code may drop a NaN; a poisoned weight must reach the output instead,
// in chunks and in single steps.
TEST(Laws, ANanInAnyParameterReachesTheOutput) {
  for (const Variant& v : variants()) {
    Bench bench(v);
    const Tensor x = inputs(1, 40);
    for (std::size_t i = 0; i < bench.plan.all().size(); ++i) {
      Tensor weight = bench.store->value({static_cast<std::int32_t>(i)});
      for (const std::int64_t element : {std::int64_t{0}, weight.numel() - 1}) {
        const float healthy = std::exchange(weight.data<float>()[element], NAN);
        for (const std::int64_t T : {std::int64_t{40}, std::int64_t{1}}) {
          State state = bench.fresh(1);
          const Tensor y = bench.run(part(x, 0, 1, 0, T), {}, &state);
          const auto values = y.host<float>();
          EXPECT_TRUE(std::any_of(values.begin(), values.end(), [](float o) { return o != o; }))
              << bench.name() << " " << bench.plan.all()[i].name << "[" << element
              << "], T = " << T;
        }
        weight.data<float>()[element] = healthy;
      }
    }
  }
}

TEST(Laws, L10SameBitsForAnyThreadCountAndEveryRepeat) {
  for (const Variant& v : variants()) {
    std::vector<Tensor> outputs, gradients;
    for (const int threads : {1, 2, 3, 1}) {
      Bench bench(v, threads);
      const Tensor x = inputs(6, 70);
      Tape tape;
      Context cx = bench.engine.context(*bench.store, &tape);
      const Var y = bench.mixer->forward(cx, tape.leaf(x), {}, nullptr);
      tape.add_grad(cx, y, y.value);
      tape.backward(cx);
      outputs.push_back(y.value.clone());
      gradients.push_back(bench.store->flat_grads().clone());
    }
    for (std::size_t i = 1; i < outputs.size(); ++i) {
      EXPECT_TRUE(same_bits(outputs[i], outputs[0])) << v.kind << v.options;
      EXPECT_TRUE(same_bits(gradients[i], gradients[0])) << v.kind << v.options;
    }
  }
}

}  // namespace
}  // namespace subquad
