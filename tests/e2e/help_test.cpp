// What the program says about itself, and that it says it wherever it is started.
#include <fstream>

#include "tests/e2e/program.h"

namespace subquad {
namespace {

TEST(Help, OfOneCommand) {
  expect(run_program("compare --help"), 0, {"--arms", "(comma-separated)", "0: the study's"});
  const Outcome train = run_program("train --help");
  expect(train, 0, {"--tokens", "Example"});
  EXPECT_EQ(train.text.find("--parent"), std::string::npos) << "of the program's own use only";
  EXPECT_EQ(run_program("help train").text, train.text);
  EXPECT_EQ(run_program("help trian").code, 2);
  expect(run_program("help"), 0, {"usage", "compare"});
  const Outcome completion = run_program("completion --help");
  expect(completion, 0, {"eval", "bash"});
  EXPECT_EQ(completion.text.find("COMPREPLY"), std::string::npos) << completion.text;
  expect(run_program("completion"), 0, {"COMPREPLY"});
  EXPECT_EQ(run_program("completion zsh").code, 2);
  expect(run_program("bench --help"), 0, {"--filter \"\" is all"});
  expect(run_program("bench --filter core/gdn/fwdbwd/b32t128h4d16 --seconds 0.01"), 0,
         {"foreign: cores", "! = "});
}

TEST(Help, TheDefaultStudyIsPartOfTheProgram) {
  const Folder f("anywhere");
  const std::string rest = " --arms mlstm --tasks parity --seeds 1 --jobs 1 --budget 1s --out " +
                           (f / "runs"),
                    there = "cd " + f.path() + ";";
  const Outcome own = run_program("compare" + rest, there);
  expect(own, 0, {"In short", "--budget 1s", "parity: tail accuracy of 0.99 or more"});
  // The plan of the file: the same folder, and nothing is left to do.
  const std::string file = quoted(std::string(SUBQUAD_SOURCE_DIR) + "/studies/default.toml");
  expect(run_program("compare " + file + rest, there), 0, {"1 runs are done, 0 are left"});
  EXPECT_EQ(run_program("compare studies/default.toml" + rest, there).code, 2);
}

}  // namespace
}  // namespace subquad
