// `subquad verify`: every mixer agrees with its literal reference in all execution modes.
#include <sstream>

#include "subquad/mixer/all_mixers.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

TEST(Verify, EveryMixerAgrees) {
  const Outcome o = run_program("verify");
  EXPECT_EQ(o.code, 0) << o.text;
  for (const MixerEntry& entry : all_mixers()) {
    std::istringstream lines(o.text);
    std::string line;
    int found = 0;
    while (std::getline(lines, line)) {
      if (!line.starts_with(entry.kind + " ")) continue;
      ++found;
      EXPECT_TRUE(line.ends_with(" agree")) << line;
    }
    EXPECT_EQ(found, 1) << entry.kind << " in:\n" << o.text;
  }
}

TEST(Verify, OneMixerAlone) {
  const Outcome o = run_program("verify --mixer slstm");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_NE(o.text.find("\nslstm "), std::string::npos) << o.text;
  EXPECT_EQ(o.text.find("mlstm"), std::string::npos) << o.text;
}

}  // namespace
}  // namespace subquad
