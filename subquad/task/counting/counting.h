// Accumulation: languages that count, and the most frequent symbol. Each maker serves the names of
// its family, as all_tasks.cpp lists them.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

// anbn, anbncn.
std::unique_ptr<Task> make_counter_language(const std::string& name, const TaskOptions& options);
// majority, plurality, majority_count.
std::unique_ptr<Task> make_majority(const std::string& name, const TaskOptions& options);
std::unique_ptr<Task> make_binary_majority(const std::string& name, const TaskOptions& options);

}  // namespace subquad
