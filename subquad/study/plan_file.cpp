// Study files: what may stand in them, and errors that name the line.
#include "subquad/study/plan.h"

#include <algorithm>

#include "subquad/base/file.h"
#include "subquad/io/toml.h"
#include "subquad/study/protocol.h"
#include "subquad/study/recipes.h"

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

void check_recipe(const Reader& r, const std::string& key, const std::string& recipe) {
  if (recipe != "R1" && recipe != "R2" && recipe != "R3") {
    r.wrong(key, "got \"" + recipe +
                     "\", wanted \"R1\" (one recipe for all arms), \"R2\" (each arm's rate tuned "
                     "with the same budget) or \"R3\" (the recipe of each family's authors)");
  }
}

TuningPlan read_tuning(const Reader& r, const Json& table, const std::vector<std::int64_t>& seeds) {
  r.known_keys(table, "tuning.", {"recipe", "factors", "fraction", "seed"});
  TuningPlan t;
  t.recipe = r.text(table, "tuning.", "recipe", "");
  check_recipe(r, "tuning.recipe", t.recipe);
  if (const Json* factors = table.find("factors")) {
    t.factors.clear();
    r.guarded("tuning.factors", [&] {
      for (const Json& v : factors->as_array()) {
        require(v.as_double() > (t.factors.empty() ? 0 : t.factors.back()) && v.as_double() <= 1e4,
                ErrorCode::invalid_argument, "got ", v.dump(),
                ", wanted growing factors between 0 and 10000");
        t.factors.push_back(v.as_double());
      }
      require(t.factors.size() >= 3, ErrorCode::invalid_argument, "got ", t.factors.size(),
              " factors, wanted 3 or more: fewer have no interior");
    });
  }
  t.fraction = r.number(table, "tuning.", "fraction", t.fraction);
  if (!(t.fraction > 0 && t.fraction <= 1))
    r.wrong("tuning.fraction",
            "got " + Json(t.fraction).dump() + ", wanted more than 0, at most 1");
  t.seed = r.integer(table, "tuning.", "seed", t.seed, 0, kMany);
  if (std::find(seeds.begin(), seeds.end(), t.seed) != seeds.end())
    r.wrong("tuning.seed", "got " + std::to_string(t.seed) +
                               ", a seed of the study; rates are chosen on another one");
  return t;
}

StudyTask read_task(const Reader& r, const std::string& name, const Json* table) {
  StudyTask t;
  t.name = name;
  if (!table) return t;
  const std::string prefix = "task." + name + ".";
  if (!table->is_object())
    r.wrong("task." + name, "got " + std::string(table->type_name()) + ", wanted a table");
  r.known_keys(*table, prefix,
               {"tokens", "batch_size", "learning_rate", "data", "lengths", "extra", "recipe",
                "seeds", "d_model", "parameters"});
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
  t.recipe = r.text(*table, prefix, "recipe", "");
  if (!t.recipe.empty()) check_recipe(r, prefix + "recipe", t.recipe);
  t.seeds = r.integer(*table, prefix, "seeds", 0, 0, 1000);
  t.d_model = r.integer(*table, prefix, "d_model", 0, 0, 1 << 16);
  t.parameters = r.integer(*table, prefix, "parameters", 0, 0, kMany);
  check_task(r, t, prefix);
  return t;
}

std::vector<std::int64_t> read_seeds(const Reader& r, const Json& root) {
  std::vector<std::int64_t> out;
  const Json* seeds = root.find("seeds");
  if (seeds && seeds->is_array()) {
    r.guarded("seeds", [&] {
      require(seeds->size() > 0, ErrorCode::invalid_argument, "the list is empty");
      for (const Json& v : seeds->as_array()) {
        // A repeated seed would count one result twice and narrow every interval.
        require(std::find(out.begin(), out.end(), v.as_int()) == out.end(),
                ErrorCode::invalid_argument, v.as_int(), " is listed twice");
        require(v.as_int() >= 0, ErrorCode::invalid_argument, "got ", v.as_int(),
                ", wanted 0 or more");
        out.push_back(v.as_int());
      }
    });
  } else {
    const std::int64_t count = r.integer(root, "", "seeds", 3, 1, 1000);
    for (std::int64_t s = 0; s < count; ++s) out.push_back(s);
  }
  return out;
}

void read_model(const Reader& r, const Json& model, StudyPlan& p) {
  r.known_keys(model, "model.",
               {"d_model", "blocks", "heads", "parameters", "state_bytes", "match", "recipe"});
  p.d_model = r.integer(model, "model.", "d_model", p.d_model, 1, 1 << 16);
  p.blocks = r.integer(model, "model.", "blocks", p.blocks, 1, 4096);
  p.heads = r.integer(model, "model.", "heads", p.heads, 1, 1 << 12);
  p.parameters = r.integer(model, "model.", "parameters", 0, 0, kMany);
  p.match = r.text(model, "model.", "match", p.match);
  r.guarded("model.match", [&] { match_from(p.match); });
  p.state_bytes = r.integer(model, "model.", "state_bytes", 0, 0, kMany);
  if (p.state_bytes > 0 && p.match != "state") {
    r.wrong("model.state_bytes", "a target of match \"state\", but match is \"" + p.match + "\"");
  }
  p.recipe = r.text(model, "model.", "recipe", p.recipe);
  if (p.recipe != "default" && p.recipe != "uniform")
    r.wrong("model.recipe", "got \"" + p.recipe + "\", wanted \"default\" or \"uniform\"");
}

TrainConfig read_train(const Reader& r, const Json& train) {
  for (const auto& [key, value] : train.as_object()) {
    Json one = Json::object();
    one[key] = value;
    r.guarded("train." + key, [&] { TrainConfig::from_json(one); });
  }
  TrainConfig out = TrainConfig::from_json(train);
  if (!train.find("learning_rate")) out.learning_rate = 0;
  return out;
}

std::vector<StudyTask> read_tasks(const Reader& r, const Json* tables,
                                  const std::vector<std::string>& names) {
  std::vector<StudyTask> out;
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
    out.push_back(read_task(r, name, own));
    r.guarded("tasks", [&] {
      std::vector<std::string> known;
      for (const TaskEntry& t : all_tasks()) known.push_back(t.name);
      const std::string near = nearest_key(name, known);
      require(find_task(name) != nullptr, ErrorCode::invalid_argument, "unknown task \"", name,
              "\"", near.empty() ? "" : "; did you mean \"" + near + "\"?",
              name.find('@') == std::string::npos
                  ? ""
                  : " A label after @ has letters, digits and _ only.");
    });
  }
  return out;
}

// Every arm once, each one known, with a published recipe where R3 asks for one.
void check_arms(const Reader& r, const StudyPlan& p) {
  for (const std::string& arm : p.arms) {
    if (std::count(p.arms.begin(), p.arms.end(), arm) > 1)
      r.wrong("arms", "\"" + arm + "\" is listed twice");
    if (arm != "ngram") r.guarded("arms", [&] { arm_layers(arm, p.blocks); });
  }
  for (const StudyTask& t : p.tasks) {
    if (recipe_of(p, t) != "R3") continue;
    for (const std::string& arm : p.arms) {
      if (arm != "ngram") r.guarded("arms", [&] { published_recipe(arm, p.blocks); });
    }
  }
}

Json read_widths(const Reader& r, const Json& widths, const StudyPlan& p,
                 const std::vector<std::string>& names) {
  if (p.match != "time")
    r.wrong("widths", "MLP widths of match \"time\", but match is \"" + p.match + "\"");
  r.known_keys(widths, "widths.", names);
  for (const auto& [name, by_arm] : widths.as_object()) {
    r.guarded("widths." + name, [&] {
      for (const auto& [arm, width] : by_arm.as_object())
        require(width.as_int() >= 1 && width.as_int() <= 1 << 24, ErrorCode::invalid_argument,
                "got ", width.as_int(), " for ", arm, ", wanted 1 to ", 1 << 24);
    });
  }
  return widths;
}

}  // namespace

StudyPlan parse_plan(const std::string& text, const std::string& source) {
  const Json root = parse_toml(text, source);
  const Reader r(text, source);
  r.known_keys(root, "",
               {"name", "question", "level", "arms", "tasks", "seeds", "model", "train", "task",
                "mixer", "recurrent", "measure", "tuning", "widths", "protocol"});
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
  p.seeds = read_seeds(r, root);
  if (const Json* model = r.table(root, "model")) read_model(r, *model, p);
  if (const Json* train = r.table(root, "train")) p.train = read_train(r, *train);
  if (const Json* mixer = r.table(root, "mixer")) {
    std::vector<std::string> kinds;
    for (const MixerEntry& m : all_mixers()) kinds.push_back(m.kind);
    r.known_keys(*mixer, "mixer.", kinds);
    p.mixer_options = *mixer;
  }
  p.recurrent = r.boolean(root, "", "recurrent", true);
  p.measure = r.boolean(root, "", "measure", true);
  p.tasks = read_tasks(r, r.table(root, "task"), names);
  if (const Json* tuning = r.table(root, "tuning")) p.tuning = read_tuning(r, *tuning, p.seeds);
  check_arms(r, p);
  check_mixers(r, p);
  if (const Json* widths = r.table(root, "widths")) p.widths = read_widths(r, *widths, p, names);
  if (const Json* protocol = r.table(root, "protocol")) {
    p.protocol = *protocol;
    const auto [key, wrong] = wrong_protocol(p);
    if (!key.empty()) r.wrong("protocol." + key, wrong);
  }
  return p;
}

StudyPlan read_plan(const std::string& path) { return parse_plan(read_file(path), path); }

}  // namespace subquad
