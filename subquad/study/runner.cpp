#include "subquad/study/runner.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
#include "subquad/study/format.h"
#include "subquad/study/ledger.h"
#include "subquad/study/protocol.h"
#include "subquad/study/references.h"
#include "subquad/study/tuning.h"

extern char** environ;

namespace subquad {
namespace {

namespace fs = std::filesystem;

std::string run_folder(const std::string& folder, const PlannedRun& run) {
  return folder + "/runs/" + run.id;
}

std::set<std::string> done_in(const Ledger& ledger) {
  std::set<std::string> done;
  for (const Json& r : ledger.records()) {
    const std::string kind = r.get("kind", "");
    if ((kind == "run" || kind == "trial") && r.get("status", "") == "done")
      done.insert(r.at("id").as_string());
  }
  return done;
}

struct Worker {
  pid_t pid = 0;
  const PlannedRun* run = nullptr;
  std::string started;  // UTC
};

class Study {
 public:
  Study(const StudyPlan& plan, const RunnerSetup& setup)
      : plan_(plan), setup_(setup), ledger_(setup.folder + "/ledger.jsonl") {
    if (ledger_.records().empty()) {
      Json record = Json::object();
      record["kind"] = "plan";
      record["plan_sha256"] = plan.hash();
      record["plan"] = plan.to_json();
      ledger_.append(std::move(record));
    }
    record_protocol();
    for (const std::string& path : setup.shards) take_from(path);
    done_ = done_in(ledger_);
  }

  int run() {
    record_references(plan_, ledger_, setup_.jobs);
    try {
      tune();
      if (!stopping_ && failed_.empty()) {
        runs_ = planned_runs(plan_);
        apply_tuning(runs_, collect_tuning(plan_, ledger_.records()));
        work();
      }
    } catch (...) {  // a full disk, say: no worker may outlive the study that it belongs to
      stop_workers();
      for (const Worker& w : workers_) waitpid(w.pid, nullptr, 0);
      throw;
    }
    if (setup_.terminal) std::fprintf(stderr, "\r\033[K");
    if (full_)
      fail(ErrorCode::out_of_space,
           "the disk is full. Nothing was lost: free some space and run the same command again");
    if (stopping_)
      fail(ErrorCode::interrupted, "interrupted with ", done_.size(),
           " runs done; the same command ", "continues");
    return static_cast<int>(failed_.size());
  }

 private:
  // Copies the finished runs and trials of another ledger of this plan that ours lacks.
  void take_from(const std::string& path) {
    const LedgerCheck shard = check_ledger(path);
    require(shard.problems.empty(), ErrorCode::format, path, ": ",
            shard.problems.empty() ? "" : shard.problems.front(),
            ". A ledger is taken over whole and unedited, or not at all");
    require(!shard.records.empty() && shard.records.front().get("plan_sha256", "") == plan_.hash(),
            ErrorCode::invalid_argument, path, " is of another plan than ", plan_.name, " (",
            plan_.hash().substr(0, 8), "): runs of different plans are not one study");
    std::set<std::string> known = done_in(ledger_);
    std::size_t taken = 0;
    for (const Json& r : shard.records) {
      const std::string kind = r.get("kind", "");
      if ((kind != "run" && kind != "trial") || r.get("status", "") != "done") continue;
      if (!known.insert(r.at("id").as_string()).second) continue;
      Json record = Json::object();
      for (const auto& [key, value] : r.as_object()) {
        if (key != "number" && key != "previous" && key != "sha256") record[key] = value;
      }
      record["shard_record_sha256"] = r.at("sha256");
      ledger_.append(std::move(record));
      ++taken;
    }
    std::printf("  %zu finished runs and trials taken from %s\n", taken, path.c_str());
  }

  // The protocol enters the ledger before the runs that it is about.
  void record_protocol() {
    if (setup_.protocol.is_null()) return;
    const std::string& hash = setup_.protocol.at("sha256").as_string();
    for (const Json& r : ledger_.records()) {
      if (r.get("kind", "") == "protocol" && r.get("protocol_sha256", "") == hash) return;
    }
    Json record = Json::object();
    record["kind"] = "protocol";
    record["protocol_sha256"] = hash;
    record["frozen"] = setup_.protocol.at("frozen");
    record["amendments"] = Json::array();
    for (const Json& a : setup_.protocol.at("amendments").as_array())
      record["amendments"].push_back(
          Json::Object{{"date", a.at("date")}, {"reason", a.at("reason")}});
    ledger_.append(std::move(record));
  }

  // The trials of recipe R2: the grid, then what lies beyond an edge that was best. A trial that
  // fails (one that diverges has a result) leaves the rates open: the runs then wait.
  void tune() {
    runs_ = first_trials(plan_);
    if (runs_.empty()) return;
    work();
    if (stopping_ || !failed_.empty()) return;
    runs_ = extension_trials(plan_, ledger_.records());
    work();
    if (stopping_ || !failed_.empty()) return;
    for (const Json& r : ledger_.records()) {
      if (r.get("kind", "") == "tuning") return;
    }
    Json record = Json::object();
    record["kind"] = "tuning";
    record["chosen"] = collect_tuning(plan_, ledger_.records()).at("chosen");
    ledger_.append(std::move(record));
  }

  void work() {
    std::size_t next = 0;
    while (true) {
      if (interrupted()) stop_workers();
      while (!stopping_ && static_cast<int>(workers_.size()) < setup_.jobs && next < runs_.size()) {
        const PlannedRun& r = runs_[next++];
        if (!done_.contains(r.id)) start(r);
      }
      if (workers_.empty()) break;
      reap();
      show();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  // A worker of a study that was killed saves a checkpoint before it ends: give it the time to. If
  // somebody else holds the run, the new worker says so.
  static void wait_until_free(const std::string& folder) {
    for (int i = 0; i < 200 && !interrupted(); ++i) {
      try {
        const FileLock lock(folder + "/.lock", "busy");
        return;
      } catch (const Error&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  }

  void start(const PlannedRun& run) {
    const std::string folder = run_folder(setup_.folder, run);
    std::error_code error;
    fs::create_directories(folder, error);
    require(!error,
            error == std::errc::no_space_on_device ? ErrorCode::out_of_space : ErrorCode::io,
            "cannot create folder ", folder, ": ", error.message());
    wait_until_free(folder);
    const std::string text = run.config.to_json().dump(1) + "\n";
    if (!fs::exists(folder + "/config.json") || read_file(folder + "/config.json") != text) {
      write_file_atomically(folder + "/config.json", text);
    }
    const std::string words[] = {
        setup_.program, "train", "--run", folder, "--quiet", "--parent", std::to_string(getpid())};
    std::vector<char*> argv;
    for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, (folder + "/error.txt").c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
    // A group of its own: Ctrl-C reaches the workers through us only, once.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    Worker w;
    w.run = &run;
    w.started = utc_now();
    const int refused =
        posix_spawn(&w.pid, setup_.program.c_str(), &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    require(refused == 0, ErrorCode::io, "cannot start a worker: ", setup_.program, ": ",
            std::generic_category().message(refused));
    workers_.push_back(w);
  }

  void reap() {
    for (std::size_t i = 0; i < workers_.size();) {
      int status = 0;
      const pid_t ended = waitpid(workers_[i].pid, &status, WNOHANG);
      if (ended == 0 || (ended < 0 && errno == EINTR)) {
        ++i;
        continue;
      }
      if (ended < 0) status = W_EXITCODE(1, 0);  // gone, and nobody can say how
      finish(workers_[i], status);
      workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void finish(const Worker& w, int status) {
    const std::string folder = run_folder(setup_.folder, *w.run);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    Json record = Json::object();
    record["kind"] = w.run->config.trial ? "trial" : "run";
    record["id"] = w.run->id;
    record["config_sha256"] = w.run->config.sha256();
    record["started"] = w.started;
    record["ended"] = utc_now();
    if (!setup_.protocol.is_null()) record["protocol_sha256"] = setup_.protocol.at("sha256");
    record["manifest"] = setup_.manifest.is_null() ? Json::object() : setup_.manifest;
    if (code == 0) {
      const Json result = Json::read(folder + "/result.json");
      const Json* wanted = plan_.data.find(w.run->task);
      if (wanted && result.at("data") != *wanted) {
        // Trained on something else: not even its checkpoints may be used again.
        std::error_code ignored;
        fs::remove_all(folder, ignored);
        fail_run(w, std::move(record),
                 "the data changed while the study ran: the run read " + result.at("data").dump() +
                     ", the study is about " + wanted->dump() +
                     ". The run was removed; restore the data and run the same command again, or "
                     "start a study of the new data");
        return;
      }
      record["status"] = "done";
      record["result"] = result;
      // With these the ledger alone is the study: a copy of it continues without run folders.
      record["config"] = w.run->config.to_json();
      record["timings"] = Json::read(folder + "/timings.json");
      if (fs::exists(folder + "/test_access.jsonl"))
        record["test_access"] = Json::read_lines(folder + "/test_access.jsonl");
      ledger_.append(std::move(record));
      done_.insert(w.run->id);
      if (w.run->config.trial) {  // its weights serve nobody
        std::error_code ignored;
        fs::remove_all(folder + "/checkpoints", ignored);
      }
      report_if_settled(w.run->seed);
      return;
    }
    if (stopping_ && code != 1) return;  // stopped with a checkpoint; it continues next time
    if (code == 75) {
      full_ = true;
      stop_workers();
      return;
    }
    std::string message = fs::exists(folder + "/error.txt") ? read_file(folder + "/error.txt") : "";
    if (code == 130) message = "stopped from outside the study; its checkpoint is kept";
    if (message.empty()) message = "ended by signal " + std::to_string(code - 128);
    fail_run(w, std::move(record), message);
  }

  void fail_run(const Worker& w, Json record, const std::string& message) {
    record["status"] = "failed";
    record["message"] = message;
    ledger_.append(std::move(record));
    failed_.insert(w.run->id);
    std::fprintf(stderr, "%srun %s failed: %s\n", setup_.terminal ? "\r\033[K" : "",
                 w.run->id.c_str(), message.c_str());
    report_if_settled(w.run->seed);
  }

  // A seed is settled when each of its runs is done or has failed: a failure never holds back the
  // report of the others.
  void report_if_settled(std::int64_t seed) const {
    if (!runs_.empty() && runs_.front().config.trial) return;
    for (const PlannedRun& r : runs_) {
      if (r.seed == seed && !done_.contains(r.id) && !failed_.contains(r.id)) return;
    }
    if (setup_.after_seed) setup_.after_seed();
  }

  void stop_workers() {
    if (stopping_) return;
    stopping_ = true;
    for (const Worker& w : workers_) kill(w.pid, SIGINT);
  }

  void show() {
    const auto now = std::chrono::steady_clock::now();
    if (workers_.empty() || now - shown_ < (setup_.terminal ? std::chrono::milliseconds(400)
                                                            : std::chrono::milliseconds(15000)))
      return;
    shown_ = now;
    const Worker& w = workers_.front();
    std::size_t seed_index = 0, of_seed = 0, done_of_seed = 0;
    for (std::size_t i = 0; i < plan_.seeds.size(); ++i) {
      if (plan_.seeds[i] == w.run->seed) seed_index = i + 1;
    }
    for (const PlannedRun& r : runs_) {
      of_seed += r.seed == w.run->seed ? 1 : 0;
      done_of_seed += r.seed == w.run->seed && done_.contains(r.id) ? 1 : 0;
    }
    std::string detail = "evaluating";
    try {
      const Json p = Json::read(run_folder(setup_.folder, *w.run) + "/progress.json");
      char text[160];
      if (p.at("step").as_int() < p.at("steps").as_int()) {
        const auto left = static_cast<long>(p.at("seconds_left").as_double());
        std::snprintf(text, sizeof text,
                      "step %ld/%ld  loss %.3g  %.0fk tok/s  %ld:%02ld left in this run",
                      static_cast<long>(p.at("step").as_int()),
                      static_cast<long>(p.at("steps").as_int()), p.at("loss").as_double(),
                      p.at("tokens_per_second").as_double() / 1000, left / 60, left % 60);
        detail = text;
      }
    } catch (const Error&) {
      detail = "starting";
    }
    const std::string place = w.run->config.trial
                                  ? std::string("tuning")
                                  : format("seed %zu/%zu", seed_index, plan_.seeds.size());
    std::fprintf(stderr, "%s  %s  %zu/%zu  %s %s  %s%s", setup_.terminal ? "\r\033[K" : "",
                 place.c_str(), done_of_seed, of_seed, w.run->arm.c_str(), w.run->task.c_str(),
                 detail.c_str(), setup_.terminal ? "" : "\n");
    std::fflush(stderr);
  }

  const StudyPlan& plan_;
  const RunnerSetup& setup_;
  std::vector<PlannedRun> runs_;
  Ledger ledger_;
  std::set<std::string> done_, failed_;
  std::vector<Worker> workers_;
  std::chrono::steady_clock::time_point shown_{};
  bool stopping_ = false, full_ = false;
};

}  // namespace

int run_study(const StudyPlan& plan, const RunnerSetup& setup) { return Study(plan, setup).run(); }

std::set<std::string> finished_runs(const std::string& folder) {
  return done_in(Ledger(folder + "/ledger.jsonl"));
}

}  // namespace subquad
