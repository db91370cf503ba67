// Byte-level language modelling of source files (code) and of any UTF-8 text (text).
#pragma once

#include "subquad/task/task.h"

namespace subquad {

// What both have in common, known without any data.
TaskSpec byte_task_spec(const std::string& name);

std::unique_ptr<Task> make_code(const TaskOptions& options);
std::unique_ptr<Task> make_text(const TaskOptions& options);

}  // namespace subquad
