#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include "app/commands.h"
#include "app/default_study.h"
#include "app/estimate.h"
#include "app/options.h"
#include "app/provenance.h"
#include "app/study_folder.h"
#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/base/interrupt.h"
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

// "20m", "90s", "1h" as seconds.
double duration(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  const double factor = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  constexpr double kYear = 365.0 * 86400;
  require(end != text.c_str() && value > 0 && factor > 0 && value * factor <= kYear,
          ErrorCode::invalid_argument, "--budget ", text,
          ": wanted a number with s, m or h, for example 20m, at most a year");
  return value * factor;
}

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

Json provenance(const std::string& command, const std::string& folder) {
  Json p = Json::object();
  const Json m = manifest();
  p["program"] = "subquad " + m.at("version").as_string();
  p["revision"] = m.at("revision");
  p["program SHA-256"] = m.at("program_sha256");
  p["compiler"] = m.at("compiler");
  p["machine"] = m.at("machine");
  p["command"] = command;
  p["reproduce"] = "subquad compare " + shell_word(folder + "/plan.toml");
  return p;
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
  const Json p = provenance(command, folder);
  write_file_atomically(folder + "/provenance.json", p.dump(1) + "\n");
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

// Sets tokens so that the study fits `seconds`; the same factor for every task keeps their
// proportions, evaluation is a fixed cost. A calibration is never twice the same, so its choice is
// kept beside the study folders: the same command then finds the same plan and continues it.
void fit_budget(StudyPlan& plan, const Json& calibration, double seconds, int jobs,
                const std::string& out, bool keep) {
  Json key = plan.to_json();
  key["budget_seconds"] = seconds;
  key["jobs"] = jobs;
  const std::string path =
      out + "/" + plan.name + "-budget-" + sha256(key.dump()).substr(0, 8) + ".json";
  if (fs::exists(path)) {
    const Json chosen = Json::read(path);
    for (StudyTask& t : plan.tasks) {
      t.tokens = chosen.at("tokens").at(t.name).as_int();
      std::printf("  budget      %-9s %ld tokens per run, as chosen before (%s)\n", t.name.c_str(),
                  static_cast<long>(t.tokens), path.c_str());
    }
    return;
  }
  for (const auto& [task, by_arm] : calibration.as_object()) {
    for (const auto& [arm, us] : by_arm.as_object())
      std::printf("  calibrated  %-9s %-22s %6.1f us/token\n", task.c_str(), arm.c_str(),
                  us.as_double());
  }
  // Evaluation and starts do not scale with tokens.
  auto runs = all_runs(plan);
  const double whole = estimate_seconds(runs, calibration, jobs);
  for (PlannedRun& r : runs) r.config.train.tokens = 0;
  const double fixed = estimate_seconds(runs, calibration, jobs);
  const double factor = std::max(0.01, (seconds - fixed) / std::max(whole - fixed, 1e-9));
  Json chosen = Json::object();
  for (StudyTask& t : plan.tasks) {
    const TaskSpec spec = make_task(t.name, {.data = t.data, .extra = t.extra})->spec();
    const double tokens =
        static_cast<double>(t.tokens > 0 ? t.tokens : spec.default_tokens) * factor;
    t.tokens = std::max<std::int64_t>(10000, static_cast<std::int64_t>(tokens / 10000) * 10000);
    chosen["tokens"][t.name] = t.tokens;
    std::printf("  budget      %-9s %ld tokens per run\n", t.name.c_str(),
                static_cast<long>(t.tokens));
  }
  if (keep) write_file_atomically(path, chosen.dump(1) + "\n");
}

double tokens_of(const std::vector<PlannedRun>& runs) {
  double total = 0;
  for (const PlannedRun& r : runs) total += static_cast<double>(r.config.train.tokens);
  return total;
}

// A budget that leaves next to nothing of the study, or that not even the least study meets.
// `before`: its own training tokens.
void warn_of_budget(const StudyPlan& plan, const Json& calibration, const std::string& budget,
                    double before, int jobs) {
  const auto runs = all_runs(plan);
  const double least = estimate_seconds(runs, calibration, jobs), share = tokens_of(runs) / before;
  if (least > 1.25 * duration(budget)) {
    std::fprintf(stderr,
                 "subquad: warning: --budget %s cannot be met: this study takes about %s even with "
                 "the least tokens; give more, or fewer arms, tasks or seeds\n",
                 budget.c_str(), duration_words(least).c_str());
  } else if (share < 0.1) {
    std::fprintf(stderr,
                 "subquad: warning: --budget %s pays for %.2g %% of the study's own training "
                 "tokens: expect models that have learnt little\n",
                 budget.c_str(), 100 * share);
  }
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

// The four measures of every arm, whichever one the plan matches.
void print_sizes(const StudyPlan& plan, const Json& calibration) {
  for (const StudyTask& t : plan.tasks) {
    std::printf("  %s\n", t.name.c_str());
    for (const SizedArm& s : sized_arms(plan, t)) {
      std::printf(
          "    %-22s %8ld parameters  width %ld, MLP %ld  %.0f training FLOPs/token  %.1f us/token "
          " state %ld bytes @64, %ld @64k\n",
          s.arm.c_str(), static_cast<long>(s.parameters), static_cast<long>(s.config.d_model),
          static_cast<long>(s.config.mlp_hidden), 2 * s.training_macs_per_token,
          calibration.at(t.name).at(s.arm).as_double(), static_cast<long>(s.state_bytes[0]),
          static_cast<long>(s.state_bytes[3]));
      if (!s.note.empty()) std::printf("      %s\n", s.note.c_str());
    }
  }
}

// What the plan makes equal, and how nearly, for the first task.
void print_equal(const StudyPlan& plan) {
  double low = 1e300, high = 0;
  for (const SizedArm& s : sized_arms(plan, plan.tasks.front())) {
    if (plan.match == "state" && !s.note.empty()) continue;
    const double x = plan.match == "flops"   ? 2 * s.training_macs_per_token
                     : plan.match == "state" ? static_cast<double>(s.state_bytes[1])
                                             : static_cast<double>(s.parameters);
    low = std::min(low, x);
    high = std::max(high, x);
  }
  if (high <= 0) return;
  std::set<std::string> recipes;
  for (const StudyTask& t : plan.tasks) recipes.insert(recipe_of(plan, t));
  const char* rest =
      recipes.size() > 1       ? "tokens, data order; optimiser by the recipe of each task"
      : recipes.contains("R2") ? "tokens, data order, optimiser, budget of tuning the learning rate"
      : recipes.contains("R3") ? "tokens, data order (optimiser as published)"
                               : "tokens, data order, optimiser (one recipe, untuned)";
  if (plan.match == "time") {
    std::printf("  equal for all: time per training token +-3 %% as measured, %s\n", rest);
    return;
  }
  const double off = 100 * (high - low) / (high + low), middle = (low + high) / 2;
  if (plan.match == "state") {
    std::printf("  equal for all: state %.0f bytes +-%.1f %% a sequence, parameters, %s\n", middle,
                off, rest);
  } else {
    std::printf("  equal for all: %s %.1fk +-%.1f %%, %s\n",
                plan.match == "flops" ? "training FLOPs per token" : "parameters", middle / 1000,
                off, rest);
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
  const PlannedRun& first = runs.front();
  const auto other = std::find_if(runs.begin(), runs.end(), [&](const PlannedRun& r) {
    return r.task == first.task && r.arm != first.arm;
  });
  if (other == runs.end()) return;
  std::printf("  %-7s %s diff %s %s\n", label, program.c_str(),
              shell_word(folder + "/runs/" + first.id).c_str(),
              shell_word(folder + "/runs/" + other->id).c_str());
}

}  // namespace

int compare(Arguments arguments) {
  std::string study, budget, data, out = "runs";
  std::vector<std::string> arms, tasks, shards;
  std::int64_t seeds = 0, jobs = 0;
  bool dry_run = false;
  Options options(
      "compare",
      "Train and compare the arms of a study; continues where it stopped; writes one HTML report.",
      "subquad compare --data ~/code --tasks code --budget 20m");
  options
      .positional(
          "study", study,
          "a study file (default: studies/default.toml if it is here, else the program's copy)")
      .option("--budget", budget,
              "wall time, for example 20m: sets equal tokens so that the study fits")
      .option("--data", data, "folder or file for the tasks that read one")
      .list("--arms", arms, "these arms instead of the study's")
      .list("--tasks", tasks, "these tasks instead of the study's")
      .option("--seeds", seeds, "number of seeds (0: the study's)", {0, 1000})
      .option("--jobs", jobs, "workers at a time (0: one per core)", {0, 1024})
      .option("--out", out, "folder that holds study folders")
      .list("--from", shards, "ledgers of this very plan from elsewhere: their runs count as done")
      .flag("--dry-run", dry_run, "print plan and matched sizes, train nothing");
  if (!options.parse(arguments)) return 0;
  require_distinct(arms, "--arms");
  require_distinct(tasks, "--tasks");
  const double budget_seconds = budget.empty() ? 0 : duration(budget);
  require(study.empty() || fs::exists(study), ErrorCode::invalid_argument, "no study file ", study,
          "; without a name the default study runs");
  if (study.empty() && fs::exists("studies/default.toml")) study = "studies/default.toml";
  StudyPlan plan =
      study.empty() ? parse_plan(kDefaultStudy, "the default study") : read_plan(study);
  if (!arms.empty()) {
    plan.arms = arms;
    drop_unused_options(plan);
  }
  if (seeds > 0) {
    plan.seeds.clear();
    for (std::int64_t s = 0; s < seeds; ++s) plan.seeds.push_back(s);
  }
  if (!tasks.empty()) {
    std::vector<StudyTask> chosen;
    for (const std::string& name : tasks) {
      StudyTask t;
      t.name = name;
      for (const StudyTask& known : plan.tasks) {
        if (known.name == name) t = known;
      }
      chosen.push_back(t);
    }
    plan.tasks = chosen;
  }
  if (!arms.empty() || !tasks.empty()) plan.widths = Json();  // those of another study
  if (!data.empty()) {
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
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int workers = jobs > 0 ? static_cast<int>(jobs) : cores;

  identify_data(plan);
  if (match_from(plan.match) == Match::time && plan.widths.is_null())
    match_in_time(plan, out, !dry_run);
  require_possible(plan, physical_memory_bytes(), workers);
  const auto runs = planned_runs(plan);
  require(
      !runs.empty(), ErrorCode::invalid_argument,
      "nothing to run: the n-gram counts bytes and has no part in synthetic tasks; add an arm, or "
      "the task code or text");
  std::printf("  %zu arms x %zu tasks x %zu seeds = %zu runs, %d at a time, 1 thread each\n",
              plan.arms.size(), plan.tasks.size(), plan.seeds.size(), runs.size(), workers);
  if (const std::size_t trials = first_trials(plan).size(); trials > 0)
    std::printf(
        "  %zu trials of the learning rate first, and more where the best lies at an edge\n",
        trials);
  print_equal(plan);
  require(budget.empty() || plan.level != "claim", ErrorCode::invalid_argument,
          "a claim runs with the budgets that were frozen; leave --budget out");
  const Json protocol = budget.empty() ? protocol_of(plan, study) : Json();
  const Json calibration = calibrate(plan);
  if (!budget.empty()) {
    const double tokens_before = tokens_of(all_runs(plan));
    if (!dry_run) make_folder(out);
    fit_budget(plan, calibration, budget_seconds, workers, out, !dry_run);
    warn_of_budget(plan, calibration, budget, tokens_before, workers);
    require_possible(plan, physical_memory_bytes(), workers);
  }
  if (dry_run) {
    print_sizes(plan, calibration);
    std::printf("  estimate %s\n",
                duration_words(estimate_seconds(all_runs(plan), calibration, workers)).c_str());
    return 0;
  }
  const std::string folder = out + "/" + plan.name + "-" + plan.hash().substr(0, 8);
  if (!fs::exists(folder)) explain_new_folder(plan, out);
  make_folder(folder);
  const FileLock lock(folder + "/.lock", "another process works on " + folder +
                                             "; wait for it, or give another --out");
  if (!protocol.is_null())
    write_file_atomically(protocol_path(folder + "/plan.toml"), protocol.dump(1) + "\n");
  print_estimate(plan, finished_runs(folder), calibration, workers);
  std::string command = "subquad compare";
  for (const auto& a : arguments) command += " " + shell_word(a);
  RunnerSetup setup;
  setup.program = fs::read_symlink("/proc/self/exe");
  setup.folder = folder;
  setup.jobs = workers;
  setup.manifest = manifest();
  setup.protocol = protocol;
  setup.shards = shards;
  setup.terminal = isatty(2) != 0;
  setup.after_seed = [&] { write_outputs(plan, folder, command); };
  const int failed = run_study(plan, setup);
  if (plan.measure) measure_if_needed(plan, folder);
  write_outputs(plan, folder, command);
  std::printf(
      "\n%s\n",
      terminal_summary(collect_results(plan, folder), collect_timings(plan, folder)).c_str());
  std::printf("  report  %s/report.html    data  results.json  results.csv\n", folder.c_str());
  print_next(folder, runs, data, !budget.empty());
  if (failed > 0)
    std::fprintf(stderr, "subquad: %d run%s failed; the same command tries them again\n", failed,
                 failed == 1 ? "" : "s");
  return failed > 0 ? 1 : 0;
}

}  // namespace subquad::app
