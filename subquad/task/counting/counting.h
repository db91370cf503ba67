// Accumulation: a^n b^n and running plurality.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

std::unique_ptr<Task> make_anbn(const TaskOptions& options);
std::unique_ptr<Task> make_plurality(const TaskOptions& options);

}  // namespace subquad
