// The audit on one clean study and on a library of doctored ones, each breaking one rule.
#include "subquad/study/audit/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "subquad/study/findings.h"
#include "subquad/study/protocol.h"
#include "subquad/train/run.h"
#include "tests/support/support.h"

namespace subquad {
namespace {

const char* const kModels[] = {"mlstm", "slstm"};
const char* const kTasks[] = {"parity", "code"};
constexpr int kSeeds = 7;

std::string run_id(const std::string& task, const std::string& arm, int seed) {
  return task + "-" + arm + "-s" + std::to_string(seed);
}

Json metric_of(const std::string& task, const std::string& split, double value) {
  return Json::parse(
      "{\"name\":\"" + std::string(task == "code" ? "bits_per_byte" : "tail_accuracy") +
          "\",\"split\":\"" + split + "\",\"length\":" + (task == "code" ? "256" : "1280") +
          ",\"value\":" + Json(value).dump() + ",\"unit\":\"\"}",
      "metric");
}

// Everything of a study before it is written up.
struct Study {
  Json plan, tasks, protocol, tuning, timings, provenance, data_now, overlap, manifest;
  std::vector<Json> runs, failed, extra_records;
  std::map<std::string, Json> configs;
  std::map<std::string, std::vector<Json>> access;
  bool frozen = true;  // the protocol precedes the runs in the ledger

  Json& run(const std::string& id) {
    return *std::find_if(runs.begin(), runs.end(),
                         [&](const Json& r) { return r.at("id").as_string() == id; });
  }
  // Sets the primary metric of a run.
  void score(const std::string& id, double value) {
    Json& r = run(id);
    r["metrics"] = Json::Array{metric_of(r.at("task").as_string(), "test", value)};
  }
};

Json data_of(const std::string& task) {
  return Json::parse(task == "code" ? R"({"train":"sha256:1","test":"sha256:2","dropped":{}})"
                                    : R"({"test/32":"sha256:3"})",
                     "data");
}

Json clean_run(const std::string& task, const std::string& arm, int seed) {
  const bool first = arm == "mlstm";
  Json r = Json::parse(R"({"parameters":140000,"non_embedding_parameters":107000,
      "training_macs_per_token":420000.0,"state_bytes":{"64":4096,"16384":4096},"steps":100,
      "planned_steps":100,"tokens":200000,"train_loss":1.0,"mode_agreement":{},
      "forward_macs":{"counted":140100.0,"formula":140000.0},"precision":"f32",
      "model_bytes":560000})",
                       "run");
  r["id"] = run_id(task, arm, seed);
  r["arm"] = arm;
  r["task"] = task;
  r["seed"] = seed;
  r["weights_sha256"] = "weights of " + run_id(task, arm, seed);
  r["order_sha256"] = "order of " + task + std::to_string(seed);
  r["evaluator"] = Json::parse(R"({"version":1,"test_sha256":"t"})", "evaluator");
  r["data"] = data_of(task);
  // Seeds differ far more than arms: what pairing is for.
  const double luck = 0.05 * seed + 0.002 * (seed % 2) * (first ? 1 : -1);
  const double value = task == "code" ? 2.0 + luck + (first ? 0 : 0.2)
                       : first        ? 0.55 + luck / 20
                                      : 1;
  r["metrics"] = Json::Array{metric_of(task, "test", value)};
  for (int i = 1; i <= 10; ++i) {
    const double loss = (first ? 1.5 : 1.2) + 1.0 / (i * i) + 0.001 * (i % 2);
    r["curve"].push_back(Json::Array{Json(20000 * i), Json(loss)});
  }
  if (task == "parity")
    r["collisions"] = Json::parse(R"({"train_rows":5000,"shared":{"40":0,"1280":0}})", "none");
  return r;
}

Json clean_tuning() {
  Json t = Json::parse(R"({"recipe":"R2","trials":[],
      "headline":{"code: mlstm > slstm":{"R1":0.21,"R2":0.2,"R3":0.15}}})",
                       "tuning");
  for (const char* task : kTasks) {
    for (const char* arm : kModels) {
      for (int i = 0; i < 7; ++i) {
        for (const double decay : {0.01, 0.1}) {
          Json trial = Json::object();
          trial["task"] = task;
          trial["arm"] = arm;
          trial["values"]["learning_rate"] = 1e-4 * (1 << i);
          trial["values"]["weight_decay"] = decay;
          trial["macs"] = 1e10;
          trial["loss"] = 2 + 0.05 * (i - 3) * (i - 3) + decay;
          t["trials"].push_back(std::move(trial));
        }
      }
    }
  }
  return t;
}

Study clean_study(int seeds = kSeeds) {
  Study s;
  s.plan = Json::parse(R"({"name":"t","question":"?","level":"claim","arms":["mlstm","slstm"],
      "tasks":{"parity":{},"code":{}},"seeds":[],"model":{"match":"parameters"},
      "protocol":{"hypotheses":["code: mlstm > slstm"],"exclusion":"none","scope":"these sizes",
                  "conflict_of_interest":"none","recipe_source":"their authors"}})",
                       "plan");
  s.tasks = Json::parse(R"({"parity":{"primary":"tail_accuracy","primary_length":1280,
      "train_length":40,"chance":0.5},"code":{"primary":"bits_per_byte","primary_length":256,
      "train_length":256,"chance":0.004}})",
                        "tasks");
  s.protocol = Json::parse(R"({"frozen":"2026-01-01T00:00:00Z","amendments":[]})", "protocol");
  s.tuning = clean_tuning();
  s.manifest = Json::parse(R"({"version":"1","revision":"abc","program_sha256":"p","compiler":"c",
      "libraries":"l","machine":"m","instructions":"avx2","threads":1})",
                           "manifest");
  s.provenance =
      Json::parse(R"({"machine":"m","compiler":"c","program SHA-256":"p"})", "provenance");
  s.overlap = Json::parse(R"({"code":{"test_documents":100,"exact":0,"near":0,"ngram13":0}})", "o");
  s.timings = Json::parse(R"({"runs":{},"speed":{"task":"code","disturbed":false,
      "rounds":[{"probe_ms":10.0,"disturbed":false},{"probe_ms":10.1,"disturbed":false}]}})",
                          "timings");
  for (int seed = 0; seed < seeds; ++seed) s.plan["seeds"].push_back(seed);
  for (const char* task : kTasks) {
    s.plan["data"][task] = data_of(task);
    s.data_now[task] = data_of(task);
    for (const char* arm : kModels) {
      s.tasks[task]["arms"][arm] = Json::parse(R"({"state_bytes":{"64":4096,"16384":4096}})", "a");
      Json& speed = s.timings["speed"]["arms"][arm];
      speed["train_tokens_per_second"] = std::string(arm) == "mlstm" ? 1.0e5 : 1.2e5;
      for (const char* column : kDecodeColumns) speed[column] = 12.0;
      for (int seed = 0; seed < seeds; ++seed) {
        const std::string id = run_id(task, arm, seed);
        s.runs.push_back(clean_run(task, arm, seed));
        RunConfig c;
        c.study = "t";
        c.arm = arm;
        c.task = task;
        c.seed = static_cast<std::uint64_t>(seed);
        c.model.layers = {arm, arm};
        s.configs[id] = c.to_json();
        s.access[id] = {Json::parse(
            R"({"by":"train","weights_sha256":"weights of )" + id + R"(","reason":""})", "access")};
        s.timings["runs"][id] = Json::parse(
            R"({"train_seconds":2.0,"peak_rss_bytes":1000,"package_joules":"not measurable"})",
            "x");
      }
    }
  }
  return s;
}

Json record_of(const Study& s, const Json& run) {
  Json r = Json::object();
  r["kind"] = "run";
  r["id"] = run.at("id");
  r["status"] = "done";
  r["config_sha256"] =
      RunConfig::from_json(s.configs.at(run.at("id").as_string()), "config").sha256();
  r["started"] = "2026-01-02T00:00:00Z";
  r["ended"] = "2026-01-02T00:01:00Z";
  if (!s.protocol.is_null() && s.protocol.contains("sha256"))
    r["protocol_sha256"] = s.protocol.at("sha256");
  r["manifest"] = s.manifest;
  r["result"] = run;
  return r;
}

Json without(const Json& object, const std::string& key) {
  Json out = Json::object();
  for (const auto& [k, v] : object.as_object()) {
    if (k != key) out[k] = v;
  }
  return out;
}

// The task parity becomes one that trains on generated series.
void series_instead_of_parity(Study& s) {
  for (Json& r : s.runs) {
    if (r.at("task").as_string() != "parity") continue;
    r = without(r, "collisions");
    s.plan["data"]["parity"] = s.data_now["parity"] = r["data"] =
        Json::parse(R"({"train":"recipe 5","test":"sha256:3"})", "data");
  }
}

// The protocol of the study as it is now, with its hashes.
void seal(Study& s) {
  if (s.protocol.is_null()) return;
  s.protocol["plan"] = s.plan;
  Json amendments = Json::array();
  for (Json a : s.protocol.at("amendments").as_array()) {
    a["previous"] = protocol_hash(s.protocol, amendments.size());
    a["plan"] = s.plan;
    amendments.push_back(std::move(a));
  }
  s.protocol["amendments"] = amendments;
  s.protocol["sha256"] = protocol_hash(s.protocol, amendments.size());
  for (Json& r : s.extra_records) {
    if (r.at("kind").as_string() == "run") r["protocol_sha256"] = s.protocol.at("sha256");
  }
}

// Writes a study up as the program does: protocol, ledger, results, findings.
AuditInput written_up(Study s) {
  seal(s);
  AuditInput in;
  const std::string path = temporary_path("audit-ledger.jsonl");
  std::filesystem::remove(path);
  {
    Ledger ledger(path);
    ledger.append(Json::Object{{"kind", "plan"}, {"plan", s.plan}});
    Json promise = Json::object();
    if (!s.protocol.is_null()) {
      promise["kind"] = "protocol";
      promise["protocol_sha256"] = s.protocol.at("sha256");
    }
    if (s.frozen) ledger.append(promise);
    for (const Json& run : s.runs) ledger.append(record_of(s, run));
    if (!s.frozen) ledger.append(promise);
    for (const Json& r : s.extra_records) ledger.append(r);
    for (int i = 0; i < 3; ++i) {
      Json r = Json::object();
      r["kind"] = "rerun";
      r["id"] = s.runs[static_cast<std::size_t>(i)].at("id");
      r["outcome"] = "equal";
      ledger.append(std::move(r));
    }
  }
  in.ledger = check_ledger(path);
  Json& r = in.results = Json::object();
  r["study"] = "t";
  r["plan_sha256"] = "h";
  r["plan"] = s.plan;
  r["tasks"] = s.tasks;
  r["runs"] = s.runs;
  r["failed"] = s.failed;
  double macs = 0;
  if (!s.tuning.is_null()) {
    for (const Json& t : s.tuning.at("trials").as_array()) macs += t.at("macs").as_double();
  }
  r["total_training_macs"]["tuning"] = macs;
  r["findings"] = findings(r);
  in.timings = s.timings;
  in.provenance = s.provenance;
  in.protocol = s.protocol;
  in.tuning = s.tuning;
  in.data_now = s.data_now;
  in.overlap = s.overlap;
  in.configs = s.configs;
  in.test_access = s.access;
  return in;
}

std::map<std::string, CheckOutcome> audited(const AuditInput& in) {
  std::map<std::string, CheckOutcome> out;
  for (const AuditLine& l : audit_study(in)) out[l.id] = l.outcome;
  return out;
}

// Changes every trial.
void for_trials(Study& s, const std::function<void(Json&)>& fn) {
  Json changed = Json::array();
  for (Json t : s.tuning.at("trials").as_array()) {
    fn(t);
    if (!t.is_null()) changed.push_back(std::move(t));
  }
  s.tuning["trials"] = changed;
}

// Changes what the study says of one comparison.
void restate(AuditInput& in, const std::string& task, const std::function<void(Json&)>& fn) {
  Json changed = Json::array();
  for (Json c : in.results.at("findings").at("comparisons").as_array()) {
    if (c.at("task").as_string() == task) fn(c);
    changed.push_back(std::move(c));
  }
  in.results["findings"]["comparisons"] = changed;
}

// Both arms alike on a task.
void make_equal(Study& s, const std::string& task) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    const double base = task == "code" ? 2 : 0.6;
    s.score(run_id(task, "mlstm", seed), base + 0.01 * seed);
    s.score(run_id(task, "slstm", seed), base + 0.01 * seed + (seed % 2 ? 0.002 : -0.0021));
  }
}

struct Violation {
  const char* id;
  const char* what;
  Light light;
  std::function<void(Study&)> before;  // it is written up
  std::function<void(AuditInput&)> after = [](AuditInput&) {};
};

const std::string kOne = "code-slstm-s3";

std::vector<Violation> violations() {
  return {
      {"A1", "one arm is a tenth larger", Light::fail,
       [](Study& s) {
         for (Json& r : s.runs) {
           if (r.at("arm").as_string() == "slstm") r["non_embedding_parameters"] = 120000;
         }
       }},
      {"A2", "the counter disagrees with the formula", Light::fail,
       [](Study& s) { s.run(kOne)["forward_macs"]["counted"] = 180000.0; }},
      {"A2", "equal FLOPs are claimed and differ", Light::fail,
       [](Study& s) {
         s.plan["model"]["match"] = "flops";
         for (Json& r : s.runs) {
           if (r.at("arm").as_string() == "slstm") r["training_macs_per_token"] = 480000.0;
         }
       }},
      {"A3", "one run saw its data in another order", Light::fail,
       [](Study& s) { s.run(kOne)["order_sha256"] = "another"; }},
      {"A3", "one run saw more tokens", Light::fail,
       [](Study& s) { s.run(kOne)["tokens"] = 200512; }},
      {"A4", "no state bytes", Light::fail,
       [](Study& s) { s.run(kOne)["state_bytes"] = Json::object(); }},
      {"A5", "one run has another weight decay", Light::fail,
       [](Study& s) {
         s.tuning["trials"] = Json::array();  // weight decay was not tuned
         s.tuning = Json();
         s.configs[kOne]["train"]["weight_decay"] = 0.3;
       }},
      {"A5", "checkpoints at other times", Light::warn,
       [](Study& s) { s.configs[kOne]["train"]["checkpoint_seconds"] = 30.0; }},
      {"A6", "one run was scored in the middle of its schedule", Light::fail,
       [](Study& s) { s.run(kOne)["steps"] = 60; }},
      {"A7", "one scale, claimed in general", Light::fail,
       [](Study& s) { s.plan["protocol"]["scope"] = "general"; }},
      {"B1", "no arm was tuned", Light::fail, [](Study& s) { s.tuning["recipe"] = "R1"; }},
      {"B1", "recipes of the authors only", Light::warn,
       [](Study& s) { s.tuning["recipe"] = "R3"; }},
      {"B2", "one arm had half the trials", Light::fail,
       [](Study& s) {
         for_trials(s, [](Json& t) {
           if (t.at("arm").as_string() == "slstm" &&
               t.at("values").at("weight_decay").as_double() > 0.05)
             t = Json();
         });
       }},
      {"B3", "the best rate is the lowest tried", Light::fail,
       [](Study& s) {
         for_trials(s, [](Json& t) {
           if (t.at("arm").as_string() == "slstm" &&
               t.at("values").at("learning_rate").as_double() < 1.5e-4)
             t["loss"] = 1.0;
         });
       }},
      {"B3", "interior after an extension", Light::warn,
       [](Study& s) {
         for_trials(s, [](Json& t) {
           const double rate = t.at("values").at("learning_rate").as_double();
           if (rate < 3e-4) t["extension"] = true;
           if (rate > 1.5e-4 && rate < 3e-4) t["loss"] = 1.0;
         });
       }},
      {"B4", "the authors' recipes turn the headline round", Light::fail,
       [](Study& s) { s.tuning["headline"]["code: mlstm > slstm"]["R3"] = -0.1; }},
      {"B4", "one recipe for all turns it round", Light::warn,
       [](Study& s) { s.tuning["headline"]["code: mlstm > slstm"]["R1"] = -0.1; }},
      {"B5", "the learning rate was not varied", Light::fail,
       [](Study& s) { for_trials(s, [](Json& t) { t["values"]["learning_rate"] = 1e-3; }); }},
      {"B6", "trials without a cost", Light::fail,
       [](Study& s) { for_trials(s, [](Json& t) { t["macs"] = 0.0; }); }},
      {"B6", "tuning is left out of the totals", Light::warn, [](Study&) {},
       [](AuditInput& in) { in.results["total_training_macs"]["tuning"] = 0.0; }},
      {"C1", "no protocol", Light::fail, [](Study& s) { s.protocol = Json(); }},
      {"C1", "the protocol follows the runs", Light::fail, [](Study& s) { s.frozen = false; }},
      {"C1", "frozen after the runs had started", Light::fail,
       [](Study& s) { s.protocol["frozen"] = "2026-01-03T00:00:00Z"; }},
      {"C1", "the protocol was edited afterwards", Light::fail, [](Study&) {},
       [](AuditInput& in) { in.protocol["exclusion"] = "seeds that lose"; }},
      {"C1", "another study was frozen", Light::fail, [](Study&) {},
       [](AuditInput& in) { in.results["plan"]["model"]["blocks"] = 3; }},
      {"C1", "amended", Light::warn,
       [](Study& s) {
         s.protocol["amendments"].push_back(Json::Object{{"date", "2026-01-01T12:00:00Z"}});
       }},
      {"C2", "a record was edited", Light::fail, [](Study&) {},
       [](AuditInput& in) { in.ledger.problems.push_back("line 5: content does not match"); }},
      {"C3", "a seed is missing", Light::fail,
       [](Study& s) {
         std::erase_if(s.runs, [](const Json& r) { return r.at("id").as_string() == kOne; });
       }},
      {"C3", "a seed too many", Light::fail,
       [](Study& s) {
         Json extra = s.run("code-mlstm-s0");
         extra["id"] = "code-mlstm-s99";
         extra["seed"] = 99;
         s.configs["code-mlstm-s99"] = s.configs["code-mlstm-s0"];
         s.access["code-mlstm-s99"] = s.access["code-mlstm-s0"];
         s.timings["runs"]["code-mlstm-s99"] = s.timings["runs"]["code-mlstm-s0"];
         s.runs.push_back(std::move(extra));
       }},
      {"C4", "thirty variants of one arm were tried", Light::fail,
       [](Study& s) {
         for (int i = 0; i < 30; ++i) {
           Json r = record_of(s, s.run("code-mlstm-s0"));
           r["exploratory"] = true;
           r["config_sha256"] = "variant " + std::to_string(i);
           s.extra_records.push_back(std::move(r));
         }
       }},
      {"C5", "no word on conflicts of interest", Light::fail,
       [](Study& s) { s.plan["protocol"]["conflict_of_interest"] = ""; }},
      {"C6", "the test split was opened again", Light::fail,
       [](Study& s) {
         s.access[kOne].push_back(
             Json::parse(R"({"by":"evaluate","weights_sha256":"w","reason":""})", "access"));
       }},
      {"C6", "it was opened again for a reason", Light::warn,
       [](Study& s) {
         s.access[kOne].push_back(
             Json::parse(R"({"by":"evaluate","weights_sha256":"w","reason":"a bug"})", "access"));
       }},
      {"C6", "openings were not logged", Light::fail, [](Study& s) { s.access[kOne].clear(); }},
      {"D1", "three seeds", Light::fail, [](Study& s) { s = clean_study(3); }},
      {"D1", "five seeds", Light::warn, [](Study& s) { s = clean_study(5); }},
      {"D2", "mean and deviation of seeds that solve or do not", Light::fail, [](Study&) {},
       [](AuditInput& in) { restate(in, "parity", [](Json& c) { c["interval"] = "mean_sd"; }); }},
      {"D2", "a t interval of seeds in two groups", Light::fail,
       [](Study& s) {
         for (int seed = 0; seed < kSeeds; ++seed)
           s.score(run_id("parity", "mlstm", seed), seed % 2 ? 1.0 : 0.5);
       },
       [](AuditInput& in) {
         restate(in, "parity", [](Json& c) {
           c["interval"] = "t";
           c["paired"] = true;
         });
       }},
      {"D3", "runs were compared unpaired", Light::fail, [](Study&) {},
       [](AuditInput& in) { restate(in, "code", [](Json& c) { c["paired"] = false; }); }},
      {"D4", "a difference is claimed that is none", Light::fail,
       [](Study& s) { make_equal(s, "code"); },
       [](AuditInput& in) { restate(in, "code", [](Json& c) { c["verdict"] = "better"; }); }},
      {"D5", "a failed run is hidden", Light::fail,
       [](Study& s) {
         s.extra_records.push_back(Json::parse(
             R"({"kind":"run","id":"code-mlstm-s9","status":"failed","started":"2026-01-02",
                 "message":"diverged"})",
             "record"));
       }},
      {"D6", "the benchmark scatters more than the arms differ", Light::fail,
       [](Study& s) {
         for (Json& r : s.runs) {
           r["curve"] = Json::array();
           for (int i = 1; i <= 10; ++i)
             r["curve"].push_back(Json::Array{Json(i), Json(1.0 + (i % 2) + 0.001 * i)});
         }
       }},
      {"D8", "no power behind an undecided comparison", Light::fail,
       [](Study& s) { make_equal(s, "parity"); },
       [](AuditInput& in) {
         restate(in, "parity", [](Json& c) { c = without(c, "detectable_with_power_0.8"); });
       }},
      {"E1", "one run read other data", Light::fail,
       [](Study& s) { s.run(kOne)["data"]["test"] = "sha256:9"; }},
      {"E1", "the data changed since", Light::fail,
       [](Study& s) { s.data_now["code"]["test"] = "sha256:9"; }},
      {"E2", "test documents are trained on", Light::fail,
       [](Study& s) { s.overlap["code"]["exact"] = 5; }},
      {"E3", "near duplicates", Light::fail, [](Study& s) { s.overlap["code"]["near"] = 20; }},
      {"E3", "few near duplicates", Light::warn, [](Study& s) { s.overlap["code"]["near"] = 1; }},
      {"E4", "contamination was not computed", Light::fail,
       [](Study& s) { s.overlap["code"] = without(s.overlap["code"], "ngram13"); }},
      {"E4", "contamination", Light::warn, [](Study& s) { s.overlap["code"]["ngram13"] = 10; }},
      {"E6", "test rows were trained on", Light::fail,
       [](Study& s) { s.run("parity-mlstm-s2")["collisions"]["shared"]["1280"] = 3; }},
      {"E6", "short rows were", Light::warn,
       [](Study& s) { s.run("parity-mlstm-s2")["collisions"]["shared"]["40"] = 3; }},
      {"E6", "a generated task says nothing of its rows", Light::fail,
       [](Study& s) {
         s.run("parity-mlstm-s2") = without(s.run("parity-mlstm-s2"), "collisions");
       }},
      {"E7", "one run was scored by another evaluator", Light::fail,
       [](Study& s) { s.run(kOne)["evaluator"]["version"] = 2; }},
      {"F1", "a revision that nobody knows", Light::fail,
       [](Study& s) { s.manifest["revision"] = "unknown"; }},
      {"F1", "uncommitted changes", Light::warn,
       [](Study& s) { s.manifest["revision"] = "abc+123"; }},
      {"F2", "one run of another program", Light::fail, [](Study&) {},
       [](AuditInput& in) { in.ledger.records[7]["manifest"]["program_sha256"] = "q"; }},
      {"F2", "one run of another program, and why", Light::warn,
       [](Study& s) {
         s.extra_records.push_back(
             Json::parse(R"({"kind":"note","check":"F2","text":"an update"})", "note"));
       },
       [](AuditInput& in) { in.ledger.records[7]["manifest"]["program_sha256"] = "q"; }},
      {"F3", "a run made again came out otherwise", Light::fail, [](Study&) {},
       [](AuditInput& in) { in.ledger.records.back()["outcome"] = "differs"; }},
      {"F3", "within tolerance only", Light::warn, [](Study&) {},
       [](AuditInput& in) { in.ledger.records.back()["outcome"] = "within tolerance"; }},
      {"F4", "one run on another machine", Light::fail, [](Study&) {},
       [](AuditInput& in) { in.ledger.records[7]["manifest"]["machine"] = "n"; }},
      {"F4", "calibrations apart", Light::fail,
       [](Study& s) {
         s.timings["speed"]["rounds"] =
             Json::parse(R"([{"probe_ms":10.0},{"probe_ms":13.0}])", "rounds");
       }},
      {"G1", "no times, no sizes", Light::fail,
       [](Study& s) {
         s.timings["runs"][kOne] = Json::object();
         s.run(kOne) = without(s.run(kOne), "model_bytes");
       }},
      {"G1", "no energy", Light::warn,
       [](Study& s) {
         s.timings["runs"][kOne] = without(s.timings["runs"][kOne], "package_joules");
       }},
      {"G2", "wall time is claimed of unequal kernels", Light::fail,
       [](Study& s) {
         s.plan["protocol"]["claims_time"] = true;
         s.timings["speed"]["arms"]["slstm"]["train_tokens_per_second"] = 5e5;
       }},
      {"G3", "latency at 64 tokens only", Light::fail,
       [](Study& s) {
         for (const char* arm : kModels)
           s.timings["speed"]["arms"][arm] =
               Json::parse(R"({"train_tokens_per_second":1e5,"decode_us_64":12.0})", "speed");
       }},
      {"G4", "served in a precision that nobody scored", Light::fail,
       [](Study& s) { s.plan["protocol"]["served_precision"] = "bf16"; }},
      {"G5", "points only", Light::warn, [](Study&) {},
       [](AuditInput& in) {
         Json& t = in.results["findings"]["tasks"]["code"];
         t = without(t, "on_front_of_quality_and_state");
       }},
      {"G5", "no sizes at all", Light::fail,
       [](Study& s) { s.tasks["code"] = without(s.tasks["code"], "arms"); }},
      {"G6", "times of an unknown machine", Light::fail,
       [](Study& s) { s.provenance["machine"] = ""; }}};
}

TEST(Audit, ACleanStudyPasses) {
  const AuditInput in = written_up(clean_study());
  EXPECT_EQ(audit_checks().size(), 44U);
  for (const auto& [id, outcome] : audited(in)) {
    const bool applies = id != "A7" && id != "D7" && id != "E5";
    EXPECT_EQ(outcome.light, applies ? Light::pass : Light::not_applicable)
        << id << " " << outcome.numbers;
    EXPECT_FALSE(outcome.numbers.empty()) << id;
  }
  EXPECT_NE(audit_text(in, audit_study(in)).find("41 PASS, 0 WARN, 0 FAIL, 3 N.A."),
            std::string::npos);
}

TEST(Audit, EveryViolationIsCaughtByItsCheckAlone) {
  std::set<std::string> covered;
  for (const Violation& v : violations()) {
    Study s = clean_study();
    v.before(s);
    AuditInput in = written_up(s);
    v.after(in);
    covered.insert(v.id);
    for (const auto& [id, outcome] : audited(in)) {
      if (id == v.id) {
        EXPECT_EQ(outcome.light, v.light) << v.id << ", " << v.what << ": " << outcome.numbers;
      } else if (!(s.tuning.is_null() && (id == "B1" || id == "B5"))) {
        EXPECT_NE(outcome.light, Light::fail)
            << id << " of a study of which only " << v.id << " is violated (" << v.what
            << "): " << outcome.numbers;
      }
    }
  }
  // Every check but those of scaling laws and series, which are never applicable here.
  EXPECT_EQ(covered.size(), 42U);
}

TEST(Audit, CleanStudiesOfOtherKindsDoNotFail) {
  const std::pair<const char*, std::function<void(Study&)>> kinds[] = {
      {"equal FLOPs, unequal parameters",
       [](Study& s) {
         s.plan["model"]["match"] = "flops";
         for (Json& r : s.runs) {
           if (r.at("arm").as_string() == "slstm") r["non_embedding_parameters"] = 120000;
         }
       }},
      {"equal state", [](Study& s) { s.plan["model"]["match"] = "state"; }},
      {"ten seeds", [](Study& s) { s = clean_study(10); }},
      {"an undecided comparison whose power is stated", [](Study& s) { make_equal(s, "parity"); }},
      {"equivalence within a margin",
       [](Study& s) {
         make_equal(s, "code");
         s.plan["protocol"]["margin"]["code"] = 0.05;
         s.plan["protocol"]["hypotheses"] = Json::Array{"code: mlstm = slstm"};
       }},
      {"a failed run that is shown",
       [](Study& s) {
         std::erase_if(s.runs, [](const Json& r) { return r.at("id").as_string() == kOne; });
         s.failed.push_back(Json::parse(
             R"({"id":"code-slstm-s3","arm":"slstm","task":"code","seed":3,"message":"m"})", "f"));
         s.extra_records.push_back(Json::parse(
             R"({"kind":"run","id":"code-slstm-s3","status":"failed","started":"2026-01-02"})",
             "record"));
       }},
      {"a run that was made again after a fault",
       [](Study& s) {
         s.extra_records.push_back(Json::parse(
             R"({"kind":"run","id":"code-slstm-s3","status":"failed","started":"2026-01-02"})",
             "record"));
       }},
      {"seeds that solve or do not",
       [](Study& s) {
         for (int seed = 0; seed < kSeeds; ++seed)
           s.score(run_id("parity", "mlstm", seed), seed % 2 ? 1.0 : 0.5);
       }},
      {"an interrupted run, scored twice with the same weights",
       [](Study& s) { s.access[kOne].push_back(s.access[kOne][0]); }},
      {"a declared difference",
       [](Study& s) {
         s.plan["protocol"]["declared_differences"] = Json::Array{"train.clip"};
         for (auto& [id, config] : s.configs) {
           if (config.at("arm").as_string() == "slstm") config["train"]["clip"] = 0.5;
         }
       }},
      {"an n-gram beside the models", [](Study& s) {
         s.plan["arms"] = Json::Array{"ngram", "mlstm", "slstm"};
         Json r = without(clean_run("code", "ngram", 0), "evaluator");
         s.configs["code-ngram-s0"] = s.configs["code-mlstm-s0"];
         r["metrics"] = Json::Array{metric_of("code", "test", 3.5)};
         s.runs.push_back(std::move(r));
       }}};
  for (const auto& [what, change] : kinds) {
    Study s = clean_study();
    change(s);
    for (const auto& [id, outcome] : audited(written_up(s)))
      EXPECT_NE(outcome.light, Light::fail) << what << ": " << id << " " << outcome.numbers;
  }
}

// Series are generated anew for training and tested on real ones: there is no row to repeat.
TEST(Audit, SeriesAreNeitherRowsNorDocuments) {
  Study s = clean_study();
  series_instead_of_parity(s);
  const auto outcomes = audited(written_up(s));
  for (const auto& [id, outcome] : outcomes)
    EXPECT_NE(outcome.light, Light::fail) << id << " " << outcome.numbers;
  EXPECT_EQ(outcomes.at("E5").light, Light::pass);
  EXPECT_EQ(outcomes.at("E6").light, Light::not_applicable);
}

TEST(Audit, DamagedEvidenceFailsItsChecksAndStopsNone) {
  Study s = clean_study();
  for (Json& r : s.runs) r = without(without(r, "forward_macs"), "order_sha256");
  const auto outcomes = audited(written_up(s));
  EXPECT_EQ(outcomes.size(), 44U);
  EXPECT_EQ(outcomes.at("A2").light, Light::fail);
  EXPECT_NE(outcomes.at("A3").numbers.find("order_sha256"), std::string::npos);
  EXPECT_EQ(outcomes.at("C1").light, Light::pass);
}

TEST(Audit, TextAndJsonSayTheSame) {
  Study s = clean_study();
  s.run(kOne)["steps"] = 60;
  AuditInput in = written_up(s);
  const auto lines = audit_study(in);
  const Json twin = audit_json(in, lines);
  EXPECT_EQ(twin.at("checks").size(), 44U);
  EXPECT_EQ(twin.at("worst").as_string(), "FAIL");
  const std::string text = audit_text(in, lines);
  EXPECT_NE(text.find("A6  FAIL"), std::string::npos) << text;
  EXPECT_NE(text.find(kOne), std::string::npos) << "the run is named";
  EXPECT_NE(text.find("the claim fails"), std::string::npos);
  in.results["plan"]["level"] = "look";
  EXPECT_NE(audit_text(in, lines).find("would fail a claim"), std::string::npos);
}

}  // namespace
}  // namespace subquad
