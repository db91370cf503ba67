// Published orderings against the seeds of a study.
#include "subquad/study/published.h"

#include <gtest/gtest.h>

#include "subquad/study/report/report.h"
#include "tests/unit/report_fixture.h"

namespace subquad {
namespace {

// Six seeds; parity is solved by slstm alone, of majority mlstm is a little ahead in every seed.
Json results() {
  Json r = Json::parse(R"({"plan":{"name":"t","arms":["mlstm","slstm"],"seeds":[0,1,2,3,4,5]},
      "failed":[],"runs":[],"tasks":{
      "parity":{"primary":"tail_accuracy","primary_length":64,"train_length":32,"chance":0.5},
      "majority@dense":{"primary":"tail_accuracy","primary_length":64,"train_length":32,
      "chance":0.1}}})",
                       "results");
  const auto add = [&](const std::string& task, const std::string& arm, int seed, double value) {
    Json run = finished_run(task, arm, seed);
    run["metrics"].push_back(Json::Object{
        {"name", "tail_accuracy"}, {"split", "test"}, {"length", 64}, {"value", value}});
    r["runs"].push_back(run);
  };
  for (int s = 0; s < 6; ++s) {
    add("parity", "slstm", s, 1.0);
    add("parity", "mlstm", s, 0.5 + 0.001 * s);
    add("majority@dense", "mlstm", s, 0.60 + 0.01 * s);
    add("majority@dense", "slstm", s, 0.50 + 0.011 * s);
  }
  return r;
}

PublishedNumbers published(const std::string& orderings) {
  return parse_published("source = 's'\nsetting = 't'\norderings = [" + orderings + "]\n",
                         "p.toml");
}

TEST(PublishedOrderings, AreConfirmedRefutedOrUndecidedBySeeds) {
  const auto found =
      replications(results(), published("'parity: slstm > mlstm', 'parity: mlstm > slstm', "
                                        "'majority: mlstm > slstm', 'majority: slstm > mlstm', "
                                        "'s3: slstm > mlstm', 'parity: attention > mlstm'"));
  ASSERT_EQ(found.size(), 4U);  // those whose task and arms the study has
  EXPECT_EQ(found[0].verdict, "confirmed");
  EXPECT_EQ(found[1].verdict, "refuted");
  // 2 / 2^6 = 0.03 alone, twice that with Holm's correction, for its like is there again.
  EXPECT_EQ(found[2].verdict, "confirmed alone");
  EXPECT_EQ(found[3].verdict, "refuted alone");
  EXPECT_EQ(found[2].comparison.task, "majority@dense");
  EXPECT_EQ(found[2].comparison.family, 4);
}

TEST(PublishedOrderings, TheReportShowsThemBesideTheValues) {
  Json r = results();
  for (const char* task : {"parity", "majority@dense"}) {
    for (const char* arm : {"mlstm", "slstm"}) r["tasks"][task]["arms"][arm] = sized_arm();
  }
  ReportInput in{.results = r};
  in.timings["runs"] = Json::object();
  EXPECT_EQ(html_report(in).find("Beside published numbers"), std::string::npos);
  in.published =
      "source = 'a paper'\nsetting = 'other lengths'\norderings = ['parity: slstm > mlstm']\n"
      "[values.parity]\nslstm = 0.9\n";
  const std::string page = html_report(in);
  EXPECT_NE(page.find("a paper; other lengths"), std::string::npos);
  EXPECT_NE(page.find("0.900</td><td>tail accuracy</td><td>1.00 <span class='soft'>(1.00 &ndash; "
                      "1.00, 6 seeds)"),
            std::string::npos);
  EXPECT_NE(page.find("<span class='badge good'>confirmed</span>"), std::string::npos);
}

TEST(PublishedOrderings, WhatIsNoneIsRefused) {
  for (const char* bad : {"'parity slstm mlstm'", "'parity: slstm = mlstm'", "3",
                          "'parity: slstn > mlstm'", "'pairity: slstm > mlstm'"})
    EXPECT_THROW(published(bad), Error) << bad;
  EXPECT_THROW(parse_published("source = 's'\nsetting = 't'\nvalue = 3\n", "p.toml"), Error);
  EXPECT_THROW(parse_published("setting = 't'\n", "p.toml"), Error);
  EXPECT_THROW(parse_published("source = 's'\nsetting = 't'\n[values.x]\nmlstm = 'a'\n", "p.toml"),
               Error);
}

}  // namespace
}  // namespace subquad
