// Dense kernels on oneDNN products. Roofline: the products themselves; the bias is the start value
// of the accumulation, so it costs one write of y.
#include "subquad/backend/dense.h"

#include <algorithm>

#include "subquad/backend/gemm.h"

namespace subquad {
namespace {

void linear_forward(const LinearForward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.x.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  if (a.b) {
    for (std::int64_t n = 0; n < rows; ++n) std::copy_n(a.b.data, a.y.dim(1), a.y.at(n));
  }
  for (std::int64_t h = 0; h < a.w.dim(0); ++h) {
    parallel_gemm<float>(threads, false, true, rows, outs, ins, 1, a.x.at(0, h * ins),
                         a.x.stride(0), a.w.at(h), ins, a.b ? 1.0F : 0.0F, a.y.at(0, h * outs),
                         a.y.stride(0));
  }
}

// db += column sums of dy: blocks of rows first, so that rounding does not grow with the batch.
void add_column_sums(const View<const float, 2>& dy, float* db, ThreadPool& threads) {
  threads.run(1, [&](std::int64_t, Scratch& scratch) {
    constexpr std::int64_t kBlock = 128;
    const std::int64_t width = dy.dim(1);
    float* sum = scratch.get<float>(width);
    for (std::int64_t first = 0; first < dy.dim(0); first += kBlock) {
      std::fill_n(sum, width, 0.0F);
      for (std::int64_t n = first; n < std::min(first + kBlock, dy.dim(0)); ++n) {
        const float* row = dy.at(n);
        for (std::int64_t i = 0; i < width; ++i) sum[i] += row[i];
      }
      for (std::int64_t i = 0; i < width; ++i) db[i] += sum[i];
    }
  });
}

void linear_backward(const LinearBackward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.x.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  for (std::int64_t h = 0; h < a.w.dim(0); ++h) {
    if (a.dx) {
      parallel_gemm<float>(threads, false, false, rows, ins, outs, 1, a.dy.at(0, h * outs),
                           a.dy.stride(0), a.w.at(h), ins, 0, a.dx.at(0, h * ins), a.dx.stride(0));
    }
    parallel_gemm<float>(threads, true, false, outs, ins, rows, 1, a.dy.at(0, h * outs),
                         a.dy.stride(0), a.x.at(0, h * ins), a.x.stride(0), 1, a.dw.at(h), ins);
  }
  if (a.db) add_column_sums(a.dy, a.db.data, threads);
}

}  // namespace

void add_dense_cpu(KernelTable& table) {
  table.add(Impl<LinearForward<float>>{"onednn", nullptr, linear_forward});
  table.add(Impl<LinearBackward<float>>{"onednn", nullptr, linear_backward});
  add_cross_entropy_cpu(table);
}

}  // namespace subquad
