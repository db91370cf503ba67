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
  const GemmTiles tiles(rows, outs, ins);
  threads.run(a.w.dim(0) * tiles.count(), [&](std::int64_t task, Scratch& worker) {
    const std::int64_t h = task / tiles.count();
    tiles.run(worker, task % tiles.count(), false, true, a.x.at(0, h * ins), a.x.stride(0),
              a.w.at(h), ins, a.b ? 1.0F : 0.0F, a.y.at(0, h * outs), a.y.stride(0));
  });
}

// db += column sums of dy: blocks of rows first, so that rounding does not grow with the batch.
void add_column_sums(const View<const float, 2>& dy, float* db, Scratch& scratch) {
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
}

// One parallel region for all three gradients: first the tiles of dw, which are the longest tasks,
// then db, then those of dx.
void linear_backward(const LinearBackward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.x.dim(0), heads = a.w.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  const GemmTiles dw(outs, ins, rows), dx(rows, ins, outs);
  const std::int64_t dw_tasks = heads * dw.count(), db_tasks = a.db ? 1 : 0,
                     dx_tasks = a.dx ? heads * dx.count() : 0;
  threads.run(dw_tasks + db_tasks + dx_tasks, [&](std::int64_t task, Scratch& worker) {
    if (task < dw_tasks) {
      const std::int64_t h = task / dw.count();
      dw.run(worker, task % dw.count(), true, false, a.dy.at(0, h * outs), a.dy.stride(0),
             a.x.at(0, h * ins), a.x.stride(0), 1, a.dw.at(h), ins);
    } else if (task < dw_tasks + db_tasks) {
      add_column_sums(a.dy, a.db.data, worker);
    } else {
      const std::int64_t i = task - dw_tasks - db_tasks, h = i / dx.count();
      dx.run(worker, i % dx.count(), false, false, a.dy.at(0, h * outs), a.dy.stride(0), a.w.at(h),
             ins, a.add_dx ? 1.0F : 0.0F, a.dx.at(0, h * ins), a.dx.stride(0));
    }
  });
}

}  // namespace

void add_dense_cpu(KernelTable& table) {
  table.add(Impl<LinearForward<float>>{"onednn", nullptr, linear_forward});
  table.add(Impl<LinearBackward<float>>{"onednn", nullptr, linear_backward});
  add_cross_entropy_cpu(table);
}

}  // namespace subquad
