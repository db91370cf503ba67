// The report's page: sections, charts, size, and what hostile or damaged results do to it.
#include "subquad/study/report/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "subquad/study/chart.h"
#include "subquad/study/trials.h"
#include "subquad/study/verdict.h"
#include "tests/unit/report_fixture.h"

namespace subquad {
namespace {

struct Size {
  std::vector<std::string> arms{"attention", "mlstm"}, tasks{"parity", "code"};
  int seeds = 2, points = 4;
};

Json metric(const std::string& name, int length, double value) {
  return Json::Object{
      {"name", name}, {"split", "test"}, {"length", length}, {"value", value}, {"unit", ""}};
}

Json run_of(const std::string& task, const std::string& arm, int seed, int points) {
  Json run = finished_run(task, arm, seed);
  const bool bits = task == "code";
  const double value = 0.5 + 0.1 * seed + (arm == "mlstm" ? 0.05 : 0);
  for (const int length : {32, 1024})
    run["metrics"].push_back(metric(bits ? "bits_per_byte" : "tail_accuracy", length, value));
  if (bits) {
    run["metrics"].push_back(metric("loss_at_0_16", 1024, 3.5));
    run["metrics"].push_back(metric("loss_at_16_1024", 1024, 3.0));
    run["metrics"].push_back(metric("bracket_accuracy", 1024, 0.25));
  }
  run["curve"] = Json::array();
  for (int i = 1; i <= points; ++i) {
    Json p = Json::Array{i * 100, 1.0 / i};
    if (bits) p.push_back(4.0 / i);
    run["curve"].push_back(p);
  }
  run["mode_agreement"]["32"] = 1.0;
  run["data"]["separation"] = "a hash decides";
  return run;
}

ReportInput input(const Size& size = {}) {
  ReportInput in;
  Json& r = in.results = Json::object();
  r["plan_sha256"] = "0123456789abcdef";
  r["plan"] = Json::parse(R"({"name":"t","question":"why?","level":"look",
      "model":{"match":"parameters"},"train":{"schedule":"cosine"}})",
                          "plan");
  r["plan"]["arms"] = Json::array();
  r["plan"]["seeds"] = Json::array();
  for (const std::string& arm : size.arms) r["plan"]["arms"].push_back(arm);
  for (int s = 0; s < size.seeds; ++s) r["plan"]["seeds"].push_back(s);
  r["failed"] = r["runs"] = Json::array();
  in.timings["runs"] = Json::object();
  for (const std::string& task : size.tasks) {
    Json& t = r["tasks"][task] = Json::parse(R"({"primary_length":1024,"train_length":32,
        "chance":0.5})",
                                             "task");
    t["primary"] = task == "code" ? "bits_per_byte" : "tail_accuracy";
    for (const std::string& arm : size.arms) {
      t["arms"][arm] = sized_arm();
      t["arms"][arm]["model"]["mlp_hidden"] = static_cast<std::int64_t>(arm.size());
      for (int s = 0; s < size.seeds; ++s) {
        r["runs"].push_back(run_of(task, arm, s, size.points));
        Json& times = in.timings["runs"][task + "-" + arm + "-s" + std::to_string(s)];
        times["train_seconds"] = 2.0;
        times["peak_rss_bytes"] = 1e7;
      }
    }
  }
  in.timings["speed"] = Json::parse(R"({"task":"parity","note":"quiet","arms":{}})", "speed");
  double us = 10;
  for (const std::string& arm : size.arms) {
    Json& a = in.timings["speed"]["arms"][arm];
    a["train_tokens_per_second"] = 1000.0;
    for (const char* column :
         {"decode_us_64", "decode_us_1024", "decode_us_16384", "decode_us_65536"})
      a[column] = us;
    us *= 2;
  }
  return in;
}

Json tuning(const std::vector<std::string>& arms) {
  Json t = Json::parse(R"({"recipe":"R2","recipes":{"parity":"R2","code":"R1"},
      "grid":{"factors":[0.5,1,2],"fraction":0.5,"seed":1000,"selection":"least loss"},
      "headline":{"parity: mlstm > attention":{"R1":-0.1,"R2":0.2}}})",
                       "tuning");
  for (const std::string& arm : arms) {
    int i = 0;
    for (const double rate : {0.001, 0.002, 0.004}) {
      Json trial = Json::object();
      trial["id"] = "parity-" + arm + "-lr" + Json(rate).dump();
      trial["task"] = "parity";
      trial["arm"] = arm;
      trial["values"]["learning_rate"] = rate;
      trial["macs"] = 1000.0;
      trial["loss"] = ++i == 3 ? Json() : Json(0.5 / i);
      t["trials"].push_back(trial);
    }
    t["chosen"]["parity"][arm] =
        Json::parse(R"({"learning_rate":0.002,"loss":0.25,"at_edge":false})", "chosen");
  }
  return t;
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ReportPage, HasEverySectionTunedOrNot) {
  for (const bool tuned : {false, true}) {
    ReportInput in = input();
    if (tuned) in.results["tuning"] = tuning({"attention", "mlstm"});
    const std::string page = html_report(in);
    for (const char* id : {"short", "numbers", "audit", "compared", "protocol", "tuning", "quality",
                           "length", "costs", "negative", "data", "limits", "reproduce"}) {
      EXPECT_EQ(count(page, std::string("<section id='") + id + "'>"), 1) << id;
      EXPECT_EQ(count(page, std::string("href='#") + id + "'"), id == std::string("audit") ? 2 : 1);
    }
    EXPECT_EQ(count(page, "could not be written"), 0);
    EXPECT_EQ(count(page, "Nothing was tuned"), tuned ? 0 : 1);
    for (const char* part :
         {"parity: validation loss by learning rate", "parity: expected best",
          "changes: not robust", "parity-mlstm-lr0.002: rate 0.002", "chosen rate"})
      EXPECT_EQ(page.find(part) != std::string::npos, tuned) << part;
  }
}

TEST(ReportPage, ChartsHaveTitlesAndTheirMarksSayRunAndValue) {
  const std::string page = html_report(input());
  EXPECT_EQ(count(page, "<svg"), count(page, "</svg>"));
  EXPECT_EQ(count(page, "aria-label=''"), 0);
  EXPECT_GE(count(page, "class='title'"), 20);
  for (const char* part :
       {"<title>parity-mlstm-s1: 0.65</title>", "<title>parity-mlstm-s1 at length 1024: 0.65",
        "parity: difference to mlstm", "Mean over tasks: P(row is better)",
        "code: loss by position", "parity: quality against state bytes",
        "on the front with probability", "Decoding: time per token", "what is predicted right",
        "download='parity-heat-map.csv'"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
}

// Of attention's seeds, at 0.5 and 0.6 where 0.5 is chance, half score a tenth; a failed run scores 0.
TEST(ReportPage, ProfilesCountEveryRunOfEveryTaskWithScores) {
  ReportInput in = input({.tasks = {"parity", "s3", "code"}});
  EXPECT_NE(html_report(in).find("attention: 50 % of its runs score 0.10 or more"),
            std::string::npos);
  for (const char* task : {"parity", "s3"}) {
    for (const int seed : {7, 8})
      in.results["failed"].push_back(
          Json::Object{{"task", task}, {"arm", "attention"}, {"seed", seed}, {"reason", "NaN"}});
  }
  const std::string page = html_report(in);
  EXPECT_NE(page.find("attention: 25 % of its runs score 0.10 or more"), std::string::npos);
  EXPECT_NE(page.find("Over 2 tasks"), std::string::npos);
  EXPECT_EQ(html_report(input()).find("Performance profiles"), std::string::npos);  // one such task
}

TEST(ReportPage, ReachesNothingOutsideAndStaysSmall) {
  const std::vector<std::string> arms = {
      "attention", "mlstm",        "slstm",          "xlstm[1:1]",
      "mamba2",    "mamba2[-1,1]", "gated_deltanet", "gated_deltanet[-1,1]"};
  const std::string page =
      html_report(input({arms, {"anbn", "anbncn", "majority", "parity", "s3", "code"}, 6, 200}));
  EXPECT_LT(page.size(), 5U << 20);
  for (const char* part : {"http:", "https:", "<script", " src=", "url(", "@import", "<link"})
    EXPECT_EQ(count(page, part), 0) << part;
  EXPECT_EQ(count(page, "href='"), count(page, "href='#") + count(page, "href='data:text/csv"));
}

TEST(ReportPage, HostileNamesAreText) {
  const std::string name = "<script>alert(1)</script>'\"&";
  ReportInput in = input({{"attention", name}, {"parity", name}, 2, 3});
  in.results["plan"]["name"] = name;
  in.results["plan"]["question"] = name;
  in.results["failed"].push_back(Json::Object{
      {"id", name}, {"arm", name}, {"task", "parity"}, {"seed", 9}, {"message", name}});
  in.results["tuning"] = tuning({name});
  in.results["tuning"]["headline"][name] = Json::Object{{name, 0.5}};
  in.provenance[name] = name;
  in.audit = Json::Object{{"checks", Json::Array{Json::Object{{"id", name},
                                                              {"title", name},
                                                              {"light", "FAIL"},
                                                              {"numbers", name},
                                                              {"runs", Json::Array{name}}}}}};
  in.protocol =
      Json::Object{{"frozen", name},
                   {"sha256", name},
                   {"hypotheses", Json::Array{name}},
                   {"amendments", Json::Array{Json::Object{{"date", name}, {"reason", name}}}}};
  in.ledger.problems = {name};
  in.ledger.records = {Json::Object{{"kind", name}, {"sha256", name}}};
  const std::string page = html_report(in);
  EXPECT_EQ(count(page, "<script"), 0);
  EXPECT_EQ(count(page, "could not be written"), 0);
  EXPECT_GE(count(page, "&lt;script&gt;"), 30);
  // An attribute that ended early would leave the rest of the name in the open.
  EXPECT_EQ(count(page, "'\"&"), 0);
}

// Calls `visit` with a copy of `root` for every value in it, changed to `other`.
void each_changed(const Json& root, const Json& other,
                  const std::function<void(const Json&)>& visit) {
  std::function<void(const Json&, const std::function<void(Json)>&)> walk =
      [&](const Json& at, const std::function<void(Json)>& put) {
        put(other);
        if (at.is_object()) {
          for (std::size_t i = 0; i < at.size(); ++i) {
            walk(at.as_object()[i].second, [&, i](Json changed) {
              Json::Object copy = at.as_object();
              copy[i].second = std::move(changed);
              put(copy);
            });
          }
        } else if (at.is_array()) {
          for (std::size_t i = 0; i < std::min<std::size_t>(at.size(), 2); ++i) {
            walk(at[i], [&, i](Json changed) {
              Json::Array copy = at.as_array();
              copy[i] = std::move(changed);
              put(copy);
            });
          }
        }
      };
  walk(root, [&](Json changed) { visit(changed); });
}

TEST(ReportPage, DamagedResultsGiveAPageOrAnError) {
  ReportInput in = input({{"attention", "mlstm"}, {"parity"}, 1, 2});
  in.results["tuning"] = tuning({"mlstm"});
  const Json results = in.results, timings = in.timings;
  int pages = 0, errors = 0;
  const auto write = [&] {
    try {
      EXPECT_NE(html_report(in).find("</html>"), std::string::npos);
      ++pages;
    } catch (const Error&) {
      ++errors;
    }
  };
  for (const Json& other : {Json(), Json("text"), Json(-1e308), Json::array()}) {
    each_changed(results, other, [&](const Json& changed) {
      in.results = changed;
      write();
    });
    in.results = results;
    each_changed(timings, other, [&](const Json& changed) {
      in.timings = changed;
      write();
    });
    in.timings = timings;
  }
  EXPECT_GT(pages, 4 * errors) << "one bad value rarely takes the page with it: " << errors;
}

TEST(ReportPage, AStudyWithoutRunsSaysSo) {
  ReportInput in = input();
  in.results["runs"] = Json::array();
  const std::string page = html_report(in);
  EXPECT_NE(page.find("No finished run yet."), std::string::npos);
  EXPECT_EQ(count(page, "could not be written"), 0);
}

TEST(ShortVerdict, SaysWhoSolvesWithIntervalAndWhatWouldDecideIt) {
  ReportInput in = input({{"attention", "mlstm"}, {"parity"}, 3, 1});
  for (Json runs = Json::array(); const Json& r : in.results.at("runs").as_array()) {
    Json run = r;
    if (run.at("arm").as_string() == "mlstm")
      run["metrics"] = Json::Array{metric("tail_accuracy", 1024, 1.0)};
    runs.push_back(run);
    if (runs.size() == in.results.at("runs").size()) {
      in.results["runs"] = runs;
      break;
    }
  }
  const ShortVerdict v = short_verdict(in.results, "parity");
  EXPECT_EQ(v.answer, "Solved by mlstm, in 3 of 3 seeds [0.44, 1.00]; by no seed of attention.");
  EXPECT_EQ(v.decision, "undecided");
  EXPECT_EQ(v.condition, "tested at 1024 tokens, 32 times the training length");
  EXPECT_NE(v.change.find("About 4 seeds"), std::string::npos) << v.change;
}

TEST(ShortVerdict, VariantsOfATaskAreToldApart) {
  const ReportInput in = input({{"attention", "mlstm"}, {"parity", "parity@large"}, 2, 1});
  EXPECT_EQ(short_verdict(in.results, "parity").question, "tracking (parity of a bit string)");
  EXPECT_EQ(short_verdict(in.results, "parity@large").question,
            "parity@large: tracking (parity of a bit string)");
}

TEST(ShortVerdict, WhoNeverStopsIsNotNear) {
  ReportInput in = input({{"attention", "mlstm"}, {"anbn"}, 2, 1});
  in.results["tasks"]["anbn"]["primary"] = "stop_ratio";
  const auto length =
      static_cast<int>(in.results.at("tasks").at("anbn").at("primary_length").as_int());
  Json runs = Json::array();
  for (const Json& r : in.results.at("runs").as_array()) {
    Json run = r;
    run["metrics"] = Json::Array{metric("stop_ratio", length, 2.0)};
    runs.push_back(run);
  }
  in.results["runs"] = runs;
  EXPECT_EQ(short_verdict(in.results, "anbn").answer,
            "No arm solves it, and none comes near: stop ratio 2.00 at best (solved from 0.95 to "
            "1.05).");
}

TEST(Charts, RowsAndHeatMapsSurviveWhatIsNotANumber) {
  const std::string dots = dot_chart({.title = "t", .reference = 0, .show_reference = true},
                                     {{.name = "a", .colour = "#000", .dots = {{NAN, 0}, {1, 0}}},
                                      {.name = "b", .colour = "#000"}});
  EXPECT_EQ(dots.find("nan"), std::string::npos);
  EXPECT_EQ(count(dots, "<circle"), 3) << "two names and one value";
  EXPECT_NE(dot_chart({}, {{.name = "a", .colour = "#000"}}).find("No data"), std::string::npos);
  const std::string heat = heat_map(
      {.title = "t", .columns = {"1", "2"}, .marked = 5},
      {{.name = "a", .colour = "#000", .cells = {{.share = NAN}, {.share = 2, .text = "x"}}}});
  EXPECT_NE(heat.find("rgb(253,231,37)"), std::string::npos) << "clamped to the best colour";
  EXPECT_EQ(heat.find("class='frame'"), std::string::npos);
  EXPECT_NE(heat_map({}, {}).find("No data"), std::string::npos);
}

TEST(Charts, ArmsOfOneStudyNeverShareAColour) {
  std::vector<std::string> arms = {"attention", "mlstm", "ngram", "mamba2"};
  for (const char* hybrid : {"mlstm:attention[3:1]", "gated_deltanet:attention[3:1]",
                             "mlstm,slstm,attention", "mamba2:attention[1:1]", "a", "b", "c"})
    arms.emplace_back(hybrid);
  const auto styles = arm_styles(arms);
  std::map<std::string, int> colours;
  for (const auto& [arm, style] : styles) ++colours[style.colour];
  EXPECT_EQ(colours.size(), arms.size());
  EXPECT_EQ(styles.at("mlstm").colour, arm_styles({"mlstm"}).at("mlstm").colour);
}

TEST(Trials, WidthAndExpectedBest) {
  const Json t = tuning({"mlstm"});
  std::vector<const Json*> trials;
  for (const Json& trial : t.at("trials").as_array()) trials.push_back(&trial);
  const auto losses = loss_by_rate(trials);
  EXPECT_TRUE(std::isinf(losses.at(0.004))) << "diverged";
  EXPECT_EQ(width_in_octaves(losses), 0) << "only the best rate";
  EXPECT_EQ(width_in_octaves({{0.001, 1.0}, {0.002, 1.005}, {0.004, 1.009}, {0.008, 2.0}}), 2);
  EXPECT_NEAR(expected_best({1, 3}, 1), 2, 1e-12);
  EXPECT_NEAR(expected_best({1, 3}, 2), 1.5, 1e-12);
}

}  // namespace
}  // namespace subquad
