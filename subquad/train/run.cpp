#include "subquad/train/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"
#include "subquad/base/memory.h"
#include "subquad/data/corpus.h"
#include "subquad/data/ngram.h"
#include "subquad/model/sizing.h"
#include "subquad/train/evaluator.h"
#include "subquad/train/evidence.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Joules of the processor package, other programs included; NaN where the counter may not be read.
double package_joules() {
  const std::string path = "/sys/class/powercap/intel-rapl:0/energy_uj";
  try {
    return fs::exists(path) ? 1e-6 * std::stod(read_file(path)) : NAN;
  } catch (const std::exception&) {
    return NAN;
  }
}

Json metric_json(const Metric& m, const std::string& split, std::int64_t length) {
  Json j = Json::object();
  j["name"] = m.name;
  j["split"] = split;
  j["length"] = length;
  j["value"] = m.value;
  j["unit"] = m.unit;
  j["higher_is_better"] = m.higher_is_better;
  return j;
}

// Answers to the task's samples, which a report draws.
void add_answers(Json& run, const Json& answers) {
  if (answers.is_null()) return;
  for (const auto& [name, answer] : answers.as_object()) run["answers"][name] = answer;
}

// Metrics of the test split by length, and how far the two modes of execution agree.
void add_test_results(Json& run, const std::vector<LengthResult>& results) {
  Json& agreement = run["mode_agreement"] = Json::object();
  Json differences = Json::object();
  for (const LengthResult& r : results) {
    for (const Metric& m : r.metrics) run["metrics"].push_back(metric_json(m, "test", r.length));
    if (r.agreement >= 0) agreement[std::to_string(r.length)] = r.agreement;
    if (r.first_difference >= 0) differences[std::to_string(r.length)] = r.first_difference;
    add_answers(run, r.answers);
  }
  if (differences.size() > 0) run["mode_first_difference"] = differences;
}

// The n-gram arm: counted on the whole training split, scored on the windows that models are scored
// on, with the context those have: from the start of the window.
Json count_ngram(const RunConfig& c, const Task& task) {
  const ByteCorpus* corpus = task.corpus();
  require(corpus != nullptr, ErrorCode::unsupported, "the ngram arm counts bytes: task ", c.task,
          " has none; it works with code and text");
  const ByteNgram ngram(corpus->split(0));
  Json r = Json::object();
  r["parameters"] = 0;
  r["training_macs_per_token"] = 0.0;
  r["steps"] = 0;
  r["tokens"] = static_cast<std::int64_t>(corpus->split(0).size());
  r["train_loss"] = 0.0;
  r["weights_sha256"] = "";
  r["metrics"] = Json::array();
  for (const Split split : {Split::test, Split::validation}) {
    for (const std::int64_t length : task.spec().lengths) {
      std::vector<Scored> scored;
      for (std::int64_t i = 0; i < task.eval_batches(split, length); ++i) {
        Scored s{task.eval_batch(split, length, i), {}, {}};
        const auto in = s.batch.inputs.host<std::int32_t>(),
                   target = s.batch.targets.host<std::int32_t>();
        std::vector<std::uint8_t> bytes(in.begin(), in.end());
        for (std::size_t j = 0; j < in.size(); ++j) {
          const std::size_t start =
              j / static_cast<std::size_t>(length) * static_cast<std::size_t>(length);
          const std::span<const std::uint8_t> context(bytes.data() + start, j + 1 - start);
          const double p =
              target[j] < 0 ? 1 : ngram.probability(context, static_cast<std::uint8_t>(target[j]));
          s.loss.push_back(static_cast<float>(-std::log(p)));
          s.predicted.push_back(-1);
        }
        scored.push_back(std::move(s));
      }
      for (const Metric& m : task.score(length, scored)) {
        r["metrics"].push_back(
            metric_json(m, split == Split::test ? "test" : "validation", length));
      }
    }
  }
  r["mode_agreement"] = Json::object();
  r["curve"] = Json::array();
  return r;
}

}  // namespace

std::unique_ptr<Task> task_of(const RunConfig& c, const std::string& folder) {
  TaskOptions options{.seed = c.seed,
                      .total_steps = 0,
                      .batch_size = c.batch_size,
                      .data = c.data,
                      .tokenizer = c.init.tokenizer ? initial_model_folder(folder) : "",
                      .separator = c.init.separator,
                      .extra = c.task_extra};
  const auto probe = make_task(c.task, options);
  options.total_steps = steps_of(c.train, probe->spec(), c.batch_size);
  return make_task(c.task, options);
}

Json RunConfig::to_json() const {
  Json j = Json::object();
  j["format"] = 1;
  j["study"] = study;
  j["arm"] = arm;
  j["task"] = task;
  j["seed"] = static_cast<std::int64_t>(seed);
  j["model"] = model.to_json();
  if (init) {
    j["init"]["weights_sha256"] = init.weights_sha256;
    j["init"]["tokenizer"] = init.tokenizer;
    j["init"]["separator"] = static_cast<std::int64_t>(init.separator);
  }
  j["train"] = train.to_json();
  Json& options = j["task_options"] = Json::object();
  options["data"] = data;
  options["batch_size"] = batch_size;
  options["extra"] = task_extra.is_null() ? Json::object() : task_extra;
  Json& evaluation = j["evaluate"] = Json::object();
  Json& list = evaluation["lengths"] = Json::array();
  for (std::int64_t length : lengths) list.push_back(length);
  evaluation["recurrent"] = recurrent;
  if (trial) j["trial"] = true;
  j["threads"] = threads;
  return j;
}

RunConfig RunConfig::from_json(const Json& json, const std::string& source) {
  try {
    RunConfig c;
    require(json.at("format").as_int() == 1, ErrorCode::format, "format ",
            json.at("format").as_int(), ", wanted 1");
    c.study = json.get("study", "");
    c.arm = json.at("arm").as_string();
    c.task = json.at("task").as_string();
    c.seed = static_cast<std::uint64_t>(json.at("seed").as_int());
    if (c.arm != "ngram") c.model = ModelConfig::from_json(json.at("model"));
    if (const Json* init = json.find("init")) {
      c.init.weights_sha256 = init->at("weights_sha256").as_string();
      c.init.tokenizer = init->at("tokenizer").as_bool();
      c.init.separator = static_cast<std::int32_t>(init->at("separator").as_int());
    }
    c.train = TrainConfig::from_json(json.at("train"));
    if (const Json* options = json.find("task_options")) {
      c.data = options->get("data", "");
      c.batch_size = options->get("batch_size", 0);
      if (const Json* extra = options->find("extra")) c.task_extra = *extra;
    }
    if (const Json* evaluation = json.find("evaluate")) {
      if (const Json* list = evaluation->find("lengths")) {
        for (const Json& length : list->as_array()) c.lengths.push_back(length.as_int());
      }
      c.recurrent = evaluation->get("recurrent", true);
    }
    c.trial = json.get("trial", false);
    c.threads = static_cast<int>(json.get("threads", 1));
    require(c.threads >= 1 && c.threads <= 1024, ErrorCode::invalid_argument, "threads: got ",
            c.threads, ", wanted 1 to 1024");
    return c;
  } catch (Error& e) {
    e.add_context(source);
    throw;
  }
}

// The thread count does not identify a run: it changes no bit of it.
std::string RunConfig::sha256() const {
  Json j = to_json();
  j["threads"] = 1;
  return subquad::sha256(j.dump());
}

Json execute_run(const std::string& folder,
                 const std::function<void(const RunProgress&)>& progress) {
  const std::string source = folder + "/config.json";
  const RunConfig c = RunConfig::from_json(Json::read(source), source);
  const FileLock lock(folder + "/.lock", "another process is training " + folder +
                                             "; wait for it or choose another folder");
  if (fs::exists(folder + "/result.json")) {
    Json done = Json::read(folder + "/result.json");
    if (done.get("config_sha256", "") == c.sha256()) return done;
    fail(ErrorCode::invalid_argument, folder,
         "/result.json belongs to another configuration; choose another folder");
  }
  const auto task = task_of(c, folder);
  const TaskSpec spec = task->spec();
  if (c.arm == "ngram") {
    const auto begin = Clock::now();
    Json r = Json::object();
    r["format"] = 1;
    r["study"] = c.study;
    r["arm"] = c.arm;
    r["task"] = c.task;
    r["seed"] = static_cast<std::int64_t>(c.seed);
    r["config_sha256"] = c.sha256();
    const Json counted = count_ngram(c, *task);
    for (const auto& [key, value] : counted.as_object()) r[key] = value;
    r["data"] = task->provenance();
    Json timings = Json::object();
    timings["train_seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    timings["peak_rss_bytes"] = peak_memory_bytes();
    write_file_atomically(folder + "/timings.json", timings.dump(1) + "\n");
    write_file_atomically(folder + "/result.json", r.dump(1) + "\n");
    return r;
  }
  ParameterPlan plan;
  const Model model(c.model, plan);
  // A published model may have more ids than its tokenizer.
  require(c.init ? c.model.vocabulary >= spec.vocabulary && c.model.classes >= spec.classes
                 : c.model.vocabulary == spec.vocabulary && c.model.classes == spec.classes,
          ErrorCode::invalid_argument, "the model has ", c.model.vocabulary, " input ids and ",
          c.model.classes, " classes, task ", c.task, " wants ", spec.vocabulary, " and ",
          spec.classes);
  require(c.model.patches == spec.patches, ErrorCode::invalid_argument,
          "the model's patches are not those of task ", c.task, " with these options");
  ParameterStore store(plan, DType::f32, c.seed);
  if (c.init) load_initial(c, folder, store);
  Engine engine(c.threads, precision_named(c.train.precision));
  Trainer trainer(engine, model, store, *task, c.train, folder);
  const auto show = [&](const StepStats& s) {
    Json j = Json::object();
    j["phase"] = "train";
    j["step"] = s.step;
    j["steps"] = s.steps;
    j["loss"] = s.loss;
    j["tokens_per_second"] = s.tokens_per_second;
    j["seconds_left"] = s.seconds_left;
    write_file_atomically(folder + "/progress.json", j.dump());
    if (progress) progress({"train", s});
  };
  // Byte tasks: validation bits per byte along the way, which say when an arm passes the n-gram.
  EvaluationSetup validation{
      .lengths = {spec.lengths.front()}, .split = Split::validation, .recurrent = false};
  validation.interruptible = false;
  std::function<double()> validate;
  std::int64_t validations = 16;
  if (spec.primary == "bits_per_byte") {
    // A forward pass costs a third of a training step: spend at most a tenth of the budget.
    const double bytes =
        static_cast<double>(task->eval_batches(Split::validation, spec.lengths.front())) *
        static_cast<double>(
            task->eval_batch(Split::validation, spec.lengths.front(), 0).positions());
    validations = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(0.3 * static_cast<double>(c.train.tokens) / bytes), 4, 16);
    validate = [&] {
      return evaluate(engine, model, store, *task, validation).front().metrics.front().value;
    };
  }
  const double joules_before = package_joules();
  TrainOutcome outcome;
  std::string diverged;
  try {
    outcome = trainer.run(show, validate, validations);
  } catch (const Error& e) {
    // Of a trial this is the answer: that rate is too high.
    if (!c.trial || e.code() != ErrorCode::numeric) throw;
    diverged = e.what();
  }
  if (progress)
    progress(
        {"evaluate", {.step = outcome.steps, .steps = outcome.steps, .tokens = outcome.tokens}});
  const auto start = Clock::now();

  Json r = Json::object();
  r["format"] = 1;
  r["study"] = c.study;
  r["arm"] = c.arm;
  r["task"] = c.task;
  r["seed"] = static_cast<std::int64_t>(c.seed);
  r["config_sha256"] = c.sha256();
  r["parameters"] = plan.parameter_count();
  if (c.trial) r["trial"] = true;
  r["training_macs_per_token"] =
      3 * model.cost(spec.train_length).macs / static_cast<double>(spec.train_length);
  for (std::int64_t depth : kDepths)
    r["state_bytes"][std::to_string(depth)] = model.state_bytes(depth);
  r["steps"] = outcome.steps;
  r["planned_steps"] = steps_of(c.train, spec, c.batch_size);
  r["tokens"] = outcome.tokens;
  r["train_loss"] = outcome.final_loss;
  r["weights_sha256"] = weights_digest(store);
  if (!c.trial) {
    const Json evidence = run_evidence(engine, model, store, *task, plan.parameter_count(),
                                       outcome.steps * c.train.accumulate);
    for (const auto& [key, value] : evidence.as_object()) r[key] = value;
    log_test_access(folder, "train", r.at("weights_sha256").as_string(), "");
  }
  r["metrics"] = Json::array();
  if (!c.trial) {
    const auto results =
        evaluate(engine, model, store, *task, {.lengths = c.lengths, .recurrent = c.recurrent});
    add_test_results(r, results);
  }
  validation.interruptible = true;
  if (!diverged.empty()) r["diverged"] = diverged;
  if (c.trial) r["validation_loss"] = Json();
  if (diverged.empty()) {
    for (const LengthResult& length : evaluate(engine, model, store, *task, validation)) {
      if (c.trial && std::isfinite(length.loss)) r["validation_loss"] = length.loss;
      for (const Metric& m : length.metrics)
        r["metrics"].push_back(metric_json(m, "validation", length.length));
      if (!c.trial) add_answers(r, length.answers);
    }
  }
  r["curve"] = outcome.curve;
  r["data"] = task->provenance();

  Json timings = Json::object();
  timings["train_seconds"] = outcome.seconds;
  timings["evaluate_seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
  timings["tokens_per_second"] = outcome.tokens_per_second;
  timings["peak_rss_bytes"] = peak_memory_bytes();
  const double joules = package_joules() - joules_before;  // negative where the counter wrapped
  timings["package_joules"] = joules >= 0 ? Json(joules) : Json("not measurable");
  write_file_atomically(folder + "/timings.json", timings.dump(1) + "\n");
  write_file_atomically(folder + "/result.json", r.dump(1) + "\n");
  return r;
}

std::unique_ptr<TrainedRun> open_run(const std::string& folder) {
  require(fs::exists(folder + "/config.json"), ErrorCode::io, folder,
          " is not a run: it has no config.json");
  auto run = std::make_unique<TrainedRun>();
  const Json config = Json::read(folder + "/config.json");
  require(
      config.is_object() && config.contains("format"), ErrorCode::invalid_argument, folder,
      "/config.json: key \"format\" is missing: this is no run folder, perhaps a published model; "
      "wanted a folder of subquad train (published models: --model of generate and evaluate, "
      "quantize, train --init)");
  run->config = RunConfig::from_json(config, folder + "/config.json");
  require(run->config.arm != "ngram", ErrorCode::unsupported, folder,
          " is an n-gram run: it has no model to load");
  run->model = std::make_unique<Model>(run->config.model, run->plan);
  run->store = std::make_unique<ParameterStore>(run->plan, DType::f32, run->config.seed);
  AdamW optimizer(run->plan, DType::f32);
  require(Checkpoints(folder + "/checkpoints").load(*run->store, optimizer).has_value(),
          ErrorCode::io, folder, " holds no checkpoint yet: train it first (subquad train --run ",
          folder, ")");
  return run;
}

}  // namespace subquad
