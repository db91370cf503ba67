// What a report says about a study, from results made by hand.
#include "subquad/study/findings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "subquad/study/comparison.h"
#include "subquad/study/report/report.h"
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

// Seven seeds; bits per byte of slstm and mlstm by seed.
Json code_results(const std::function<double(int)>& slstm,
                  const std::function<double(int)>& mlstm) {
  Json r = Json::parse(R"({"plan_sha256":"x","plan":{"name":"t","level":"claim",
      "arms":["slstm","mlstm"],"seeds":[0,1,2,3,4,5,6],"model":{"match":"parameters"}},
      "tasks":{"code":{"primary":"bits_per_byte","primary_length":256,"train_length":256,
                       "chance":0.004}},
      "runs":[],"failed":[]})",
                       "results");
  for (int seed = 0; seed < 7; ++seed) {
    r["runs"].push_back(run("code", "slstm", seed, bits(slstm(seed), 2.5)));
    r["runs"].push_back(run("code", "mlstm", seed, bits(mlstm(seed), 2.5)));
  }
  return r;
}

TEST(Comparison, OfDifferencesStatesIntervalNumberTestsAndPower) {
  // Seeds differ by far more than arms, which pairing takes out.
  const Json r =
      code_results([](int s) { return 2.0 + s; }, [](int s) { return 2.1 + s + 0.001 * (s % 3); });
  const Comparison c = comparisons(r).at(0);
  EXPECT_EQ(c.first, "slstm");
  EXPECT_EQ(c.verdict, "better");
  EXPECT_NEAR(mean_of(c.differences), 0.1 + 0.001 * 6 / 7, 1e-9) << "positive: the first is better";
  EXPECT_NEAR(c.p, 2 / 128.0, 1e-12);
  EXPECT_GT(c.t.low, 0.09);
  const std::string words = verdict(r, "code");
  for (const char* part : {"slstm is ahead of mlstm by 0.101", "7 pairs", "sign-flip p 0.016",
                           "Wilcoxon p 0.016", "P(better) of unpaired seeds 0.57", "exploratory"})
    EXPECT_NE(words.find(part), std::string::npos) << part << " in " << words;
  const Json j = findings(r).at("comparisons")[0];
  EXPECT_EQ(j.at("interval").as_string(), "t");
  EXPECT_EQ(j.at("pairs").as_int(), 7);
  EXPECT_TRUE(j.at("paired").as_bool());
}

TEST(Comparison, UndecidedSaysWhatWouldHaveBeenFound) {
  Json r = code_results([](int s) { return 2.0 + 0.03 * (3 * s % 7); },
                        [](int s) { return 2.05 + 0.02 * s; });
  Comparison c = comparisons(r).at(0);
  EXPECT_EQ(c.verdict, "undecided");
  EXPECT_GT(c.detectable, 0);
  EXPECT_NE(verdict(r, "code").find("80 % power"), std::string::npos) << verdict(r, "code");
  // With a margin that is wide enough the same values are equivalent, and the hypothesis is declared.
  r["plan"]["protocol"] =
      Json::parse(R"({"hypotheses":["code: mlstm = slstm"],"margin":{"code":0.5}})", "protocol");
  c = comparisons(r).at(0);
  EXPECT_TRUE(c.declared);
  EXPECT_EQ(c.first, "mlstm");
  EXPECT_EQ(c.verdict, "equivalent");
  EXPECT_GE(findings(r).at("comparisons")[0].at("power_at_margin").as_double(), 0.8);
  EXPECT_EQ(verdict(r, "code").find("exploratory"), std::string::npos);
}

TEST(Comparison, SeedsInTwoGroupsAreCountedAndNotAveraged) {
  // Three of seven seeds of mlstm diverge.
  const Json r = code_results([](int s) { return 2.0 + 0.001 * s; },
                              [](int s) { return s < 3 ? 7.5 : 2.1 + 0.001 * s; });
  const Comparison c = comparisons(r).at(0);
  EXPECT_TRUE(c.shares);
  EXPECT_EQ(c.solved_first, 7);
  EXPECT_EQ(c.solved_second, 4);
  const std::string words = verdict(r, "code");
  EXPECT_NE(words.find("slstm 7 of 7 [0.65, 1.00] against mlstm 4 of 7"), std::string::npos)
      << words;
  EXPECT_NE(words.find("Fisher p 0.19"), std::string::npos) << words;
  const Json j = findings(r).at("comparisons")[0];
  EXPECT_EQ(j.at("interval").as_string(), "wilson");
  EXPECT_FALSE(j.contains("mean_difference"));
}

TEST(Comparison, AFailedRunSolvedNothing) {
  Json r = results();
  r["failed"].push_back(Json::parse(
      R"({"id":"parity-mlstm-s2","task":"parity","arm":"mlstm","seed":2,"message":"m"})", "f"));
  const Comparison c = comparisons(r).at(0);
  EXPECT_EQ(c.task, "parity");
  EXPECT_EQ(c.seeds_second, 3);
  EXPECT_EQ(cell(r, "parity", "mlstm").seeds, 3);
  EXPECT_EQ(c.detectable, 0) << "three of three against none: p = 0.1";
  EXPECT_NE(sentence(c).find("no difference reaches 5 %"), std::string::npos) << sentence(c);
}

TEST(Comparison, HolmCoversTheDeclaredFamilyOnly) {
  Json r = code_results([](int s) { return 2.0 + s; }, [](int s) { return 2.1 + s; });
  r["plan"]["arms"] = Json::Array{"slstm", "mlstm", "mamba2"};
  for (int seed = 0; seed < 7; ++seed)
    r["runs"].push_back(run("code", "mamba2", seed, bits(2.2 + seed, 2.5)));
  r["plan"]["protocol"] = Json::parse(
      R"({"hypotheses":["code: slstm > mlstm","code: slstm > mamba2","code: mamba2 > mlstm"]})",
      "protocol");
  const auto all = comparisons(r);
  ASSERT_EQ(all.size(), 3U);
  for (const Comparison& c : all) EXPECT_NEAR(c.p_holm, 3 * 2 / 128.0, 1e-12);
  EXPECT_EQ(all[0].verdict, "better");
  EXPECT_EQ(all[2].verdict, "worse") << "the hypothesis had the wrong sign";
}

TEST(Comparison, KnowsHowFewPairsCannotDecide) {
  EXPECT_GT(smallest_p_holm(5, 1), 0.05);
  EXPECT_LT(smallest_p_holm(6, 1), 0.05);
  EXPECT_GT(smallest_p_holm(6, 2), 0.05);
  EXPECT_EQ(smallest_p_holm(0, 1), 1);
}

TEST(Comparison, TheFrontWeighsQualityAgainstState) {
  Json r = code_results([](int s) { return 2.0 + 0.01 * s; }, [](int s) { return 2.3 + 0.01 * s; });
  const auto sizes = [&](int slstm, int mlstm) {
    r["tasks"]["code"]["arms"]["slstm"]["state_bytes"]["16384"] = slstm;
    r["tasks"]["code"]["arms"]["mlstm"]["state_bytes"]["16384"] = mlstm;
  };
  sizes(100, 100);
  auto front = front_probabilities(r, "code");
  EXPECT_NEAR(front.at("slstm"), 1, 1e-9);
  EXPECT_EQ(front.at("mlstm"), 0) << "no better and no smaller";
  sizes(200, 100);
  front = front_probabilities(r, "code");
  EXPECT_NEAR(front.at("mlstm"), 1, 1e-9) << "worse but smaller";
  EXPECT_TRUE(front_probabilities(results(), "code").empty()) << "sizes are not known";
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
  const Json none = Json::parse(R"({"runs":{}})", "none");
  const std::string table = terminal_summary(results(), timings);
  const std::string page = html_report({.results = results(), .timings = timings});
  for (const char* part : {"2 of 3 seeds finished", "(parity: tail accuracy of 0.99 or more)",
                           "in 2 of 3 seeds [0.21, 0.94]", "slstm 250", "~98", "~12"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << table;
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_NE(page.find("n-gram</text>"), std::string::npos) << "the line to cross, in the chart";
  EXPECT_EQ(page.find("agreed in their prediction"), std::string::npos)
      << "nobody compared the two forms here";
  EXPECT_EQ(html_report({.results = results(), .timings = none}).find("~"), std::string::npos);
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
    const std::string page = html_report({.results = r, .timings = none});
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
