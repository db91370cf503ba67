// The report's section of forecasts: arms beside classical methods, and pictures.
#include <gtest/gtest.h>

#include "subquad/study/report/report.h"
#include "tests/unit/report_fixture.h"

namespace subquad {
namespace {

Json metric(const std::string& name, double value) {
  return Json::Object{
      {"name", name}, {"split", "test"}, {"length", 4}, {"value", value}, {"unit", ""}};
}

// [level][step] around a value.
Json answer(double middle) {
  Json out = Json::array();
  for (const double off : {-2.0, -1.0, 0.0, 1.0, 2.0})
    out.push_back(Json::Array{middle + off, middle + 2 * off});
  return out;
}

// Three arms, best first, of two seeds on two samples.
ReportInput study(const std::string& task = "forecast") {
  ReportInput in;
  Json& r = in.results = Json::parse(R"({"plan_sha256":"0123456789abcdef","failed":[],"runs":[],
      "plan":{"name":"t","question":"why?","level":"look","model":{"match":"parameters"},
      "train":{"schedule":"cosine"},"arms":["attention","slstm","mamba2"],"seeds":[0,1]}})",
                                     "results");
  Json& t = r["tasks"][task] = Json::parse(
      R"({"primary":"wql_ratio","primary_length":4,"train_length":4,"chance":1.0})", "task");
  double value = 0.9;
  for (const char* arm : {"slstm", "mamba2", "attention"}) {
    t["arms"][arm] = sized_arm();
    for (int seed = 0; seed < 2; ++seed) {
      Json run = finished_run(task, arm, seed);
      run["metrics"] = Json::Array{metric("wql_ratio", value + 0.01 * seed),
                                   metric("mase_ratio", value), metric("wql_ratio.shop", value)};
      run["curve"] = Json::array();
      run["data"]["separation"] = "synthetic";
      run["answers"]["shop: <a>"] = answer(10 + seed);
      run["answers"]["held-out series 1"] = answer(0);
      r["runs"].push_back(run);
    }
    value += 0.1;
  }
  in.timings["runs"] = Json::object();
  return in;
}

void add_references(ReportInput& in, const std::string& task = "forecast") {
  in.results["references"][task] = Json::parse(R"({
      "methods":[{"name":"AutoETS","answers":500,"fallbacks":2,
                  "metrics":[{"name":"wql_ratio","value":0.77},{"name":"wql_ratio.shop","value":0.5}]},
                 {"name":"Naive","answers":500,"fallbacks":0,
                  "metrics":[{"name":"wql_ratio","value":1.25}]}],
      "samples":[{"name":"shop: <a>","levels":[0.1,0.3,0.5,0.7,0.9],"synthetic":false,
                  "stamps":["d1","d2","d3","d4","d5"],"history":[9,null,11],"actual":[10.5,null]},
                 {"name":"held-out series 1","levels":[0.1,0.3,0.5,0.7,0.9],"synthetic":true,
                  "stamps":["1","2","3"],"history":[0.5],"actual":[1,2]}]})",
                                               "references");
  in.timings["references"][task]["AutoETS"]["cpu_seconds"] = 4.0;
}

std::string section(const std::string& page) {
  const std::size_t at = page.find("<section id='forecasts'>");
  return at == std::string::npos ? "" : page.substr(at, page.find("</section>", at) - at);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ReportForecasts, ClassicalMethodsStandBesideArms) {
  for (const std::string task : {"forecast", "forecast@long"}) {
    ReportInput in = study(task);
    add_references(in, task);
    const std::string html = section(html_report(in));
    ASSERT_FALSE(html.empty()) << task;
    EXPECT_EQ(html.find("could not be written"), std::string::npos) << html;
    EXPECT_NE(html.find("<td>AutoETS</td><td>0.770</td><td>&ndash;</td>"), std::string::npos);
    EXPECT_NE(html.find("<td>8 (2 by Seasonal Naive)</td>"), std::string::npos) << "its price";
    // The best first, whoever it is.
    const std::size_t chart = html.find("WQL: arms and classical methods");
    std::size_t last = chart;
    for (const char* name : {">AutoETS<", ">slstm<", ">mamba2<", ">attention<", ">Naive<"}) {
      const std::size_t at = html.find(name, chart);
      EXPECT_GT(at, last) << name;
      last = at;
    }
    EXPECT_NE(html.find("<title>AutoETS: 0.770</title>"), std::string::npos);
    EXPECT_NE(html.find("<title>" + task + "-slstm-s1: 0.91</title>"), std::string::npos);
  }
}

TEST(ReportForecasts, PicturesOfTheBestArmAndOfAttention) {
  ReportInput in = study();
  add_references(in);
  const std::string html = section(html_report(in));
  const std::string pictures = html.substr(html.find("<h3>Forecasts</h3>"));
  EXPECT_EQ(count(pictures, "<figure>"), 4u);
  EXPECT_EQ(count(pictures, "shop: &lt;a&gt;</text>"), 2u);
  EXPECT_EQ(pictures.find("mamba2"), std::string::npos);
  EXPECT_EQ(count(pictures, "seed 0, synthetic"), 2u);
  EXPECT_EQ(count(pictures, "seed 1"), 0u);
  EXPECT_EQ(count(pictures, "<polygon stroke='none'"), 8u) << "80 and 40 %, four times";
  EXPECT_NE(pictures.find("<title>d4, slstm: 10, 80 % from 8 to 12; what came: 10.5</title>"),
            std::string::npos)
      << pictures;
  EXPECT_EQ(pictures.find("class='chance'"), std::string::npos) << "no line without a meaning";
  const std::size_t row = pictures.find("d4,10.5,");
  ASSERT_NE(row, std::string::npos) << "a CSV of the numbers";
  EXPECT_EQ(pictures.substr(row, pictures.find("%0A", row) - row),
            "d4,10.5,8.0,9.0,10.0,11.0,12.0");
  EXPECT_EQ(count(pictures, "='nan") + count(pictures, "nan,"), 0u);
}

TEST(ReportForecasts, WhatIsMissingIsSaidOrLeftOut) {
  const std::string without = section(html_report(study()));
  EXPECT_NE(without.find("no scores of classical methods"), std::string::npos);
  EXPECT_EQ(without.find("<h3>Forecasts</h3>"), std::string::npos);
  ReportInput damaged = study();
  add_references(damaged);
  damaged.results["references"]["forecast"]["samples"] = Json::parse(
      R"([{"name":"shop: <a>","levels":[0.5],"stamps":[],"history":[1],"actual":[2,3]}])", "s");
  EXPECT_NE(section(html_report(damaged)).find("could not be written"), std::string::npos);
}

}  // namespace
}  // namespace subquad
