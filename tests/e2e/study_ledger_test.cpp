// Tuned studies, and what their ledgers survive: copies without run folders, full disks, kills at
// any moment and inside writes.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "subquad/io/json.h"
#include "subquad/study/ledger.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

const char* kTuned = R"(name = "tuned"
arms = ["mlstm", "attention"]
tasks = ["parity@R1", "parity@R2", "parity@R3"]
seeds = 1
measure = false
[model]
d_model = 32
heads = 2
[train]
warmup_steps = 2
checkpoint_steps = 10
[tuning]
recipe = "R2"
[task."parity@R1"]
recipe = "R1"
tokens = 20480
lengths = [32, 1024]
[task."parity@R2"]
tokens = 20480
lengths = [32, 1024]
[task."parity@R3"]
recipe = "R3"
tokens = 20480
lengths = [32, 1024]
)";

std::string plan_in(const Folder& f) {
  const std::string path = f / "plan.toml";
  std::ofstream(path, std::ios::binary) << kTuned;
  return path;
}

std::string study_in(const std::string& out) {
  if (!fs::exists(out)) return "";
  for (const auto& e : fs::directory_iterator(out)) {
    if (e.is_directory()) return e.path();
  }
  return "";
}

std::string whole_lines(const std::string& text) {
  const std::size_t end = text.rfind('\n');
  return end == std::string::npos ? "" : text.substr(0, end + 1);
}

// One finished study for all tests that only look at it.
class TunedStudy : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<Folder>("tuned-" + std::to_string(getpid()));
    const Outcome o =
        run_program("compare " + plan_in(*folder_) + " --jobs 2 --out " + (*folder_ / "whole"));
    ASSERT_EQ(o.code, 0) << o.text;
    study_ = study_in(*folder_ / "whole");
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::unique_ptr<Folder> folder_;
  static std::string study_;
};
std::unique_ptr<Folder> TunedStudy::folder_;
std::string TunedStudy::study_;

TEST_F(TunedStudy, EveryArmIsTunedAlikeAndTheTestSplitStaysClosed) {
  const Json results = Json::read(study_ + "/results.json");
  const Json& tuning = results.at("tuning");
  EXPECT_EQ(tuning, Json::read(study_ + "/tuning.json"));
  EXPECT_EQ(tuning.at("recipe").as_string(), "R2");
  std::map<std::string, int> trials;
  double macs = 0;
  for (const Json& t : tuning.at("trials").as_array()) {
    EXPECT_EQ(t.at("task").as_string(), "parity@R2");
    EXPECT_EQ(t.at("tokens").as_int(), 10240);
    ++trials[t.at("arm").as_string()];
    macs += t.at("macs").as_double();
    const std::string run = study_ + "/runs/" + t.at("id").as_string();
    EXPECT_FALSE(fs::exists(run + "/test_access.jsonl")) << run;
    const Json result = Json::read(run + "/result.json");
    EXPECT_EQ(result.at("validation_loss"), t.at("loss"));
    for (const Json& m : result.at("metrics").as_array())
      EXPECT_EQ(m.at("split").as_string(), "validation");
  }
  EXPECT_EQ(trials["mlstm"], trials["attention"]);
  EXPECT_GE(trials["mlstm"], 5);
  EXPECT_DOUBLE_EQ(results.at("total_training_macs").at("tuning").as_double(), macs);
  // The chosen rate is the one of least loss, and the runs have it.
  for (const char* arm : {"mlstm", "attention"}) {
    const Json& chosen = tuning.at("chosen").at("parity@R2").at(arm);
    for (const Json& t : tuning.at("trials").as_array()) {
      if (t.at("arm").as_string() == arm && !t.at("loss").is_null())
        EXPECT_LE(chosen.at("loss").as_double(), t.at("loss").as_double());
    }
    const auto rate = [&](const std::string& task) {
      return Json::read(study_ + "/runs/" + task + "-" + arm + "-s0/config.json")
          .at("train")
          .at("learning_rate")
          .as_double();
    };
    EXPECT_EQ(rate("parity@R2"), chosen.at("learning_rate").as_double());
    EXPECT_EQ(rate("parity@R1"), 2e-3);
    EXPECT_EQ(rate("parity@R3"), std::string(arm) == "mlstm" ? 1e-3 : 5e-4);
  }
  ASSERT_EQ(tuning.at("headline").size(), 1U);
  EXPECT_EQ(tuning.at("headline").as_object().begin()->second.size(), 3U) << "R1, R2 and R3";
  for (const Json& run : results.at("runs").as_array())
    EXPECT_EQ(run.at("mode_agreement").size(), 2U) << "both lengths, both modes";
}

TEST_F(TunedStudy, TheAuditReadsTheTrials) {
  ASSERT_EQ(run_program("audit " + study_).code, 0);
  std::map<std::string, std::string> lights, numbers;
  const Json audit = Json::read(study_ + "/audit.json");
  for (const Json& c : audit.at("checks").as_array()) {
    lights[c.at("id").as_string()] = c.at("light").as_string();
    numbers[c.at("id").as_string()] = c.at("numbers").as_string();
  }
  EXPECT_EQ(lights["A5"], "PASS") << numbers["A5"];
  EXPECT_EQ(lights["B1"], "PASS") << numbers["B1"];
  EXPECT_EQ(lights["B2"], "WARN") << numbers["B2"];
  EXPECT_NE(numbers["B2"].find("reduced search"), std::string::npos) << numbers["B2"];
  EXPECT_EQ(lights["B5"], "PASS") << numbers["B5"];
  EXPECT_EQ(lights["B6"], "PASS") << numbers["B6"];
  EXPECT_EQ(lights["C2"], "PASS") << numbers["C2"];
  EXPECT_EQ(lights["C3"], "PASS") << numbers["C3"];
  EXPECT_EQ(lights["C6"], "PASS") << numbers["C6"];
}

TEST_F(TunedStudy, ALedgerAloneContinuesTheStudy) {
  const std::string results = content(study_ + "/results.json");
  const std::string plan = *folder_ / "plan.toml";
  // Copied into the place of the study on another machine.
  const std::string moved = *folder_ / "moved";
  const std::string place = moved + "/" + fs::path(study_).filename().string();
  fs::create_directories(place);
  fs::copy_file(study_ + "/ledger.jsonl", place + "/ledger.jsonl");
  Outcome o = run_program("compare " + plan + " --jobs 2 --out " + moved);
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_EQ(content(place + "/results.json"), results);
  EXPECT_EQ(content(place + "/timings.json"), content(study_ + "/timings.json"));
  EXPECT_FALSE(fs::exists(place + "/runs")) << "nothing was trained";
  for (const std::string& folder : {study_, place})
    ASSERT_EQ(run_program("audit " + folder).code, 0);
  EXPECT_EQ(content(place + "/audit.json"), content(study_ + "/audit.json"));
  // Half of it as a shard: the other half is trained here.
  const std::string text = content(study_ + "/ledger.jsonl");
  std::size_t end = 0;
  int finished = 0;
  for (int line = 0; line < 14; ++line) {
    const std::size_t next = text.find('\n', end) + 1;
    finished += text.substr(end, next - end).find("\"status\":\"done\"") != std::string::npos;
    end = next;
  }
  const std::string shard = *folder_ / "shard.jsonl", joined = *folder_ / "joined";
  std::ofstream(shard, std::ios::binary) << text.substr(0, end);
  o = run_program("compare " + plan + " --jobs 2 --from " + shard + " --out " + joined);
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_GE(finished, 10);
  EXPECT_NE(o.text.find(std::to_string(finished) + " finished runs and trials taken"),
            std::string::npos)
      << o.text;
  EXPECT_EQ(content(study_in(joined) + "/results.json"), results);
  EXPECT_TRUE(check_ledger(study_in(joined) + "/ledger.jsonl").problems.empty());
  // An edited shard, and one of another plan.
  std::string edited = text.substr(0, end);
  edited.replace(edited.rfind("validation_loss"), 1, "V");
  std::ofstream(shard, std::ios::binary) << edited;
  o = run_program("compare " + plan + " --from " + shard + " --out " + (*folder_ / "edited"));
  EXPECT_EQ(o.code, 1);
  EXPECT_NE(o.text.find("SHA-256"), std::string::npos) << o.text;
  o = run_program("compare " + plan + " --seeds 2 --from " + study_ + "/ledger.jsonl --out " +
                  (*folder_ / "other"));
  EXPECT_EQ(o.code, 2);
  EXPECT_NE(o.text.find("another plan"), std::string::npos) << o.text;
}

TEST_F(TunedStudy, WithoutRoomOnDiskItStopsAndTheSameCommandContinues) {
  const std::string out = *folder_ / "full";
  const std::string command = "compare " + (*folder_ / "plan.toml") + " --jobs 2 --out " + out;
  // No file above 4, 50, 165 KiB: in turn no result, no checkpoint and no ledger has room.
  for (const int blocks : {8, 100, 330}) {
    const Outcome o =
        run_program(command, "ulimit -f " + std::to_string(blocks) + "; trap '' XFSZ;");
    if (blocks == 330 && o.code == 0) continue;  // room enough on this machine
    EXPECT_EQ(o.code, 75) << o.text;
    EXPECT_NE(o.text.find("Nothing was lost"), std::string::npos) << o.text;
    const std::string ledger = study_in(out) + "/ledger.jsonl";
    if (fs::exists(ledger)) EXPECT_TRUE(check_ledger(ledger).problems.empty()) << blocks;
  }
  const Outcome o = run_program(command);
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_EQ(content(study_in(out) + "/results.json"), content(study_ + "/results.json"));
}

// One life of a study: killed after `ms` milliseconds, or (write > 0) inside its write of that
// number. True if it came to its end instead.
bool live(const std::string& plan, const std::string& out, int ms, int write) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (write > 0) {
      setenv("LD_PRELOAD", SUBQUAD_DIE_IN_WRITE, 1);
      setenv("SUBQUAD_DIE_AT_WRITE", std::to_string(write).c_str(), 1);
    }
    for (const int fd : {1, 2}) {
      if (!freopen("/dev/null", "w", fd == 1 ? stdout : stderr)) _exit(3);
    }
    execl(SUBQUAD_PROGRAM, SUBQUAD_PROGRAM, "compare", plan.c_str(), "--jobs", "2", "--out",
          out.c_str(), nullptr);
    _exit(4);
  }
  if (write == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    kill(pid, SIGKILL);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0)
      << status;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// SUBQUAD_KILLS=200 for the long version.
TEST_F(TunedStudy, FullKilledAtAnyMomentAndInsideWritesLosesNothing) {
  const char* wanted = std::getenv("SUBQUAD_KILLS");
  const int kills = wanted ? std::atoi(wanted) : 20;
  const std::string plan = *folder_ / "plan.toml", whole = content(study_ + "/results.json");
  std::mt19937 random(11);
  int killed = 0, in_write = 0, studies = 0;
  while (killed < kills) {
    const std::string out = *folder_ / ("killed" + std::to_string(studies++));
    std::string acknowledged;
    for (bool done = false; !done && killed < kills;) {
      const bool inside = killed % 2 == 1;
      done = live(plan, out, std::uniform_int_distribution<int>(20, 1500)(random),
                  inside ? std::uniform_int_distribution<int>(1, 60)(random) : 0);
      if (done) break;
      ++killed;
      in_write += inside ? 1 : 0;
      const std::string study = study_in(out);
      const std::string now = study.empty() ? "" : content(study + "/ledger.jsonl");
      ASSERT_TRUE(now.starts_with(acknowledged)) << "kill " << killed << ": a record was lost";
      acknowledged = whole_lines(now);
    }
    const Outcome o = run_program("compare " + plan + " --jobs 2 --out " + out);
    ASSERT_EQ(o.code, 0) << o.text;
    ASSERT_TRUE(content(study_in(out) + "/ledger.jsonl").starts_with(acknowledged));
    ASSERT_TRUE(check_ledger(study_in(out) + "/ledger.jsonl").problems.empty());
    ASSERT_EQ(content(study_in(out) + "/results.json"), whole) << "after kill " << killed;
  }
  std::printf("%d kills, %d of them inside a write, %d studies, equal results\n", killed, in_write,
              studies);
}

}  // namespace
}  // namespace subquad
