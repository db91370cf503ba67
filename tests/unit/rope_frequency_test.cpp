// Stretched rotary positions.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "subquad/backend/sequence.h"

namespace subquad {
namespace {

TEST(RopeFrequency, UnscaledAndLinear) {
  EXPECT_DOUBLE_EQ(rope_frequency(0, 8, 10000, {}), 1);
  EXPECT_DOUBLE_EQ(rope_frequency(2, 8, 10000, {}), 0.01);
  EXPECT_DOUBLE_EQ(rope_frequency(2, 8, 10000, {.factor = 4}), 0.0025);
}

// Fast pairs stay, slow ones turn `factor` times slower, between them the two are blended without
// a jump at either end.
TEST(RopeFrequency, Bands) {
  const RopeScaling s{.factor = 8, .low = 1, .high = 4, .original_length = 64};
  const auto ratio = [&](double turns) {  // turns within the original length
    const double f = turns * 2 * std::numbers::pi / 64;
    return rope_frequency(1, 2, 1 / f, s) / f;
  };
  EXPECT_NEAR(ratio(10), 1, 1e-12);
  EXPECT_NEAR(ratio(4.0001), 1, 1e-3);
  EXPECT_NEAR(ratio(3.9999), 1, 1e-3);
  EXPECT_NEAR(ratio(2.5), (1.0 / 8 + 1) / 2, 1e-12);
  EXPECT_NEAR(ratio(1.0001), 1.0 / 8, 1e-3);
  EXPECT_NEAR(ratio(0.9999), 1.0 / 8, 1e-3);
  EXPECT_NEAR(ratio(0.01), 1.0 / 8, 1e-12);
}

}  // namespace
}  // namespace subquad
