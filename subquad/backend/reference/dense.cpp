// The literal definitions of the dense kernels.
#include <algorithm>
#include <cmath>

#include "subquad/backend/bf16.h"

namespace subquad {
namespace {

template <class T>
void linear_forward(const LinearForward<T>& a, ThreadPool& threads) {
  if (a.precision == Precision::bf16) {
    return with_rounded_factors(
        a, [&](const LinearForward<T>& rounded) { linear_forward(rounded, threads); });
  }
  for (const LinearPart<T>& p : a.parts) {
    for (std::int64_t n = 0; n < p.x.dim(0); ++n) {
      for (std::int64_t o = 0; o < p.w.dim(0); ++o) {
        T sum = p.b ? *p.b.at(o) : T(0);
        for (std::int64_t i = 0; i < p.w.dim(1); ++i) sum += *p.x.at(n, i) * *p.w.at(o, i);
        *p.y.at(n, o) = sum;
      }
    }
  }
}

template <class T>
void linear_backward(const LinearBackward<T>& a, ThreadPool& threads) {
  if (a.precision == Precision::bf16) {
    return with_rounded_factors(
        a, [&](const LinearBackward<T>& rounded) { linear_backward(rounded, threads); });
  }
  for (const LinearGradient<T>& p : a.parts) {
    const std::int64_t ins = p.w.dim(1);
    for (std::int64_t n = 0; n < p.x.dim(0); ++n) {
      if (p.dx && !p.add_dx) std::fill_n(p.dx.at(n), ins, T(0));
      for (std::int64_t o = 0; o < p.w.dim(0); ++o) {
        const T dy = *p.dy.at(n, o);
        if (p.db) *p.db.at(o) += dy;
        for (std::int64_t i = 0; i < ins; ++i) {
          if (p.dx) *p.dx.at(n, i) += dy * *p.w.at(o, i);
          *p.dw.at(o, i) += dy * *p.x.at(n, i);
        }
      }
    }
  }
}

template <class T>
void embedding_forward(const EmbeddingForward<T>& a, ThreadPool&) {
  for (std::int64_t n = 0; n < a.ids.dim(0); ++n) {
    std::copy_n(a.table.at(*a.ids.at(n)), a.table.dim(1), a.y.at(n));
  }
}

template <class T>
void embedding_backward(const EmbeddingBackward<T>& a, ThreadPool&) {
  for (std::int64_t n = 0; n < a.ids.dim(0); ++n) {
    T* row = a.dtable.at(*a.ids.at(n));
    const T* dy = a.dy.at(n);
    for (std::int64_t i = 0; i < a.dtable.dim(1); ++i) row[i] += dy[i];
  }
}

template <class T>
void cross_entropy_rows(const CrossEntropyRows<T>& a, ThreadPool&) {
  const std::int64_t classes = a.logits.dim(1);
  const T cap = static_cast<T>(a.soft_cap), z = static_cast<T>(a.z_weight);
  const T weight = static_cast<T>(a.row_weight);
  const auto capped = [&](T v) { return cap > 0 ? cap * std::tanh(v / cap) : v; };
  for (std::int64_t n = 0; n < a.logits.dim(0); ++n) {
    T* x = a.logits.at(n);
    const std::int32_t target = *a.targets.at(n);
    *a.loss.at(n) = 0;
    if (a.predicted) *a.predicted.at(n) = -1;
    if (target < 0) {
      if (weight != 0) std::fill_n(x, classes, T(0));
      continue;
    }
    const std::int64_t best = std::max_element(x, x + classes) - x;
    const T top = capped(x[best]);
    T sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(capped(x[c]) - top);
    const T lse = top + std::log(sum);
    *a.loss.at(n) = lse - capped(x[target]) + z * lse * lse;
    if (a.predicted) *a.predicted.at(n) = static_cast<std::int32_t>(best);
    if (weight == 0) continue;
    const T of_lse = 1 + 2 * z * lse;
    for (std::int64_t c = 0; c < classes; ++c) {
      const T y = capped(x[c]);
      const T slope = cap > 0 ? 1 - (y / cap) * (y / cap) : T(1);
      x[c] = weight * slope * (of_lse * std::exp(y - lse) - (c == target ? T(1) : T(0)));
    }
  }
}

template <class T>
void add(KernelTable& table) {
  table.add(Impl<LinearForward<T>>{"reference", nullptr, linear_forward<T>});
  table.add(Impl<LinearBackward<T>>{"reference", nullptr, linear_backward<T>});
  table.add(Impl<EmbeddingForward<T>>{"reference", nullptr, embedding_forward<T>});
  table.add(Impl<EmbeddingBackward<T>>{"reference", nullptr, embedding_backward<T>});
  table.add(Impl<CrossEntropyRows<T>>{"reference", nullptr, cross_entropy_rows<T>});
}

}  // namespace

void add_dense_reference(KernelTable& table) {
  add<float>(table);
  add<double>(table);
}

}  // namespace subquad
