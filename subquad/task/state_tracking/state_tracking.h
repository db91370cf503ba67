// Running products in a group: parity (Z2) and S3.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

std::unique_ptr<Task> make_parity(const TaskOptions& options);
std::unique_ptr<Task> make_s3(const TaskOptions& options);

}  // namespace subquad
