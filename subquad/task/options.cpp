#include "subquad/task/options.h"

#include <algorithm>

namespace subquad {

TaskOptionReader::TaskOptionReader(std::string task, const Json& extra)
    : task_(std::move(task)), extra_(extra) {
  require(extra_.is_null() || extra_.is_object(), ErrorCode::invalid_argument, "task ", task_,
          ": got ", extra_.type_name(), " as its options, wanted a table");
}

void TaskOptionReader::wrong(const std::string& key, const std::string& what) const {
  fail(ErrorCode::invalid_argument, "task ", task_, ", option ", key, ": ", what);
}

const Json* TaskOptionReader::find(const std::string& key) const {
  return extra_.is_object() ? extra_.find(key) : nullptr;
}

std::int64_t TaskOptionReader::integer(const std::string& key, std::int64_t fallback,
                                       std::int64_t low, std::int64_t high,
                                       const std::string& help) {
  std::int64_t value = fallback;
  const std::string range = std::to_string(low) + " to " + std::to_string(high);
  if (const Json* given = find(key)) {
    if (!given->is_int()) wrong(key, "got " + given->dump() + ", wanted a whole number, " + range);
    value = given->as_int();
    if (value < low || value > high)
      wrong(key, "got " + std::to_string(value) + ", wanted " + range + " (" + help + ")");
  }
  options_.push_back({key, std::to_string(value), range + ": " + help});
  return value;
}

bool TaskOptionReader::flag(const std::string& key, bool fallback, const std::string& help) {
  bool value = fallback;
  if (const Json* given = find(key)) {
    if (!given->is_bool()) wrong(key, "got " + given->dump() + ", wanted true or false");
    value = given->as_bool();
  }
  options_.push_back({key, value ? "true" : "false", "true or false: " + help});
  return value;
}

std::string TaskOptionReader::choice(const std::string& key, const std::string& fallback,
                                     const std::vector<std::string>& values,
                                     const std::string& help) {
  std::string value = fallback, list;
  for (const std::string& v : values) list += (list.empty() ? "" : " or ") + v;
  if (const Json* given = find(key)) {
    if (!given->is_string() ||
        std::find(values.begin(), values.end(), given->as_string()) == values.end()) {
      const std::string near = given->is_string() ? nearest_key(given->as_string(), values) : "";
      wrong(key, "got " + given->dump() + ", wanted " + list + " (" + help + ")" +
                     (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
    value = given->as_string();
  }
  options_.push_back({key, value, list + ": " + help});
  return value;
}

std::string TaskOptionReader::text(const std::string& key, const std::string& fallback,
                                   const std::string& help) {
  std::string value = fallback;
  if (const Json* given = find(key)) {
    if (!given->is_string()) wrong(key, "got " + given->dump() + ", wanted text (" + help + ")");
    value = given->as_string();
  }
  options_.push_back({key, value, help});
  return value;
}

Json TaskOptionReader::table(const std::string& key, const std::string& help) {
  const Json* given = find(key);
  if (given && !given->is_object())
    wrong(key, "got " + given->dump() + ", wanted a table (" + help + ")");
  options_.push_back({key, given ? given->dump() : "{}", help});
  return given ? *given : Json();
}

std::vector<TaskOption> TaskOptionReader::finish() const {
  if (!extra_.is_object()) return options_;
  std::vector<std::string> known;
  std::string list;
  for (const TaskOption& o : options_) {
    known.push_back(o.name);
    list += (list.empty() ? "" : ", ") + o.name;
  }
  for (const auto& [key, value] : extra_.as_object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_key(key, known);
    wrong(key, "unknown; " + (known.empty()  ? "the task has no options"
                              : near.empty() ? "known: " + list
                                             : "did you mean \"" + near + "\"?"));
  }
  return options_;
}

}  // namespace subquad
