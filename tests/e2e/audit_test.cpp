// Protocols and audits as a user meets them.
#include <fstream>

#include "tests/e2e/program.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

const std::string kPlan = R"(name = "t"
level = "claim"
arms = ["mlstm", "slstm"]
tasks = ["parity"]
seeds = 1
measure = false
[model]
d_model = 32
heads = 2
[train]
warmup_steps = 2
[task.parity]
tokens = 10000
lengths = [32, 1024]
)";
const std::string kProtocol = R"([protocol]
hypotheses = ["parity: slstm > mlstm"]
exclusion = "none"
conflict_of_interest = "none"
recipe_source = "one recipe for all"
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

// Study folders, by what their plan says.
std::string folder_with(const std::string& out, const std::string& text) {
  for (const auto& e : fs::directory_iterator(out)) {
    if (content(e.path() / "plan.toml").find(text) != std::string::npos) return e.path();
  }
  return "";
}

TEST(Audit, AClaimNeedsAProtocolFromBeforeItsRuns) {
  const Folder f("claim");
  const std::string plan = f / "t.toml", out = f / "runs", protocol = f / "t.protocol.json",
                    compare = "compare " + plan + " --jobs 2 --out " + out;
  write(plan, kPlan);
  expect(run_program(compare), 2, {"level = \"claim\"", "subquad protocol freeze " + plan});
  expect(run_program("protocol freeze " + plan), 2, {"no hypothesis", "[protocol]"});
  expect(run_program("protocol verify " + plan), 2, {"freeze the study first"});
  write(plan, kPlan + kProtocol);
  write(plan, replaced(kPlan + kProtocol, "[32, 1024]", "[40, 80]"));
  expect(run_program("protocol freeze " + plan), 2, {"task.parity.lengths", "primary metric"});
  write(plan, kPlan + kProtocol);
  expect(run_program("protocol freeze " + plan), 0,
         {protocol, "SHA-256", "1 paired seeds cannot decide", "6 seeds can"});
  const std::string frozen = content(protocol);
  expect(run_program("protocol freeze " + plan), 0, {"hashes match"});
  EXPECT_EQ(content(protocol), frozen) << "frozen once";
  expect(run_program(compare + " --budget 5s"), 2, {"--budget"});
  expect(run_program(compare), 0, {"In short"});
  const std::string study = folder_with(out, "tokens = 10000");
  EXPECT_EQ(content(study + "/plan.protocol.json"), frozen);
  expect(run_program("compare " + study + "/plan.toml --jobs 1 --out " + out), 0,
         {"2 runs are done, 0 are left"});
  const Outcome audit = run_program("audit " + study);
  expect(audit, 1,
         {"C1  PASS", "C2  PASS", "C3  PASS", "C5  PASS", "C6  PASS", "A1  PASS", "A3  PASS",
          "A5  PASS", "A6  PASS", "E1  PASS", "E7  PASS", "F2  PASS", "D1  FAIL", "B1  FAIL",
          "D7  N.A.", "the claim fails its audit"});
  EXPECT_NE(content(study + "/audit.json").find("\"worst\": \"FAIL\""), std::string::npos);

  // A change needs a dated amendment, and then is another study.
  write(plan, replaced(kPlan + kProtocol, "10000", "12000"));
  expect(run_program(compare), 2, {"tasks.parity.tokens: 10000 -> 12000", "protocol amend"});
  expect(run_program("protocol freeze " + plan), 2, {"10000 -> 12000"});
  expect(run_program("protocol amend " + plan), 2, {"reason"});
  expect(run_program("protocol amend " + plan + " --reason 'too short'"), 0, {"amended"});
  expect(run_program(compare), 0, {"In short"});
  expect(run_program("audit " + folder_with(out, "tokens = 12000")), 1,
         {"C1  WARN", "1 dated amendments"});
  // An edited protocol is worth nothing.
  write(protocol, replaced(content(protocol), "too short", "too long!"));
  expect(run_program(compare), 1, {"does not match its SHA-256"});
}

TEST(Audit, ALookIsShownAndNeverFails) {
  const Folder f("look");
  const std::string plan = f / "t.toml", out = f / "runs";
  write(plan, replaced(kPlan, "\"claim\"", "\"look\""));
  ASSERT_EQ(run_program("compare " + plan + " --jobs 2 --out " + out).code, 0);
  const std::string study = folder_with(out, "parity");
  expect(run_program("audit " + study), 0,
         {"C1  FAIL", "no frozen protocol", "F3  FAIL", "--rerun 3", "would fail a claim"});
  EXPECT_NE(content(study + "/report.html").find("no frozen protocol"), std::string::npos);
  ASSERT_EQ(run_program("compare " + plan + " --jobs 2 --out " + out).code, 0);
  EXPECT_TRUE(fs::exists(study + "/audit.json")) << "the results are still those";
  // Both runs again, from their configuration alone: the same weights.
  expect(run_program("audit " + study + " --rerun 3"), 0, {"F3  PASS", "C2  PASS"});
  expect(run_program("audit " + study + " --json"), 0, {"\"checks\"", "\"light\": \"PASS\""});
  expect(run_program("audit " + study + " --note F2"), 2, {"--note", "for example"});
  expect(run_program("audit " + study + " --note 'F2: a test'"), 0, {"C2  PASS"});
  EXPECT_NE(content(study + "/ledger.jsonl").find("\"text\":\"a test\""), std::string::npos);
  // Opened again: shown, unless a reason is given.
  const std::string run = study + "/runs/parity-mlstm-s0";
  const auto warns = [&](const std::string& options) {
    const Outcome o = run_program("evaluate " + run + " --lengths 40" + options);
    EXPECT_EQ(o.code, 0) << o.text;
    return o.text.find("opened again") != std::string::npos;
  };
  EXPECT_FALSE(warns(" --reason 'a longer list'"));
  expect(run_program("audit " + study), 0, {"C6  WARN", "parity-mlstm-s0"});
  EXPECT_FALSE(warns(" --split validation"));
  expect(run_program("audit " + study), 0, {"C6  WARN"});
  EXPECT_TRUE(warns(""));
  expect(run_program("audit " + study), 0, {"C6  FAIL"});
  // A record taken out of the ledger.
  const std::string ledger = content(study + "/ledger.jsonl");
  const auto first = ledger.find('\n') + 1;
  write(study + "/ledger.jsonl",
        ledger.substr(0, first) + ledger.substr(ledger.find('\n', first) + 1));
  expect(run_program("audit " + study), 0, {"C2  FAIL", "the chain is broken"});
  expect(run_program("audit " + f.path()), 1, {"is not a study folder"});
  expect(run_program("audit"), 2, {"study-folder"});
}

}  // namespace
}  // namespace subquad
