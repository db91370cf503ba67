// Dense kernels on the register tile of panel_gemm-inl.h. Schedule: the weights are packed once per
// call; forward and dx are tasks of 96 rows, dw tasks of about 96 rows of the weight over all
// tokens. Roofline: multiply-adds; packing costs about one load and store per 50 of them.
#include "subquad/backend/dense.h"

#include <hwy/cache_control.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/dense.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/panel_gemm-inl.h"
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

constexpr std::int64_t kTaskRows = 96, kSmall = 1 << 18;  // multiply-adds not worth a fork-join

// Cuts `extent` into equal parts of about `most`, whole tiles each.
struct Cut {
  std::int64_t size, count;
  Cut(std::int64_t extent, std::int64_t most, std::int64_t macs) {
    const std::int64_t parts =
        macs < kSmall ? 1 : std::max<std::int64_t>(1, (extent + most / 2) / most);
    size =
        ((extent + parts - 1) / parts + pg::kMaxTileRows - 1) / pg::kMaxTileRows * pg::kMaxTileRows;
    count = size == 0 ? 0 : (extent + size - 1) / size;
  }
};

// The weights of every head as panels: wᵀ (ins,outs) for the forward, w (outs,ins) for dx.
const float* pack_weights(const View<const float, 3>& w, bool transposed, ThreadPool& threads) {
  const std::int64_t heads = w.dim(0), ld = w.dim(2);
  const std::int64_t k = w.dim(transposed ? 2 : 1), n = w.dim(transposed ? 1 : 2);
  const std::int64_t blocks = (k + pg::kDepth - 1) / pg::kDepth, padded = pg::padded_columns(n);
  float* packed = threads.shared<float>(heads * k * padded);
  threads.run(heads * blocks, [&](std::int64_t task, Scratch&) {
    const std::int64_t h = task / blocks, first = task % blocks * pg::kDepth;
    pg::pack(w.at(h) + (transposed ? first : first * ld), ld, transposed,
             std::min(pg::kDepth, k - first), n, packed + (h * k + first) * padded);
  });
  return packed;
}

// y rows = x rows times the packed matrix of head h.
struct RowProduct {
  View<const float, 2> x;
  View<float, 2> y;
  const float *packed, *bias;
  std::int64_t k, n;
  bool add;

  void run(std::int64_t h, std::int64_t first, std::int64_t end, Scratch& worker) const {
    worker.count_macs((end - first) * k * n);
    for (; first < end; first += kTaskRows) {
      pg::multiply(x.at(first, h * k), x.stride(0), packed + h * k * pg::padded_columns(n),
                   std::min(kTaskRows, end - first), n, k, add, bias ? bias + h * n : nullptr,
                   y.at(first, h * n), y.stride(0));
    }
  }
};

void linear_forward(const LinearForward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.x.dim(0), heads = a.w.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  const RowProduct product{a.x, a.y, pack_weights(a.w, true, threads), a.b.data, ins, outs, false};
  const Cut cut(rows, kTaskRows, rows * outs * ins);
  threads.run(heads * cut.count, [&](std::int64_t task, Scratch& worker) {
    const std::int64_t first = task % cut.count * cut.size;
    product.run(task / cut.count, first, std::min(rows, first + cut.size), worker);
  });
}

// Four outputs of two rows: y_ro = x_r . w_o (+ bias_o), rows of w `ins` apart. One chain of
// multiply-adds per lane and element, whichever rows meet in a tile.
void stream_tile(const float* const* w, std::int64_t ahead, const float* x0, const float* x1,
                 std::int64_t ins, float* y) {
  V a0 = vm::set(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  vm::for_vectors(ins, [&](std::int64_t k, std::int64_t left) HWY_ATTR {
    const V u = vm::load(x0 + k, left), v = vm::load(x1 + k, left);
    const V w0 = vm::load(w[0] + k, left), w1 = vm::load(w[1] + k, left),
            w2 = vm::load(w[2] + k, left), w3 = vm::load(w[3] + k, left);
    for (int i = 0; i < 4; ++i) hwy::Prefetch(w[i] + k + ahead);
    a0 = hn::MulAdd(w0, u, a0);
    a1 = hn::MulAdd(w1, u, a1);
    a2 = hn::MulAdd(w2, u, a2);
    a3 = hn::MulAdd(w3, u, a3);
    b0 = hn::MulAdd(w0, v, b0);
    b1 = hn::MulAdd(w1, v, b1);
    b2 = hn::MulAdd(w2, v, b2);
    b3 = hn::MulAdd(w3, v, b3);
  });
  const V sums[8] = {a0, a1, a2, a3, b0, b1, b2, b3};
  for (int i = 0; i < 8; ++i) y[i] = vm::sum(sums[i]);
}

// Outputs [first, end) of head h, all rows.
void stream_outputs(const LinearForward<float>& a, std::int64_t h, std::int64_t first,
                    std::int64_t end) {
  const std::int64_t rows = a.x.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  for (std::int64_t o = first; o < end; o += 4) {
    const float* w[4];
    for (std::int64_t i = 0; i < 4; ++i) w[i] = a.w.at(h, std::min(o + i, end - 1));
    for (std::int64_t n = 0; n < rows; n += 2) {
      const std::int64_t m = std::min(n + 1, rows - 1);
      float sums[8];
      stream_tile(w, 4 * ins, a.x.at(n, h * ins), a.x.at(m, h * ins), ins, sums);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(4, end - o); ++i) {
        const std::int64_t column = h * outs + o + i;
        const float bias = a.b ? *a.b.at(column) : 0.0F;
        *a.y.at(n, column) = sums[i] + bias;
        *a.y.at(m, column) = sums[4 * (m - n) + i] + bias;
      }
    }
  }
}

void linear_stream(const LinearForward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.x.dim(0), heads = a.w.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  const Cut cut(outs, 64, 8 * rows * outs * ins);
  threads.run(heads * cut.count, [&](std::int64_t task, Scratch& worker) {
    const std::int64_t first = task % cut.count * cut.size, end = std::min(outs, first + cut.size);
    worker.count_macs(rows * (end - first) * ins);
    stream_outputs(a, task / cut.count, first, end);
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
// then db, then the rows of dx.
void linear_backward(const LinearBackward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.x.dim(0), heads = a.w.dim(0), outs = a.w.dim(1), ins = a.w.dim(2);
  const std::int64_t macs = rows * outs * ins;
  const Cut dw(outs, kTaskRows, macs), dx(rows, kTaskRows, macs);
  const RowProduct product{
      a.dy, a.dx, a.dx ? pack_weights(a.w, false, threads) : nullptr, nullptr, outs, ins, a.add_dx};
  const std::int64_t dw_tasks = heads * dw.count, db_tasks = a.db ? 1 : 0,
                     dx_tasks = a.dx ? heads * dx.count : 0;
  threads.run(dw_tasks + db_tasks + dx_tasks, [&](std::int64_t task, Scratch& worker) {
    if (task < dw_tasks) {
      const std::int64_t h = task / dw.count, first = task % dw.count * dw.size,
                         count = std::min(dw.size, outs - first), column = h * outs + first;
      worker.count_macs(count * ins * rows);
      pg::multiply_transposed(a.dy.at(0, column), a.dy.stride(0), a.x.at(0, h * ins), a.x.stride(0),
                              count, ins, rows, a.dw.at(h, first), ins,
                              worker.get<float>(pg::transposed_scratch(count)));
    } else if (task < dw_tasks + db_tasks) {
      add_column_sums(a.dy, a.db.data, worker);
    } else {
      const std::int64_t i = task - dw_tasks - db_tasks, first = i % dx.count * dx.size;
      product.run(i / dx.count, first, std::min(rows, first + dx.size), worker);
    }
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {
HWY_EXPORT(linear_forward);
HWY_EXPORT(linear_backward);
HWY_EXPORT(linear_stream);
}  // namespace

void add_dense_cpu(KernelTable& table) {
  table.add(Impl<LinearForward<float>>{
      "stream", [](const LinearForward<float>& a) { return a.single_position; },
      [](const LinearForward<float>& a, ThreadPool& t) {
        HWY_DYNAMIC_DISPATCH(linear_stream)(a, t);
      }});
  table.add(Impl<LinearForward<float>>{"panels", nullptr,
                                       [](const LinearForward<float>& a, ThreadPool& t) {
                                         HWY_DYNAMIC_DISPATCH(linear_forward)(a, t);
                                       }});
  table.add(Impl<LinearBackward<float>>{"panels", nullptr,
                                        [](const LinearBackward<float>& a, ThreadPool& t) {
                                          HWY_DYNAMIC_DISPATCH(linear_backward)(a, t);
                                        }});
  add_cross_entropy_cpu(table);
}

}  // namespace subquad
#endif
