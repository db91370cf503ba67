// What generated tasks draw: answers at chance, uniform inputs, the laws of MQAR.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "tests/unit/synthetic_variants.h"

namespace subquad {
namespace {

// Accuracy of the best constant answer to the last question of a row: chance, where the task says
// so, in training and in both held-out shares (the hash that chooses them must not favour an
// answer).
TEST(Synthetic, TheMajorityAnswerIsAtChance) {
  const std::set<std::string> skewed = {"anbn", "anbncn", "majority_count", "modular_arithmetic",
                                        "modular_arithmetic_brackets"};
  for (const Variant& v : variants()) {
    if (skewed.contains(v.task)) continue;
    SCOPED_TRACE(v.text());
    const auto task = v.make(7, 0);  // no curriculum
    const TaskSpec s = task->spec();
    // Few answers to a class tell little: look at the share of the most frequent one of up to 16
    // groups of classes.
    const auto groups = static_cast<double>(std::min<std::int64_t>(16, std::lround(1 / s.chance)));
    const auto check = [&](const std::vector<Batch>& batches, const char* what) {
      std::map<std::int32_t, double> count;
      double rows = 0;
      for (const Batch& b : batches) {
        for (const Row& row : rows_of(b)) {
          const std::int64_t at = last_scored(row);
          count[row.target[static_cast<std::size_t>(at)] % static_cast<std::int32_t>(groups)] += 1;
          rows += 1;
        }
      }
      double most = 0;
      for (const auto& [answer, n] : count) most = std::max(most, n);
      const double p = 1 / groups, chance_like = std::ceil(1 / s.chance / groups) * s.chance;
      EXPECT_LT(most / rows, chance_like + 5 * std::sqrt(p / rows)) << what << ", " << rows;
    };
    std::vector<Batch> train, test, validation;
    for (std::int64_t step = 0; step < 60; ++step) train.push_back(task->train_batch(step));
    for (const std::int64_t length : {s.lengths[0], s.lengths[1]}) {
      for (std::int64_t i = 0; i < task->eval_batches(Split::test, length); ++i) {
        test.push_back(task->eval_batch(Split::test, length, i));
        validation.push_back(task->eval_batch(Split::validation, length, i));
      }
    }
    check(train, "train");
    check(test, "test");
    check(validation, "validation");
  }
}

// Where the answers are not uniform, the spec's chance is that of a guess, not of the best constant
// answer: the counts of a most frequent symbol lie close together.
TEST(Synthetic, MajorityCountsLieCloseTogether) {
  const auto task = Variant{"majority_count", Json::Object{}}.make();
  std::map<std::int32_t, double> count;
  double rows = 0;
  for (std::int64_t i = 0; i < task->eval_batches(Split::test, 32); ++i) {
    for (const Row& row : rows_of(task->eval_batch(Split::test, 32, i))) {
      count[row.target[31]] += 1;
      rows += 1;
    }
  }
  EXPECT_LE(count.size(), 6U);
  EXPECT_GT(std::max(count[2], count[3]) / rows, 0.5);
}

TEST(Synthetic, InputsAreUniform) {
  // Of every symbol that rows draw uniformly: ids from, to (excluded).
  const std::tuple<const char*, std::int32_t, std::int32_t> cases[] = {{"parity", 0, 2},
                                                                       {"modular_addition", 0, 5},
                                                                       {"cycle_navigation", 0, 3},
                                                                       {"s3", 0, 6},
                                                                       {"a5", 0, 60},
                                                                       {"s5", 0, 120},
                                                                       {"even_pairs", 0, 2},
                                                                       {"plurality", 0, 16},
                                                                       {"modular_arithmetic", 0, 5},
                                                                       {"induction_heads", 0, 16},
                                                                       {"mqar", 1, 33},
                                                                       {"mqar", 33, 65},
                                                                       {"selective_copying", 2, 16},
                                                                       {"state_recall", 4, 6},
                                                                       {"binary_majority", 0, 2}};
  for (const auto& [name, from, to] : cases) {
    SCOPED_TRACE(name);
    const auto task = make_task(name, {.seed = 3, .extra = {}});
    std::map<std::int32_t, double> count;
    double all = 0;
    for (std::int64_t step = 0; step < 40; ++step) {
      for (const Row& row : rows_of(task->train_batch(step))) {
        for (const std::int32_t id : row.in) {
          if (id < from || id >= to) continue;
          count[id] += 1;
          all += 1;
        }
      }
    }
    const double p = 1.0 / (to - from);
    // Bits of one row of binary_majority share their probability: as noisy as 1280 rows.
    const double n = std::string(name) == "binary_majority" ? 1280 : all;
    for (std::int32_t id = from; id < to; ++id)
      EXPECT_NEAR(count[id] / all, p, 6 * std::sqrt(p / n)) << id;
  }
}

// One pair, 31 places: the g-th has a probability of g^-0.99 / sum.
TEST(Synthetic, PowerGapsFollowTheirLaw) {
  const auto task =
      Variant{"mqar", Json::Object{{"pairs", 1}, {"gaps", "power"}, {"train_length", 64}}}.make();
  std::map<std::int64_t, double> count;
  double rows = 0, sum = 0;
  for (std::int64_t step = 0; step < 400; ++step) {
    for (const Row& row : rows_of(task->train_batch(step))) {
      const std::int64_t at = last_scored(row);
      EXPECT_EQ(at % 2, 0);
      count[at / 2] += 1;
      rows += 1;
    }
  }
  for (int g = 1; g <= 31; ++g) sum += std::pow(g, -0.99);
  for (const int g : {1, 2, 3, 8, 31}) {
    const double p = std::pow(g, -0.99) / sum;
    EXPECT_NEAR(count[g] / rows, p, 5 * std::sqrt(p / rows)) << g;
  }
}

TEST(Synthetic, ThePapersGridMixesLengthsAndPairs) {
  const auto task = Variant{"mqar", Json::Object{{"grid", "paper"}}}.make();
  std::map<std::int64_t, std::set<std::int64_t>> pairs;  // by length
  std::map<std::int64_t, double> steps;
  const auto queries = [](const Row& row) {
    return static_cast<std::int64_t>(row.target.size()) -
           std::count(row.target.begin(), row.target.end(), -1);
  };
  for (std::int64_t step = 0; step < 90; ++step) {
    const std::vector<Row> rows = rows_of(task->train_batch(step));
    steps[static_cast<std::int64_t>(rows[0].in.size())] += 1;
    for (std::size_t r = 0; r < 12; ++r)
      pairs[static_cast<std::int64_t>(rows[r].in.size())].insert(queries(rows[r]));
  }
  using Pairs = std::map<std::int64_t, std::set<std::int64_t>>;
  EXPECT_EQ(pairs, (Pairs{{64, {4}}, {128, {8}}, {256, {16, 32, 64}}}));
  EXPECT_NEAR(steps[64] / 90, 5.0 / 9, 0.2);
  const std::map<std::int64_t, std::int64_t> tested = {
      {64, 4}, {128, 8}, {256, 16}, {512, 64}, {1024, 256}};
  for (const auto& [length, count] : tested)
    EXPECT_EQ(queries(rows_of(task->eval_batch(Split::test, length, 0))[0]), count) << length;
}

}  // namespace
}  // namespace subquad
