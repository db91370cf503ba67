#include "subquad/mixer/attention/core_reference-inl.h"

namespace subquad {
namespace {

template <class T>
void add(KernelTable& table) {
  namespace reference = attention_core_reference;
  table.add(Impl<AttentionForward<T>>{"reference", nullptr, reference::forward<T>});
  table.add(Impl<AttentionBackward<T>>{"reference", nullptr, reference::backward<T>});
}

}  // namespace

void add_attention_core_reference(KernelTable& table) {
  add<float>(table);
  add<double>(table);
}

}  // namespace subquad
