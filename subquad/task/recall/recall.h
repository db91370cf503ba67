// Associative recall: multi-query (MQAR).
#pragma once

#include "subquad/task/task.h"

namespace subquad {

std::unique_ptr<Task> make_mqar(const TaskOptions& options);

}  // namespace subquad
