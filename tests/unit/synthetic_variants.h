// Every generated task in every supervision it has, and the options that change what it is.
#pragma once

#include <string>
#include <vector>

#include "subquad/task/task.h"

namespace subquad {

struct Variant {
  std::string task;
  Json extra;

  std::string text() const { return task + " " + extra.dump(); }
  bool final_answer() const { return extra.get("supervision", "dense") == std::string("final"); }
  std::unique_ptr<Task> make(std::uint64_t seed = 1, std::int64_t total_steps = 100) const {
    return make_task(task, {.seed = seed, .total_steps = total_steps, .extra = extra});
  }
};

inline std::vector<Variant> variants() {
  std::vector<Variant> all;
  const auto add = [&](const std::string& task, const std::string& extra) {
    all.push_back({task, Json::parse(extra, "variant")});
  };
  for (const TaskEntry& t : all_tasks()) {
    if (t.reads_data) continue;
    add(t.name, R"({"supervision": "dense"})");
    if (t.name != "anbn" && t.name != "anbncn") add(t.name, R"({"supervision": "final"})");
  }
  add("parity", R"({"train_length": 128})");
  add("modular_addition", R"({"modulus": 60, "curriculum": false})");
  add("cycle_navigation", R"({"modulus": 7, "supervision": "final"})");
  add("s5", R"({"elements": "swaps", "tokens_per_element": 4})");
  add("a5", R"({"tokens_per_element": 3, "supervision": "final"})");
  add("modular_arithmetic", R"({"times": false, "modulus": 7, "train_length": 33})");
  add("modular_arithmetic_brackets",
      R"({"times": true, "train_length": 41, "supervision": "dense"})");
  add("majority", R"({"symbols": 5, "train_length": 17, "supervision": "dense"})");
  add("mqar", R"({"pairs": 4, "test_pairs": 12, "vocabulary": 32, "gaps": "power"})");
  add("mqar", R"({"grid": "paper"})");
  add("selective_copying", R"({"items": 4, "symbols": 7, "train_length": 32})");
  add("induction_heads", R"({"symbols": 5, "supervision": "final", "train_length": 20})");
  add("state_recall", R"({"bits": 11, "train_length": 60, "supervision": "dense"})");
  return all;
}

// Rows of a batch.
struct Row {
  std::vector<std::int32_t> in, target;
};

inline std::vector<Row> rows_of(const Batch& b) {
  std::vector<Row> rows;
  const std::int64_t columns = b.inputs.shape()[1];
  for (std::int64_t r = 0; r < b.inputs.shape()[0]; ++r) {
    const auto* in = b.inputs.data<std::int32_t>() + r * columns;
    const auto* target = b.targets.data<std::int32_t>() + r * columns;
    rows.push_back({{in, in + columns}, {target, target + columns}});
  }
  return rows;
}

// Index of the last scored position, -1 if there is none.
inline std::int64_t last_scored(const Row& row) {
  auto i = static_cast<std::int64_t>(row.target.size()) - 1;
  while (i >= 0 && row.target[static_cast<std::size_t>(i)] < 0) --i;
  return i;
}

}  // namespace subquad
