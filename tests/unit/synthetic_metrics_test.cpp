// Metrics of generated tasks, from predictions whose score is known.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/synthetic_variants.h"

namespace subquad {
namespace {

// Metrics of one batch whose predictions are given.
double value(const Task& task, std::int64_t length, const Batch& b,
             const std::vector<std::int32_t>& predicted, const std::string& name) {
  const Scored s[1] = {{b, std::vector<float>(predicted.size(), 0.5F), predicted}};
  for (const Metric& m : task.score(length, s)) {
    if (m.name == name) return m.value;
  }
  ADD_FAILURE() << "no metric " << name;
  return -1;
}

std::vector<std::int32_t> targets(const Batch& b) {
  const auto t = b.targets.host<std::int32_t>();
  return {t.begin(), t.end()};
}

TEST(Synthetic, MetricsByHand) {
  const auto anbn = make_task("anbn", {.extra = {}});
  const Batch b = anbn->eval_batch(Split::test, 32, 0);
  auto predicted = targets(b);
  EXPECT_EQ(value(*anbn, 32, b, predicted, "stop_ratio"), 1);
  EXPECT_EQ(value(*anbn, 32, b, predicted, "exact"), 1);
  predicted[16 + 1 + 3] = 3;  // the end after the 4th b of 16
  EXPECT_DOUBLE_EQ(value(*anbn, 32, b, predicted, "stop_ratio"), 0.25);
  std::fill(predicted.begin(), predicted.end(), 2);
  EXPECT_EQ(value(*anbn, 32, b, predicted, "stop_ratio"), 2) << "never stops";
  EXPECT_DOUBLE_EQ(value(*anbn, 32, b, predicted, "balanced_accuracy"), 0.5);

  // n = 10: b's at 11 to 20, of which the last asks for the first c; c's at 21 to 30.
  const auto anbncn = make_task("anbncn", {.extra = {}});
  const Batch c = anbncn->eval_batch(Split::test, 32, 0);
  predicted = targets(c);
  EXPECT_EQ(value(*anbncn, 32, c, predicted, "stop_ratio"), 1);
  EXPECT_EQ(value(*anbncn, 32, c, predicted, "exact"), 1);
  predicted[15] = 3;  // the c after 5 b's
  EXPECT_DOUBLE_EQ(value(*anbncn, 32, c, predicted, "stop_ratio"), 0.5);
  predicted[30] = 3;  // and no end: the worse of the two counts
  EXPECT_DOUBLE_EQ(value(*anbncn, 32, c, predicted, "stop_ratio"), 2);
  EXPECT_EQ(value(*anbncn, 32, c, predicted, "exact"), 0);
  EXPECT_DOUBLE_EQ(value(*anbncn, 32, c, predicted, "balanced_accuracy"),
                   0.5 * (17.0 / 18 + 1.0 / 2));

  const auto parity = make_task("parity", {.extra = {}});
  const Batch p = parity->eval_batch(Split::test, 32, 0);
  auto half = targets(p);
  for (std::size_t i = 0; i < half.size(); ++i) {
    if (i % 32 >= 24) half[i] ^= 1;  // the last quarter all wrong
  }
  EXPECT_EQ(value(*parity, 32, p, half, "tail_accuracy"), 0);
  EXPECT_DOUBLE_EQ(value(*parity, 32, p, half, "accuracy"), 0.75);
  EXPECT_DOUBLE_EQ(value(*parity, 32, p, half, "scaled_accuracy"), 0.5);
  EXPECT_EQ(value(*parity, 32, p, half, "horizon"), 25);
  EXPECT_EQ(value(*parity, 32, p, half, "sequence_accuracy"), 0);
  auto one = targets(p);
  one[40] ^= 1;  // one mistake in the second row
  EXPECT_DOUBLE_EQ(value(*parity, 32, p, one, "sequence_accuracy"),
                   1 - 1.0 / static_cast<double>(p.inputs.shape()[0]));
}

// Power gaps put all queries early: a tail without a question has no accuracy.
TEST(Synthetic, WhatIsNotScoredHasNoAccuracy) {
  const auto mqar = Variant{"mqar", Json::Object{{"pairs", 1}, {"gaps", "power"}}}.make();
  Batch b = mqar->eval_batch(Split::test, 64, 0);
  b = {b.inputs.rows(0, 1), b.targets.rows(0, 1)};
  const bool late = last_scored(rows_of(b)[0]) >= 48;
  const Scored s[1] = {{b, std::vector<float>(64), targets(b)}};
  bool tail = false, all = false;
  for (const Metric& m : mqar->score(64, s)) {
    tail = tail || m.name == "tail_accuracy" || m.name == "scaled_tail_accuracy";
    all = all || (m.name == "accuracy" && m.value == 1);
  }
  EXPECT_FALSE(late) << "choose another row";
  EXPECT_FALSE(tail);
  EXPECT_TRUE(all);
}

// The metrics of single tasks, from predictions that are wrong exactly where the metric looks.
TEST(Synthetic, CloseAndMovedAccuracyByHand) {
  const auto majority = make_task("binary_majority", {.extra = {}});
  const Batch b = majority->eval_batch(Split::test, 64, 0);
  auto predicted = targets(b);
  std::size_t at = 0;
  for (const Row& row : rows_of(b)) {
    int sum = 0;
    for (std::size_t t = 0; t < row.in.size(); ++t, ++at) {
      sum += row.in[t] == 1 ? 1 : -1;
      if (row.target[t] >= 0 && std::abs(sum) <= 0.1 * static_cast<double>(t + 1))
        predicted[at] ^= 1;
    }
  }
  EXPECT_EQ(value(*majority, 64, b, predicted, "close_accuracy"), 0);
  EXPECT_GT(value(*majority, 64, b, predicted, "accuracy"), 0.5) << "the others are right";

  const auto recall = make_task("state_recall", {.extra = {}});
  const Batch s = recall->eval_batch(Split::test, 78, 0);
  predicted = targets(s);
  std::vector<bool> moved;
  for (const Row& row : rows_of(s)) {  // follow the address that the queried variable had first
    const auto last = static_cast<std::size_t>(last_scored(row));
    std::int32_t holder = row.in[last];
    const auto ops =
        static_cast<std::size_t>(std::find(row.in.begin(), row.in.end(), 2) - row.in.begin());
    for (std::size_t i = ops + 1; row.in[i] != 3; i += 2)
      holder = holder == row.in[i] ? row.in[i + 1] : holder == row.in[i + 1] ? row.in[i] : holder;
    moved.push_back(holder != row.in[last]);
  }
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    if (predicted[i] >= 0 && moved[i / 78]) predicted[i] ^= 1;
  }
  const double share = static_cast<double>(std::count(moved.begin(), moved.end(), true)) /
                       static_cast<double>(moved.size());
  EXPECT_NEAR(share, 0.8, 0.15);
  EXPECT_EQ(value(*recall, 78, s, predicted, "moved_accuracy"), 0);
  EXPECT_EQ(value(*recall, 78, s, predicted, "unmoved_accuracy"), 1);
  EXPECT_NEAR(value(*recall, 78, s, predicted, "accuracy"), 1 - share, 1e-12);
}

}  // namespace
}  // namespace subquad
