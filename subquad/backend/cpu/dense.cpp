// Dense kernels on the register tile of panel_gemm-inl.h. Schedule: the weights are packed once per
// call; forward and dx are tasks of 96 rows, dw tasks of about 128 rows of the weight over
// all tokens. Roofline: multiply-adds; packing costs about one load and store per 50 of them.
#include <hwy/cache_control.h>

#include <algorithm>
#include <vector>

#include "subquad/backend/bf16.h"
#include "subquad/backend/cpu/cpu.h"
#include "subquad/base/round.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/dense.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/backend/cpu/panel_gemm-inl.h"
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

constexpr std::int64_t kTaskRows = 96, kWeightRows = 128;
constexpr std::int64_t kSmall = 1 << 18;  // multiply-adds not worth a fork-join

// Cuts `extent` into equal parts of about `most`, whole tiles each.
struct Cut {
  std::int64_t size, count;
  Cut(std::int64_t extent, std::int64_t most, std::int64_t macs) {
    const std::int64_t parts =
        macs < kSmall ? 1 : std::max<std::int64_t>(1, (extent + most / 2) / most);
    size = round_up((extent + parts - 1) / parts, pg::kMaxTileRows);
    count = size == 0 ? 0 : (extent + size - 1) / size;
  }
};

// One part's product of whole rows, y = x B (+ bias), and where its B lies packed.
struct RowProduct {
  View<const float, 2> x;
  View<float, 2> y;
  const float *b, *bias;
  std::int64_t ldb, k, n;
  bool transposed, add;  // b is (n,k); the product is added to y
  float* packed = nullptr;

  std::int64_t packed_size() const { return k * pg::padded_columns(n); }
  std::int64_t blocks() const { return (k + pg::kDepth - 1) / pg::kDepth; }
  void pack(std::int64_t block) const {
    const std::int64_t first = block * pg::kDepth;
    pg::pack(b + (transposed ? first : first * ldb), ldb, transposed,
             std::min(pg::kDepth, k - first), n, packed + first * pg::padded_columns(n));
  }
  void run(std::int64_t first, std::int64_t end, Scratch& worker) const {
    if (k == 0) {  // nothing to multiply, and multiply() would leave y as it is
      for (std::int64_t i = first; i < end && !add; ++i) {
        if (bias) std::copy_n(bias, n, y.at(i));
        if (!bias) std::fill_n(y.at(i), n, 0.0F);
      }
      return;
    }
    worker.count_macs((end - first) * k * n);
    pg::multiply(x.at(first), x.stride(0), packed, end - first, n, k, add, bias, y.at(first),
                 y.stride(0));
  }
};

std::int64_t total_macs(const std::vector<RowProduct>& products, std::int64_t rows) {
  std::int64_t macs = 0;
  for (const RowProduct& p : products) macs += rows * p.k * p.n;
  return macs;
}

// Packs what the products multiply by: small ones one after the other, large ones in parallel.
void pack_all(std::vector<RowProduct>& products, ThreadPool& threads) {
  std::int64_t floats = 0, blocks = 0;
  for (const RowProduct& p : products) {
    floats += p.packed_size();
    blocks += p.blocks();
  }
  float* to = threads.shared<float>(floats);
  for (RowProduct& p : products) {
    p.packed = to;
    to += p.packed_size();
  }
  threads.count_packed(4 * floats);
  const auto pack = [&](std::int64_t task, Scratch&) {
    auto p = products.begin();
    while (task >= p->blocks()) task -= p++->blocks();
    p->pack(task);
  };
  if (floats >= kSmall) {
    threads.run(blocks, pack);
  } else {
    for (const RowProduct& p : products) {
      for (std::int64_t i = 0; i < p.blocks(); ++i) p.pack(i);
    }
  }
}

// Task `index` of a cut over the rows: all products, block by block, so that rows that several
// share are read once.
void run_rows(const std::vector<RowProduct>& products, std::int64_t rows, const Cut& cut,
              std::int64_t index, Scratch& worker) {
  const std::int64_t last = std::min(rows, (index + 1) * cut.size);
  for (std::int64_t first = index * cut.size; first < last; first += kTaskRows) {
    for (const RowProduct& p : products) p.run(first, std::min(last, first + kTaskRows), worker);
  }
}

void linear_forward(const LinearForward<float>& a, ThreadPool& threads) {
  std::vector<RowProduct> products;
  for (const LinearPart<float>& p : a.parts) {
    products.push_back(
        {p.x, p.y, p.w.data, p.b.data, p.w.stride(0), p.w.dim(1), p.w.dim(0), true, false});
  }
  if (products.empty()) return;
  pack_all(products, threads);
  const std::int64_t rows = products.front().x.dim(0);
  const Cut cut(rows, kTaskRows, total_macs(products, rows));
  threads.run(cut.count, [&](std::int64_t task, Scratch& worker) {
    run_rows(products, rows, cut, task, worker);
  });
}

// Four outputs of two rows: y_ro = x_r . w_o (+ bias_o), rows of w `ins` apart. One chain of
// multiply-adds per lane and element, whichever rows meet in a tile.
template <Precision kPrecision>
void stream_tile(const float* const* w, std::int64_t ahead, const float* x0, const float* x1,
                 std::int64_t ins, float* y) {
  V a0 = vm::set(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  vm::for_vectors(ins, [&](std::int64_t k, std::int64_t left) HWY_ATTR {
    const auto load = [&](const float* p) HWY_ATTR {
      const V v = vm::load(p + k, left);
      return kPrecision == Precision::bf16 ? vm::round_to_bf16(v) : v;
    };
    const V u = load(x0), v = load(x1);
    const V w0 = load(w[0]), w1 = load(w[1]), w2 = load(w[2]), w3 = load(w[3]);
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
  hn::StoreU(vm::sum_lanes(a0, a1, a2, a3), vm::F32x4(), y);
  hn::StoreU(vm::sum_lanes(b0, b1, b2, b3), vm::F32x4(), y + 4);
}

// Outputs [first, end) of one part, all rows.
void stream_outputs(const LinearPart<float>& a, Precision precision, std::int64_t first,
                    std::int64_t end) {
  const auto tile =
      precision == Precision::bf16 ? stream_tile<Precision::bf16> : stream_tile<Precision::f32>;
  const std::int64_t rows = a.x.dim(0), ins = a.w.dim(1);
  for (std::int64_t o = first; o < end; o += 4) {
    const float* w[4];
    for (std::int64_t i = 0; i < 4; ++i) w[i] = a.w.at(std::min(o + i, end - 1));
    for (std::int64_t n = 0; n < rows; n += 2) {
      const std::int64_t m = std::min(n + 1, rows - 1);
      float sums[8];
      tile(w, 4 * ins, a.x.at(n), a.x.at(m), ins, sums);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(4, end - o); ++i) {
        const float bias = a.b ? *a.b.at(o + i) : 0.0F;
        *a.y.at(n, o + i) = sums[i] + bias;
        *a.y.at(m, o + i) = sums[4 * (m - n) + i] + bias;
      }
    }
  }
}

void linear_stream(const LinearForward<float>& a, ThreadPool& threads) {
  std::vector<Cut> cuts;
  std::int64_t macs = 0, tasks = 0;
  for (const LinearPart<float>& p : a.parts) macs += p.x.dim(0) * p.w.dim(0) * p.w.dim(1);
  for (const LinearPart<float>& p : a.parts) {
    cuts.emplace_back(p.w.dim(0), 64, 8 * macs);  // bound by memory: worth sharing out sooner
    tasks += cuts.back().count;
  }
  threads.run(tasks, [&](std::int64_t task, Scratch& worker) {
    std::size_t i = 0;
    while (task >= cuts[i].count) task -= cuts[i++].count;
    const LinearPart<float>& p = a.parts[i];
    const std::int64_t first = task * cuts[i].size,
                       end = std::min(p.w.dim(0), first + cuts[i].size);
    worker.count_macs(p.x.dim(0) * (end - first) * p.w.dim(1));
    stream_outputs(p, a.precision, first, end);
  });
}

// A task of weight gradients: rows of one part or of several that share x, which is then read and
// packed once for all of them.
struct WeightTask {
  View<const float, 2> x;
  std::vector<pg::TransposedPart> parts;
  std::int64_t rows = 0;  // of the parts in all

  void run(Scratch& worker) const {
    worker.count_macs(rows * x.dim(1) * x.dim(0));
    const bool packs_rows = x.dim(1) > pg::kColumnsUnpacked;
    worker.count_packed(4 * x.dim(0) * (pg::padded_columns(x.dim(1)) + (packs_rows ? rows : 0)));
    pg::multiply_transposed(
        parts, x.data, x.stride(0), x.dim(1), x.dim(0),
        worker.get<float>(pg::transposed_scratch(rows, static_cast<std::int64_t>(parts.size()))));
  }
};

bool same_matrix(const View<const float, 2>& a, const View<const float, 2>& b) {
  return a.data == b.data && a.dims == b.dims && a.strides == b.strides;
}

std::vector<WeightTask> weight_tasks(std::span<const LinearGradient<float>> parts) {
  std::int64_t macs = 0;
  for (const LinearGradient<float>& p : parts) macs += p.x.dim(0) * p.w.dim(0) * p.w.dim(1);
  std::vector<WeightTask> tasks;
  for (std::size_t i = 0; i < parts.size();) {
    std::size_t end = i;
    std::int64_t total = 0;
    for (; end < parts.size() && same_matrix(parts[end].x, parts[i].x); ++end)
      total += parts[end].w.dim(0);
    const Cut cut(total, kWeightRows, macs);
    std::int64_t room = 0;
    for (; i < end; ++i) {
      const LinearGradient<float>& p = parts[i];
      for (std::int64_t first = 0; first < p.w.dim(0);) {
        if (room == 0) {
          tasks.push_back({p.x, {}});
          room = cut.size;
        }
        const std::int64_t count = std::min(room, p.w.dim(0) - first);
        tasks.back().parts.push_back(
            {p.dy.at(0, first), p.dy.stride(0), count, p.dw.at(first), p.dw.stride(0)});
        tasks.back().rows += count;
        first += count;
        room -= count;
      }
    }
  }
  return tasks;
}

// One parallel region for all gradients: first the tiles of dw, which are the longest tasks, then
// db, then the rows of dx.
void linear_backward(const LinearBackward<float>& a, ThreadPool& threads) {
  if (a.parts.empty()) return;
  const std::int64_t rows = a.parts.front().x.dim(0);
  std::vector<RowProduct> products;
  for (const LinearGradient<float>& p : a.parts) {
    if (p.dx) {
      products.push_back(
          {p.dy, p.dx, p.w.data, nullptr, p.w.stride(0), p.w.dim(0), p.w.dim(1), false, p.add_dx});
    }
  }
  pack_all(products, threads);
  const std::vector<WeightTask> dw = weight_tasks(a.parts);
  const Cut dx(rows, kTaskRows, total_macs(products, rows));
  const auto dw_tasks = static_cast<std::int64_t>(dw.size()),
             db_tasks = static_cast<std::int64_t>(a.parts.size());
  const std::int64_t dx_tasks = products.empty() ? 0 : dx.count;
  threads.run(dw_tasks + db_tasks + dx_tasks, [&](std::int64_t task, Scratch& worker) {
    if (task < dw_tasks) {
      dw[static_cast<std::size_t>(task)].run(worker);
    } else if (task < dw_tasks + db_tasks) {
      const LinearGradient<float>& p = a.parts[static_cast<std::size_t>(task - dw_tasks)];
      if (p.db) add_column_sums(p.dy, p.db.data, worker);
    } else {
      run_rows(products, rows, dx, task - dw_tasks - db_tasks, worker);
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

template <Precision kPrecision, class Args>
bool wants(const Args& a) {
  return a.precision == kPrecision;
}

// For processors without bf16 products: the same factors, rounded, in f32.
template <auto kTable, class Args>
void rounded(const Args& a, ThreadPool& threads) {
  with_rounded_factors(a, [&](const Args& in_f32) {
    (*kTable[hwy::GetChosenTarget().GetIndex()])(in_f32, threads);
  });
}

}  // namespace

void add_dense_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(linear_stream)>(
      "stream", [](const LinearForward<float>& a) { return a.single_position; }));
  table.add(dispatched<HWY_DISPATCH_TABLE(linear_forward)>(
      "panels", wants<Precision::f32, LinearForward<float>>));
  table.add(dispatched<HWY_DISPATCH_TABLE(linear_backward)>(
      "panels", wants<Precision::f32, LinearBackward<float>>));
  add_dense_bf16_cpu(table);
  table.add(Impl<LinearForward<float>>{
      "rounded", wants<Precision::bf16, LinearForward<float>>,
      rounded<HWY_DISPATCH_TABLE(linear_forward), LinearForward<float>>});
  table.add(Impl<LinearBackward<float>>{
      "rounded", wants<Precision::bf16, LinearBackward<float>>,
      rounded<HWY_DISPATCH_TABLE(linear_backward), LinearBackward<float>>});
  add_cross_entropy_cpu(table);
}

}  // namespace subquad
#endif
