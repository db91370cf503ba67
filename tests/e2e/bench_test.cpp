// `subquad bench` keeps the contract of the side-by-side measurements: one JSON line per workload,
// exit status 2 and nothing on standard output for an unknown name.
#include <gtest/gtest.h>

#include <algorithm>

#include "subquad/io/json.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

// Standard output alone.
Outcome run(const std::string& arguments) {
  return run_line(quoted(SUBQUAD_PROGRAM) + " " + arguments + " 2>/dev/null");
}

TEST(Bench, PrintsOneJsonLineForAWorkload) {
  const Outcome f = run("bench --name core/gdn/fwdbwd/b32t128h4d16 --seconds 0.02");
  ASSERT_EQ(f.code, 0);
  EXPECT_EQ(std::count(f.text.begin(), f.text.end(), '\n'), 1);
  const Json line = Json::parse(f.text, "bench");
  EXPECT_EQ(line.at("name").as_string(), "core/gdn/fwdbwd/b32t128h4d16");
  EXPECT_EQ(line.at("peer").as_string(), "subquad");
  EXPECT_EQ(line.at("variant").as_string(), "highway");
  EXPECT_EQ(line.at("dtype").as_string(), "f32");
  EXPECT_EQ(line.at("threads").as_int(), 1);
  EXPECT_EQ(line.at("tokens").as_int(), 32 * 128);
  EXPECT_GE(line.at("reps").as_int(), 3);
  EXPECT_GT(line.at("min_s").as_double(), 0);
  EXPECT_LE(line.at("min_s").as_double(), line.at("median_s").as_double());
  EXPECT_GT(line.at("peak_rss_bytes").as_int(), 1 << 20);
  // Whatever the machine: a measured fraction of its own peak, well away from nothing.
  EXPECT_GT(line.at("fraction_of_peak").as_double(), 0.002);
  EXPECT_LT(line.at("fraction_of_peak").as_double(), 1);
}

TEST(Bench, ForecastersOfThePublishedSize) {
  const Outcome call = run("bench --name forecast/35m/b1c512h64 --seconds 0.01");
  ASSERT_EQ(call.code, 0);
  const Json line = Json::parse(call.text, "bench");
  EXPECT_EQ(line.at("parameters").as_int(), 35'291'200);
  EXPECT_EQ(line.at("tokens").as_int(), 512 / 32 + 1) << "nothing is padded";
  EXPECT_EQ(run("bench --name forecast/train/150k/mamba2 --seconds 0.01").code, 0);
}

TEST(Bench, RefusesUnknownNames) {
  const Outcome f = run("bench --name core/gdn/fwdbwd/b1t1");
  EXPECT_EQ(f.code, 2);
  EXPECT_EQ(f.text, "");
  const Outcome list = run("bench --list");
  EXPECT_EQ(list.code, 0);
  EXPECT_NE(list.text.find("core/mlstm/fwd/b8t512h4d64\n"), std::string::npos);
}

}  // namespace
}  // namespace subquad
