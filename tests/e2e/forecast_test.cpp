// `forecast` and `backtest` as a user calls them.
#include <fstream>
#include <sstream>

#include "subquad/base/file.h"
#include "subquad/io/json.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Forecast, LongCsvWithQuantiles) {
  const Outcome o =
      run_program("forecast " + example("danish_q.csv") +
                  " --baseline seasonal_naive,drift --horizon 3 --quantiles 0.1,0.5,0.9 --quiet");
  const auto lines = lines_of(o.text);
  ASSERT_EQ(lines.size(), 1 + 5u * 3) << o.text;
  EXPECT_EQ(lines[0],
            "unique_id,ds,SeasonalNaive,SeasonalNaive-q-10,SeasonalNaive-q-50,SeasonalNaive-q-90,"
            "Drift,Drift-q-10,Drift-q-50,Drift-q-90");
  EXPECT_TRUE(lines[1].starts_with("dk_lrm,1987-10-01,")) << lines[1];
  EXPECT_TRUE(lines[2].starts_with("dk_lrm,1988-01-01,")) << lines[2];
}

TEST(Forecast, JsonLevelsLimitsAndPipes) {
  const Outcome o =
      run_line("printf 'date,a\\n2020-01-31,3\\n2020-02-29,1\\n2020-03-31,2\\n2020-05-31,1\\n' | " +
               quoted(SUBQUAD_PROGRAM) +
               " forecast - --baseline naive --horizon 2 --level 80 --min 0 --format json --quiet");
  ASSERT_EQ(o.code, 0) << o.text;
  const Json j = Json::parse(o.text, "output");
  ASSERT_EQ(j.size(), 1u);
  EXPECT_EQ(j[0].at("unique_id").as_string(), "a");
  EXPECT_EQ(j[0].at("freq").as_string(), "ME");
  EXPECT_EQ(j[0].at("ds")[0].as_string(), "2020-06-30");
  EXPECT_EQ(j[0].at("Naive")[1].as_double(), 1);
  EXPECT_EQ(j[0].at("Naive-lo-80")[1].as_double(), 0) << "clamped";
  EXPECT_GT(j[0].at("Naive-hi-80")[1].as_double(), j[0].at("Naive-hi-80")[0].as_double());
}

TEST(Forecast, TheShippedModelIsTheDefault) {
  const std::string data = " " + example("employment_m.csv") + " --horizon 3 --quiet";
  const Outcome by_default = run_program("forecast" + data);
  expect(by_default, 0, {"unique_id,ds,Model,Model-q-10"});
  EXPECT_EQ(by_default.text, run_program("forecast --model shipped" + data).text);
}

TEST(Forecast, SaysWhatCannotBeWrittenBeforeItBegins) {
  const Folder f("forecast_late");
  const std::string data = example("employment_m.csv") + " --baseline naive ";
  expect(run_program("forecast " + data + "--plot " + (f / "a.svg")), 2, {"an SVG file holds one"});
  expect(run_program("forecast " + data + "--plot " + (f / "nowhere/a.html")), 1, {"nowhere"});
  expect(run_program("backtest " + example("employment_m.csv") + " --baselines naive --out " +
                     (f / "nowhere/a.csv")),
         1, {"nowhere"});
  expect(run_program("forecast " + data + "--fill foo"), 2, {"--fill foo"});
  write(f / "years.csv", "ds,y\n2001-01-01,1\n2002-01-01,3\n2003-01-01,2\n");
  expect(run_program("forecast " + (f / "years.csv") + " --baseline naive --horizon 9000"), 2,
         {"calendar"});
}

TEST(Forecast, FilesAndPictures) {
  const Folder f("forecast");
  const std::string data = example("employment_m.csv");
  expect(run_program("forecast " + data + " --baseline auto_ets --horizon 12 --level 50,80 --out " +
                     (f / "f.csv") + " --plot " + (f / "f.html")),
         0, {"emp_private", "▁", "|", "ETS(", "and 2 more series"});
  EXPECT_EQ(lines_of(read_file(f / "f.csv")).size(), 1 + 12u * 12);
  const std::string page = read_file(f / "f.html");
  EXPECT_NE(page.find("emp_private"), std::string::npos);
  EXPECT_NE(page.find("<polygon"), std::string::npos);
  for (const char* number : {",nan", "'nan", ",inf", "'inf", "-nan"})
    EXPECT_EQ(page.find(number), std::string::npos) << number;
  EXPECT_EQ(page.find("http://"), std::string::npos) << "one self-contained file";
  expect(run_program("forecast " + data + " --plot " + (f / "f.svg")), 2, {"12 pictures", ".html"});
  EXPECT_EQ(run_program("forecast " + example("elec_equip_m.csv") + " --quiet --plot " +
                        (f / "f.svg") + " > /dev/null")
                .code,
            0);
  EXPECT_TRUE(read_file(f / "f.svg").starts_with("<svg xmlns="));
  // The same command gives the same bytes, on any number of threads.
  const std::string first = read_file(f / "f.csv");
  run_program("forecast " + data +
              " --baseline auto_ets --horizon 12 --level 50,80 --threads 3 --out " + (f / "f.csv"));
  EXPECT_EQ(read_file(f / "f.csv"), first);
}

TEST(Forecast, MistakesAreExplained) {
  const Folder f("forecast-bad");
  const std::string data = example("elec_equip_m.csv");
  std::ofstream(f / "bad.csv") << "unique_id,ds,y\na,2020-01-01,1\na,2020-01-02,oops\n";
  std::ofstream(f / "empty.csv") << "";
  expect(run_program("forecast"), 2, {"data"});
  expect(run_program("forecast " + (f / "none.csv")), 1, {"none.csv"});
  expect(run_program("forecast " + (f / "empty.csv")), 1, {"empty.csv is empty"});
  expect(run_program("forecast " + (f / "bad.csv")), 1,
         {"line 3, column 3 (y): \"oops\" is no number"});
  expect(run_program("forecast " + data + " --baseline arimax"), 2,
         {"unknown baseline \"arimax\""});
  expect(run_program("forecast " + data + " --baseline naive,naive"), 2, {"twice"});
  expect(run_program("forecast " + data + " --quantiles 0.1,1.5"), 2, {"--quantiles: got \"1.5\""});
  expect(run_program("forecast " + data + " --horizon -1"), 2, {"--horizon"});
  expect(run_program("forecast " + data + " --freq fortnight"), 2, {"fortnight", "15min"});
  expect(run_program("forecast " + data + " --fill mean"), 2, {"last, linear or zero"});
  expect(run_program("forecast " + data + " --plot x.png"), 2, {".svg or .html"});
  expect(run_program("forecast " + data + " --min 5 --max 1"), 2, {"--min 5 is above --max 1"});
  expect(run_program("forecast " + data + " --out /nonexistent/x.csv"), 1, {"cannot write"});
  expect(run_program("backtest"), 2, {"no file"});
  expect(run_program("backtest " + data + " --convention monash"), 2, {"gluonts", "fev"});
  expect(run_program("backtest " + data + " --horizon 5000"), 2, {"no window fits"});
}

TEST(Backtest, TablesAndFiles) {
  const Folder f("backtest");
  const Outcome o =
      run_program("backtest " + example("danish_q.csv") + " " + example("nature_a.csv") +
                  " --windows 2 --baselines seasonal_naive,theta,auto_ets --plot " +
                  (f / "p.html") + " --out " + (f / "m.csv") + " --forecasts " + (f / "cv.csv"));
  expect(o, 0,
         {"danish_q.csv: 5 series, 2 windows of 8 steps", "SeasonalNaive", "rel. MASE", "1.000",
          "points 80", "left out: 0 missing labels", "geometric mean of the ratio"});
  const auto metrics = lines_of(read_file(f / "m.csv"));
  ASSERT_EQ(metrics.size(), 1 + 3u * (1 + 5) + 3u * (1 + 2));
  EXPECT_TRUE(metrics[0].starts_with("file,unique_id,model,MASE,WQL")) << metrics[0];
  EXPECT_TRUE(metrics[1].starts_with("danish_q.csv,,SeasonalNaive,")) << metrics[1];
  const auto frame = lines_of(read_file(f / "cv.csv"));
  ASSERT_EQ(frame.size(), 1 + 5u * 2 * 8 + 2u * 2 * 6);
  EXPECT_TRUE(frame[0].starts_with("unique_id,ds,cutoff,y,SeasonalNaive,SeasonalNaive-lo-80"))
      << frame[0];
  const std::string page = read_file(f / "p.html");
  for (const char* part : {"danish_q.csv: the last window, by ", "what came", "dk_lrm", "nile"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
}

}  // namespace
}  // namespace subquad
