// Packed weights: what the codes mean, every kernel against the literal one, and whole models.
#include "subquad/backend/packed.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <set>

#include "subquad/backend/bf16.h"
#include "subquad/model/engine.h"
#include "subquad/model/model.h"
#include "subquad/quant/pack.h"
#include "subquad/train/checkpoint.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

constexpr Packing kAll[] = {Packing::f32, Packing::bf16, Packing::int8, Packing::int4};

PackedWeight packed(const Tensor& w, Packing packing) {
  const Shape s = w.shape();
  PackedWeight::Run run = empty_run(packing, s[0], s[1]);
  pack_rows(w.data<float>(), 0, s[0], s[1], run);
  return {s, {run}};
}
PackedRows rows_of(const PackedWeight& w) {
  PackedRows rows;
  w.for_runs(0, w.shape()[0], [&](const PackedRows& r, std::int64_t) { rows = r; });
  return rows;
}

TEST(Packed, CodesMeanWhatTheyWereMadeFrom) {
  const Tensor w = random_tensor({5, 200}, 1);
  const float* x = w.data<float>();
  const auto f = packed(w, Packing::f32), b = packed(w, Packing::bf16),
             i8 = packed(w, Packing::int8), i4 = packed(w, Packing::int4);
  for (std::int64_t r = 0; r < 5; ++r) {
    const float scale = rows_of(i8).row_of_scales(r)[0];
    for (std::int64_t k = 0; k < 200; ++k, ++x) {
      EXPECT_EQ(rows_of(f).at(r, k), *x);
      EXPECT_EQ(rows_of(b).at(r, k), round_to_bf16(*x));
      EXPECT_LE(std::abs(rows_of(i8).at(r, k) - *x), 0.5001F * scale);
      // The largest element may be clamped, by what the least squared error allows.
      const float group = std::abs(rows_of(i4).row_of_scales(r)[k / kInt4Group]);
      EXPECT_LE(std::abs(rows_of(i4).at(r, k) - *x), 1.51F * group);
    }
  }
  EXPECT_EQ(f.bytes(), 5 * 800);
  EXPECT_EQ(b.bytes(), 5 * 400);
  EXPECT_EQ(i8.bytes(), 5 * (200 + 4));
  EXPECT_EQ(i4.bytes(), 5 * (128 + 16));
}

TEST(Packed, Int4LiesAsTheFormatSays) {
  // Element 16 j + i of a block: bits [4 j, 4 j + 4) of word i.
  const Tensor w = filled({1, 128}, [](std::uint64_t k) { return static_cast<int>(k % 16) - 8; });
  const PackedWeight p = packed(w, Packing::int4);
  std::uint32_t words[16];
  std::memcpy(words, rows_of(p).codes, sizeof words);
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_EQ(words[i], 0x11111111U * i);
  EXPECT_EQ(rows_of(p).scales[0], 1);
  EXPECT_EQ(rows_of(p).scales[1], 1);
}

TEST(Packed, ZerosInfinitiesAndTinyNumbers) {
  for (const Packing packing : {Packing::int8, Packing::int4}) {
    const auto value = [&](float x) {
      const Tensor w = filled({1, 64}, [&](std::uint64_t k) { return k == 9 ? x : 0.0F; });
      return rows_of(packed(w, packing)).at(0, 9);
    };
    EXPECT_EQ(value(0), 0);
    EXPECT_EQ(value(1e-44F), 0);  // no room for a scale
    EXPECT_TRUE(std::isnan(value(std::numeric_limits<float>::infinity())));
    EXPECT_TRUE(std::isnan(value(std::numeric_limits<float>::quiet_NaN())));
    EXPECT_NEAR(value(3e38F) / 3e38F, 1, 0.01);  // its square is no f32
    EXPECT_NEAR(value(-2e-30F) / -2e-30F, 1, 0.01);
  }
}

// One run of a kernel.
struct Case {
  Tensor x, b, y;
  PackedWeight w;
  std::vector<PackedPart> parts;

  Case(const Tensor& x_in, const Tensor& b_in, PackedWeight w_in)
      : x(x_in), b(b_in), y(nan_tensor({x.shape()[0], w_in.shape()[0]})), w(std::move(w_in)) {
    w.for_runs(0, w.shape()[0], [&](const PackedRows& rows, std::int64_t first) {
      View<float, 2> to = y.view<float, 2>();
      to.data += first;
      to.dims[1] = rows.rows;
      parts.push_back(
          {x.view<const float, 2>(), rows,
           b ? b.slice(first, {rows.rows}).view<const float, 1>() : View<const float, 1>{}, to});
    });
  }
  PackedLinear args(bool single, Precision precision) const { return {parts, single, precision}; }
};

KernelTable kernels() {
  KernelTable table;
  add_packed_cpu(table);
  add_packed_reference(table);
  return table;
}

// Every kernel, set of instructions and storage; runs of two kinds in one weight.
TEST(Packed, KernelsEqualTheReference) {
  const KernelTable table = kernels();
  ThreadPool threads(2);
  std::size_t compared = 0;
  for (const Packing packing : kAll) {
    for (const auto& [n, outs, ins] : {std::array<std::int64_t, 3>{1, 1, 1},
                                       {1, 70, 768},
                                       {2, 5, 33},
                                       {3, 130, 300},
                                       {8, 66, 129},
                                       {13, 7, 1000},
                                       {97, 100, 257}}) {
      const Tensor x = random_tensor({n, ins}, 1), w = random_tensor({outs, ins}, 2),
                   b = n % 2 ? random_tensor({outs}, 3) : Tensor();
      PackedWeight::Run first = empty_run(packing, (outs + 1) / 2, ins),
                        second = empty_run(Packing::f32, outs / 2, ins);
      pack_rows(w.data<float>(), 0, (outs + 1) / 2, ins, first);
      pack_rows(w.data<float>() + (outs + 1) / 2 * ins, 0, outs / 2, ins, second);
      const PackedWeight mixed({outs, ins}, {first, second});
      for (const PackedWeight& weight : {packed(w, packing), mixed}) {
        for (const Precision precision : {Precision::f32, Precision::bf16}) {
          for (const bool single : {false, true}) {
            const Case want(x, b, weight);
            table.all<PackedLinear>().back().run(want.args(single, precision), threads);
            for (const std::string& set : instruction_sets()) {
              use_instruction_set(set);
              for (const auto& impl : table.all<PackedLinear>()) {
                const Case got(x, b, weight);
                const PackedLinear args = got.args(single, precision);
                if (impl.accepts && !impl.accepts(args)) continue;
                impl.run(args, threads);
                ++compared;
                for (std::int64_t i = 0; i < got.y.numel(); ++i) {
                  ASSERT_NEAR(got.y.data<float>()[i], want.y.data<float>()[i],
                              3e-6 * std::sqrt(static_cast<double>(ins)) * 4)
                      << impl.name << " " << set << " " << name_of(packing) << " " << n << "x"
                      << outs << "x" << ins << " element " << i;
                }
              }
            }
            use_instruction_set(instruction_sets().back());
          }
        }
      }
    }
  }
  EXPECT_GT(compared, 500U);
}

// A row has the same bits alone, in any batch, and for any number of threads.
TEST(Packed, BitsDoNotDependOnTheBatchOrThreads) {
  const KernelTable table = kernels();
  ThreadPool one(1), three(3);
  for (const Packing packing : kAll) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      const std::int64_t outs = 203, ins = 389;
      const Tensor x = random_tensor({11, ins}, 1);
      const PackedWeight w = packed(random_tensor({outs, ins}, 2), packing);
      for (const std::string& set : instruction_sets()) {
        use_instruction_set(set);
        for (const auto& impl : table.all<PackedLinear>()) {
          const Case whole(x, {}, w), again(x, {}, w);
          const bool single = impl.name == "stream";
          if (impl.accepts && !impl.accepts(whole.args(single, precision))) continue;
          impl.run(whole.args(single, precision), one);
          impl.run(again.args(single, precision), three);
          EXPECT_TRUE(same_bits(whole.y, again.y)) << impl.name << " " << set;
          for (std::int64_t n = 0; n < 11; ++n) {
            const Case alone(x.rows(n, 1), {}, w);
            impl.run(alone.args(single, precision), three);
            EXPECT_TRUE(same_bits(alone.y, whole.y.rows(n, 1)))
                << impl.name << " " << set << " " << name_of(packing) << " row " << n;
          }
        }
      }
      use_instruction_set(instruction_sets().back());
    }
  }
}

TEST(Packed, WhatIsNotANumberStaysInItsRowAndColumn) {
  const KernelTable table = kernels();
  ThreadPool threads(1);
  for (const Packing packing : kAll) {
    Tensor x = random_tensor({5, 130}, 1), w = random_tensor({9, 130}, 2);
    x.data<float>()[2 * 130 + 7] = std::numeric_limits<float>::quiet_NaN();
    x.data<float>()[3 * 130 + 129] = std::numeric_limits<float>::infinity();
    w.data<float>()[4 * 130 + 1] = std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t k = 0; k < 130; ++k) w.data<float>()[6 * 130 + k] = 0;
    for (const auto& impl : table.all<PackedLinear>()) {
      const Case c(x, {}, packed(w, packing));
      if (impl.accepts && !impl.accepts(c.args(true, Precision::f32))) continue;
      impl.run(c.args(true, Precision::f32), threads);
      for (std::int64_t n = 0; n < 5; ++n) {
        for (std::int64_t o = 0; o < 9; ++o) {
          const float y = c.y.data<float>()[n * 9 + o];
          EXPECT_EQ(std::isfinite(y), n != 2 && n != 3 && o != 4) << impl.name << n << " " << o;
          if (o == 6 && n < 2) EXPECT_EQ(y, 0);
        }
      }
    }
  }
}

TEST(Packed, EmbeddingRowsAreTheWeights) {
  const KernelTable table = kernels();
  ThreadPool threads(1);
  for (const Packing packing : kAll) {
    for (const std::int64_t ins : {1, 40, 64, 130, 700}) {
      const Tensor w = random_tensor({7, ins}, 2);
      const PackedWeight a = packed(w, packing), b = packed(w, Packing::bf16);
      const PackedRows runs[] = {rows_of(a), rows_of(b)};
      const std::int32_t list[] = {6, 0, 13, 7, 3};
      const Tensor ids = Tensor::from<std::int32_t>({5}, list);
      for (const auto& impl : table.all<PackedEmbedding>()) {
        const Tensor y = nan_tensor({5, ins});
        impl.run({ids.view<const std::int32_t, 1>(), runs, y.view<float, 2>()}, threads);
        for (std::int64_t n = 0; n < 5; ++n) {
          for (std::int64_t k = 0; k < ins; ++k)
            EXPECT_EQ(y.data<float>()[n * ins + k], runs[list[n] / 7].at(list[n] % 7, k));
        }
      }
    }
  }
}

ModelConfig config_of(const std::string& kind) {
  ModelConfig c;
  c.vocabulary = c.classes = 50;
  c.d_model = 128;
  c.mlp_hidden = 96;
  c.layers = {kind, kind};
  c.tied = kind == "mamba2";
  return c;
}

// A packed model is the model of its unpacked weights, in prefill and in decoding, for every mixer.
TEST(PackedModel, IsTheModelOfItsUnpackedWeights) {
  for (const MixerEntry& mixer : all_mixers()) {
    const std::string& kind = mixer.kind;
    ParameterPlan plan;
    const Model model(config_of(kind), plan);
    const ParameterStore exact(plan, DType::f32, 3);
    Engine engine(2);
    for (const Packing packing : {Packing::bf16, Packing::int8, Packing::int4}) {
      ParameterStore small = packed_store(exact, packing, engine.threads);
      ParameterStore wide = ParameterStore::zeros(plan, DType::f32);
      std::size_t packed_parameters = 0;
      for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan.all().size()); ++i) {
        packed_parameters += small.packed({i}) != nullptr;
        const Tensor from = exact_value(small, {i}), to = wide.value({i});
        std::memcpy(to.raw(), from.raw(), static_cast<std::size_t>(to.bytes()));
      }
      EXPECT_GE(packed_parameters, 5U) << kind;
      EXPECT_LT(small.bytes(), exact.bytes() * 7 / 10) << kind << " " << name_of(packing);
      const Tensor ids({2, 9}, DType::i32);
      for (std::int64_t i = 0; i < 18; ++i)
        ids.data<std::int32_t>()[i] = static_cast<std::int32_t>(7 * i % 50);
      const auto logits = [&](ParameterStore& store, bool steps) {
        Context cx = engine.context(store);
        if (!steps) return model.logits(cx, ids, {}, nullptr).value;
        ModelState state = model.new_state(2, DType::f32);
        Tensor last;
        for (std::int64_t t = 0; t < 9; ++t) {
          const std::int32_t now[] = {ids.data<std::int32_t>()[t], ids.data<std::int32_t>()[9 + t]};
          last = model.logits(cx, Tensor::from<std::int32_t>({2, 1}, now), {}, &state).value;
        }
        return last;
      };
      for (const bool steps : {false, true}) {
        const Tensor a = logits(small, steps), b = logits(wide, steps);
        for (std::int64_t i = 0; i < a.numel(); ++i)
          ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 2e-4) << kind << name_of(packing);
      }
    }
  }
}

TEST(PackedModel, GatesStayExactAndTrainingIsRefused) {
  ParameterPlan plan;
  const Model model(config_of("mlstm"), plan);
  ParameterStore exact(plan, DType::f32, 3);
  Engine engine;
  ParameterStore small = packed_store(exact, Packing::int4, engine.threads);
  std::int32_t index = 0;
  bool seen = false;
  for (const ParamInfo& p : plan.all()) {
    const ParamId id{index++};
    if (!p.name.ends_with("mixer.in_proj.weight")) continue;
    seen = true;
    ASSERT_EQ(p.exact_rows.size(), 1U);
    const auto [first, end] = p.exact_rows[0];
    EXPECT_EQ(end - first, 8);  // two gates of four heads
    EXPECT_TRUE(
        same_bits(exact.value(id).rows(first, 8), small.packed(id)->unpacked().rows(first, 8)));
    EXPECT_FALSE(same_bits(exact.value(id).rows(0, 8), small.packed(id)->unpacked().rows(0, 8)));
    EXPECT_THROW((void)small.value(id), Error);
  }
  EXPECT_TRUE(seen);
  Tape tape;
  Context cx = engine.context(small, &tape);
  const Tensor ids = Tensor::zeros({1, 3}, DType::i32);
  try {
    model.loss(cx, ids, ids, {});
    ADD_FAILURE() << "trained";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(e.what()).find("embedding.weight is stored as int4"), std::string::npos)
        << e.what();
  }
  EXPECT_THROW((void)small.flat_values(), Error);
  EXPECT_THROW((void)small.flat_grads(), Error);
}

// What a saved state is tied to: other bits, other digest.
TEST(PackedModel, HasADigestOfItsOwn) {
  ParameterPlan plan;
  const Model model(config_of("attention"), plan);
  const ParameterStore exact(plan, DType::f32, 3), other(plan, DType::f32, 4);
  ThreadPool threads(2);
  std::set<std::string> digests = {weights_digest(exact), weights_digest(other)};
  for (const Packing packing : {Packing::bf16, Packing::int8, Packing::int4}) {
    const std::string digest = weights_digest(packed_store(exact, packing, threads));
    EXPECT_EQ(digest, weights_digest(packed_store(exact, packing, threads)));
    digests.insert(digest);
    digests.insert(weights_digest(packed_store(other, packing, threads)));
  }
  EXPECT_EQ(digests.size(), 8U);
}

TEST(PackedModel, ErrorsAreReportedByClassAndRefusedIfNotFinite) {
  ParameterPlan plan;
  const Model model(config_of("attention"), plan);
  const ParameterStore exact(plan, DType::f32, 3);
  ThreadPool threads(2);
  double last = 0;
  for (const Packing packing : {Packing::bf16, Packing::int8, Packing::int4}) {
    const auto errors = packing_errors(exact, packed_store(exact, packing, threads));
    ASSERT_EQ(errors.size(), 7U);  // embedding, in, out, mlp in, mlp out, head; the rest
    EXPECT_EQ(errors[1].name, "mixer.in_proj");
    EXPECT_EQ(errors.back().name, "(f32)");
    std::int64_t parameters = 0;
    for (const PackingError& e : errors) parameters += e.parameters;
    EXPECT_EQ(parameters, plan.parameter_count());
    EXPECT_GT(errors[1].relative_error, 2 * last);
    EXPECT_GE(errors[1].worst_error, errors[1].relative_error);
    last = errors[1].relative_error;
  }
  EXPECT_NEAR(last, 0.08, 0.03);  // normal numbers in 16 levels
  exact.flat_values().data<float>()[plan.all()[2].offset + 129] =
      std::numeric_limits<float>::infinity();
  try {
    packed_store(exact, Packing::int8, threads);
    ADD_FAILURE() << "packed";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::numeric);
    EXPECT_NE(std::string(e.what()).find("row 1, column 1 is inf"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace subquad
