// The literal definition of the optimiser's kernel.
#include "subquad/backend/optimizer.h"

#include <cmath>

namespace subquad {
namespace {

template <class T>
void adamw(const AdamWUpdate<T>& a, ThreadPool&) {
  const T b1 = static_cast<T>(a.beta1), c1 = static_cast<T>(1 - a.beta1);
  const T b2 = static_cast<T>(a.beta2), c2 = static_cast<T>(1 - a.beta2);
  for (std::int64_t i = 0; i < a.p.dim(0); ++i) {
    const T d = static_cast<T>(a.factor) * *a.g.at(i);
    T &m = *a.m.at(i), &v = *a.v.at(i), &p = *a.p.at(i);
    m = b1 * m + c1 * d;
    v = b2 * v + c2 * d * d;
    p = static_cast<T>(a.keep) * p -
        static_cast<T>(a.rate) * m /
            (static_cast<T>(a.root) * std::sqrt(v) + static_cast<T>(a.eps));
  }
}

}  // namespace

void add_optimizer_reference(KernelTable& table) {
  table.add(Impl<AdamWUpdate<float>>{"reference", nullptr, adamw<float>});
  table.add(Impl<AdamWUpdate<double>>{"reference", nullptr, adamw<double>});
}

}  // namespace subquad
