// Studies end to end: resume after SIGKILL, two processes, repeatability.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/e2e/program.h"

extern char** environ;

namespace subquad {
namespace {

std::string study_folder(const std::string& out) {
  for (const auto& e : std::filesystem::directory_iterator(out)) return e.path();
  return "";
}

std::string field(const std::string& json, const std::string& key) {
  const auto at = json.find("\"" + key + "\"");
  const auto from = json.find(':', at) + 1;
  return at == std::string::npos ? "" : json.substr(from, json.find_first_of(",}\n", from) - from);
}

pid_t start(std::vector<std::string> words) {
  words.insert(words.begin(), SUBQUAD_PROGRAM);
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

TEST(Study, MatchInTimeMeasuresOnceAndContinues) {
  const Folder f("time");
  std::ofstream(f / "plan.toml") << "name = \"t\"\narms = [\"mlstm\", \"xlstm[1:1]\"]\n"
                                    "tasks = [\"parity\"]\nseeds = 1\nmeasure = false\n"
                                    "[model]\nd_model = 32\nheads = 2\nmatch = \"time\"\n"
                                    "[train]\nwarmup_steps = 2\n[task.parity]\ntokens = 10000\n";
  const std::string command = "compare " + (f / "plan.toml") + " --jobs 1 --out " + (f / "runs");
  Outcome first = run_program(command);
  for (int again = 0; again < 3 && first.text.find("idle") != std::string::npos; ++again)
    first = run_program(command);  // another program took the processor away
  ASSERT_EQ(first.code, 0) << first.text;
  EXPECT_NE(first.text.find("time per training token"), std::string::npos) << first.text;
  const Outcome second = run_program(command);
  EXPECT_EQ(second.code, 0) << second.text;
  EXPECT_NE(second.text.find("as chosen before"), std::string::npos) << second.text;
  int folders = 0;
  for (const auto& e : std::filesystem::directory_iterator(f / "runs")) folders += e.is_directory();
  EXPECT_EQ(folders, 1) << "the second start has the same plan and finds it finished";
}

TEST(Study, MatchInStateShowsAllFourMeasures) {
  const Folder f("state");
  std::ofstream(f / "plan.toml") << "name = \"t\"\narms = [\"attention\", \"mlstm\", "
                                    "\"gated_deltanet\"]\ntasks = [\"parity\"]\nseeds = 1\n"
                                    "measure = false\n[model]\nd_model = 32\nheads = 2\nmatch = "
                                    "\"state\"\nstate_bytes = 8192\n[train]\nwarmup_steps = 2\n"
                                    "[task.parity]\ntokens = 10000\n";
  const std::string command = "compare " + (f / "plan.toml") + " --out " + (f / "runs");
  const Outcome dry = run_program(command + " --dry-run");
  ASSERT_EQ(dry.code, 0) << dry.text;
  for (const char* part : {"equal for all: state", "its state grows", "parameters", "FLOPs/token",
                           "us/token", "bytes @64"})
    EXPECT_NE(dry.text.find(part), std::string::npos) << dry.text;
  EXPECT_FALSE(std::filesystem::exists(f / "runs")) << "a dry run leaves nothing behind";
  const Outcome run = run_program(command);
  ASSERT_EQ(run.code, 0) << run.text;
  const std::string report = content(study_folder(f / "runs") + "/report.html");
  for (const char* part : {"state bytes of a sequence within 5 %", "its state grows", "FLOPs"})
    EXPECT_NE(report.find(part), std::string::npos) << part;
}

TEST(Study, SmokeRunsTwiceWithEqualResults) {
  const Folder f("smoke");
  const std::string plan = std::string(SUBQUAD_SOURCE_DIR) + "/studies/smoke.toml";
  const Outcome a = run_program("compare " + plan + " --jobs 2 --out " + (f / "a"));
  ASSERT_EQ(a.code, 0) << a.text;
  for (const char* part : {"In short", "report", "indicative", "xlstm[1:1]"})
    EXPECT_NE(a.text.find(part), std::string::npos) << a.text;
  const std::string folder = study_folder(f / "a"), report = content(folder + "/report.html");
  EXPECT_LT(report.size(), 5U << 20);
  for (const char* part : {"Length generalisation", "Learning curves", "Costs", "What was compared",
                           "Provenance", "Reproduce", "data:text/csv", "<svg"}) {
    EXPECT_NE(report.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(report.find("http://"), std::string::npos);
  EXPECT_EQ(report.find("https://"), std::string::npos);
  // Again with one worker: not a bit of results.json changes.
  ASSERT_EQ(run_program("compare " + plan + " --jobs 1 --out " + (f / "b")).code, 0);
  EXPECT_EQ(content(folder + "/results.json"), content(study_folder(f / "b") + "/results.json"));
  // A finished study trains nothing new, but measures speed again if another build did it.
  const std::string ledger = content(folder + "/ledger.jsonl");
  std::string speed = content(folder + "/speed.json");
  const std::string build = field(speed, "build");
  ASSERT_GT(build.size(), 64U);
  speed.replace(speed.find(build), build.size(), "\"another\"");
  std::ofstream(folder + "/speed.json") << speed;
  const Outcome again = run_program("compare " + plan + " --jobs 2 --out " + (f / "a"));
  ASSERT_EQ(again.code, 0) << again.text;
  EXPECT_NE(again.text.find("6 runs are done, 0 are left"), std::string::npos) << again.text;
  EXPECT_EQ(content(folder + "/ledger.jsonl"), ledger);
  EXPECT_EQ(field(content(folder + "/speed.json"), "build"), build);
  EXPECT_EQ(run_program("report " + folder).code, 0);
  const std::string runs = folder + "/runs/";
  const Outcome d = run_program("diff " + runs + "parity-mlstm-s0 " + runs + "parity-attention-s0");
  EXPECT_EQ(d.code, 0);
  EXPECT_NE(d.text.find("layers"), std::string::npos) << d.text;
}

TEST(Study, SecondProcessIsRefused) {
  const Folder f("two");
  const std::string run = f / "run";
  ASSERT_EQ(
      run_program("train --arm mlstm --task parity --d-model 32 --heads 2 --tokens 2048 --out " +
                  (f / "warm"))
          .code,
      0);
  const pid_t pid =
      start({"train", "--arm", "mlstm", "--task", "parity", "--tokens", "5000000", "--out", run});
  for (int i = 0; i < 200 && !std::filesystem::exists(run + "/progress.json"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Outcome o = run_program("train --run " + run);
  kill(pid, SIGINT);
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 130) << "Ctrl-C saves and exits 130";
  EXPECT_EQ(o.code, 1);
  EXPECT_NE(o.text.find("another process is training"), std::string::npos) << o.text;
  EXPECT_FALSE(std::filesystem::is_empty(run + "/checkpoints"));
}

TEST(Study, ThreadCountChangesNoBit) {
  const Folder f("threads");
  std::vector<std::string> digests;
  for (const char* threads : {"1", "2"}) {
    const std::string run = f / threads;
    ASSERT_EQ(run_program("train --arm 'xlstm[1:1]' --task mqar --d-model 32 --heads 2 --tokens "
                          "20000 --threads " +
                          std::string(threads) + " --out " + run)
                  .code,
              0);
    digests.push_back(field(content(run + "/result.json"), "weights_sha256"));
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_GT(digests[0].size(), 60U);
}

TEST(Study, FullKilledTwentyTimesAndContinuedGivesTheSameWeights) {
  const Folder f("kill");
  for (const char* arm : {"xlstm[1:1]", "gated_deltanet"}) {
    const std::string base = f / (std::string(arm) + "-whole"),
                      run = f / (std::string(arm) + "-killed");
    const std::string options = "train --arm '" + std::string(arm) +
                                "' --task parity --d-model 32 --heads 2 --tokens 120000 --out ";
    ASSERT_EQ(run_program(options + quoted(base)).code, 0);
    // The same run with a checkpoint every few steps, killed at random moments.
    std::filesystem::create_directories(run);
    std::string config = content(base + "/config.json");
    const auto at = config.find("\"checkpoint_steps\": 0");
    ASSERT_NE(at, std::string::npos);
    config.replace(at, 21, "\"checkpoint_steps\": 5");
    std::ofstream(run + "/config.json") << config;
    unsigned random = 12345;
    for (int kill_count = 0; kill_count < 10; ++kill_count) {
      const pid_t pid = start({"train", "--run", run, "--quiet"});
      random = random * 1664525u + 1013904223u;
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + (random >> 16) % 250));
      kill(pid, SIGKILL);
      int status = 0;
      waitpid(pid, &status, 0);
    }
    const Outcome last = run_program("train --quiet --run " + quoted(run));
    ASSERT_EQ(last.code, 0) << last.text;
    const std::string a = content(base + "/result.json"), b = content(run + "/result.json");
    EXPECT_EQ(field(a, "weights_sha256"), field(b, "weights_sha256")) << arm;
    EXPECT_EQ(content(base + "/log.jsonl"), content(run + "/log.jsonl")) << arm;
  }
}

TEST(Study, FullKilledTextRunKeepsItsValidationCurve) {
  const Folder f("kill-text");
  std::string text;
  for (int i = 0; i < 6000; ++i) text += "line " + std::to_string(i * 7919 % 1000) + " of a file\n";
  std::ofstream(f / "text.txt") << text;
  const std::string cache = "SUBQUAD_DATA=" + (f / "cache"), base = f / "whole", run = f / "killed";
  ASSERT_EQ(run_program("train --arm mlstm --task text --d-model 32 --heads 2 --tokens 200000 "
                        "--data " +
                            (f / "text.txt") + " --out " + base,
                        cache)
                .code,
            0);
  std::filesystem::create_directories(run);
  std::string config = content(base + "/config.json");
  const auto at = config.find("\"checkpoint_steps\": 0");
  ASSERT_NE(at, std::string::npos);
  config.replace(at, 21, "\"checkpoint_steps\": 5");
  std::ofstream(run + "/config.json") << config;
  setenv("SUBQUAD_DATA", (f / "cache").c_str(), 1);
  for (int i = 0; i < 5; ++i) {
    const pid_t pid = start({"train", "--run", run, "--quiet"});
    std::this_thread::sleep_for(std::chrono::milliseconds(150 + 70 * i));
    kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
  }
  unsetenv("SUBQUAD_DATA");
  ASSERT_EQ(run_program("train --quiet --run " + quoted(run), cache).code, 0);
  const std::string log = content(base + "/log.jsonl");
  EXPECT_NE(log.find("\"validation\""), std::string::npos) << log;
  EXPECT_EQ(content(run + "/log.jsonl"), log);
  EXPECT_EQ(field(content(run + "/result.json"), "weights_sha256"),
            field(content(base + "/result.json"), "weights_sha256"));
}

}  // namespace
}  // namespace subquad
