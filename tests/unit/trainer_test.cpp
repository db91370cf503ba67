#include "subquad/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "subquad/train/evaluator.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

struct Bench {
  std::unique_ptr<Task> task = make_task("parity", {.seed = 1, .extra = {}});
  ParameterPlan plan;
  Model model;
  ParameterStore store;
  Engine engine;
  std::string folder;

  explicit Bench(const std::string& name, std::vector<std::string> layers = {"mlstm", "slstm"},
                 int threads = 1, Precision precision = Precision::f32)
      : model(ModelConfig{.vocabulary = 2,
                          .classes = 2,
                          .d_model = 16,
                          .heads = 2,
                          .mlp_hidden = 16,
                          .layers = std::move(layers),
                          .mixer_options = {}},
              plan),
        store(plan, DType::f32, 1),
        engine(threads, precision),
        folder(testing::TempDir() + "/subquad-trainer-" + name) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  }
  ~Bench() { std::filesystem::remove_all(folder); }
  TrainOutcome train(std::int64_t tokens) {
    TrainConfig c;
    c.tokens = tokens;
    c.warmup_steps = 2;
    c.precision = engine.precision == Precision::bf16 ? "bf16" : "f32";
    return Trainer(engine, model, store, *task, c, folder).run(nullptr);
  }
};

TEST(Trainer, NanInAWeightIsNamedBeforeAnyWeightChanges) {
  Bench bench("nan");
  std::int32_t index = 0;
  for (const ParamInfo& p : bench.plan.all()) {
    if (p.name == "blocks.1.mixer.in_proj.weight")
      bench.store.value(ParamId{index}).data<float>()[3] = NAN;
    ++index;
  }
  const Tensor before = bench.store.flat_values().clone();
  try {
    bench.train(4096);
    FAIL() << "trained on";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::numeric);
    const std::string text = e.what();
    for (const char* part : {"step 0", "op linear", "blocks.1.mixer"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  EXPECT_EQ(std::memcmp(before.raw(), bench.store.flat_values().raw(),
                        static_cast<std::size_t>(before.bytes())),
            0);
}

TEST(Trainer, LossFallsAndRepeatsBitForBit) {
  std::vector<std::string> digests;
  for (const char* name : {"a", "b"}) {
    Bench bench(name);
    const TrainOutcome o = bench.train(60000);
    EXPECT_LT(o.final_loss, 0.69);
    EXPECT_EQ(o.steps, 58);
    digests.push_back(weights_digest(bench.store));
  }
  EXPECT_EQ(digests[0], digests[1]);
}

// Other numbers than f32, the same for any number of threads, and no worse.
TEST(Trainer, RoundedProductsTrainAsWell) {
  std::vector<std::string> digests;
  std::vector<double> losses;
  for (const auto& [threads, precision] :
       {std::pair{1, Precision::f32}, {1, Precision::bf16}, {2, Precision::bf16}}) {
    Bench bench("bf16-" + std::to_string(losses.size()), {"mlstm", "slstm"}, threads, precision);
    losses.push_back(bench.train(60000).final_loss);
    digests.push_back(weights_digest(bench.store));
  }
  EXPECT_NE(digests[0], digests[1]);
  EXPECT_EQ(digests[1], digests[2]);
  EXPECT_NEAR(losses[1], losses[0], 0.01);
}

TEST(Trainer, TheEngineHasThePrecisionOfTheConfiguration) {
  Bench bench("precision");
  TrainConfig c;
  c.precision = "bf16";
  EXPECT_THROW(Trainer(bench.engine, bench.model, bench.store, *bench.task, c, bench.folder),
               Error);
  c.precision = "fp8";
  EXPECT_THROW(TrainConfig::from_json(c.to_json()), Error);
}

// 128 sequences are a slice: nine of them, the last one short, with ever fewer scored positions.
TEST(Gradients, SlicesOfALargeBatchAddUpToItsGradients) {
  constexpr std::int64_t kRows = 1100, kSlice = 128;
  const Tensor ids({kRows, 32}, DType::i32), targets({kRows, 32}, DType::i32);
  for (std::int32_t i = 0; i < kRows * 32; ++i) {
    const std::int32_t id = (i * 7 + i / 7) % 2;
    ids.data<std::int32_t>()[i] = id;
    targets.data<std::int32_t>()[i] = i % 1000 < i / 36 ? -1 : id;
  }
  const auto scored = [&](std::int64_t first, std::int64_t count) {
    const auto t = targets.rows(first, count).host<std::int32_t>();
    return static_cast<double>(std::count_if(t.begin(), t.end(), [](auto v) { return v >= 0; }));
  };
  // Twice: what a batch leaves behind must not count in the next.
  const auto gradients = [&](int threads, Precision precision, std::int64_t first,
                             std::int64_t count, double* loss) {
    Bench bench("gradients", {"mlstm", "slstm"}, threads, precision);
    Gradients g(bench.engine, bench.model, bench.store);
    for (int i = 0; i < 2; ++i) {
      bench.store.zero_grads();
      *loss = g.add({ids.rows(first, count), targets.rows(first, count)});
    }
    return bench.store.flat_grads().clone();
  };
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    double loss = 0, part = 0, sum_of_losses = 0;
    const Tensor all = gradients(1, precision, 0, kRows, &loss);
    const Tensor want = Tensor::zeros(all.shape(), DType::f64);
    for (std::int64_t first = 0; first < kRows; first += kSlice) {
      const std::int64_t count = std::min(kSlice, kRows - first);
      const double share = scored(first, count) / scored(0, kRows);
      const Tensor g = gradients(1, precision, first, count, &part);
      sum_of_losses += share * part;
      for (std::int64_t i = 0; i < g.numel(); ++i)
        want.data<double>()[i] += share * static_cast<double>(g.data<float>()[i]);
    }
    EXPECT_NEAR(loss, sum_of_losses, 1e-6);
    EXPECT_LE(deviation(all, want), precision == Precision::f32 ? 1e-5 : 1e-2);
    for (int threads : {2, 3}) {
      EXPECT_TRUE(same_bits(gradients(threads, precision, 0, kRows, &part), all)) << threads;
      EXPECT_EQ(part, loss);
    }
  }
}

TEST(Trainer, CheckpointsRoundTripAndTheNewestValidOneWins) {
  Bench bench("checkpoint");
  AdamW adam(bench.plan, DType::f32);
  Checkpoints saver(bench.folder + "/c");
  std::vector<std::string> digests;
  for (std::int64_t step : {1, 2, 3}) {
    bench.store.flat_values().data<float>()[0] += 1;
    saver.save(bench.store, adam,
               {.step = step,
                .tokens = 10 * step,
                .loss_sum = 0.1 * static_cast<double>(step),
                .loss_count = step});
    digests.push_back(weights_digest(bench.store));
  }
  EXPECT_FALSE(std::filesystem::exists(bench.folder + "/c/step-0000000001")) << "two are kept";
  ParameterStore other(bench.plan, DType::f32, 9);
  const auto state = Checkpoints(bench.folder + "/c").load(other, adam);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->step, 3);
  EXPECT_EQ(state->tokens, 30);
  EXPECT_EQ(weights_digest(other), digests[2]);
  // Truncate the newest: the older one is used, the damaged one set aside.
  std::filesystem::resize_file(bench.folder + "/c/step-0000000003/optim.safetensors", 100);
  const auto older = Checkpoints(bench.folder + "/c").load(other, adam);
  ASSERT_TRUE(older.has_value());
  EXPECT_EQ(older->step, 2);
  EXPECT_EQ(weights_digest(other), digests[1]);
  EXPECT_TRUE(std::filesystem::exists(bench.folder + "/c/step-0000000003.corrupt-1"));
}

TEST(Evaluator, ChunkwiseAndRecurrentAgree) {
  Bench bench("evaluate", {"gated_deltanet", "attention", "mamba2"});
  bench.train(20000);
  for (const LengthResult& r : evaluate(bench.engine, bench.model, bench.store, *bench.task,
                                        {.lengths = {32, 64}, .recurrent_positions = 4096})) {
    EXPECT_GE(r.agreement, 0.999) << r.length;
  }
}

TEST(Model, ArmPatterns) {
  using L = std::vector<std::string>;
  EXPECT_EQ(arm_layers("xlstm[1:1]", 4), (L{"mlstm", "slstm", "mlstm", "slstm"}));
  EXPECT_EQ(arm_layers("xlstm[7:1]", 8).back(), "slstm");
  EXPECT_EQ(arm_layers("xlstm[1:0]", 2), (L{"mlstm", "mlstm"}));
  EXPECT_EQ(arm_layers("gated_deltanet:attention[3:1]", 4),
            (L{"gated_deltanet", "gated_deltanet", "gated_deltanet", "attention"}));
  EXPECT_EQ(arm_layers("mamba2[-1,1]", 2), (L{"mamba2[-1,1]", "mamba2[-1,1]"}));
  EXPECT_EQ(arm_layers("mlstm,mamba2[-1,1],slstm", 3), (L{"mlstm", "mamba2[-1,1]", "slstm"}));
  EXPECT_THROW(arm_layers("mlstm,slstm", 3), Error);
  EXPECT_THROW(arm_layers("lstm", 2), Error);
  // Never another arm under the same name.
  for (const auto& [arm, blocks] : {std::pair{"gated_deltanet:attention[3:1]", 2},
                                    {"xlstm[7:1]", 2},
                                    {"xlstm[7:1]", 12},
                                    {"xlstm[1:1]", 3}}) {
    try {
      arm_layers(arm, blocks);
      ADD_FAILURE() << arm << " at " << blocks << " blocks";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(e.what()).find("set blocks to a multiple of"), std::string::npos)
          << e.what();
    }
  }
  try {
    arm_layers("ngram", 2);
    ADD_FAILURE() << "the n-gram has no layers";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find("did you mean"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace subquad
