#include "subquad/train/evidence.h"

#include <map>

#include "subquad/base/digest.h"
#include "subquad/base/file.h"

namespace subquad {
namespace {

// Raised when scores of equal outputs change.
constexpr int kEvaluatorVersion = 1;

std::span<const std::byte> bytes_of(const Tensor& t) {
  if (t.numel() == 0) return {};
  return {static_cast<const std::byte*>(t.raw()), static_cast<std::size_t>(t.bytes())};
}

void add(Sha256& hash, const Batch& b) {
  hash.update(bytes_of(b.inputs));
  hash.update(bytes_of(b.targets));
}

std::string digest_of_order(const Task& task, std::int64_t batches) {
  Sha256 hash;
  for (const std::int64_t i :
       {std::int64_t{0}, batches / 2, std::max<std::int64_t>(batches - 1, 0)})
    add(hash, task.train_batch(i));
  return hash.finish();
}

std::string digest_of_tests(const Task& task) {
  Sha256 hash;
  for (const std::int64_t length : task.spec().lengths) {
    for (std::int64_t i = 0; i < task.eval_batches(Split::test, length); ++i)
      add(hash, task.eval_batch(Split::test, length, i));
  }
  return hash.finish();
}

// 64 bits of the digest of every row, its length included: a chance agreement is beyond the number
// of rows that anybody trains on.
template <class Fn>
void for_row_keys(const Batch& b, Fn&& fn) {
  const auto bytes = bytes_of(b.inputs);
  const auto rows = static_cast<std::size_t>(b.inputs.shape()[0]), size = bytes.size() / rows;
  for (std::size_t row = 0; row < rows; ++row)
    fn(sha256(bytes.subspan(row * size, size)).substr(0, 16));
}

Json collisions(const Task& task, std::int64_t batches) {
  struct Rows {
    std::string length;
    std::int64_t count = 0;
  };
  std::map<std::string, Rows> tested;  // bounded by the test set, however long the training
  Json out = Json::object();
  for (const std::int64_t length : task.spec().lengths) {
    const std::string name = std::to_string(length);
    out["shared"][name] = 0;
    for (std::int64_t i = 0; i < task.eval_batches(Split::test, length); ++i) {
      for_row_keys(task.eval_batch(Split::test, length, i), [&](const std::string& key) {
        Rows& rows = tested[key];
        rows.length = name;
        ++rows.count;
      });
    }
  }
  std::int64_t trained = 0;
  for (std::int64_t i = 0; i < batches; ++i) {
    for_row_keys(task.train_batch(i), [&](const std::string& key) {
      ++trained;
      const auto found = tested.find(key);
      if (found == tested.end()) return;
      Json& shared = out["shared"][found->second.length];
      shared = shared.as_int() + found->second.count;
      tested.erase(found);
    });
  }
  out["train_rows"] = trained;
  return out;
}

Json forward_macs(Engine& engine, const Model& model, ParameterStore& store, const Task& task) {
  const Batch b = task.eval_batch(Split::test, task.spec().lengths.front(), 0);
  const std::int64_t rows = b.inputs.shape()[0], columns = b.inputs.shape()[1];
  Context cx = engine.context(store);
  const std::int64_t before = engine.threads.macs();
  model.logits(cx, b.inputs, {}, nullptr);
  Json j = Json::object();
  j["counted"] =
      static_cast<double>(engine.threads.macs() - before) / static_cast<double>(rows * columns);
  j["formula"] = model.cost(columns).executed_macs / static_cast<double>(columns);
  return j;
}

}  // namespace

Json run_evidence(Engine& engine, const Model& model, ParameterStore& store, const Task& task,
                  std::int64_t parameters, std::int64_t batches) {
  std::int64_t outer = 0;
  for (const ParamInfo& p : store.plan().all())
    outer += p.name.starts_with("embedding.") || p.name.starts_with("head.") ? p.shape.numel() : 0;
  Json j = Json::object();
  j["non_embedding_parameters"] = parameters - outer;
  j["model_bytes"] = parameters * std::int64_t{sizeof(float)};
  j["precision"] = engine.precision == Precision::bf16 ? "bf16" : "f32";
  j["order_sha256"] = digest_of_order(task, batches);
  j["evaluator"]["version"] = kEvaluatorVersion;
  j["evaluator"]["test_sha256"] = digest_of_tests(task);
  j["forward_macs"] = forward_macs(engine, model, store, task);
  // Of patches nothing is repeated: training draws its own series, and generating them all again
  // would double what they cost.
  if (!task.corpus() && task.spec().patches.length == 0)
    j["collisions"] = collisions(task, batches);
  return j;
}

void log_test_access(const std::string& folder, const std::string& by, const std::string& weights,
                     const std::string& reason) {
  Json j = Json::object();
  j["by"] = by;
  j["weights_sha256"] = weights;
  j["reason"] = reason;
  append_line(folder + "/test_access.jsonl", j.dump());
}

}  // namespace subquad
