// Finite states: running products in groups, modular arithmetic, and a bit to hold. Each maker
// serves the names of its family, as all_tasks.cpp lists them.
#pragma once

#include "subquad/task/task.h"

namespace subquad {

// parity, modular_addition, cycle_navigation: sums modulo m.
std::unique_ptr<Task> make_cyclic(const std::string& name, const TaskOptions& options);
// s3, a5, s5: products of permutations.
std::unique_ptr<Task> make_group(const std::string& name, const TaskOptions& options);
// modular_arithmetic, modular_arithmetic_brackets.
std::unique_ptr<Task> make_arithmetic(const std::string& name, const TaskOptions& options);
std::unique_ptr<Task> make_even_pairs(const std::string& name, const TaskOptions& options);

}  // namespace subquad
