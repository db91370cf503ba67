#include "subquad/task/code/code.h"
#include "subquad/task/counting/counting.h"
#include "subquad/task/recall/recall.h"
#include "subquad/task/state_tracking/state_tracking.h"
#include "subquad/task/task.h"
#include "subquad/task/tokens/tokens.h"

namespace subquad {

const std::vector<TaskEntry>& all_tasks() {
  static const std::vector<TaskEntry> tasks = {
      {"parity", "running parity of a bit string (state tracking)", make_parity},
      {"s3", "running product in the permutation group S3, with curriculum (state tracking)",
       make_s3},
      {"anbn", "stop after as many b's as there were a's (counting)", make_anbn},
      {"plurality", "the most frequent of 16 symbols so far (counting)", make_plurality},
      {"mqar", "multi-query associative recall, 8 pairs (recall)", make_mqar},
      {"code", "next byte of source files (bits per byte)", make_code, true, true},
      {"text", "next byte of any UTF-8 text (bits per byte)", make_text, true, true},
      {"tokens", "JSON lines with input and target: a task without C++", make_tokens, true},
  };
  return tasks;
}

const TaskEntry* find_task(const std::string& name) {
  for (const TaskEntry& t : all_tasks()) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

std::unique_ptr<Task> make_task(const std::string& name, const TaskOptions& options) {
  if (const TaskEntry* entry = find_task(name)) return entry->make(options);
  std::vector<std::string> names;
  for (const TaskEntry& t : all_tasks()) names.push_back(t.name);
  const std::string near = nearest_key(name, names);
  std::string list;
  for (const std::string& n : names) list += " " + n;
  fail(ErrorCode::invalid_argument, "unknown task \"", name, "\"; ",
       near.empty() ? "known:" + list : "did you mean \"" + near + "\"?");
}

}  // namespace subquad
