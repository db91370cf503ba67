// Studies as processes: what stops, dies or fails is never lost silently, and the same command
// continues to the same bytes.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "tests/e2e/program.h"

extern char** environ;

namespace subquad {
namespace {

namespace fs = std::filesystem;

const char* kPlan = R"(name = "p"
arms = ["mlstm", "attention"]
tasks = ["parity"]
seeds = 1
measure = false
[model]
d_model = 32
heads = 2
[task.parity]
tokens = 150000
lengths = [32]
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

std::string study_folder(const std::string& out) {
  if (!fs::exists(out)) return "";
  for (const auto& e : fs::directory_iterator(out)) {
    if (e.is_directory()) return e.path();
  }
  return "";
}

pid_t start(const std::string& plan, const std::string& out) {
  std::vector<std::string> words = {SUBQUAD_PROGRAM, "compare", plan, "--jobs", "2", "--out", out};
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", 1, 0);
  posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", 1, 0);
  pid_t pid = 0;
  posix_spawn(&pid, SUBQUAD_PROGRAM, &quiet, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&quiet);
  return pid;
}

int status_of(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool wait_for(const std::function<bool()>& condition) {
  for (int i = 0; i < 2400; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return false;
}

// A study that ends with the test, whatever the test finds.
class Background {
 public:
  Background(const std::string& plan, const std::string& out) : pid_(start(plan, out)) {}
  ~Background() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), status_of(pid_);
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  void kill(int signal) const { ::kill(pid_, signal); }
  int status() {
    const int code = status_of(pid_);
    pid_ = 0;
    return code;
  }

 private:
  pid_t pid_;
};

// The runs that have begun to train.
int training(const std::string& out) {
  int count = 0;
  const std::string study = study_folder(out);
  if (study.empty() || !fs::exists(study + "/runs")) return 0;
  for (const auto& e : fs::directory_iterator(study + "/runs"))
    count += fs::exists(e.path() / "progress.json") ? 1 : 0;
  return count;
}

// Workers of a study folder that are alive, by their command lines.
std::vector<pid_t> workers_of(const std::string& out) {
  std::vector<pid_t> found;
  for (const auto& e : fs::directory_iterator("/proc")) {
    const std::string name = e.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string line = content(e.path() / "cmdline");
    if (line.find("--run") != std::string::npos && line.find(out + "/") != std::string::npos)
      found.push_back(std::stoi(name));
  }
  return found;
}

TEST(StudyProcess, StoppedOrKilledItContinuesToTheSameBytes) {
  const Folder f("continue");
  const std::string plan = f / "plan.toml";
  write(plan, kPlan);
  ASSERT_EQ(run_program("compare " + plan + " --jobs 2 --out " + (f / "whole")).code, 0);
  const std::string whole = content(study_folder(f / "whole") + "/results.json");
  ASSERT_FALSE(whole.empty());
  for (const int signal : {SIGINT, SIGKILL}) {
    const std::string out = f / std::to_string(signal);
    Background study_process(plan, out);
    ASSERT_TRUE(wait_for([&] { return training(out) > 0; }));
    study_process.kill(signal);
    EXPECT_EQ(study_process.status(), signal == SIGINT ? 130 : 128 + SIGKILL);
    // At once, while orphans may still be saving: nothing fails and no bit differs.
    const Outcome o = run_program("compare " + plan + " --jobs 2 --out " + out);
    EXPECT_EQ(o.code, 0) << o.text;
    EXPECT_EQ(content(study_folder(out) + "/results.json"), whole) << signal;
    EXPECT_TRUE(wait_for([&] { return workers_of(out).empty(); })) << "orphans train on";
  }
}

TEST(StudyProcess, StoppedBehindASeedTheReportCountsWhatThereIs) {
  const Folder f("seeds");
  const std::string plan = f / "plan.toml", out = f / "runs";
  write(plan, replaced(kPlan, "seeds = 1", "seeds = 2"));
  Background study_process(plan, out);
  const auto file = [&](const char* name) { return study_folder(out) + "/" + name; };
  ASSERT_TRUE(wait_for([&] { return fs::exists(file("report.html")); }));
  fs::remove(file("provenance.json"));
  study_process.kill(SIGINT);
  EXPECT_EQ(study_process.status(), 130);
  EXPECT_NE(content(file("provenance.json")).find("compare " + plan), std::string::npos);
  const Outcome o = run_program("report " + study_folder(out));
  EXPECT_NE(o.text.find("1 of 2 seeds finished"), std::string::npos) << o.text;
}

TEST(StudyProcess, ASecondStudyIsRefusedAndAStoppedWorkerReported) {
  const Folder f("outside");
  const std::string plan = f / "plan.toml", out = f / "runs";
  // Far too long to end by itself while the test looks at it.
  write(plan, replaced(replaced(kPlan, "150000", "20000000"), ", \"attention\"", ""));
  Background study_process(plan, out);
  ASSERT_TRUE(wait_for([&] { return training(out) == 1; }));
  const Outcome second = run_program("compare " + plan + " --jobs 1 --out " + out);
  EXPECT_EQ(second.code, 1);
  EXPECT_NE(second.text.find("another process works on"), std::string::npos) << second.text;
  const auto workers = workers_of(out);
  ASSERT_EQ(workers.size(), 1U);
  kill(workers.front(), SIGINT);
  EXPECT_EQ(study_process.status(), 1) << "a missing run must not look like success";
  const std::string study = study_folder(out), results = content(study + "/results.json");
  EXPECT_NE(results.find("stopped from outside"), std::string::npos) << results;
  EXPECT_FALSE(fs::is_empty(study + "/runs/parity-mlstm-s0/checkpoints"));
}

TEST(StudyProcess, AFailedRunHoldsBackNeitherTheOthersNorTheReport) {
  const Folder f("failed");
  const std::string plan = f / "plan.toml", out = f / "runs";
  write(plan, replaced(kPlan, "150000", "4096"));
  ASSERT_EQ(run_program("compare " + plan + " --jobs 2 --out " + out).code, 0);
  // Again, with a configuration in the way of one run that is not its own.
  const std::string study = study_folder(out);
  const std::string other = content(study + "/runs/parity-mlstm-s0/result.json");
  fs::remove_all(study);
  fs::create_directories(study + "/runs/parity-attention-s0");
  write(study + "/runs/parity-attention-s0/result.json", other);
  const Outcome o = run_program("compare " + plan + " --jobs 1 --out " + out);
  EXPECT_EQ(o.code, 1) << o.text;
  EXPECT_NE(o.text.find("parity-attention-s0 failed"), std::string::npos) << o.text;
  EXPECT_NE(content(study + "/results.json").find("another configuration"), std::string::npos);
  EXPECT_NE(content(study + "/report.html").find("another configuration"), std::string::npos);
}

TEST(StudyProcess, ABudgetIsChosenOnceSoThatTheSameCommandContinues) {
  const Folder f("budget");
  const std::string plan = f / "plan.toml", out = f / "runs";
  write(plan, replaced(kPlan, "150000", "10000"));
  const std::string command = "compare " + plan + " --jobs 2 --budget 3s --out " + out;
  const Outcome first = run_program(command);
  ASSERT_EQ(first.code, 0) << first.text;
  const std::string ledger = content(study_folder(out) + "/ledger.jsonl");
  const Outcome second = run_program(command);
  EXPECT_EQ(second.code, 0) << second.text;
  EXPECT_NE(second.text.find("as chosen before"), std::string::npos) << second.text;
  int studies = 0;
  for (const auto& e : fs::directory_iterator(out)) studies += e.is_directory() ? 1 : 0;
  EXPECT_EQ(studies, 1);
  EXPECT_EQ(content(study_folder(out) + "/ledger.jsonl"), ledger) << "nothing runs twice";
  // What the report says reproduces it: the same plan, without a budget.
  const std::string resolved = study_folder(out) + "/plan.toml";
  EXPECT_NE(content(study_folder(out) + "/report.html").find("subquad compare " + resolved),
            std::string::npos);
  const Outcome third = run_program("compare " + resolved + " --jobs 1 --out " + out);
  EXPECT_EQ(third.code, 0) << third.text;
  EXPECT_NE(third.text.find("2 runs are done, 0 are left"), std::string::npos) << third.text;
  EXPECT_EQ(content(study_folder(out) + "/ledger.jsonl"), ledger);
}

TEST(StudyProcess, BudgetsThatCannotBeMetOrPayForLittleAreSaid) {
  const Folder f("small-budget");
  const std::string plan = f / "plan.toml", command = "compare " + plan + " --jobs 1 --dry-run";
  write(plan, replaced(kPlan, "150000", "200000000"));
  const Outcome impossible = run_program(command + " --budget 1s");
  EXPECT_EQ(impossible.code, 0) << impossible.text;
  EXPECT_NE(impossible.text.find("--budget 1s cannot be met"), std::string::npos)
      << impossible.text;
  const Outcome little = run_program(command + " --budget 1m");
  EXPECT_EQ(little.code, 0) << little.text;
  EXPECT_NE(little.text.find("warning: --budget 1m"), std::string::npos) << little.text;
}

TEST(StudyProcess, WhatComesNextCanBeCopied) {
  const Folder f("next");
  const std::string plan = f / "plan.toml", out = f / "runs";
  write(plan, replaced(kPlan, "150000", "4096"));
  const Outcome o = run_program("compare " + plan + " --jobs 2 --out " + out);
  ASSERT_EQ(o.code, 0) << o.text;
  const std::string program = SUBQUAD_PROGRAM, runs = study_folder(out) + "/runs/";
  EXPECT_NE(o.text.find(program + " compare --data"), std::string::npos) << o.text;
  EXPECT_NE(
      o.text.find(program + " diff " + runs + "parity-mlstm-s0 " + runs + "parity-attention-s0\n"),
      std::string::npos)
      << o.text;
  const Outcome budgeted = run_program("compare " + plan + " --jobs 2 --budget 3s --out " + out);
  ASSERT_EQ(budgeted.code, 0) << budgeted.text;
  EXPECT_EQ(budgeted.text.find(" compare --data"), std::string::npos) << budgeted.text;
}

TEST(StudyProcess, PlansThatWouldCountTwiceOrMeanNothingAreRefused) {
  const Folder f("refused");
  const std::string plan = f / "plan.toml", out = " --jobs 1 --dry-run --out " + (f / "runs");
  const std::string base = kPlan;
  const std::pair<std::string, std::vector<const char*>> cases[] = {
      {replaced(base, "seeds = 1", "seeds = [0, 0]"), {":4:", "seeds", "listed twice"}},
      {replaced(base, "seeds = 1", "seeds = []"), {":4:", "empty"}},
      {replaced(base, "seeds = 1", "seeds = [-1]"), {":4:", "-1"}},
      {replaced(base, "[32]", "[-5]"), {":11:", "lengths", "-5"}},
      {replaced(base, "[32]", "[9000000000000]"), {":11:", "9000000000000"}},
      {base + "learning_rate = -1.0\n", {":12:", "learning_rate", "-1"}},
      {base + "[mixer.mlstn]\nconv = 4\n", {":12:", "mlstn", "did you mean \"mlstm\""}},
      {base + "batch_size = 1048576\n", {"task.parity", "1048576 rows", "batch_size"}},
      {base + "batch_size = 100000\n[train]\naccumulate = 1000\n", {"task.parity", "100000 rows"}},
      {replaced(base, "\"mlstm\", \"attention\"", "\"ngram\""), {"nothing to run"}}};
  for (const auto& [text, parts] : cases) {
    write(plan, text);
    const Outcome o = run_program("compare " + plan + out);
    EXPECT_EQ(o.code, 2) << o.text;
    for (const char* part : parts) EXPECT_NE(o.text.find(part), std::string::npos) << o.text;
  }
  write(plan, base);
  for (const char* option :
       {"--arms mlstm,mlstm", "--tasks parity,parity", "--seeds -1", "--jobs -1"}) {
    const Outcome o = run_program("compare " + plan + out + " " + option);
    EXPECT_EQ(o.code, 2) << option << o.text;
  }
}

TEST(StudyProcess, ChangedDataStartAnotherStudyAndSayWhy) {
  const Folder f("changed-data");
  const std::string plan = f / "plan.toml", out = f / "runs", text = f / "text.txt";
  write(plan,
        "name = \"d\"\narms = [\"ngram\", \"mlstm\"]\ntasks = [\"text\"]\nseeds = 1\n"
        "measure = false\n[model]\nd_model = 32\nheads = 2\n[task.text]\ntokens = 40000\n"
        "data = \"" +
            text + "\"\n");
  const auto lines = [](int factor) {
    std::string all;
    for (int i = 0; i < 3000; ++i)
      all += "line " + std::to_string(i * factor % 1000) + " of a file\n";
    return all;
  };
  const std::string command = "compare " + plan + " --jobs 2 --out " + out,
                    cache = "SUBQUAD_DATA=" + (f / "cache");
  write(text, lines(7919));
  const Outcome first = run_program(command, cache);
  ASSERT_EQ(first.code, 0) << first.text;
  const std::string study = study_folder(out), results = content(study + "/results.json");
  const std::string report = content(study + "/report.html");
  EXPECT_NE(results.find("\"bytes_to_cross_ngram\""), std::string::npos)
      << "the validation curve of a byte task leads to the n-gram's crossing";
  EXPECT_NE(report.find("validation during training"), std::string::npos);
  write(text, lines(7907));
  const Outcome second = run_program(command, cache);
  ASSERT_EQ(second.code, 0) << second.text;
  for (const char* part : {"not continued", "data.text.train", "sha256:", "->", "give it its data"})
    EXPECT_NE(second.text.find(part), std::string::npos) << second.text;
  EXPECT_EQ(content(study + "/results.json"), results) << "the first study stays as it was";
  int studies = 0;
  for (const auto& e : fs::directory_iterator(out)) studies += e.is_directory() ? 1 : 0;
  EXPECT_EQ(studies, 2);
  // With its data back, the first study is found and nothing runs again.
  write(text, lines(7919));
  const std::string ledger = content(study + "/ledger.jsonl");
  const Outcome third = run_program(command, cache);
  EXPECT_EQ(third.code, 0) << third.text;
  EXPECT_EQ(third.text.find("not continued"), std::string::npos) << third.text;
  EXPECT_EQ(content(study + "/ledger.jsonl"), ledger);
}

TEST(StudyProcess, ARunOnOtherDataIsNeverCounted) {
  const Folder f("other-data");
  const std::string plan = f / "plan.toml", out = f / "runs";
  write(plan, replaced(kPlan, "150000", "4000"));
  const std::string command = "compare " + plan + " --jobs 1 --out " + out;
  ASSERT_EQ(run_program(command).code, 0);
  // A worker that read other data than its study: as if they had changed while it ran.
  const std::string study = study_folder(out), run = study + "/runs/parity-mlstm-s0";
  fs::remove(study + "/ledger.jsonl");
  const std::string result = content(run + "/result.json");
  write(run + "/result.json", replaced(result, "\"sha256:", "\"sha256:0"));
  const Outcome o = run_program(command);
  EXPECT_EQ(o.code, 1) << o.text;
  EXPECT_NE(o.text.find("the data changed while the study ran"), std::string::npos) << o.text;
  EXPECT_FALSE(fs::exists(run)) << "its checkpoints saw the other data too";
  ASSERT_EQ(run_program(command).code, 0);
  EXPECT_EQ(content(run + "/result.json"), result);
}

}  // namespace
}  // namespace subquad
