// Arguments of the optimiser's kernel.
#pragma once

#include "subquad/backend/kernel_table.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

// One AdamW step over n flat values, with d = factor g:
//   m = beta1 m + (1 - beta1) d      v = beta2 v + (1 - beta2) d²
//   p = keep p - rate m / (root sqrt(v) + eps)
// rate = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t), keep = 1 - lr weight_decay.
// Shapes: g, p, m, v (n), none overlapping another. Ranges: betas in [0,1), eps > 0. 1 - beta is
// formed in f64: beta2 = 0.999999 would be 5 % off in f32. Source: Loshchilov & Hutter 2019.
template <class T>
struct AdamWUpdate {
  static constexpr std::string_view kOp = "adamw";
  View<const T, 1> g;
  double beta1, beta2, eps, factor, rate, root, keep;
  View<T, 1> p, m, v;
};

void add_optimizer_cpu(KernelTable& table);
void add_optimizer_reference(KernelTable& table);

}  // namespace subquad
