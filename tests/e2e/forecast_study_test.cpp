// Studies of forecasters: classical methods scored once, pictures, and training on a cache.
#include <algorithm>

#include "subquad/base/file.h"
#include "subquad/io/json.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;

// Quarters with a season and noise, two series.
void write_data(const Folder& f) {
  fs::create_directories(f / "data");
  std::string text = "unique_id,ds,y\n";
  std::uint32_t noise = 1;
  for (const char* id : {"a", "b"}) {
    for (int t = 0; t < 60; ++t) {
      noise = noise * 1664525 + 1013904223;
      text += std::string(id) + "," + std::to_string(2000 + t / 4) + "-" +
              (t % 4 == 3 ? "10" : "0" + std::to_string(1 + t % 4 * 3)) + "-01," +
              std::to_string(50 + 10 * (t % 4) + static_cast<int>(noise >> 28)) + "\n";
    }
  }
  write(f / "data/q.csv", text);
  write(f / "data/datasets.json", R"([{"dataset": "quarters", "file": "q.csv", "freq": "QS",
      "season": 4, "horizon": 8, "windows": 2}])");
}

std::string plan_in(const Folder& f, const std::string& extra = "") {
  write(f / "plan.toml", R"(name = "fc"
arms = ["attention", "slstm"]
tasks = ["forecast"]
seeds = 1
measure = false
[model]
d_model = 16
blocks = 1
heads = 2
[task.forecast]
tokens = 10000
data = ")" + f / "data" + R"("
extra = { patch = 8, train_length = 6)" +
                             extra + " }\n");
  return quoted(f / "plan.toml");
}

std::string study_in(const std::string& out) {
  for (const auto& e : fs::directory_iterator(out)) {
    if (e.is_directory()) return e.path();
  }
  return "";
}

TEST(ForecastStudy, ClassicalMethodsAreScoredOnceAndDrawn) {
  const Folder f("forecast-study");
  write_data(f);
  const std::string call = "compare " + plan_in(f) + " --out ";
  expect(run_program(call + quoted(f / "one") + " --jobs 1"), 0, {"scoring auto_ets on forecast"});
  expect(run_program(call + quoted(f / "two") + " --jobs 2"), 0, {"scoring auto_ets on forecast"});
  const std::string one = study_in(f / "one"), two = study_in(f / "two");
  const std::string results = read_file(one + "/results.json");
  EXPECT_EQ(results, read_file(two + "/results.json")) << "one worker, two workers";

  const Json j = Json::parse(results, "results");
  const Json& kept = j.at("references").at("forecast");
  std::vector<std::string> names;
  for (const Json& m : kept.at("methods").as_array()) {
    names.push_back(m.at("name").as_string());
    EXPECT_EQ(m.at("answers").as_int(), 2 * 2 + 24) << "windows of the set and of the control";
    if (names.back() != "SeasonalNaive") continue;
    for (const Json& x : m.at("metrics").as_array()) {
      if (x.at("name").as_string() == "wql_ratio") EXPECT_EQ(x.at("value").as_double(), 1);
    }
  }
  for (const char* name : {"Naive", "SeasonalNaive", "AutoETS", "Theta", "AutoARIMA"})
    EXPECT_TRUE(std::count(names.begin(), names.end(), name)) << name;
  const Json timings = Json::read(one + "/timings.json");
  EXPECT_GT(timings.at("references").at("forecast").at("AutoETS").at("cpu_seconds").as_double(), 0);
  EXPECT_EQ(results.find("cpu_seconds"), std::string::npos) << "no time in results";
  for (const Json& run : j.at("runs").as_array()) {
    for (const Json& s : kept.at("samples").as_array())
      EXPECT_TRUE(run.at("answers").contains(s.at("name").as_string()));
  }
  const std::string page = read_file(one + "/report.html");
  for (const char* part : {"WQL: arms and classical methods", "<td>AutoETS</td>",
                           "<h3>Forecasts</h3>", "quarters: a", "random_walks: walk 0"})
    EXPECT_NE(page.find(part), std::string::npos) << part;

  // The same command computes nothing again; a ledger alone keeps what was scored.
  const Outcome again = run_program(call + quoted(f / "one") + " --jobs 2");
  EXPECT_EQ(again.code, 0) << again.text;
  EXPECT_EQ(again.text.find("scoring"), std::string::npos) << again.text;
  fs::remove_all(one + "/runs");
  fs::remove(one + "/results.json");
  expect(run_program(call + quoted(f / "one")), 0, {});
  EXPECT_EQ(read_file(one + "/results.json"), results);
}

// With a recipe that names its paths a cache changes the speed and no bit; without one the paths are
// the cache's.
TEST(ForecastStudy, ACacheOfPathsChangesNoBit) {
  const Folder f("forecast-cache");
  write_data(f);
  const std::string paths = f / "paths.safetensors";
  expect(run_program("series cache --threads 2 --factors 4 --length 64 --out " + quoted(paths)), 0,
         {"paths of 64 steps"});
  const std::string recipe =
      ", recipe = { families = { kernel_synth = 1.0, gaussian_process = 1.0, waves = 1.0 }, "
      "gaussian = { factors = 4, length = 64 } }";
  const auto results = [&](const std::string& extra, const std::string& out) {
    expect(run_program("compare " + plan_in(f, extra) + " --arms slstm --out " + quoted(f / out)),
           0, {});
    return Json::read(study_in(f / out) + "/results.json");
  };
  const Json with = results(recipe + ", cache = \"" + paths + "\"", "with"),
             without = results(recipe, "without");
  for (const char* key : {"weights_sha256", "metrics", "curve", "data", "answers"})
    EXPECT_EQ(with.at("runs")[0].at(key), without.at("runs")[0].at(key)) << key;

  const std::string train =
      "train --arm slstm --task forecast --d-model 16 --blocks 1 --heads 2 --tokens 10000 --quiet ";
  const std::string options = "--task-options patch=8,train_length=6,cache=" + quoted(paths);
  expect(run_program(train + options + " --out " + quoted(f / "run")), 0, {});
  expect(run_program(train + options + " --threads 2 --out " + quoted(f / "again")), 0, {});
  const Json run = Json::read(f / "run/result.json");
  EXPECT_EQ(run.at("weights_sha256"), Json::read(f / "again/result.json").at("weights_sha256"));
  expect(run_program(train + "--task-options patch=8,train_length=6 --out " + quoted(f / "none")),
         0, {});
  EXPECT_NE(run.at("data").at("train"), Json::read(f / "none/result.json").at("data").at("train"))
      << "other families";

  expect(run_program(train + "--task-options patch=8,train_length=8,cache=" + quoted(paths) +
                     " --out " + quoted(f / "long")),
         2, {"at most 64", "a cache of longer paths"});
  expect(run_program(train + "--task-options patch=8,train_length=6,cache=" + quoted(f / "no") +
                     " --out " + quoted(f / "x")),
         1, {f / "no"});
  expect(run_program(train + "--task-options patch=8,train_length=6,cache=" +
                     quoted(f / "data/q.csv") + " --out " + quoted(f / "y")),
         1, {"not safetensors"});
}

}  // namespace
}  // namespace subquad
