#include "subquad/mixer/slstm/core_reference-inl.h"

namespace subquad {
namespace {

template <class T>
void add(KernelTable& table) {
  namespace reference = slstm_core_reference;
  table.add(Impl<SlstmForward<T>>{"reference", nullptr, reference::forward<T>});
  table.add(Impl<SlstmBackward<T>>{"reference", nullptr, reference::backward<T>});
}

}  // namespace

void add_slstm_core_reference(KernelTable& table) {
  add<float>(table);
  add<double>(table);
}

}  // namespace subquad
