// What a report says about a study, from results made by hand.
#include "subquad/study/findings.h"

#include <gtest/gtest.h>

#include <cmath>

#include "subquad/study/report.h"
#include "subquad/study/speed.h"

namespace subquad {
namespace {

Json run(const std::string& task, const std::string& arm, int seed, const std::string& metrics,
         const std::string& curve = "[]") {
  return Json::parse("{\"id\":\"" + task + "-" + arm + "-s" + std::to_string(seed) +
                         "\",\"task\":\"" + task + "\",\"arm\":\"" + arm +
                         "\",\"seed\":" + std::to_string(seed) + ",\"metrics\":[" + metrics +
                         "],\"curve\":" + curve +
                         ",\"mode_agreement\":{},\"parameters\":1,\"tokens\":1}",
                     "run");
}

std::string value(const std::string& name, const std::string& split, int length, double v) {
  return "{\"name\":\"" + name + "\",\"split\":\"" + split +
         "\",\"length\":" + std::to_string(length) + ",\"value\":" + Json(v).dump() +
         ",\"unit\":\"\"}";
}

std::string accuracy(double v) { return value("tail_accuracy", "test", 1280, v); }
std::string bits(double test, double validation) {
  return value("bits_per_byte", "test", 256, test) + "," +
         value("bits_per_byte", "validation", 256, validation);
}

// Three planned seeds. mlstm lacks its last one; slstm solves parity twice.
Json results() {
  Json r = Json::parse(R"({"plan_sha256":"x","plan":{"name":"t","level":"claim",
      "arms":["ngram","slstm","mlstm"],"seeds":[0,1,2],"model":{"match":"parameters"}},
      "tasks":{"parity":{"primary":"tail_accuracy","primary_length":1280,"train_length":40,
                         "chance":0.5},
               "code":{"primary":"bits_per_byte","primary_length":256,"train_length":256,
                       "chance":0.004}},
      "runs":[],"failed":[]})",
                       "results");
  Json& runs = r["runs"];
  runs.push_back(run("code", "ngram", 0, bits(3.0, 2.8)));
  for (int seed = 0; seed < 3; ++seed) {
    runs.push_back(run("parity", "slstm", seed, accuracy(seed < 2 ? 1.0 : 0.5)));
    // Below 2.8 half-way between the second and third point, except for the last seed.
    runs.push_back(run(
        "code", "slstm", seed, bits(2.6, 2.5),
        seed < 2 ? "[[100,9,4.0],[150,8],[200,7,3.0],[300,6,2.6]]" : "[[100,9,4.0],[300,6,2.9]]"));
    if (seed == 2) continue;
    runs.push_back(run("parity", "mlstm", seed, accuracy(0.5)));
    runs.push_back(run("code", "mlstm", seed, bits(2.9, 2.9)));
  }
  return r;
}

TEST(Findings, CountsSeedsThatAreFinishedAndStaysIndicative) {
  Json r = results();
  EXPECT_EQ(finished_seeds(r), 2);
  EXPECT_NE(standing(r).find("2 of 3 seeds finished"), std::string::npos) << standing(r);
  EXPECT_NE(standing(r).find("indicative"), std::string::npos) << "two seeds are no claim";
  r["runs"].push_back(run("parity", "mlstm", 2, accuracy(0.5)));
  r["runs"].push_back(run("code", "mlstm", 2, bits(2.9, 2.9)));
  EXPECT_EQ(finished_seeds(r), 3);
  EXPECT_EQ(standing(r), "3 seeds, one recipe, untuned: indicative, not a claim");
}

TEST(Findings, SolvedSeedsCarryTheirInterval) {
  const Json f = findings(results());
  const Json& arm = f.at("tasks").at("parity").at("arms").at("slstm");
  EXPECT_EQ(arm.at("solved").as_int(), 2);
  EXPECT_NEAR(arm.at("solved_share_wilson_95")[0].as_double(), 0.2077, 5e-5);
  EXPECT_NEAR(arm.at("solved_share_wilson_95")[1].as_double(), 0.9385, 5e-5);
  EXPECT_FALSE(f.at("tasks").at("code").at("arms").at("slstm").contains("solved"));
  const std::string words = verdict(results(), "parity");
  EXPECT_NE(words.find("slstm 2 of 3 [0.21, 0.94]"), std::string::npos) << words;
  EXPECT_NE(words.find("by no seed: mlstm"), std::string::npos) << words;
}

TEST(Findings, BytesToCrossTheNgram) {
  const auto bytes = bytes_to_cross(results(), "code", "slstm");
  ASSERT_EQ(bytes.size(), 3U);
  EXPECT_DOUBLE_EQ(bytes[0], 250);
  EXPECT_TRUE(std::isnan(bytes[2]));
  EXPECT_TRUE(bytes_to_cross(results(), "code", "mlstm").empty()) << "no validation curve";
  EXPECT_TRUE(bytes_to_cross(results(), "parity", "slstm").empty());
  const Json all = findings(results());
  const Json& list = all.at("tasks").at("code").at("arms").at("slstm").at("bytes_to_cross_ngram");
  EXPECT_EQ(list[1].as_double(), 250);
  EXPECT_EQ(list[2].as_string(), "not crossed");
  EXPECT_NE(crossing_sentence(results(), "code").find("slstm 250 (2 of 3 seeds)"),
            std::string::npos)
      << crossing_sentence(results(), "code");
}

TEST(Report, ShowsWhatWasFoundAndMarksWhatWasDisturbed) {
  const Json timings = Json::parse(
      R"({"runs":{},"speed":{"disturbed":true,"task":"parity","note":"a note",
          "arms":{"slstm":{"train_tokens_per_second":98000.0,"decode_us_64":12.0}}}})",
      "timings");
  const std::string table = terminal_summary(results(), timings);
  const std::string page = html_report(results(), timings, Json::object());
  for (const char* part : {"2 of 3 seeds finished", "(parity: tail accuracy of 0.99 or more)",
                           "2 of 3 [0.21, 0.94]", "slstm 250 (2 of 3 seeds)", "~98", "~12"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << table;
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_NE(page.find("n-gram</text>"), std::string::npos) << "the line to cross, in the chart";
  EXPECT_EQ(page.find("agreed in their prediction"), std::string::npos)
      << "nobody compared the two forms here";
  EXPECT_EQ(html_report(results(), Json::parse(R"({"runs":{}})", "none"), Json::object()).find("~"),
            std::string::npos);
}

TEST(Report, SaysHowOftenTheTwoFormsAgreed) {
  const Json none = Json::parse(R"({"runs":{}})", "none");
  for (const auto& [agreement, words] : {std::pair{1.0, "in every scored position in every run"},
                                         {0.999999, "on at least 99.99 % of scored positions"}}) {
    Json r = results();
    r["runs"].push_back(run("parity", "mlstm", 2, accuracy(0.5)));
    Json runs = Json::array();
    for (Json one : r.at("runs").as_array()) {
      one["mode_agreement"] = Json::object();
      one["mode_agreement"]["32"] = agreement;
      runs.push_back(std::move(one));
    }
    r["runs"] = runs;
    const std::string page = html_report(r, none, Json::object());
    EXPECT_NE(page.find(words), std::string::npos) << words;
    EXPECT_EQ(page.find("100.00 %"), std::string::npos);
  }
}

TEST(Speed, BelongsToOneBuildAndMachineAndIsMarkedIfDisturbed) {
  const SpeedKey key{"b", "m"};
  const Json quiet = Json::parse(R"({"build":"b","machine":"m","disturbed":false})", "speed");
  EXPECT_TRUE(speed_is_current(quiet, key));
  EXPECT_FALSE(speed_is_current(quiet, {"other", "m"}));
  EXPECT_FALSE(speed_is_current(quiet, {"b", "other"}));
  EXPECT_FALSE(speed_is_current(Json::object(), key)) << "a file from before the key";
  Json timings = Json::parse(
      R"({"runs":{},"speed":{"build":"b","machine":"m","disturbed":true,
          "arms":{"slstm":{"train_tokens_per_second":98000.0,"decode_us_64":12.0}}}})",
      "timings");
  EXPECT_FALSE(speed_is_current(timings.at("speed"), key));
  EXPECT_EQ(speed_text(timings, "slstm", "train_tokens_per_second", 1e-3), "~98");
  EXPECT_EQ(speed_text(timings, "slstm", "decode_us_1024"), "-");
  timings["speed"]["disturbed"] = false;
  EXPECT_EQ(speed_text(timings, "slstm", "decode_us_64"), "12");
}

TEST(Speed, MeasuresTrainingAndDecodingOfEveryArm) {
  const StudyPlan plan = parse_plan(
      "name = \"t\"\narms = [\"slstm\", \"attention\"]\ntasks = [\"parity\"]\n"
      "[model]\nd_model = 32\nblocks = 1\nheads = 2\n[task.parity]\nbatch_size = 4\n",
      "test");
  const Json s = measure_speed(plan, {"b", "m"}, 1);
  EXPECT_EQ(s.at("build").as_string(), "b");
  EXPECT_LE(s.at("rounds").size(), 2U) << "disturbed rounds are repeated a bounded number of times";
  for (const char* arm : {"slstm", "attention"}) {
    EXPECT_GT(s.at("arms").at(arm).at("train_tokens_per_second").as_double(), 0) << arm;
    EXPECT_GT(s.at("arms").at(arm).at("decode_us_65536").as_double(), 0) << arm;
  }
}

}  // namespace
}  // namespace subquad
