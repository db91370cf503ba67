#include "subquad/model/engine.h"

#include "subquad/autograd/ops.h"
#include "subquad/mixer/attention/core.h"
#include "subquad/mixer/common/linear_core.h"
#include "subquad/mixer/slstm/core.h"

namespace subquad {

KernelTable all_kernels() {
  KernelTable table;
  add_op_kernels(table);
  add_linear_core_cpu(table);
  add_linear_core_reference(table);
  add_slstm_core_cpu(table);
  add_slstm_core_reference(table);
  add_attention_core_cpu(table);
  add_attention_core_reference(table);
  return table;
}

}  // namespace subquad
