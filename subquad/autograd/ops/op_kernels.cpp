#include "subquad/autograd/ops.h"
#include "subquad/backend/cpu/cpu.h"
#include "subquad/backend/dense.h"
#include "subquad/backend/optimizer.h"
#include "subquad/backend/packed.h"
#include "subquad/backend/reference/reference.h"

namespace subquad {

void add_op_kernels(KernelTable& table) {
  add_dense_cpu(table);
  add_dense_reference(table);
  add_packed_cpu(table);
  add_packed_reference(table);
  add_pointwise_cpu(table);
  add_norm_cpu(table);
  add_sequence_cpu(table);
  add_gates_cpu(table);
  add_optimizer_cpu(table);
  add_pointwise_reference(table);
  add_sequence_reference(table);
  add_quantile_reference(table);
  add_optimizer_reference(table);
}

}  // namespace subquad
