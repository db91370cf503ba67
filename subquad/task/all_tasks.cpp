#include <algorithm>
#include <cctype>

#include "subquad/task/code/code.h"
#include "subquad/task/counting/counting.h"
#include "subquad/task/forecast/forecast.h"
#include "subquad/task/recall/recall.h"
#include "subquad/task/state_tracking/state_tracking.h"
#include "subquad/task/task.h"
#include "subquad/task/tokens/tokens.h"

namespace subquad {

const std::vector<TaskEntry>& all_tasks() {
  static const std::vector<TaskEntry> tasks = {
      {"parity", "state tracking: running parity of a bit string", make_cyclic},
      {"modular_addition", "state tracking: running sum modulo 5", make_cyclic},
      {"cycle_navigation", "state tracking: place on a ring after steps -1, 0, +1", make_cyclic},
      {"s3", "state tracking: running product in the permutation group S3", make_group},
      {"a5", "state tracking: running product in A5, the least unsolvable group", make_group},
      {"s5", "state tracking: running product in S5 (all elements, or swaps only)", make_group},
      {"modular_arithmetic", "state tracking: value modulo 5 of d + d * d - d", make_arithmetic},
      {"modular_arithmetic_brackets", "state tracking: the same with brackets (context-free)",
       make_arithmetic},
      {"even_pairs", "state tracking: is this symbol the first one (retention)", make_even_pairs},
      {"anbn", "counting: stop after as many b's as there were a's", make_counter_language},
      {"anbncn", "counting: as many b's as a's, then as many c's", make_counter_language},
      {"majority", "counting: the most frequent of 63 symbols", make_majority},
      {"plurality", "counting: the most frequent of 16 symbols so far", make_majority},
      {"binary_majority", "counting: more ones than zeros so far", make_binary_majority},
      {"majority_count", "counting: how often the most frequent symbol occurs", make_majority},
      {"mqar", "recall: multi-query associative recall, 8 pairs", make_mqar},
      {"selective_copying", "recall: copy the symbols that lie scattered among blanks",
       make_selective_copying},
      {"induction_heads", "recall: what followed the last occurrence of this symbol",
       make_induction_heads},
      {"state_recall", "recall: the bit at an address that swaps have moved", make_state_recall},
      {"code", "next byte of source files (bits per byte)",
       [](const std::string&, const TaskOptions& o) { return make_code(o); }, true, true},
      {"text", "next byte of any UTF-8 text (bits per byte)",
       [](const std::string&, const TaskOptions& o) { return make_text(o); }, true, true},
      {"forecast", "quantiles of the next patch of a series, zero-shot on real ones with --data",
       make_forecast, true},
      {"tokens", "JSON lines with input and target: a task without C++",
       [](const std::string&, const TaskOptions& o) { return make_tokens(o); }, true},
  };
  return tasks;
}

std::string task_kind(const std::string& name) { return name.substr(0, name.find('@')); }

const TaskEntry* find_task(const std::string& name) {
  const std::string kind = task_kind(name);
  if (kind != name) {
    const auto word = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    };
    const std::string label = name.substr(kind.size() + 1);
    if (label.empty() || !std::all_of(label.begin(), label.end(), word)) return nullptr;
  }
  for (const TaskEntry& t : all_tasks()) {
    if (t.name == kind) return &t;
  }
  return nullptr;
}

bool is_byte_task(const std::string& name) {
  const TaskEntry* entry = find_task(name);
  return entry && entry->bytes;
}

std::unique_ptr<Task> make_task(const std::string& name, const TaskOptions& options) {
  if (const TaskEntry* entry = find_task(name)) return entry->make(entry->name, options);
  std::vector<std::string> names;
  for (const TaskEntry& t : all_tasks()) names.push_back(t.name);
  const std::string near = nearest_key(name, names);
  std::string list;
  for (const std::string& n : names) list += " " + n;
  fail(ErrorCode::invalid_argument, "unknown task \"", name, "\"; ",
       near.empty() ? "known:" + list : "did you mean \"" + near + "\"?");
}

}  // namespace subquad
