// A plan as JSON, as its hash and as a study file.
#include "subquad/base/digest.h"
#include "subquad/study/plan.h"

namespace subquad {
namespace {

// JSON text is TOML for numbers and strings, but for one character.
std::string toml_value(const Json& v) {
  std::string out;
  if (v.is_object()) {
    for (const auto& [key, value] : v.as_object())
      out += (out.empty() ? " " : ", ") + toml_value(key) + " = " + toml_value(value);
    return "{" + out + " }";
  }
  if (v.is_array()) {
    for (const Json& value : v.as_array()) out += (out.empty() ? "" : ", ") + toml_value(value);
    return "[" + out + "]";
  }
  for (const char c : v.dump()) out += c == '\x7f' ? std::string("\\u007F") : std::string(1, c);
  return out;
}

std::string toml_key(const std::string& key) {
  const bool bare =
      key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
      std::string::npos;
  return bare && !key.empty() ? key : toml_value(key);
}

void append_table(std::string& out, const std::string& header, const Json& table) {
  out += "\n[" + header + "]\n";
  for (const auto& [key, value] : table.as_object())
    out += toml_key(key) + " = " + toml_value(value) + "\n";
}

}  // namespace

Json TuningPlan::to_json() const {
  Json j = Json::object();
  j["recipe"] = recipe;
  for (const double f : factors) j["factors"].push_back(f);
  j["fraction"] = fraction;
  j["seed"] = seed;
  return j;
}

Json StudyPlan::to_json() const {
  Json j = Json::object();
  j["name"] = name;
  j["question"] = question;
  j["level"] = level;
  for (const std::string& a : arms) j["arms"].push_back(a);
  for (const StudyTask& t : tasks) {
    Json& task = j["tasks"][t.name] = Json::object();
    task["tokens"] = t.tokens;
    task["batch_size"] = t.batch_size;
    task["learning_rate"] = t.learning_rate;
    task["data"] = t.data;
    Json& lengths = task["lengths"] = Json::array();
    for (std::int64_t length : t.lengths) lengths.push_back(length);
    task["extra"] = t.extra.is_null() ? Json::object() : t.extra;
    // Only where they are set: plans from before these fields keep their hashes.
    if (!t.recipe.empty()) task["recipe"] = t.recipe;
    if (t.seeds > 0) task["seeds"] = t.seeds;
    if (t.d_model > 0) task["d_model"] = t.d_model;
    if (t.parameters > 0) task["parameters"] = t.parameters;
  }
  for (std::int64_t s : seeds) j["seeds"].push_back(s);
  Json& model = j["model"] = Json::object();
  model["d_model"] = d_model;
  model["blocks"] = blocks;
  model["heads"] = heads;
  model["parameters"] = parameters;
  if (state_bytes > 0) model["state_bytes"] = state_bytes;
  model["match"] = match;
  model["recipe"] = recipe;
  j["mixer"] = mixer_options.is_null() ? Json::object() : mixer_options;
  j["train"] = train.to_json();
  j["recurrent"] = recurrent;
  if (!protocol.is_null()) j["protocol"] = protocol;
  if (tuning.stated()) j["tuning"] = tuning.to_json();
  if (!data.is_null()) j["data"] = data;
  if (!widths.is_null()) j["widths"] = widths;
  return j;
}

std::string StudyPlan::to_toml() const {
  const Json all = to_json();
  std::string out = "# The plan of a study, as it ran.\n";
  for (const char* key : {"name", "question", "level", "arms"})
    out += std::string(key) + " = " + toml_value(all.at(key)) + "\n";
  Json names = Json::array();
  for (const StudyTask& t : tasks) names.push_back(t.name);
  out += "tasks = " + toml_value(names) + "\nseeds = " + toml_value(all.at("seeds")) +
         "\nrecurrent = " + toml_value(recurrent) + "\nmeasure = " + toml_value(measure) + "\n";
  append_table(out, "model", all.at("model"));
  append_table(out, "train", all.at("train"));
  for (const auto& [name, task] : all.at("tasks").as_object())
    append_table(out, "task." + toml_key(name), task);
  for (const auto& [kind, options] : all.at("mixer").as_object())
    append_table(out, "mixer." + toml_key(kind), options);
  if (tuning.stated()) append_table(out, "tuning", tuning.to_json());
  if (!widths.is_null()) append_table(out, "widths", widths);
  if (!protocol.is_null()) append_table(out, "protocol", protocol);
  return out;
}

std::string StudyPlan::hash() const { return sha256(to_json().dump()); }

}  // namespace subquad
