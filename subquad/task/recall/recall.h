// Recall: look something up that was seen before. Each maker serves one task of all_tasks.cpp.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

std::unique_ptr<Task> make_mqar(const std::string& name, const TaskOptions& options);
std::unique_ptr<Task> make_selective_copying(const std::string& name, const TaskOptions& options);
std::unique_ptr<Task> make_induction_heads(const std::string& name, const TaskOptions& options);
std::unique_ptr<Task> make_state_recall(const std::string& name, const TaskOptions& options);

}  // namespace subquad
