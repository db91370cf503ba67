// Routing of rows to experts, and back. Rows (N), experts (E), k of them per row.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/autograd/ops.h"

namespace subquad {
namespace {

// Scores of one row and what they are made of, in double.
struct RowRoute {
  std::vector<double> score;       // (E)
  std::vector<std::int64_t> best;  // (k), the largest first; of equal ones the first
  double sum = 1;                  // what the chosen scores are divided by

  template <class T>
  RowRoute(const T* logits, const T* correction, std::int64_t experts, const RouterOptions& o)
      : score(static_cast<std::size_t>(experts)), best(score.size()) {
    if (o.sigmoid) {
      for (std::size_t e = 0; e < score.size(); ++e)
        score[e] = 1 / (1 + std::exp(-static_cast<double>(logits[e])));
    } else {
      const auto top = static_cast<double>(*std::max_element(logits, logits + experts));
      double total = 0;
      for (std::size_t e = 0; e < score.size(); ++e)
        total += score[e] = std::exp(static_cast<double>(logits[e]) - top);
      for (double& s : score) s /= total;
    }
    const auto rank = [&](std::int64_t e) {
      const auto i = static_cast<std::size_t>(e);
      return score[i] + (correction ? static_cast<double>(correction[i]) : 0.0);
    };
    std::iota(best.begin(), best.end(), std::int64_t{0});
    std::stable_sort(best.begin(), best.end(),
                     [&](std::int64_t a, std::int64_t b) { return rank(a) > rank(b); });
    best.resize(static_cast<std::size_t>(o.active));
    if (!o.normalise) return;
    sum = 0;
    for (const std::int64_t e : best) sum += score[static_cast<std::size_t>(e)];
  }
};

// d(logits) of one row from the gradients of its k weights.
template <class T>
void row_backward(const RowRoute& r, const RouterOptions& o, const T* dweights, T* dlogits) {
  std::vector<double> dscore(r.score.size(), 0);
  double projected = 0;  // of the division by the sum
  for (std::size_t i = 0; o.normalise && i < r.best.size(); ++i)
    projected +=
        static_cast<double>(dweights[i]) * r.score[static_cast<std::size_t>(r.best[i])] / r.sum;
  for (std::size_t i = 0; i < r.best.size(); ++i)
    dscore[static_cast<std::size_t>(r.best[i])] =
        o.scale * (static_cast<double>(dweights[i]) - projected) / r.sum;
  double mean = 0;
  for (std::size_t e = 0; !o.sigmoid && e < dscore.size(); ++e) mean += dscore[e] * r.score[e];
  for (std::size_t e = 0; e < dscore.size(); ++e) {
    const double s = r.score[e];
    dlogits[e] = static_cast<T>(o.sigmoid ? dscore[e] * s * (1 - s) : s * (dscore[e] - mean));
  }
}

}  // namespace

Routing route(Context& cx, const Var& logits, ParamId correction, const RouterOptions& options) {
  const std::int64_t N = logits.shape().rows(), E = logits.shape()[-1], k = options.active;
  require(k >= 1 && k <= E, ErrorCode::invalid_argument, "route to ", k, " of ", E,
          " experts, wanted 1 to all");
  require(!correction || cx.params.value(correction).numel() == E, ErrorCode::shape_mismatch,
          "route: a correction for other experts than ", E);
  Routing routing;
  const Tensor weights = cx.empty({N, k});
  const auto row_of = [=]<class T>(Context& cx, std::int64_t n, T) {
    return RowRoute(logits.value.data<T>() + n * E,
                    correction ? cx.params.value(correction).data<T>() : nullptr, E, options);
  };
  with_scalar(cx.dtype(), [&]<class T>() {
    for (std::int64_t n = 0; n < N; ++n) {
      const RowRoute r = row_of(cx, n, T());
      for (std::int64_t i = 0; i < k; ++i) {
        const std::int64_t e = r.best[static_cast<std::size_t>(i)];
        routing.expert.push_back(e);
        weights.data<T>()[n * k + i] =
            static_cast<T>(options.scale * r.score[static_cast<std::size_t>(e)] / r.sum);
      }
    }
  });
  routing.weights = cx.record("route", weights, [=](Context& cx, const Tensor& dweights) {
    const Tensor dlogits = cx.empty(logits.shape());
    with_scalar(cx.dtype(), [&]<class T>() {
      for (std::int64_t n = 0; n < N; ++n)
        row_backward(row_of(cx, n, T()), options, dweights.data<T>() + n * k,
                     dlogits.data<T>() + n * E);
    });
    cx.add_grad(logits, dlogits);
  });
  return routing;
}

Var take_rows(Context& cx, const Var& x, std::vector<std::int64_t> rows) {
  require(x.shape().rank == 2, ErrorCode::shape_mismatch, "take_rows of ", x.shape(),
          ", wanted (N,D)");
  const std::int64_t N = x.shape()[0], D = x.shape()[1], n = static_cast<std::int64_t>(rows.size());
  for (const std::int64_t r : rows)
    require(r >= 0 && r < N, ErrorCode::invalid_argument, "row ", r, " of ", N);
  const Tensor y = cx.empty({n, D});
  with_scalar(cx.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < n; ++i)
      std::copy_n(x.value.data<T>() + rows[static_cast<std::size_t>(i)] * D, D,
                  y.data<T>() + i * D);
  });
  return cx.record("take_rows", y,
                   [x, n, D, rows = std::move(rows)](Context& cx, const Tensor& dy) {
                     const Tensor dx = cx.zeros(x.shape());
                     with_scalar(cx.dtype(), [&]<class T>() {
                       for (std::int64_t i = 0; i < n; ++i) {
                         T* to = dx.data<T>() + rows[static_cast<std::size_t>(i)] * D;
                         const T* from = dy.data<T>() + i * D;
                         for (std::int64_t j = 0; j < D; ++j) to[j] += from[j];
                       }
                     });
                     cx.add_grad(x, dx);
                   });
}

Var combine_rows(Context& cx, const Var& weights, std::vector<WeightedRows> parts,
                 std::int64_t width) {
  const std::int64_t N = weights.shape()[0], k = weights.shape()[1], D = width;
  for (const WeightedRows& p : parts) {
    require(p.rows.shape() == (Shape{static_cast<std::int64_t>(p.entries.size()), D}),
            ErrorCode::shape_mismatch, "combine_rows: a part of shape ", p.rows.shape(), " for ",
            p.entries.size(), " entries of width ", D);
    for (const std::int64_t e : p.entries)
      require(e >= 0 && e < N * k, ErrorCode::invalid_argument, "entry ", e, " of ", N * k);
  }
  const Tensor y = cx.zeros({N, D});
  with_scalar(cx.dtype(), [&]<class T>() {
    for (const WeightedRows& p : parts) {
      for (std::size_t i = 0; i < p.entries.size(); ++i) {
        const T w = weights.value.data<T>()[p.entries[i]];
        const T* from = p.rows.value.data<T>() + static_cast<std::int64_t>(i) * D;
        T* to = y.data<T>() + p.entries[i] / k * D;
        for (std::int64_t j = 0; j < D; ++j) to[j] += w * from[j];
      }
    }
  });
  return cx.record(
      "combine_rows", y, [weights, parts = std::move(parts), k, D](Context& cx, const Tensor& dy) {
        const Tensor dweights = cx.zeros(weights.shape());
        for (const WeightedRows& p : parts) {
          const Tensor drows = cx.empty(p.rows.shape());
          with_scalar(cx.dtype(), [&]<class T>() {
            for (std::size_t i = 0; i < p.entries.size(); ++i) {
              const T w = weights.value.data<T>()[p.entries[i]];
              const T* from = p.rows.value.data<T>() + static_cast<std::int64_t>(i) * D;
              const T* d = dy.data<T>() + p.entries[i] / k * D;
              T* to = drows.data<T>() + static_cast<std::int64_t>(i) * D;
              T sum = 0;
              for (std::int64_t j = 0; j < D; ++j) {
                to[j] = w * d[j];
                sum += from[j] * d[j];
              }
              dweights.data<T>()[p.entries[i]] += sum;
            }
          });
          cx.add_grad(p.rows, drows);
        }
        cx.add_grad(weights, dweights);
      });
}

}  // namespace subquad
