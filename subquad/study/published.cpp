#include "subquad/study/published.h"

#include <algorithm>

#include "subquad/io/toml.h"
#include "subquad/model/model.h"
#include "subquad/study/findings.h"
#include "subquad/task/task.h"

namespace subquad {
namespace {

void check_keys(const Json& root, const std::string& path) {
  for (const auto& [key, value] : root.as_object()) {
    require(key == "source" || key == "setting" || key == "orderings" || key == "values",
            ErrorCode::invalid_argument, path, ": unknown key \"", key,
            "\", wanted source, setting, orderings, [values.TASK]");
  }
}

// A misspelt name would drop its row in silence. Errors: a task or an arm that nobody knows.
void check_known(const std::string& task, const std::string& arm) {
  require(find_task(task) != nullptr, ErrorCode::invalid_argument, "unknown task \"", task, "\"");
  arm_layers(arm, 2);
}

PublishedNumbers numbers_of(const Json& root) {
  PublishedNumbers out;
  out.source = root.at("source").as_string();
  out.setting = root.at("setting").as_string();
  if (const Json* orderings = root.find("orderings")) {
    for (const Json& text : orderings->as_array()) {
      const Hypothesis o = parse_hypothesis(text.as_string());
      require(!o.equivalence, ErrorCode::invalid_argument, "\"", text.as_string(),
              "\" is no ordering, wanted \"TASK: ARM > ARM\"");
      check_known(o.task, o.first);
      check_known(o.task, o.second);
      out.orderings.push_back(o);
    }
  }
  if (const Json* values = root.find("values")) {
    for (const auto& [task, arms] : values->as_object()) {
      for (const auto& [arm, value] : arms.as_object()) {
        check_known(task, arm);
        out.values[task][arm] = value.as_double();
      }
    }
  }
  return out;
}

std::string verdict_of(const Comparison& alone, const Comparison& corrected) {
  if (corrected.verdict == "better") return "confirmed";
  if (corrected.verdict == "worse") return "refuted";
  if (alone.verdict == "better") return "confirmed alone";
  if (alone.verdict == "worse") return "refuted alone";
  return "undecided";
}

}  // namespace

PublishedNumbers parse_published(const std::string& text, const std::string& path) {
  const Json root = parse_toml(text, path);
  check_keys(root, path);
  try {
    return numbers_of(root);
  } catch (const Error& e) {
    fail(ErrorCode::invalid_argument, path, ": ", e.what());
  }
}

std::vector<Replication> replications(const Json& results, const PublishedNumbers& published) {
  const std::vector<std::string> arms = arms_of(results);
  const auto has = [&](const std::string& arm) {
    return std::find(arms.begin(), arms.end(), arm) != arms.end();
  };
  std::vector<Hypothesis> wanted;
  for (const Hypothesis& o : published.orderings) {
    for (const std::string& task : tasks_of(results)) {
      if (task_kind(task) == o.task && has(o.first) && has(o.second))
        wanted.push_back({task, o.first, o.second, false});
    }
  }
  const std::vector<Comparison> corrected = compare_pairs(results, wanted);
  std::vector<Replication> out;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Comparison alone = compare_pairs(results, {wanted[i]})[0];
    out.push_back({corrected[i], verdict_of(alone, corrected[i])});
  }
  return out;
}

}  // namespace subquad
