#include "subquad/study/runner.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
#include "subquad/study/crossover.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/ledger.h"
#include "subquad/study/protocol.h"
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

// Multiply-adds of all finished runs, and of the trials that tuned them if there were any.
Json total_macs(const Json& results, const std::string& folder) {
  double runs = 0, tuning = 0;
  for (const Json& r : results.at("runs").as_array())
    runs += r.at("training_macs_per_token").as_double() * r.at("tokens").as_double();
  const Json* own = results.find("tuning");
  Json by_hand;
  if (const std::string path = folder + "/tuning.json"; !own && fs::exists(path))
    own = &(by_hand = Json::read(path));
  if (own) {
    for (const Json& t : own->at("trials").as_array()) tuning += t.at("macs").as_double();
  }
  Json out = Json::object();
  out["runs"] = runs;
  out["tuning"] = tuning;
  return out;
}

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

Json collect_results(const StudyPlan& plan, const std::string& folder) {
  const Ledger ledger(folder + "/ledger.jsonl");
  Json out = Json::object();
  out["format"] = 1;
  out["study"] = plan.name;
  out["plan_sha256"] = plan.hash();
  out["plan"] = plan.to_json();
  Json& tasks = out["tasks"] = Json::object();
  for (const StudyTask& t : plan.tasks) {
    const TaskSpec spec = make_task(t.name, {.data = t.data, .extra = t.extra})->spec();
    Json& task = tasks[t.name];
    task["kind"] = task_kind(t.name);
    task["primary"] = spec.primary;
    task["primary_length"] = spec.primary_length;
    task["train_length"] = spec.train_length;
    task["chance"] = spec.chance;
    const auto sized = sized_arms(plan, t);
    const auto attention = std::find_if(sized.begin(), sized.end(),
                                        [](const SizedArm& s) { return s.arm == "attention"; });
    const auto bytes = [](const SizedArm& s) {
      return std::vector<double>(s.state_bytes.begin(), s.state_bytes.end());
    };
    for (const SizedArm& s : sized) {
      Json& arm = task["arms"][s.arm];
      if (attention != sized.end() && s.arm != "attention")
        arm["memory_crossover_tokens"] = crossover_json(bytes(*attention), bytes(s));
      arm["model"] = s.config.to_json();
      arm["parameters"] = s.parameters;
      arm["training_macs_per_token"] = s.training_macs_per_token;
      if (!s.note.empty()) arm["note"] = s.note;
      for (std::size_t i = 0; i < s.state_bytes.size(); ++i) {
        arm["state_bytes"][std::to_string(kDepths[i])] = s.state_bytes[i];
      }
    }
  }
  Json& runs = out["runs"] = Json::array();
  Json& failures = out["failed"] = Json::array();
  for (const PlannedRun& r : planned_runs(plan)) {
    const Json *result = nullptr, *failure = nullptr;
    for (const Json& record : ledger.records()) {
      if (record.get("kind", "") != "run" || record.get("id", "") != r.id) continue;
      if (record.get("status", "") == "done") result = record.find("result");
      if (record.get("status", "") == "failed") failure = &record;
    }
    if (result) {
      Json run = *result;
      run["id"] = r.id;
      runs.push_back(std::move(run));
    } else if (failure) {
      Json f = Json::object();
      f["id"] = r.id;
      f["arm"] = r.arm;
      f["task"] = r.task;
      f["seed"] = r.seed;
      f["message"] = failure->at("message");
      failures.push_back(std::move(f));
    }
  }
  Json tuning = collect_tuning(plan, ledger.records());
  if (!tuning.is_null()) {
    out["tuning"] = tuning;
    tuning["headline"] = headline_by_recipe(out);
    out["tuning"] = std::move(tuning);
  }
  out["total_training_macs"] = total_macs(out, folder);
  out["findings"] = findings(out);
  return out;
}

Json collect_timings(const StudyPlan& plan, const std::string& folder) {
  Json out = Json::object();
  Json& runs = out["runs"] = Json::object();
  Json trials = Json::object();
  std::set<std::string> planned;
  for (const PlannedRun& r : planned_runs(plan)) planned.insert(r.id);
  const Ledger ledger(folder + "/ledger.jsonl");
  for (const Json& record : ledger.records()) {
    if (record.get("status", "") != "done") continue;
    const std::string id = record.get("id", "");
    const bool trial = record.get("kind", "") == "trial";
    if (!trial && !planned.contains(id)) continue;
    const std::string path = folder + "/runs/" + id + "/timings.json";
    const Json* own = record.find("timings");
    const Json times = own ? *own : fs::exists(path) ? Json::read(path) : Json();
    if (!times.is_null()) (trial ? trials : runs)[id] = times;
  }
  if (trials.size() > 0) out["trials"] = trials;
  if (fs::exists(folder + "/speed.json")) out["speed"] = Json::read(folder + "/speed.json");
  return out;
}

std::string results_csv(const Json& results) {
  std::string csv = "run,arm,task,seed,split,length,metric,value,unit,parameters,tokens\n";
  for (const Json& r : results.at("runs").as_array()) {
    for (const Json& m : r.at("metrics").as_array()) {
      csv += "\"" + r.at("id").as_string() + "\",\"" + r.at("arm").as_string() + "\"," +
             r.at("task").as_string() + "," + std::to_string(r.at("seed").as_int()) + "," +
             m.at("split").as_string() + "," + std::to_string(m.at("length").as_int()) + "," +
             m.at("name").as_string() + "," + m.at("value").dump() + "," +
             m.at("unit").as_string() + "," + std::to_string(r.at("parameters").as_int()) + "," +
             std::to_string(r.at("tokens").as_int()) + "\n";
    }
  }
  return csv;
}

}  // namespace subquad
