#include "subquad/study/plan.h"

#include <algorithm>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/io/toml.h"
#include "subquad/study/protocol.h"

namespace subquad {
namespace {

class Reader {
 public:
  Reader(const std::string& text, std::string source) : text_(text), source_(std::move(source)) {}

  [[noreturn]] void wrong(const std::string& key, const std::string& what) const {
    const int line = toml_line(text_, key);
    fail(ErrorCode::invalid_argument, source_, line ? ":" + std::to_string(line) : "", ": ", key,
         ": ", what);
  }
  template <class Fn>
  auto guarded(const std::string& key, Fn&& fn) const {
    try {
      return fn();
    } catch (const Error& e) {
      wrong(key, e.what());
    }
  }

  void known_keys(const Json& table, const std::string& prefix,
                  const std::vector<std::string>& known) const {
    for (const auto& [key, value] : table.as_object()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      const std::string near = nearest_key(key, known);
      wrong(prefix + key, "unknown key" + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
  }
  const Json* table(const Json& parent, const std::string& key) const {
    const Json* value = parent.find(key);
    if (value && !value->is_object())
      wrong(key, "got " + std::string(value->type_name()) + ", wanted a table");
    return value;
  }
  std::string text(const Json& t, const std::string& prefix, const char* key,
                   const std::string& fallback) const {
    return guarded(prefix + key, [&] { return t.get(key, fallback.c_str()); });
  }
  std::int64_t integer(const Json& t, const std::string& prefix, const char* key,
                       std::int64_t fallback, std::int64_t lo, std::int64_t hi) const {
    const auto v = guarded(prefix + key, [&] { return t.get(key, fallback); });
    if (v < lo || v > hi) {
      wrong(prefix + key, "got " + std::to_string(v) + ", wanted " + std::to_string(lo) + " to " +
                              std::to_string(hi));
    }
    return v;
  }
  double number(const Json& t, const std::string& prefix, const char* key, double fallback) const {
    return guarded(prefix + key, [&] { return t.get(key, fallback); });
  }
  bool boolean(const Json& t, const std::string& prefix, const char* key, bool fallback) const {
    return guarded(prefix + key, [&] { return t.get(key, fallback); });
  }
  std::vector<std::string> texts(const Json& t, const char* key) const {
    std::vector<std::string> list;
    const Json* value = t.find(key);
    if (!value) wrong(key, "missing; wanted a list of strings");
    return guarded(key, [&] {
      for (const Json& v : value->as_array()) list.push_back(v.as_string());
      return list;
    });
  }

 private:
  const std::string& text_;
  std::string source_;
};

// Mixer kinds of the arms, each once.
std::vector<std::string> kinds_of(const StudyPlan& plan) {
  std::vector<std::string> kinds;
  for (const std::string& arm : plan.arms) {
    if (arm == "ngram") continue;
    for (const std::string& kind : arm_layers(arm, plan.blocks)) {
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    }
  }
  return kinds;
}

// Options of a mixer by themselves: "" or what is wrong with them.
std::string wrong_options(const std::string& kind, const StudyPlan& plan, const Json& options) {
  try {
    ParameterPlan ignored;
    make_mixer(kind, {.d_model = plan.d_model, .heads = plan.heads, .options = options}, ignored);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

void check_mixers(const Reader& r, const StudyPlan& plan) {
  if (plan.mixer_options.is_null()) return;
  const auto kinds = kinds_of(plan);
  for (const auto& [kind, options] : plan.mixer_options.as_object()) {
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
      r.wrong("mixer." + kind, "no arm of this study has a " + kind +
                                   " layer; add one to `arms`, or remove this table");
    const std::string whole = wrong_options(kind, plan, options);
    if (whole.empty()) continue;
    if (!options.is_object()) r.wrong("mixer." + kind, whole);
    for (const auto& [key, value] : options.as_object()) {
      if (wrong_options(kind, plan, Json::Object{{key, value}}) == whole)
        r.wrong("mixer." + kind + "." + key, whole);
    }
    r.wrong("mixer." + kind, whole);
  }
}

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

constexpr std::int64_t kMany = std::int64_t{1} << 40;
constexpr std::int64_t kLongest = 1 << 24;

// The options and lengths that a task itself refuses, at the place where the plan has them.
void check_task(const Reader& r, const StudyTask& t, const std::string& prefix) {
  const TaskEntry* entry = find_task(t.name);
  if (!entry || entry->reads_data) return;  // their options are checked with their data
  const auto refused = [&](const Json& extra) -> std::string {
    try {
      make_task(t.name, {.extra = extra});
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  if (const std::string whole = refused(t.extra); !whole.empty()) {
    if (t.extra.is_object()) {
      for (const auto& [key, value] : t.extra.as_object()) {
        if (refused(Json::Object{{key, value}}) == whole) r.wrong(prefix + "extra." + key, whole);
      }
    }
    r.wrong(prefix + "extra", whole);
  }
  r.guarded(prefix + "lengths", [&] {
    const auto task = make_task(t.name, {.extra = t.extra});
    for (const std::int64_t length : t.lengths) task->eval_batches(Split::test, length);
  });
}

StudyTask read_task(const Reader& r, const std::string& name, const Json* table) {
  StudyTask t;
  t.name = name;
  if (!table) return t;
  const std::string prefix = "task." + name + ".";
  if (!table->is_object())
    r.wrong("task." + name, "got " + std::string(table->type_name()) + ", wanted a table");
  r.known_keys(*table, prefix,
               {"tokens", "batch_size", "learning_rate", "data", "lengths", "extra"});
  t.tokens = r.integer(*table, prefix, "tokens", 0, 0, kMany);
  t.batch_size = r.integer(*table, prefix, "batch_size", 0, 0, 1 << 20);
  t.learning_rate = r.number(*table, prefix, "learning_rate", 0);
  if (!(t.learning_rate >= 0 && t.learning_rate <= 10)) {
    r.wrong(prefix + "learning_rate",
            "got " + Json(t.learning_rate).dump() + ", wanted 0 (the study's) to 10");
  }
  t.data = r.text(*table, prefix, "data", "");
  if (const TaskEntry* entry = find_task(name); !t.data.empty() && entry && !entry->reads_data)
    r.wrong(prefix + "data", "the task " + name + " reads no data; remove this line");
  if (const Json* lengths = table->find("lengths")) {
    r.guarded(prefix + "lengths", [&] {
      for (const Json& v : lengths->as_array()) {
        t.lengths.push_back(v.as_int());
        require(v.as_int() >= 1 && v.as_int() <= kLongest, ErrorCode::invalid_argument, "got ",
                v.as_int(), ", wanted 1 to ", kLongest);
      }
    });
  }
  if (const Json* extra = table->find("extra")) t.extra = *extra;
  check_task(r, t, prefix);
  return t;
}

}  // namespace

StudyPlan parse_plan(const std::string& text, const std::string& source) {
  const Json root = parse_toml(text, source);
  const Reader r(text, source);
  r.known_keys(root, "",
               {"name", "question", "level", "arms", "tasks", "seeds", "model", "train", "task",
                "mixer", "recurrent", "measure", "widths", "protocol"});
  StudyPlan p;
  p.name = r.text(root, "", "name", "");
  if (p.name.empty() ||
      p.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") != std::string::npos) {
    r.wrong("name", "got \"" + p.name + "\", wanted lower-case letters, digits, - and _");
  }
  p.question = r.text(root, "", "question", "");
  p.level = r.text(root, "", "level", "look");
  if (p.level != "look" && p.level != "claim")
    r.wrong("level", "got \"" + p.level + "\", wanted \"look\" or \"claim\"");
  p.arms = r.texts(root, "arms");
  const auto names = r.texts(root, "tasks");
  if (p.arms.empty() || names.empty())
    r.wrong(p.arms.empty() ? "arms" : "tasks", "the list is empty");
  const Json* seeds = root.find("seeds");
  if (seeds && seeds->is_array()) {
    r.guarded("seeds", [&] {
      require(seeds->size() > 0, ErrorCode::invalid_argument, "the list is empty");
      for (const Json& v : seeds->as_array()) {
        // A repeated seed would count one result twice and narrow every interval.
        require(std::find(p.seeds.begin(), p.seeds.end(), v.as_int()) == p.seeds.end(),
                ErrorCode::invalid_argument, v.as_int(), " is listed twice");
        require(v.as_int() >= 0, ErrorCode::invalid_argument, "got ", v.as_int(),
                ", wanted 0 or more");
        p.seeds.push_back(v.as_int());
      }
    });
  } else {
    const std::int64_t count = r.integer(root, "", "seeds", 3, 1, 1000);
    for (std::int64_t s = 0; s < count; ++s) p.seeds.push_back(s);
  }
  if (const Json* model = r.table(root, "model")) {
    r.known_keys(*model, "model.",
                 {"d_model", "blocks", "heads", "parameters", "state_bytes", "match", "recipe"});
    p.d_model = r.integer(*model, "model.", "d_model", p.d_model, 1, 1 << 16);
    p.blocks = r.integer(*model, "model.", "blocks", p.blocks, 1, 4096);
    p.heads = r.integer(*model, "model.", "heads", p.heads, 1, 1 << 12);
    p.parameters = r.integer(*model, "model.", "parameters", 0, 0, kMany);
    p.match = r.text(*model, "model.", "match", p.match);
    r.guarded("model.match", [&] { match_from(p.match); });
    p.state_bytes = r.integer(*model, "model.", "state_bytes", 0, 0, kMany);
    if (p.state_bytes > 0 && p.match != "state") {
      r.wrong("model.state_bytes", "a target of match \"state\", but match is \"" + p.match + "\"");
    }
    p.recipe = r.text(*model, "model.", "recipe", p.recipe);
    if (p.recipe != "default" && p.recipe != "uniform")
      r.wrong("model.recipe", "got \"" + p.recipe + "\", wanted \"default\" or \"uniform\"");
  }
  if (const Json* train = r.table(root, "train")) {
    for (const auto& [key, value] : train->as_object()) {
      Json one = Json::object();
      one[key] = value;
      r.guarded("train." + key, [&] { TrainConfig::from_json(one); });
    }
    p.train = TrainConfig::from_json(*train);
    if (!train->find("learning_rate")) p.train.learning_rate = 0;
  }
  if (const Json* mixer = r.table(root, "mixer")) {
    std::vector<std::string> kinds;
    for (const MixerEntry& m : all_mixers()) kinds.push_back(m.kind);
    r.known_keys(*mixer, "mixer.", kinds);
    p.mixer_options = *mixer;
  }
  p.recurrent = r.boolean(root, "", "recurrent", true);
  p.measure = r.boolean(root, "", "measure", true);
  const Json* tables = r.table(root, "task");
  if (tables) {
    for (const auto& [name, own] : tables->as_object()) {
      if (find_task(name) && std::find(names.begin(), names.end(), name) == names.end())
        r.wrong("task." + name, "the task is not in `tasks`; add it there, or remove this table");
    }
    r.known_keys(*tables, "task.", names);
  }
  for (const std::string& name : names) {
    if (std::count(names.begin(), names.end(), name) > 1)
      r.wrong("tasks", "\"" + name + "\" is listed twice");
    const Json* own = tables ? tables->find(name) : nullptr;
    p.tasks.push_back(read_task(r, name, own));
    r.guarded("tasks", [&] {
      std::vector<std::string> known;
      for (const TaskEntry& t : all_tasks()) known.push_back(t.name);
      const std::string near = nearest_key(name, known);
      require(std::find(known.begin(), known.end(), name) != known.end(),
              ErrorCode::invalid_argument, "unknown task \"", name, "\"",
              near.empty() ? "" : "; did you mean \"" + near + "\"?");
    });
  }
  for (const std::string& arm : p.arms) {
    if (std::count(p.arms.begin(), p.arms.end(), arm) > 1)
      r.wrong("arms", "\"" + arm + "\" is listed twice");
    if (arm != "ngram") r.guarded("arms", [&] { arm_layers(arm, p.blocks); });
  }
  check_mixers(r, p);
  if (const Json* widths = r.table(root, "widths")) {
    if (p.match != "time")
      r.wrong("widths", "MLP widths of match \"time\", but match is \"" + p.match + "\"");
    r.known_keys(*widths, "widths.", names);
    for (const auto& [name, by_arm] : widths->as_object()) {
      r.guarded("widths." + name, [&] {
        for (const auto& [arm, width] : by_arm.as_object())
          require(width.as_int() >= 1 && width.as_int() <= 1 << 24, ErrorCode::invalid_argument,
                  "got ", width.as_int(), " for ", arm, ", wanted 1 to ", 1 << 24);
      });
    }
    p.widths = *widths;
  }
  if (const Json* protocol = r.table(root, "protocol")) {
    p.protocol = *protocol;
    const auto [key, wrong] = wrong_protocol(p);
    if (!key.empty()) r.wrong("protocol." + key, wrong);
  }
  return p;
}

StudyPlan read_plan(const std::string& path) { return parse_plan(read_file(path), path); }

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
  if (!widths.is_null()) append_table(out, "widths", widths);
  if (!protocol.is_null()) append_table(out, "protocol", protocol);
  return out;
}

void drop_unused_options(StudyPlan& plan) {
  if (plan.mixer_options.is_null()) return;
  const auto kinds = kinds_of(plan);
  Json used = Json::object();
  for (const auto& [kind, options] : plan.mixer_options.as_object()) {
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) used[kind] = options;
  }
  plan.mixer_options = used;
}

void identify_data(StudyPlan& plan) {
  plan.data = Json::object();
  for (const StudyTask& t : plan.tasks)
    plan.data[t.name] = make_task(t.name, {.data = t.data, .extra = t.extra})->provenance();
}

std::string StudyPlan::hash() const { return sha256(to_json().dump()); }

SizingRequest sizing_request(const StudyPlan& plan, const TaskSpec& spec) {
  return {.vocabulary = spec.vocabulary,
          .classes = spec.classes,
          .d_model = plan.d_model,
          .blocks = plan.blocks,
          .heads = plan.heads,
          .match = match_from(plan.match),
          .parameters = plan.parameters,
          .state_bytes = plan.state_bytes,
          .train_length = spec.train_length,
          .recipe = plan.recipe,
          .mixer_options = plan.mixer_options,
          .patches = spec.patches};
}

std::vector<SizedArm> sized_arms(const StudyPlan& plan, const StudyTask& task) {
  const TaskSpec spec = make_task(task.name, {.data = task.data, .extra = task.extra})->spec();
  std::vector<std::string> models;
  for (const std::string& arm : plan.arms) {
    if (arm != "ngram") models.push_back(arm);
  }
  SizingRequest r = sizing_request(plan, spec);
  if (r.match == Match::time) {
    const Json* chosen = plan.widths.find(task.name);
    require(chosen != nullptr, ErrorCode::invalid_argument, "the arms of ", plan.name,
            " are to match in time, and nobody has measured them on the task ", task.name);
    for (const auto& [arm, width] : chosen->as_object()) r.widths[arm] = width.as_int();
  }
  return size_arms(models, r);
}

std::vector<PlannedRun> planned_runs(const StudyPlan& plan) {
  struct Prepared {
    TaskSpec spec;
    std::vector<SizedArm> sized;
  };
  std::vector<Prepared> prepared;
  for (const StudyTask& t : plan.tasks) {
    prepared.push_back(
        {make_task(t.name, {.data = t.data, .extra = t.extra})->spec(), sized_arms(plan, t)});
  }
  std::vector<PlannedRun> runs;
  for (std::int64_t seed : plan.seeds) {
    for (const std::string& arm : plan.arms) {
      for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
        const StudyTask& t = plan.tasks[i];
        const TaskSpec& spec = prepared[i].spec;
        const bool counts = arm == "ngram";
        // The n-gram is counted, not trained: one run, and on byte tasks only.
        if (counts && (seed != plan.seeds.front() || (t.name != "code" && t.name != "text")))
          continue;
        PlannedRun run{t.name + "-" + arm + "-s" + std::to_string(seed), arm, t.name, seed, {}};
        RunConfig& c = run.config;
        c.study = plan.name;
        c.arm = arm;
        c.task = t.name;
        c.seed = static_cast<std::uint64_t>(seed);
        for (const SizedArm& s : prepared[i].sized) {
          if (s.arm == arm) c.model = s.config;
        }
        c.train = plan.train;
        c.train.tokens = t.tokens > 0 ? t.tokens : spec.default_tokens;
        c.train.learning_rate = t.learning_rate > 0            ? t.learning_rate
                                : plan.train.learning_rate > 0 ? plan.train.learning_rate
                                                               : spec.learning_rate;
        c.data = t.data;
        c.batch_size = t.batch_size;
        c.task_extra = t.extra;
        c.lengths = t.lengths;
        c.recurrent = plan.recurrent;
        runs.push_back(std::move(run));
      }
    }
  }
  return runs;
}

}  // namespace subquad
