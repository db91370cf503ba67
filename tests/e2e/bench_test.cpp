// `subquad bench` keeps the contract of the side-by-side measurements: one JSON line per workload,
// exit status 2 and nothing on standard output for an unknown name.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>

#include "subquad/io/json.h"

namespace subquad {
namespace {

struct Finished {
  int status = 0;
  std::string out;
};

Finished run(const std::string& arguments) {
  Finished f;
  FILE* pipe = popen(("'" SUBQUAD_PROGRAM "' " + arguments + " 2>/dev/null").c_str(), "r");
  char buffer[4096];
  for (std::size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) f.out.append(buffer, n);
  f.status = WEXITSTATUS(pclose(pipe));
  return f;
}

TEST(Bench, PrintsOneJsonLineForAWorkload) {
  const Finished f = run("bench --name core/gdn/fwdbwd/b32t128h4d16 --seconds 0.02");
  ASSERT_EQ(f.status, 0);
  EXPECT_EQ(std::count(f.out.begin(), f.out.end(), '\n'), 1);
  const Json line = Json::parse(f.out, "bench");
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

TEST(Bench, RefusesUnknownNames) {
  const Finished f = run("bench --name core/gdn/fwdbwd/b1t1");
  EXPECT_EQ(f.status, 2);
  EXPECT_EQ(f.out, "");
  const Finished list = run("bench --list");
  EXPECT_EQ(list.status, 0);
  EXPECT_NE(list.out.find("core/mlstm/fwd/b8t512h4d64\n"), std::string::npos);
}

}  // namespace
}  // namespace subquad
