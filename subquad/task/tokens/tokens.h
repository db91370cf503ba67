// A task from a file: JSON lines with `input` and `target`, so that a task is added without C++.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

std::unique_ptr<Task> make_tokens(const TaskOptions& options);

}  // namespace subquad
