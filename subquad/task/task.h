// The extension point for data and score. A task never sees a model; a batch is a pure function of
// (options, split, length, step), so nothing of it goes into a checkpoint and every arm sees the
// same data.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "subquad/data/series/patches.h"
#include "subquad/io/json.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

class ByteCorpus;  // data/corpus.h
class ThreadPool;  // base/thread_pool.h

enum class Split : std::uint8_t { train, validation, test };

struct Batch {
  Tensor inputs;   // (B,T) i32; of patches (B,T,features) f32
  Tensor targets;  // (B,T) i32, aligned with inputs (no shift left to do); -1 = not scored; of
                   // patches (B,T,length) f32, in the units of outputs; NaN = not scored

  std::int64_t positions() const { return inputs.shape()[0] * inputs.shape()[1]; }
};

struct Metric {
  std::string name;  // "tail_accuracy", "bits_per_byte", "stop_ratio"
  double value = 0;
  std::string unit;  // "", "bits/byte"
  bool higher_is_better = true;
};

// One evaluated batch: natural-log loss and arg-max at every position (row-major B*T); of patches
// the quantiles (B,T,levels x length) f32 instead, by level and then step.
struct Scored {
  Batch batch;
  std::vector<float> loss;
  std::vector<std::int32_t> predicted;
  Tensor quantiles = {};
};

// A method that the task's training teaches nothing, scored as arms are on the test split.
struct Reference {
  std::string name;                         // SeasonalNaive
  std::vector<Metric> metrics = {};         // those of score()
  std::int64_t answers = 0, fallbacks = 0;  // asked for; given by another method instead
  double cpu_seconds = 0;                   // of all answers, on one core
};

// One key of TaskOptions::extra, as a task reads it.
struct TaskOption {
  std::string name;
  std::string value;  // in force
  std::string help;   // the values it takes and what they do
};

// What a reader needs to know: `subquad tasks show`. Sentences.
struct TaskGuide {
  std::string input = {};       // what the model sees
  std::string scored = {};      // at which positions, against what
  std::string source = {};      // who defined it
  std::string separation = {};  // why no test sample is trained on, or where that cannot be
  std::vector<TaskOption> options = {};
};

struct TaskSpec {
  std::string name = {};
  std::int64_t vocabulary = 0;             // input ids 0 .. vocabulary-1
  std::int64_t classes = 0;                // target ids 0 .. classes-1
  std::int64_t train_length = 0;           // longest training sequence
  std::int64_t batch_size = 32;            // default number of sequences per step
  std::vector<std::int64_t> lengths = {};  // evaluation lengths, the first is in-distribution
  double chance = 0;                       // expected accuracy of guessing
  std::string primary = {};                // name of the metric that verdicts use
  std::int64_t primary_length = 0;         // and the length it is read at
  std::int64_t default_tokens = 0;         // training tokens of the default study
  double learning_rate = 2e-3;             // of the one shared recipe
  PatchSpec patches = {};                  // length > 0: inputs are patches, outputs quantiles
  TaskGuide guide = {};
};

struct TaskOptions {
  std::uint64_t seed = 0;        // of the training stream; evaluation data depend on the task only
  std::int64_t total_steps = 0;  // curricula need it
  std::int64_t batch_size = 0;   // 0 = the task's own
  std::string data = {};         // folder or file, for tasks that read one
  std::string tokenizer = {};    // tokenizer.json or its folder, for tasks on text; empty: bytes
  std::int32_t separator = -1;   // id between documents, with a tokenizer; -1: nothing there
  Json extra = {};               // task-specific keys of the plan (object or null)
};

class Task {
 public:
  virtual ~Task() = default;
  virtual TaskSpec spec() const = 0;
  // Training batch of a step (rows may be shorter than train_length under a curriculum).
  virtual Batch train_batch(std::int64_t step) const = 0;
  // Evaluation batches of one of spec().lengths; the same for every seed.
  // Errors: invalid_argument for a length the task cannot have, with the least it can.
  virtual std::int64_t eval_batches(Split split, std::int64_t length) const = 0;
  virtual Batch eval_batch(Split split, std::int64_t length, std::int64_t index) const = 0;
  // All metrics of one length from all its batches.
  virtual std::vector<Metric> score(std::int64_t length, std::span<const Scored> batches) const = 0;
  // Names of the references that a study shows beside its arms, and one of them: the same bits for
  // any number of threads. Errors: interrupted.
  virtual std::vector<std::string> references() const { return {}; }
  virtual Reference reference(const std::string& name, ThreadPool&) const { return {.name = name}; }
  // What a report draws: samples, the same for every arm and seed, and a model's answers to those of
  // them that `batches` hold: {name of the sample: answer}. Null: nothing to draw.
  virtual Json samples() const { return {}; }
  virtual Json answers(Split, std::span<const Scored>) const { return {}; }
  // Digest of every split that was read or generated, for the ledger: {"train": "sha256:...", ...}.
  virtual Json provenance() const = 0;
  // A few lines that explain one sample: `subquad tasks show`.
  virtual std::string describe_sample(std::int64_t index) const = 0;
  // The byte corpus behind a byte task, for the n-gram arm; null for all others.
  virtual const ByteCorpus* corpus() const { return nullptr; }
};

struct TaskEntry {
  std::string name;
  std::string summary;  // one line
  std::unique_ptr<Task> (*make)(const std::string& name, const TaskOptions&);
  bool reads_data = false;  // takes TaskOptions::data
  bool bytes = false;       // ids are the bytes of a text
};

const std::vector<TaskEntry>& all_tasks();  // all_tasks.cpp
// "parity@final" names the task parity under the label "final" (letters, digits, _): a study may
// hold one task several times with different options. Both functions read past the label.
const TaskEntry* find_task(const std::string& name);  // null for an unknown name
std::unique_ptr<Task> make_task(const std::string& name,
                                const TaskOptions&);  // unknown name: nearest is named
// Whether its ids are the bytes of a text: code, text, and both under a label.
bool is_byte_task(const std::string& name);
// "parity" of "parity@final" and of "parity".
std::string task_kind(const std::string& name);

}  // namespace subquad
