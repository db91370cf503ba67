#include "subquad/mixer/slstm/core.h"

namespace subquad {
void add_slstm_core_cpu(KernelTable&) {}
}  // namespace subquad
