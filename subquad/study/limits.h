// Plans that a machine cannot run, or that mean nothing, are refused before anything is trained.
#pragma once

#include "subquad/study/plan.h"

namespace subquad {

// A lower bound of what a training step of `rows` sequences of `length` tokens holds, in bytes:
// weights, their gradient and both moments, and per block and token what the backward pass needs at
// the least (two norms, q, k, v and output of the mixer, gate, value and product of the MLP).
double least_training_bytes(const SizedArm& arm, std::int64_t rows, std::int64_t length);

double physical_memory_bytes();

// Errors (got, wanted, what helps): a step that does not fit `memory_bytes` with `jobs` workers at
// a time; a step of more tokens than the task's whole budget.
void require_possible(const StudyPlan& plan, double memory_bytes, int jobs);

}  // namespace subquad
