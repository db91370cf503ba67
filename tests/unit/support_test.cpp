// The comparisons every other test trusts.
#include "tests/support/support.h"

#include <hwy/targets.h>

#include <set>

namespace subquad {
namespace {

TEST(Support, ANanAnywhereIsTheLargestDeviation) {
  const Tensor want = random_tensor({5}, 1);
  EXPECT_EQ(deviation(want, want), 0);
  for (const std::size_t i : {0U, 2U, 4U}) {  // the last is not replaced by a number that follows
    Tensor got = want.clone();
    got.host<float>()[i] = NAN;
    EXPECT_TRUE(std::isnan(deviation(got, want))) << i;
    EXPECT_TRUE(std::isnan(deviation(want, got))) << i;
    EXPECT_TRUE(std::isnan(deviation(got, got))) << i;
    EXPECT_TRUE(std::isnan(deviation(to_double(got), want))) << i;
    EXPECT_FALSE(same_bits(got, got)) << i;
  }
}

TEST(Support, DeviationIsRelativeToTheLargestNumberWanted) {
  const Tensor want = filled({3}, [](std::uint64_t i) { return i == 1 ? -4.0 : 1.0; });
  const Tensor got = filled({3}, [](std::uint64_t i) { return i == 1 ? -4.0 : 2.0; });
  EXPECT_EQ(deviation(got, want), 0.25);
  EXPECT_EQ(deviation(got, want, 10), 0.1);
  EXPECT_TRUE(same_bits(want, want.clone()));
  EXPECT_FALSE(same_bits(want, want.reshaped({1, 3})));
  EXPECT_FALSE(
      same_bits(filled({1}, [](auto) { return 0.0; }), filled({1}, [](auto) { return -0.0; })));
}

TEST(Support, AnInstructionSetEndsWithItsScope) {
  const auto chosen = [] { return hwy::SupportedTargets(); };
  use_instruction_set(instruction_sets().back());
  const std::int64_t before = chosen();
  std::set<std::int64_t> all;
  for (const std::string& name : instruction_sets()) {
    try {
      const InstructionSet scope(name);
      all.insert(chosen());
      throw 1;
    } catch (int) {
    }
    EXPECT_EQ(chosen(), before) << name;
  }
  EXPECT_EQ(all.size(), instruction_sets().size());
  EXPECT_TRUE(all.contains(before));
  EXPECT_THROW(use_instruction_set("avx1024"), Error);
}

TEST(Support, APoolFilledWithNanGivesItOut) {
  StoragePool pool;
  fill_with_nan(pool, {nan_tensor({7, 3})});
  const Tensor t({7, 3}, DType::f32, &pool);
  EXPECT_TRUE(std::isnan(largest(t)));
}

}  // namespace
}  // namespace subquad
