// The literal kernels of this floor, by family.
#pragma once

#include "subquad/backend/kernel_table.h"

namespace subquad {

void add_pointwise_reference(KernelTable& table);
void add_sequence_reference(KernelTable& table);
void add_quantile_reference(KernelTable& table);

}  // namespace subquad
