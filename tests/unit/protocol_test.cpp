// What is promised before a study, and the ledger that shows whether it was kept.
#include "subquad/study/protocol.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/study/comparison.h"
#include "subquad/study/ledger.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

const std::string kPlan = R"(name = "t"
arms = ["mlstm", "slstm"]
tasks = ["parity"]
seeds = 6
[protocol]
hypotheses = ["parity: slstm > mlstm"]
exclusion = "none"
)";

std::string message(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Protocol, HypothesesNameTaskAndArms) {
  const Hypothesis h = parse_hypothesis("code: gated_deltanet:attention[3:1] > xlstm[1:1]");
  EXPECT_EQ(h.task, "code");
  EXPECT_EQ(h.first, "gated_deltanet:attention[3:1]");
  EXPECT_EQ(h.second, "xlstm[1:1]");
  EXPECT_FALSE(h.equivalence);
  EXPECT_TRUE(parse_hypothesis("code: mlstm = mamba2").equivalence);
  for (const char* text :
       {"", "code", "code: mlstm", ": a > b", "code: > b", "code: a > ", "a > b"})
    EXPECT_THROW(parse_hypothesis(text), Error) << text;
}

TEST(Protocol, MistakesInItsTableAreErrorsWithTheirLine) {
  const auto wrong = [](const std::string& rest) {
    return message([&] {
      parse_plan(
          "name = \"t\"\narms = [\"mlstm\", \"slstm\"]\ntasks = [\"parity\"]\n[protocol]\n" + rest,
          "s.toml");
    });
  };
  const std::pair<const char*, std::vector<const char*>> cases[] = {
      {"exclusions = \"none\"\n", {"s.toml:5", "did you mean \"exclusion\""}},
      {"exclusion = 3\n", {"s.toml:5", "exclusion", "string"}},
      {"scope = \"everything\"\n", {"s.toml:5", "these sizes"}},
      {"hypotheses = [\"parity: slstm > mamba2\"]\n", {"s.toml:5", "no arm \"mamba2\""}},
      {"hypotheses = [\"s3: slstm > mlstm\"]\n", {"s.toml:5", "no task \"s3\""}},
      {"hypotheses = [\"parity: slstm > slstm\"]\n", {"against itself"}},
      {"hypotheses = [\"parity: slstm = mlstm\"]\n", {"needs a margin"}},
      {"hypotheses = [\"slstm wins\"]\n", {"TASK: ARM > ARM"}},
      {"margin = { parity = -1.0 }\n", {"above 0"}}};
  for (const auto& [text, parts] : cases) {
    for (const char* part : parts)
      EXPECT_NE(wrong(text).find(part), std::string::npos) << text << wrong(text);
  }
}

TEST(Protocol, IsPartOfThePlanAndItsHash) {
  const StudyPlan plan = parse_plan(kPlan, "test"),
                  bare = parse_plan(kPlan.substr(0, kPlan.find("[protocol]")), "test");
  EXPECT_NE(plan.hash(), bare.hash());
  EXPECT_FALSE(bare.to_json().contains("protocol")) << "plans without one keep their hash";
  EXPECT_EQ(parse_plan(plan.to_toml(), "again").hash(), plan.hash()) << plan.to_toml();
}

TEST(Protocol, FreezesAmendsAndShowsEveryEdit) {
  StudyPlan plan = parse_plan(kPlan, "test");
  const Json frozen = freeze_protocol(plan, "2026-01-01T00:00:00Z");
  EXPECT_NO_THROW(verify_protocol(frozen, "p"));
  EXPECT_NO_THROW(require_planned(frozen, plan.to_json(), "p"));
  EXPECT_EQ(frozen.at("primary").at("parity").at("metric").as_string(), "tail_accuracy");
  EXPECT_EQ(frozen.at("primary").at("parity").at("solved_at").as_double(), 0.99);
  EXPECT_EQ(frozen.at("hypotheses").size(), 1U);
  EXPECT_THROW(amend_protocol(frozen, plan, "why", "later"), Error) << "nothing changed";

  plan.tasks[0].tokens = 777;
  const std::string differs = message([&] { require_planned(frozen, plan.to_json(), "p"); });
  EXPECT_NE(differs.find("tasks.parity.tokens: 0 -> 777"), std::string::npos) << differs;
  EXPECT_THROW(amend_protocol(frozen, plan, "", "later"), Error) << "no reason";
  Json amended = amend_protocol(frozen, plan, "the budget was too small", "2026-01-02T00:00:00Z");
  EXPECT_NO_THROW(verify_protocol(amended, "p"));
  EXPECT_NO_THROW(require_planned(amended, plan.to_json(), "p"));
  const Json& a = amended.at("amendments")[0];
  EXPECT_EQ(a.at("previous"), frozen.at("sha256"));
  EXPECT_EQ(a.at("date").as_string(), "2026-01-02T00:00:00Z");
  EXPECT_EQ(a.at("changed")[0].as_string(), "tasks.parity.tokens: 0 -> 777");
  plan.tasks[0].tokens = 888;
  const Json twice = amend_protocol(amended, plan, "again", "2026-01-03T00:00:00Z");
  EXPECT_NO_THROW(verify_protocol(twice, "p"));

  // No edit goes unseen, whether of the promise, of an amendment, or of their dates.
  Json edited = twice;
  edited["frozen"] = "2025-01-01T00:00:00Z";
  EXPECT_THROW(verify_protocol(edited, "p"), Error);
  edited = twice;
  edited["exclusion"] = "seeds that lose";
  EXPECT_THROW(verify_protocol(edited, "p"), Error);
  edited = twice;
  edited["amendments"] = Json::Array{twice.at("amendments")[1]};
  EXPECT_THROW(verify_protocol(edited, "p"), Error);
}

TEST(Protocol, NeedsHypothesisAndExclusionRule) {
  const StudyPlan bare = parse_plan(kPlan.substr(0, kPlan.find("[protocol]")), "test");
  EXPECT_NE(message([&] { freeze_protocol(bare, "now"); }).find("hypotheses = [\"parity: mlstm > "),
            std::string::npos);
  const StudyPlan half = parse_plan(kPlan.substr(0, kPlan.find("exclusion")), "test");
  EXPECT_NE(message([&] { freeze_protocol(half, "now"); }).find("exclusion"), std::string::npos);
  EXPECT_EQ(protocol_path("a/b.toml"), "a/b.protocol.json");
}

TEST(Protocol, MeasuredWidthsMayComeLater) {
  StudyPlan plan = parse_plan(kPlan, "test");
  const Json frozen = freeze_protocol(plan, "now");
  plan.widths = Json::parse(R"({"parity":{"mlstm":64}})", "widths");
  EXPECT_NO_THROW(require_planned(frozen, plan.to_json(), "p"));
}

class LedgerFile : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove(path_);
    Ledger ledger(path_);
    for (const char* text : {"first", "second", "third"})
      ledger.append(Json::Object{{"text", text}});
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> out;
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }
  void write(const std::vector<std::string>& lines) const {
    std::ofstream out(path_);
    for (const std::string& l : lines) out << l << "\n";
  }
  std::string path_ = temporary_path("numbered-ledger.jsonl");
};

TEST_F(LedgerFile, IsNumberedAndChained) {
  const LedgerCheck check = check_ledger(path_);
  EXPECT_TRUE(check.problems.empty());
  ASSERT_EQ(check.records.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(check.records[i].at("number").as_int(), static_cast<std::int64_t>(i) + 1);
}

TEST_F(LedgerFile, EditedRemovedOrAddedRecordsShow) {
  const auto good = lines();
  auto edited = good;
  edited[1].replace(edited[1].find("second"), 6, "edited");
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {edited, "line 2: content does not match"},
      {{good[0], good[2]}, "line 2: the chain is broken"},
      {{good[1], good[2]}, "line 1: the chain is broken"},
      {{good[0], good[1], good[1], good[2]}, "line 3: the chain is broken"},
      {{good[0], "{", good[1], good[2]}, "line 2"}};
  for (const auto& [text, problem] : cases) {
    write(text);
    const LedgerCheck check = check_ledger(path_);
    ASSERT_FALSE(check.problems.empty()) << problem;
    EXPECT_NE(check.problems[0].find(problem), std::string::npos) << check.problems[0];
    EXPECT_EQ(lines(), text) << "a check changes nothing";
    EXPECT_THROW(Ledger{path_}, Error);
  }
}

TEST_F(LedgerFile, AChainMadeAnewShowsAMissingNumber) {
  // A record taken out, and all hashes after it computed again.
  const std::string other = path_ + ".new";
  std::filesystem::remove(other);
  std::string chained, previous;
  for (const Json& r : check_ledger(path_).records) {
    if (r.at("number").as_int() == 2) continue;
    Json copy = Json::object();
    for (const auto& [key, value] : r.as_object()) {
      if (key != "sha256") copy[key] = value;
    }
    copy["previous"] = previous;
    std::filesystem::remove(other);
    Json hashed = copy;
    hashed["sha256"] = previous = sha256(copy.dump());
    chained += hashed.dump() + "\n";
  }
  write_file_atomically(other, chained);
  const LedgerCheck check = check_ledger(other);
  ASSERT_EQ(check.problems.size(), 1U);
  EXPECT_NE(check.problems[0].find("number 3, wanted 2"), std::string::npos) << check.problems[0];
}

TEST_F(LedgerFile, LedgersFromBeforeNumbersAreRead) {
  std::string text, previous;
  for (int i = 0; i < 2; ++i) {
    Json r = Json::object();
    r["i"] = i;
    r["previous"] = previous;
    previous = sha256(r.dump());
    r["sha256"] = previous;
    text += r.dump() + "\n";
  }
  write_file_atomically(path_, text);
  EXPECT_TRUE(check_ledger(path_).problems.empty());
  Ledger(path_).append(Json::Object{{"i", 2}});
  const LedgerCheck check = check_ledger(path_);
  EXPECT_TRUE(check.problems.empty());
  EXPECT_EQ(check.records.back().at("number").as_int(), 3);
}

}  // namespace
}  // namespace subquad
