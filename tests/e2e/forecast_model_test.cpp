// A forecaster's life as a user sees it: trained, scored, written, used.
#include <algorithm>

#include "subquad/base/file.h"
#include "tests/e2e/program.h"

namespace subquad {
namespace {

TEST(ForecastModel, TrainedScoredWrittenUsed) {
  const Folder f("forecast-model");
  const std::string run = quoted(f / "run"), model = quoted(f / "model");
  expect(run_program("train --arm mlstm --task forecast --task-options patch=8,train_length=8 "
                     "--d-model 16 --blocks 1 --heads 2 --tokens 20000 --quiet --out " +
                     run),
         0, {});
  expect(run_program("evaluate " + run), 0, {"pinball", "chunkwise = recurrent"});
  expect(run_program("convert " + run + " " + model + " --dtype bf16"), 0,
         {"subquad", "parameters"});
  expect(run_program("info " + model), 0, {"patches      8 points, 9 quantiles"});

  const std::string data = example("danish_q.csv");
  const std::string a = quoted(f / "a.csv"), b = quoted(f / "b.csv");
  expect(run_program("forecast " + data + " --model " + run + " --horizon 9 --quiet --out " + a), 0,
         {});
  expect(run_program("forecast " + data + " --model " + run +
                     " --horizon 9 --quiet --threads 2 --baseline naive --level 80 --out " + b),
         0, {});
  const std::string first = read_file(f / "a.csv"), second = read_file(f / "b.csv");
  EXPECT_TRUE(first.starts_with("unique_id,ds,Model,Model-q-10,")) << first.substr(0, 80);
  EXPECT_TRUE(second.starts_with("unique_id,ds,Model,Model-lo-80,Model-hi-80,Naive,Naive-lo-80,"))
      << second.substr(0, 80);
  const auto median = [](const std::string& text) {
    const std::size_t row = text.find('\n') + 1, at = text.find(',', text.find(',', row) + 1) + 1;
    return text.substr(at, text.find(',', at) - at);
  };
  EXPECT_EQ(median(first), median(second)) << "other company, other threads";

  expect(run_program("backtest " + data + " --convention fev --model " + model +
                     " --baselines seasonal_naive"),
         0, {"Model ", "SeasonalNaive", "rel. WQL"});
  // Anomalies by the model: the same columns, the same bytes in company and on other threads.
  const std::string found = "anomalies " + data + " --warm-up 20 --all --quiet --model " + run;
  expect(run_program(found + " --out " + quoted(f / "x.csv")), 0, {"band (Model, robust)"});
  const std::string rows = read_file(f / "x.csv");
  EXPECT_TRUE(rows.starts_with("unique_id,ds,y,Model,Model-lo-99,Model-hi-99,score,anomaly\n"));
  EXPECT_EQ(std::count(rows.begin(), rows.end(), '\n'), 1 + 5 * (55 - 20));
  expect(run_program(found + " --threads 2 --method robust --out " + quoted(f / "y.csv")), 0, {});
  EXPECT_EQ(read_file(f / "y.csv"), rows);
  expect(run_program(found + " --method quantile --plot " + quoted(f / "x.html")), 0,
         {"band (Model, quantile)"});
  EXPECT_NE(read_file(f / "x.html").find("Model: "), std::string::npos);
  expect(run_program(found + " --baseline theta"), 2, {"--baseline theta and --model"});

  expect(run_program("generate --model " + model + " --tokens 3"), 2, {"forecaster"});
  expect(run_program("forecast " + data + " --model " + quoted(f / "nothing")), 1, {"nothing"});
}

// The one in the repository stays useful: well ahead of Theta on these sets.
TEST(ForecastModel, TheOneOfExamplesForecastsRealSeries) {
  std::string files;
  for (const char* set : {"chicago_w", "co2_w", "danish_q", "economics_m", "elnino_m",
                          "employment_m", "macro_q", "nature_a"})
    files += example(std::string(set) + ".csv") + " ";
  const Outcome o = run_program(
      "backtest " + files + "--convention fev --baselines seasonal_naive,dynamic_theta --model " +
      quoted(std::string(SUBQUAD_SOURCE_DIR) + "/examples/forecaster"));
  expect(o, 0, {"geometric mean of the ratio to Seasonal Naive over 8"});
  const auto ratios = [&](const std::string& name) {
    std::pair<double, double> r{9, 9};  // MASE, WQL
    const std::size_t row = o.text.rfind("\n" + name + " ");
    if (row == std::string::npos ||
        std::sscanf(o.text.c_str() + row + 1 + name.size(), " %lf %lf", &r.first, &r.second) != 2)
      ADD_FAILURE() << "no row of " << name << " in:\n" << o.text;
    return r;
  };
  const auto model = ratios("Model"), theta = ratios("DynamicTheta");
  EXPECT_LT(model.first, 0.75 * theta.first);
  EXPECT_LT(model.second, 0.75 * theta.second);
}

}  // namespace
}  // namespace subquad
