// Entries of the kernel table for kernels that HWY_EXPORT compiled once per instruction set.
#pragma once

#include <hwy/highway.h>

#include <string_view>
#include <type_traits>

#include "subquad/backend/kernel_table.h"

namespace subquad {

template <class Args>
Args argument_of(void (*kernel)(const Args&, ThreadPool&));  // never defined: names a type

// kTable: HWY_DISPATCH_TABLE(kernel). The instruction set is chosen at every call.
template <const auto& kTable, class Args = decltype(argument_of(kTable[0]))>
Impl<Args> dispatched(std::string_view name,
                      std::type_identity_t<bool (*)(const Args&)> accepts = nullptr) {
  return {name, accepts, [](const Args& a, ThreadPool& threads) {
            (*kTable[hwy::GetChosenTarget().GetIndex()])(a, threads);
          }};
}

}  // namespace subquad
