// What a run says about its data and costs, on a task whose every row is known.
#include "subquad/train/evidence.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace subquad {
namespace {

// Training batch i holds the rows (i i i i) and (i 0 0 0); the test of length 4 the rows (t t t t)
// for t = 1, 2, 3, that of length 8 rows of ones.
class KnownRows final : public Task {
 public:
  TaskSpec spec() const override {
    TaskSpec s;
    s.name = "known";
    s.vocabulary = s.classes = 8;
    s.train_length = 4;
    s.lengths = {4, 8};
    return s;
  }
  Batch train_batch(std::int64_t step) const override {
    const auto i = static_cast<std::int32_t>(step);
    return batch({{i, i, i, i}, {i, 0, 0, 0}});
  }
  std::int64_t eval_batches(Split, std::int64_t) const override { return 1; }
  Batch eval_batch(Split, std::int64_t length, std::int64_t) const override {
    if (length == 8) return batch({{1, 1, 1, 1, 1, 1, 1, 1}});
    return batch({{1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}, {2, 2, 2, 2}});
  }
  std::vector<Metric> score(std::int64_t, std::span<const Scored>) const override { return {}; }
  Json provenance() const override { return Json::object(); }
  std::string describe_sample(std::int64_t) const override { return ""; }

 private:
  static Batch batch(const std::vector<std::vector<std::int32_t>>& rows) {
    const auto B = static_cast<std::int64_t>(rows.size()),
               T = static_cast<std::int64_t>(rows[0].size());
    Batch b{Tensor({B, T}, DType::i32), Tensor({B, T}, DType::i32)};
    for (std::int64_t r = 0; r < B; ++r) {
      for (std::int64_t t = 0; t < T; ++t) {
        const auto id = rows[static_cast<std::size_t>(r)][static_cast<std::size_t>(t)];
        b.inputs.data<std::int32_t>()[r * T + t] = id;
        b.targets.data<std::int32_t>()[r * T + t] = id;
      }
    }
    return b;
  }
};

Json evidence(std::int64_t batches, Precision precision = Precision::f32) {
  ModelConfig c;
  c.vocabulary = c.classes = 8;
  c.d_model = 16;
  c.heads = 2;
  c.mlp_hidden = 16;
  c.layers = {"mlstm", "slstm"};
  ParameterPlan plan;
  const Model model(c, plan);
  ParameterStore store(plan, DType::f32, 1);
  Engine engine(1, precision);
  const KnownRows task;
  Json j = run_evidence(engine, model, store, task, plan.parameter_count(), batches);
  EXPECT_EQ(j.at("non_embedding_parameters").as_int(), plan.parameter_count() - 2 * 8 * 16);
  EXPECT_EQ(j.at("model_bytes").as_int(), 4 * plan.parameter_count());
  return j;
}

TEST(Evidence, CountsTestRowsThatWereTrainedOn) {
  const Json two = evidence(2).at("collisions"), three = evidence(3).at("collisions"),
             many = evidence(9).at("collisions");
  EXPECT_EQ(two.at("train_rows").as_int(), 4);
  EXPECT_EQ(two.at("shared").at("4").as_int(), 1);
  EXPECT_EQ(three.at("shared").at("4").as_int(), 3) << "a test row that occurs twice counts twice";
  EXPECT_EQ(many.at("shared").at("4").as_int(), 4);
  EXPECT_EQ(many.at("shared").at("8").as_int(), 0) << "a longer row is another row";
}

TEST(Evidence, TellsDataApartAndCountsWork) {
  const Json a = evidence(4), b = evidence(4), c = evidence(6);
  EXPECT_EQ(a.dump(), b.dump());
  EXPECT_NE(a.at("order_sha256"), c.at("order_sha256")) << "other batches";
  EXPECT_EQ(a.at("evaluator"), c.at("evaluator"));
  const Json& macs = a.at("forward_macs");
  EXPECT_GT(macs.at("counted").as_double(), 1000);
  EXPECT_NEAR(macs.at("counted").as_double() / macs.at("formula").as_double(), 1, 0.01);
  EXPECT_EQ(a.at("precision").as_string(), "f32");
  EXPECT_EQ(evidence(4, Precision::bf16).at("precision").as_string(), "bf16");
}

TEST(Evidence, OpeningsOfTheTestSplitAreAppended) {
  const std::string folder = testing::TempDir();
  std::filesystem::remove(folder + "/test_access.jsonl");
  log_test_access(folder, "train", "w", "");
  log_test_access(folder, "evaluate", "w", "longer \"lengths\"");
  std::ifstream in(folder + "/test_access.jsonl");
  std::string first, second;
  std::getline(in, first);
  std::getline(in, second);
  EXPECT_EQ(Json::parse(first, "line").at("by").as_string(), "train");
  EXPECT_EQ(Json::parse(second, "line").at("reason").as_string(), "longer \"lengths\"");
}

}  // namespace
}  // namespace subquad
