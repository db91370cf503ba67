#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "app/budget.h"
#include "app/commands.h"
#include "app/default_study.h"
#include "app/estimate.h"
#include "app/options.h"
#include "app/provenance.h"
#include "app/sizes.h"
#include "app/study_folder.h"
#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
#include "subquad/base/text.h"
#include "subquad/io/json_differences.h"
#include "subquad/study/limits.h"
#include "subquad/study/protocol.h"
#include "subquad/study/report/report.h"
#include "subquad/study/runner.h"
#include "subquad/study/speed.h"
#include "subquad/study/tuning.h"

namespace subquad::app {
namespace {

namespace fs = std::filesystem;

// For a shell: brackets in arm names would be patterns.
std::string shell_word(const std::string& word) {
  const bool plain = word.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                         "-_./,:=+@%") == std::string::npos;
  if (plain && !word.empty()) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// The program as it was started.
std::string invoked_as() {
  const std::string words = read_file("/proc/self/cmdline");
  return words.empty() ? "subquad" : words.substr(0, words.find('\0'));
}

void write_provenance(const std::string& command, const std::string& folder) {
  Json p = Json::object();
  const Json m = manifest();
  p["program"] = "subquad " + m.at("version").as_string();
  p["revision"] = m.at("revision");
  p["program SHA-256"] = m.at("program_sha256");
  p["compiler"] = m.at("compiler");
  p["machine"] = m.at("machine");
  p["command"] = command;
  p["reproduce"] = "subquad compare " + shell_word(folder + "/plan.toml");
  write_file_atomically(folder + "/provenance.json", p.dump(1) + "\n");
}

void write_outputs(const StudyPlan& plan, const std::string& folder, const std::string& command) {
  const Json results = collect_results(plan, folder), timings = collect_timings(plan, folder);
  write_file_atomically(folder + "/plan.toml", plan.to_toml());
  const std::string path = folder + "/results.json", text = results.dump(1) + "\n";
  if (!fs::exists(path) || read_file(path) != text) {
    // An audit of other results says nothing of these.
    std::error_code ignored;
    fs::remove(folder + "/audit.json", ignored);
    write_file_atomically(path, text);
  }
  if (const Json* tuning = results.find("tuning"))
    write_file_atomically(folder + "/tuning.json", tuning->dump(1) + "\n");
  write_file_atomically(folder + "/timings.json", timings.dump(1) + "\n");
  write_file_atomically(folder + "/results.csv", results_csv(results));
  write_provenance(command, folder);
  write_report(folder);
}

// The frozen protocol beside a study file; null without one. A claim needs it, and the plan must be
// the one that was frozen; a look at another plan leaves it out.
Json protocol_of(const StudyPlan& plan, const std::string& study) {
  const std::string path = protocol_path(study);
  if (study.empty() || !fs::exists(path)) {
    require(plan.level != "claim", ErrorCode::invalid_argument,
            "level = \"claim\" needs a protocol ", "frozen before the first run, and there is no ",
            path, "; run `subquad protocol freeze ", study, "` first, or set level = \"look\"");
    return {};
  }
  const Json frozen = Json::read(path);
  verify_protocol(frozen, path);
  try {
    require_planned(frozen, plan.to_json(), path);
  } catch (const Error& e) {
    if (plan.level == "claim") throw;
    std::fprintf(stderr, "subquad: the protocol is left out: %s\n", e.what());
    return {};
  }
  return frozen;
}

// The quiet phase, unless its figures are those of this build and machine, taken in quiet.
void measure_if_needed(const StudyPlan& plan, const std::string& folder) {
  const std::string path = folder + "/speed.json";
  const SpeedKey key{build_digest(), machine()};
  if (fs::exists(path) && speed_is_current(Json::read(path), key)) return;
  std::fprintf(stderr, "  measuring speed, arms in turn, nothing else running ...\n");
  write_file_atomically(path, measure_speed(plan, key).dump(1) + "\n");
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, error == std::errc::no_space_on_device ? ErrorCode::out_of_space : ErrorCode::io,
          "cannot create folder ", folder, ": ", error.message());
}

// match = "time": MLP widths from measured times. No measurement is twice the same, so its choice
// is kept beside the study folders, like that of --budget.
void match_in_time(StudyPlan& plan, const std::string& out, bool keep) {
  const std::string path =
      out + "/" + plan.name + "-widths-" + sha256(plan.to_json().dump()).substr(0, 8) + ".json";
  if (fs::exists(path)) {
    plan.widths = Json::read(path).at("widths");
    std::printf("  equal times MLP widths as chosen before (%s)\n", path.c_str());
    return;
  }
  std::fprintf(stderr, "  measuring training steps, arms in turn, until their times agree ...\n");
  Json chosen = Json::object();
  chosen["relative_time"] = choose_widths(plan);
  chosen["widths"] = plan.widths;
  if (!keep) return;
  make_folder(out);
  write_file_atomically(path, chosen.dump(1) + "\n");
}

// Why the study of this name that ran last is not continued: what differs between its plan and
// ours. A changed corpus shows as other digests under the same path.
void explain_new_folder(const StudyPlan& plan, const std::string& out) {
  std::string newest;
  if (!fs::exists(out)) return;
  for (const auto& entry : fs::directory_iterator(out)) {
    const std::string name = entry.path().filename();
    const std::string ledger = entry.path().string() + "/ledger.jsonl";
    if (name.starts_with(plan.name + "-") && name.size() == plan.name.size() + 9 &&
        fs::exists(ledger) &&
        (newest.empty() ||
         fs::last_write_time(ledger) > fs::last_write_time(newest + "/ledger.jsonl")))
      newest = entry.path();
  }
  if (newest.empty()) return;
  const std::string text = read_file(newest + "/ledger.jsonl");
  const Json first = Json::parse(text.substr(0, text.find('\n')), newest + "/ledger.jsonl:1");
  const Json* old = first.find("plan");
  if (!old) return;
  std::printf("  not continued: %s, its plan differs; a new folder is started\n", newest.c_str());
  const auto all = json_differences(*old, plan.to_json());
  bool data = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    data = data || all[i].path.starts_with("data.");
    if (i < 6) {
      std::printf("    %-24s %.90s -> %.90s\n", all[i].path.c_str(), all[i].a.c_str(),
                  all[i].b.c_str());
    } else if (i == 6) {
      std::printf("    and %zu more\n", all.size() - i);
    }
  }
  if (data)
    std::printf(
        "    The data themselves changed: runs on old and new data are not comparable. To continue "
        "the old study,\n    give it its data back (--data, or restore the files).\n");
}

// A repeated name would run twice in one folder and count twice in every interval.
void require_distinct(const std::vector<std::string>& names, const char* option) {
  for (const std::string& name : names) {
    require(std::count(names.begin(), names.end(), name) == 1, ErrorCode::invalid_argument, option,
            ": \"", name, "\" is listed twice");
  }
}

// What to do next: a study of one's own, offered to those who have not just run one with a budget,
// and two runs of the same task side by side.
void print_next(const std::string& folder, const std::vector<PlannedRun>& runs,
                const std::string& data, bool budgeted) {
  const std::string program = shell_word(invoked_as());
  const char* label = "next";
  if (!budgeted) {
    std::printf("  %-7s %s compare --data %s --tasks code --budget 20m\n", label, program.c_str(),
                data.empty() ? "~/code" : shell_word(data).c_str());
    label = "";
  }
  // The n-gram has no weights to differ in.
  const auto trained =
      std::find_if(runs.begin(), runs.end(), [](const PlannedRun& r) { return r.arm != "ngram"; });
  if (trained == runs.end()) return;
  const PlannedRun& first = *trained;
  const auto other = std::find_if(runs.begin(), runs.end(), [&](const PlannedRun& r) {
    return r.task == first.task && r.arm != first.arm && r.arm != "ngram";
  });
  if (other == runs.end()) return;
  std::printf("  %-7s %s diff %s %s\n", label, program.c_str(),
              shell_word(folder + "/runs/" + first.id).c_str(),
              shell_word(folder + "/runs/" + other->id).c_str());
}

struct CompareOptions {
  std::string study, budget, data, out = "runs";
  std::vector<std::string> arms, tasks, shards;
  std::int64_t seeds = 0, jobs = 0;
  bool dry_run = false;
};

// False if --help was printed.
bool read_options(Arguments arguments, CompareOptions& o) {
  Options options(
      "compare",
      "Train and compare the arms of a study; continues where it stopped; writes one HTML report.",
      "subquad compare --data ~/code --tasks code --budget 20m");
  options
      .positional(
          "study", o.study,
          "a study file (default: studies/default.toml if it is here, else the program's copy)")
      .option("--budget", o.budget,
              "wall time, for example 20m: sets equal tokens so that the study fits")
      .option("--data", o.data, "folder or file for the tasks that read one")
      .list("--arms", o.arms, "these arms instead of the study's")
      .list("--tasks", o.tasks, "these tasks instead of the study's")
      .option("--seeds", o.seeds, "number of seeds (0: the study's)", {0, 1000})
      .option("--jobs", o.jobs, "workers at a time (0: one per core)", {0, 1024})
      .option("--out", o.out, "folder that holds study folders")
      .list("--from", o.shards,
            "ledgers of this very plan from elsewhere: their runs count as done")
      .flag("--dry-run", o.dry_run, "print plan and matched sizes, train nothing");
  return options.parse(arguments);
}

// The study's own tasks of these names, with their settings; others with their defaults.
std::vector<StudyTask> chosen_tasks(const StudyPlan& plan, const std::vector<std::string>& names) {
  std::vector<StudyTask> chosen;
  for (const std::string& name : names) {
    StudyTask t;
    t.name = name;
    for (const StudyTask& known : plan.tasks) {
      if (known.name == name) t = known;
    }
    chosen.push_back(t);
  }
  return chosen;
}

void set_data(StudyPlan& plan, const std::string& data) {
  bool read = false;
  for (StudyTask& t : plan.tasks) {
    const TaskEntry* entry = find_task(t.name);
    if (!entry || !entry->reads_data) continue;
    t.data = data;
    read = true;
  }
  require(read, ErrorCode::invalid_argument, "--data ", data,
          ": no task of this study reads any; leave it out, or add code, text or tokens to "
          "--tasks");
}

// The study as the options change it.
StudyPlan chosen_plan(CompareOptions& o) {
  require_distinct(o.arms, "--arms");
  require_distinct(o.tasks, "--tasks");
  if (!o.budget.empty()) duration(o.budget);  // a mistake shows before anything is read
  require(o.study.empty() || fs::exists(o.study), ErrorCode::invalid_argument, "no study file ",
          o.study, "; without a name the default study runs");
  if (o.study.empty() && fs::exists("studies/default.toml")) o.study = "studies/default.toml";
  StudyPlan plan =
      o.study.empty() ? parse_plan(kDefaultStudy, "the default study") : read_plan(o.study);
  if (!o.arms.empty()) {
    plan.arms = o.arms;
    drop_unused_options(plan);
  }
  if (o.seeds > 0) {
    plan.seeds.clear();
    for (std::int64_t s = 0; s < o.seeds; ++s) plan.seeds.push_back(s);
  }
  if (!o.tasks.empty()) plan.tasks = chosen_tasks(plan, o.tasks);
  if (!o.arms.empty() || !o.tasks.empty()) plan.widths = Json();  // those of another study
  if (!o.data.empty()) set_data(plan, o.data);
  return plan;
}

// What will run, and what is equal.
void announce(const StudyPlan& plan, std::size_t runs, int workers) {
  require(
      runs > 0, ErrorCode::invalid_argument,
      "nothing to run: the n-gram counts bytes and has no part in synthetic tasks; add an arm, or "
      "the task code or text");
  std::printf("  %s x %s x %s = %zu runs, %d at a time, 1 thread each\n",
              count_of(std::ssize(plan.arms), "arm").c_str(),
              count_of(std::ssize(plan.tasks), "task").c_str(),
              count_of(std::ssize(plan.seeds), "seed").c_str(), runs, workers);
  if (const std::size_t trials = first_trials(plan).size(); trials > 0)
    std::printf(
        "  %zu trials of the learning rate first, and more where the best lies at an edge\n",
        trials);
  print_equal(plan);
}

RunnerSetup runner_setup(const CompareOptions& o, const std::string& folder, int workers,
                         const Json& protocol) {
  RunnerSetup setup;
  setup.program = fs::read_symlink("/proc/self/exe");
  setup.folder = folder;
  setup.jobs = workers;
  setup.manifest = manifest();
  setup.protocol = protocol;
  setup.shards = o.shards;
  setup.terminal = isatty(2) != 0;
  return setup;
}

// Runs what is missing, measures, writes the outputs and prints the table. Returns how many failed.
int finish_study(const StudyPlan& plan, RunnerSetup setup, const std::string& command) {
  const std::string& folder = setup.folder;
  setup.after_seed = [&] { write_outputs(plan, folder, command); };
  int failed = 0;
  try {
    failed = run_study(plan, setup);
  } catch (const Error& e) {
    // Stopped behind a finished seed: its report names this command. Results stay those of whole
    // seeds.
    if (e.code() == ErrorCode::interrupted && fs::exists(folder + "/results.json")) {
      write_provenance(command, folder);
      write_report(folder);
    }
    throw;
  }
  if (plan.measure) measure_if_needed(plan, folder);
  write_outputs(plan, folder, command);
  std::printf(
      "\n%s\n",
      terminal_summary(collect_results(plan, folder), collect_timings(plan, folder)).c_str());
  std::printf("  report  %s/report.html    data  results.json  results.csv\n", folder.c_str());
  return failed;
}

}  // namespace

int compare(Arguments arguments) {
  CompareOptions o;
  if (!read_options(arguments, o)) return 0;
  StudyPlan plan = chosen_plan(o);
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int workers = o.jobs > 0 ? static_cast<int>(o.jobs) : cores;
  identify_data(plan);
  if (match_from(plan.match) == Match::time && plan.widths.is_null())
    match_in_time(plan, o.out, !o.dry_run);
  require_possible(plan, physical_memory_bytes(), workers);
  const auto runs = planned_runs(plan);
  announce(plan, runs.size(), workers);
  require(o.budget.empty() || plan.level != "claim", ErrorCode::invalid_argument,
          "a claim runs with the budgets that were frozen; leave --budget out");
  const Json protocol = o.budget.empty() ? protocol_of(plan, o.study) : Json();
  const Json calibration = calibrate(plan);
  if (!o.budget.empty()) {
    if (!o.dry_run) make_folder(o.out);
    fit_budget(plan, calibration, o.budget, workers, o.out, !o.dry_run);
    require_possible(plan, physical_memory_bytes(), workers);
  }
  if (o.dry_run) {
    print_sizes(plan, calibration);
    std::printf("  estimate %s\n",
                duration_words(estimate_seconds(all_runs(plan), calibration, workers)).c_str());
    return 0;
  }
  const std::string folder = o.out + "/" + plan.name + "-" + plan.hash().substr(0, 8);
  if (!fs::exists(folder)) explain_new_folder(plan, o.out);
  make_folder(folder);
  const FileLock lock(folder + "/.lock", "another process works on " + folder +
                                             "; wait for it, or give another --out");
  if (!protocol.is_null())
    write_file_atomically(protocol_path(folder + "/plan.toml"), protocol.dump(1) + "\n");
  print_estimate(plan, finished_runs(folder), calibration, workers);
  std::string command = "subquad compare";
  for (const auto& a : arguments) command += " " + shell_word(a);
  const int failed = finish_study(plan, runner_setup(o, folder, workers, protocol), command);
  print_next(folder, runs, o.data, !o.budget.empty());
  if (failed > 0)
    std::fprintf(stderr, "subquad: %d run%s failed; the same command tries them again\n", failed,
                 failed == 1 ? "" : "s");
  return failed > 0 ? 1 : 0;
}

}  // namespace subquad::app
