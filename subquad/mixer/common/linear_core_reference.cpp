#include "subquad/mixer/common/linear_core_reference-inl.h"

namespace subquad {
namespace {

template <class T>
void add(KernelTable& table) {
  namespace reference = linear_core_reference;
  table.add(Impl<LinearCoreForward<T>>{"reference", nullptr, reference::forward<T>});
  table.add(Impl<LinearCoreBackward<T>>{"reference", nullptr, reference::backward<T>});
}

}  // namespace

void add_linear_core_reference(KernelTable& table) {
  add<float>(table);
  add<double>(table);
}

}  // namespace subquad
