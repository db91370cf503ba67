#include "subquad/study/protocol.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "subquad/base/digest.h"
#include "subquad/io/json_differences.h"
#include "subquad/study/comparison.h"
#include "subquad/study/findings.h"

namespace subquad {
namespace {

constexpr const char* kTexts[] = {"exclusion",     "stopping", "conflict_of_interest",
                                  "recipe_source", "scope",    "served_precision"};

Json seal(Json document) {
  document["sha256"] = protocol_hash(document, document.at("amendments").size());
  return document;
}

Json without_widths(const Json& plan) {
  Json out = Json::object();
  for (const auto& [key, value] : plan.as_object()) {
    if (key != "widths") out[key] = value;
  }
  return out;
}

// Of one hypothesis: "" or what is wrong with it.
std::string wrong_hypothesis(const StudyPlan& plan, const Json& protocol, const Json& text) {
  try {
    const Hypothesis h = parse_hypothesis(text.as_string());
    std::vector<std::string> tasks;
    for (const StudyTask& t : plan.tasks) tasks.push_back(t.name);
    const auto missing = [](const std::string& name, const std::vector<std::string>& known) {
      return std::find(known.begin(), known.end(), name) == known.end();
    };
    if (missing(h.task, tasks)) return "the study has no task \"" + h.task + "\"";
    for (const std::string& arm : {h.first, h.second}) {
      if (missing(arm, plan.arms)) return "the study has no arm \"" + arm + "\"";
    }
    if (h.first == h.second) return "an arm against itself";
    const Json* margin = protocol.find("margin");
    if (h.equivalence && (!margin || !margin->find(h.task)))
      return "\"" + text.as_string() + "\" needs a margin: [protocol.margin] " + h.task +
             " = the largest difference that counts as none";
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

std::string wrong_value(const StudyPlan& plan, const Json& protocol, const std::string& key,
                        const Json& value) {
  try {
    if (std::find(std::begin(kTexts), std::end(kTexts), key) != std::end(kTexts)) {
      if (key == "scope" && value.as_string() != "these sizes" && value.as_string() != "general")
        return "got \"" + value.as_string() + "\", wanted \"these sizes\" or \"general\"";
      value.as_string();
    } else if (key == "claims_time") {
      value.as_bool();
    } else if (key == "declared_differences") {
      for (const Json& path : value.as_array()) path.as_string();
    } else if (key == "margin") {
      for (const auto& [task, margin] : value.as_object()) {
        if (!(margin.as_double() > 0)) return task + ": wanted a margin above 0";
      }
    } else if (key == "hypotheses") {
      for (const Json& text : value.as_array()) {
        const std::string wrong = wrong_hypothesis(plan, protocol, text);
        if (!wrong.empty()) return wrong;
      }
    } else {
      std::vector<std::string> known(std::begin(kTexts), std::end(kTexts));
      known.insert(known.end(), {"hypotheses", "margin", "declared_differences", "claims_time"});
      const std::string near = nearest_key(key, known);
      return "unknown key" + (near.empty() ? "" : "; did you mean \"" + near + "\"?");
    }
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

}  // namespace

std::string protocol_hash(const Json& protocol, std::size_t amendments) {
  Json body = Json::object();
  for (const auto& [key, value] : protocol.as_object()) {
    if (key == "sha256") continue;
    if (key != "amendments") {
      body[key] = value;
      continue;
    }
    Json& list = body[key] = Json::array();
    for (std::size_t i = 0; i < amendments; ++i) list.push_back(value[i]);
  }
  return sha256(body.dump());
}

std::pair<std::string, std::string> wrong_protocol(const StudyPlan& plan) {
  if (plan.protocol.is_null()) return {};
  for (const auto& [key, value] : plan.protocol.as_object()) {
    const std::string wrong = wrong_value(plan, plan.protocol, key, value);
    if (!wrong.empty()) return {key, wrong};
  }
  return {};
}

std::string protocol_path(const std::string& plan_path) {
  const std::string suffix = ".toml";
  return (plan_path.ends_with(suffix) ? plan_path.substr(0, plan_path.size() - suffix.size())
                                      : plan_path) +
         ".protocol.json";
}

Json freeze_protocol(const StudyPlan& plan, const std::string& now) {
  const Json* hypotheses = plan.protocol.is_null() ? nullptr : plan.protocol.find("hypotheses");
  require(hypotheses && hypotheses->size() > 0, ErrorCode::invalid_argument,
          "the study has no hypothesis to freeze; add to its file, for example,\n[protocol]\n"
          "hypotheses = [\"",
          plan.tasks.front().name, ": ", plan.arms.front(), " > ", plan.arms.back(),
          "\"]\nexclusion = \"none: failed runs count as unsolved\"");
  const std::string exclusion = plan.protocol.get("exclusion", "");
  require(!exclusion.empty(), ErrorCode::invalid_argument,
          "the protocol has no `exclusion`: say in words which runs will not be counted, or "
          "\"none\"");
  for (const StudyTask& t : plan.tasks) {
    const std::int64_t length =
        make_task(t.name, {.data = t.data, .extra = t.extra})->spec().primary_length;
    require(t.lengths.empty() ||
                std::find(t.lengths.begin(), t.lengths.end(), length) != t.lengths.end(),
            ErrorCode::invalid_argument, "task.", t.name, ".lengths does not hold ", length,
            ", at which the primary metric is read; add it");
  }
  Json p = Json::object();
  p["format"] = 1;
  p["frozen"] = now;
  p["plan_sha256"] = plan.hash();
  p["plan"] = plan.to_json();
  for (const StudyTask& t : plan.tasks) {
    const TaskSpec spec = make_task(t.name, {.data = t.data, .extra = t.extra})->spec();
    Json& primary = p["primary"][t.name];
    primary["metric"] = spec.primary;
    primary["length"] = spec.primary_length;
    primary["tokens_per_run"] = t.tokens > 0 ? t.tokens : spec.default_tokens;
    const Question* q = question_of(t.name);
    if (q && !std::isnan(q->solved)) primary["solved_at"] = q->solved;
  }
  p["hypotheses"] = *hypotheses;
  p["exclusion"] = exclusion;
  p["amendments"] = Json::array();
  return seal(std::move(p));
}

const Json& plan_in_force(const Json& frozen) {
  const auto& amendments = frozen.at("amendments").as_array();
  return amendments.empty() ? frozen.at("plan") : amendments.back().at("plan");
}

Json amend_protocol(const Json& frozen, const StudyPlan& plan, const std::string& reason,
                    const std::string& now) {
  require(!reason.empty(), ErrorCode::invalid_argument, "an amendment needs a reason");
  const auto changed = json_differences(plan_in_force(frozen), plan.to_json());
  require(!changed.empty(), ErrorCode::invalid_argument,
          "nothing to amend: the plan is the one in force");
  Json amendment = Json::object();
  amendment["date"] = now;
  amendment["reason"] = reason;
  amendment["changed"] = Json::array();
  for (const JsonDifference& d : changed)
    amendment["changed"].push_back(d.path + ": " + d.a + " -> " + d.b);
  amendment["previous"] = frozen.at("sha256");
  amendment["plan_sha256"] = plan.hash();
  amendment["plan"] = plan.to_json();
  Json out = frozen;
  out["amendments"].push_back(std::move(amendment));
  return seal(std::move(out));
}

void verify_protocol(const Json& frozen, const std::string& source) {
  const auto& amendments = frozen.at("amendments").as_array();
  for (std::size_t i = 0; i <= amendments.size(); ++i) {
    const std::string& wanted =
        (i < amendments.size() ? amendments[i].at("previous") : frozen.at("sha256")).as_string();
    require(protocol_hash(frozen, i) == wanted, ErrorCode::format, source,
            ": content does not match its SHA-256. A frozen protocol is not edited: restore it, "
            "and record changes with `subquad protocol amend`");
  }
}

void require_planned(const Json& frozen, const Json& plan, const std::string& source) {
  const auto differences =
      json_differences(without_widths(plan_in_force(frozen)), without_widths(plan));
  std::string list;
  for (std::size_t i = 0; i < std::min<std::size_t>(differences.size(), 6); ++i)
    list += "\n    " + differences[i].path + ": " + differences[i].a + " -> " + differences[i].b;
  require(differences.empty(), ErrorCode::invalid_argument,
          "the study is not the one that was frozen in ", source, ":", list,
          "\n  run what was frozen, or record the change first: subquad protocol amend STUDY.toml "
          "--reason WHY");
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace subquad
