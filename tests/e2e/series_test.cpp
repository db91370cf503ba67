// `series` and `anomalies` as a user calls them, and what all readers of series say about bad files.
#include <algorithm>
#include <fstream>

#include "subquad/base/file.h"
#include "subquad/io/json.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(SeriesCommand, ShowsFamiliesRecipesAndSamples) {
  expect(run_program("series list"), 0, {"kernel_synth", "(cached)", "held out"});
  expect(run_program("series recipe"), 0, {"\"amplitude_modulation\": 0.5", "digest "});
  const Outcome o = run_program("series show seasonal_trend --count 3 --length 200");
  expect(o, 0, {"seasonal_trend-2\t", "▁"});
  EXPECT_EQ(lines_of(o.text), 3u);
  EXPECT_EQ(run_program("series show seasonal_trend --count 3 --length 200").text, o.text);
  const Folder f("series-show");
  expect(run_program("series show intermittent --csv --count 2 --length 60 --out " + (f / "s.csv")),
         0, {});
  EXPECT_EQ(lines_of(read_file(f / "s.csv")), 1 + 2u * 60);
  expect(run_program("forecast " + (f / "s.csv") + " --baseline tsb --horizon 4"), 0,
         {"intermittent-1"});
  expect(run_program("series show sawtooth"), 2, {"unknown family", "waves"});
  expect(run_program("series sho"), 2, {"did you mean \"show\""});
  std::ofstream(f / "r.json") << R"({"augmentations": {"sensor": 1}})";
  expect(run_program("series recipe --recipe " + (f / "r.json")), 2, {"did you mean \"censor\""});
}

TEST(SeriesCommand, CacheIsMadeAndUsed) {
  const Folder f("series-cache");
  const std::string cache = f / "paths.safetensors";
  expect(run_program("series cache --out " + cache + " --factors 3 --length 64 --threads 2"), 0,
         {"48 paths of 64 steps", "made in", "recipe ", "data "});
  const Outcome shown = run_program("series show kernel_synth --length 32 --cache " + cache);
  expect(shown, 0, {"kernel_synth-7"});
  expect(run_program("series show training --length 65 --cache " + cache), 2,
         {"gaussian.length = 64"});
  expect(run_program("series bench --seconds 0.01 --length 64 --cache " + cache), 0,
         {"share of a core", "training", "fractal"});
  expect(run_program("series show kernel_synth --cache " + example("co2_w.csv")), 1,
         {"not safetensors"});
  expect(run_program("series cache --paths 2"), 2, {"--paths"});
}

TEST(AnomaliesCommand, FindsWhatWasPlanted) {
  const Folder f("anomalies");
  std::ofstream data(f / "d.csv");
  data << "unique_id,ds,y\n";
  for (int t = 0; t < 120; ++t) {
    const int day = t % 28 + 1, month = t / 28 + 1;
    data << "shop,2024-0" << month << (day < 10 ? "-0" : "-") << day << ","
         << (t == 80 ? 500 : 100 + 7 * (t % 7) + t % 3) << "\n";
    data << "flat,2024-0" << month << (day < 10 ? "-0" : "-") << day << ",4\n";
  }
  data.close();
  const std::string call = "anomalies " + (f / "d.csv") + " --freq D --level 99.5";
  expect(run_program(call + " --out " + (f / "a.csv") + " --plot " + (f / "a.html")), 0,
         {"▁", "values lie outside the 99.5 % band (Theta, robust)"});
  const std::string rows = read_file(f / "a.csv");
  EXPECT_TRUE(rows.starts_with("unique_id,ds,y,Theta,Theta-lo-99.5,Theta-hi-99.5,score,anomaly\n"));
  EXPECT_NE(rows.find("shop,2024-03-25,500,"), std::string::npos) << rows;
  EXPECT_EQ(rows.find("flat,"), std::string::npos) << rows;
  EXPECT_NE(read_file(f / "a.html").find("<circle"), std::string::npos) << "marked";
  EXPECT_EQ(read_file(f / "a.html").find("nan"), std::string::npos);
  run_program(call + " --threads 3 --out " + (f / "b.csv"));
  EXPECT_EQ(read_file(f / "b.csv"), rows);
  const Outcome json = run_line(quoted(SUBQUAD_PROGRAM) + " " + call +
                                " --all --format json --quiet --method quantile 2> /dev/null");
  ASSERT_EQ(json.code, 0) << json.text;
  const Json j = Json::parse(json.text, "output");
  ASSERT_EQ(j.size(), 2u);
  EXPECT_EQ(j[0].at("method").as_string(), "quantile");
  EXPECT_EQ(j[0].at("ds").size(), static_cast<std::size_t>(j[0].at("scored").as_int()));
  EXPECT_EQ(j[0].at("anomaly").size(), j[0].at("Theta-hi-99.5").size());
  expect(run_program("anomalies " + (f / "d.csv") + " --level 100"), 2, {"--level"});
  expect(run_program("anomalies " + (f / "d.csv") + " --method best"), 2, {"robust or quantile"});
  expect(run_program("anomalies " + example("nature_a.csv") + " --plot " + (f / "a.svg")), 2,
         {"2 pictures"});
}

// The same bad file, by each of the commands that read series.
class BadSeries : public testing::TestWithParam<const char*> {
 protected:
  Outcome run(const std::string& content, const std::string& options = "") {
    const Folder f(std::string("bad-series-") + GetParam() + "-" +
                   testing::UnitTest::GetInstance()->current_test_info()->test_suite_name());
    std::ofstream(f / "d.csv") << content;
    const bool backtest = std::string(GetParam()) == "backtest";
    return run_program(std::string(GetParam()) + " " + (f / "d.csv") +
                       (backtest ? " --baselines " : " --baseline ") + "auto_ets " + options);
  }
  bool is(const char* command) const { return std::string(GetParam()) == command; }
};
INSTANTIATE_TEST_SUITE_P(Commands, BadSeries, testing::Values("forecast", "backtest", "anomalies"),
                         [](const auto& i) { return std::string(i.param); });

std::string rows(int count, const char* value, const char* id = "a") {
  std::string text;
  for (int t = 0; t < count; ++t)
    text += std::string(id) + "," + std::to_string(t) + "," + value + "\n";
  return text;
}
const std::string kHeader = "unique_id,ds,y\n";

TEST_P(BadSeries, Empty) {
  expect(run(""), 1, {"d.csv is empty"});
  expect(run("\n\n"), 1, {"d.csv"});
  expect(run(kHeader), 1, {"d.csv"});
}

TEST_P(BadSeries, OneRow) {
  const Outcome o = run(kHeader + "a,2024-01-01,3\n", "--freq D --horizon 2");
  if (is("forecast")) expect(o, 0, {"a,2024-01-02,3", "one value"});
  if (is("backtest")) expect(o, 2, {"no window fits"});
  if (is("anomalies")) expect(o, 0, {"0 of 0 values", "1 series are too short"});
  expect(run(kHeader + "a,2024-01-01,3\n"), 1, {"--freq"});
}

TEST_P(BadSeries, NothingObserved) {
  expect(run(kHeader + rows(30, "NaN")), 1, {"every value is missing"});
  // Beside a series that is, it is left out and said.
  expect(run(kHeader + rows(30, "") + rows(30, "5", "b"), "--horizon 3"), 0,
         {"1 series have no observation and are left out"});
}

TEST_P(BadSeries, Constant) {
  const Outcome o = run(kHeader + rows(40, "7"), "--horizon 3");
  EXPECT_EQ(o.code, 0) << o.text;
  if (is("forecast")) expect(o, 0, {"a,40,7,7,7", "constant"});
  if (is("anomalies")) expect(o, 0, {"0 of "});
}

TEST_P(BadSeries, Infinities) {
  const std::string text =
      kHeader + rows(20, "1") + "a,20,inf\na,21,2\na,22,-Infinity\na,23,1e999\n" + "a,24,1\n";
  expect(run(text, "--horizon 2"), 0, {"infinite values are read as missing", "line 22, column 3"});
  // At the edge of the range of numbers nothing overflows.
  std::string huge = kHeader;
  for (int t = 0; t < 40; ++t)
    huge += "a," + std::to_string(t) + (t % 3 ? ",1e308\n" : ",-1.7e308\n");
  const Outcome o = run(huge, "--horizon 2");
  EXPECT_EQ(o.code, 0) << o.text;
  if (!is("backtest")) {
    EXPECT_EQ(o.text.find("inf"), std::string::npos) << o.text;
    EXPECT_EQ(o.text.find("nan"), std::string::npos) << o.text;
  }
}

TEST_P(BadSeries, MixedFrequencies) {
  std::string text = kHeader;
  for (int t = 1; t < 25; ++t) {
    const std::string two = (t < 10 ? "0" : "") + std::to_string(t);
    text += "daily,2024-01-" + two + "," + std::to_string(t % 7) + "\n";
    text += "yearly," + std::to_string(1990 + t) + "-01-01," + std::to_string(t % 5) + "\n";
    text += "hourly,2024-01-01T" + std::string(t <= 10 ? "0" : "") + std::to_string(t - 1) +
            ":00:00," + std::to_string(t % 3) + "\n";
  }
  const Outcome o = run(text, "--horizon 2");
  EXPECT_EQ(o.code, 0) << o.text;
  if (is("forecast"))
    expect(o, 0, {"daily,2024-01-25,", "yearly,2015-01-01,", "hourly,2024-01-02T00:00,"});
  // In one series a displaced stamp moves nothing, and dates do not mix with numbers.
  const Outcome gap = run(kHeader + rows(12, "3") + "a,40,5\n", "--horizon 2");
  EXPECT_EQ(gap.code, 0) << gap.text;
  if (is("forecast")) expect(gap, 0, {"a,41,", "a,42,"});
  expect(run(kHeader + "a,2024-01-01,1\na,2024-01-02,2\na,77,1\n"), 1, {"line 4, column 2"});
}

TEST_P(BadSeries, CellsThatAreNoNumbers) {
  expect(run(kHeader + rows(5, "1") + "a,5,12 EUR\n"), 1, {"line 7, column 3 (y): \"12 EUR\""});
  expect(run(kHeader + "a,yesterday,1\n"), 1, {"line 2, column 2 (ds): \"yesterday\" is no time"});
  expect(run(kHeader + "a,1\n"), 1, {"line 2", "2 cells, wanted 3"});
  expect(run(kHeader + rows(5, "\"1,5\"")), 1, {"--decimal ,"});
}

TEST_P(BadSeries, SenselessHorizons) {
  const std::string text = kHeader + rows(30, "1") + "a,30,2\n";
  for (const char* horizon : {"-1", "100001", "1e3", "12.5", "many"})
    expect(run(text, std::string("--horizon ") + horizon), 2, {"--horizon"});
  const Outcome o = run(text, "--horizon 100000");
  if (is("forecast")) {
    EXPECT_EQ(o.code, 0);
    EXPECT_NE(o.text.find("a,100030,"), std::string::npos);
  } else if (is("backtest")) {
    expect(o, 2, {"no window fits"});
  } else {
    EXPECT_EQ(o.code, 0) << "a forecast reaches no further than the data";
  }
}

}  // namespace
}  // namespace subquad
