// The pinball loss. One implementation: beside the products of a model it costs nothing.
#include "subquad/backend/quantile.h"

#include <algorithm>
#include <cmath>

#include "subquad/backend/reference/reference.h"

namespace subquad {
namespace {

template <class T>
double row_loss(const PinballRows<T>& a, std::int64_t n) {
  const std::int64_t P = a.targets.dim(1);
  const auto Q = static_cast<std::int64_t>(a.levels.size());
  const T* y = a.targets.at(n);
  double total = 0;
  for (std::int64_t q = 0; q < Q; ++q) {
    const T level = static_cast<T>(a.levels[static_cast<std::size_t>(q)]);
    const T weight = static_cast<T>(a.row_weight / static_cast<double>(Q));
    const T* predicted = a.predicted.at(n, q * P);
    T* gradient = a.gradient ? a.gradient.at(n, q * P) : nullptr;
    T sum = 0;
    for (std::int64_t p = 0; p < P; ++p) {
      const bool scored = y[p] == y[p];
      const T e = scored ? y[p] - predicted[p] : T(0), slope = e >= 0 ? level : level - 1;
      sum += slope * e;
      if (gradient) gradient[p] = scored ? -slope * weight : T(0);
    }
    total += static_cast<double>(sum);
  }
  return total / static_cast<double>(Q);
}

template <class T>
void pinball_rows(const PinballRows<T>& a, ThreadPool& threads) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t rows = a.predicted.dim(0);
  threads.run((rows + kBlock - 1) / kBlock, [&](std::int64_t block, Scratch&) {
    for (std::int64_t n = block * kBlock; n < std::min(rows, (block + 1) * kBlock); ++n) {
      const double loss = row_loss(a, n);
      if (a.loss) *a.loss.at(n) = static_cast<T>(loss);
    }
  });
}

}  // namespace

void add_quantile_reference(KernelTable& table) {
  table.add(Impl<PinballRows<float>>{"reference", nullptr, pinball_rows<float>});
  table.add(Impl<PinballRows<double>>{"reference", nullptr, pinball_rows<double>});
}

}  // namespace subquad
