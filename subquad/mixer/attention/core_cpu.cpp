#include "subquad/mixer/attention/core.h"

namespace subquad {
void add_attention_core_cpu(KernelTable&) {}
}  // namespace subquad
