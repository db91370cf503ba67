// Prefill with packed weights. Schedule: each weight is unpacked once per call, a panel of columns
// and 256 inner indices at a time, in the caches, into the panels of panel_gemm-inl.h; then tasks of
// 96 rows multiply. Roofline: multiply-adds, as with f32 weights; unpacking costs a few instructions
// per 16 weights, which meet at least that many rows.
#include <algorithm>
#include <vector>

#include "subquad/backend/bf16.h"
#include "subquad/backend/cpu/cpu.h"
#include "subquad/backend/packed.h"
#include "subquad/base/round.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/packed_panels.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/backend/cpu/packed_codes-inl.h"
#include "subquad/backend/cpu/panel_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kTaskRows = 96;
constexpr std::int64_t kTaskPanels = 8;   // that a packing task unpacks
constexpr std::int64_t kSmall = 1 << 18;  // multiply-adds, or weights, not worth a fork-join

// One part and where its weight lies unpacked.
struct Product {
  const PackedPart* part;
  float* panels;

  std::int64_t columns() const { return part->w.rows; }
  std::int64_t depth() const { return part->w.ins; }
  std::int64_t packed_size() const { return depth() * pg::padded_columns(columns()); }
  std::int64_t blocks() const { return (depth() + pg::kDepth - 1) / pg::kDepth; }
  std::int64_t chunks() const {  // of panels, in one block
    const std::int64_t wide = 3 * pg::kLanes * kTaskPanels;
    return (columns() + wide - 1) / wide;
  }
  std::int64_t tasks() const { return blocks() * chunks(); }

  void unpack(std::int64_t task, Scratch& worker) const {
    const std::int64_t first = task / chunks() * pg::kDepth,
                       deep = std::min(pg::kDepth, depth() - first);
    const std::int64_t begin = task % chunks() * 3 * pg::kLanes * kTaskPanels,
                       end = begin + 3 * pg::kLanes * kTaskPanels;
    float* rows = worker.get<float>(3 * pg::kLanes * deep);
    float* block = panels + first * pg::padded_columns(columns());
    for (pg::PanelWalk p(columns()); !p.done() && p.column() < end; p.next()) {
      if (p.column() < begin) continue;
      const std::int64_t n = std::min<std::int64_t>(columns() - p.column(), p.width() * pg::kLanes);
      for (std::int64_t j = 0; j < n; ++j)
        pc::unpack(part->w, p.column() + j, first, deep, rows + j * deep);
      pg::pack_columns(rows, deep, deep, p.width(), n, block + deep * p.column());
    }
  }
  void multiply(const View<const float, 2>& x, std::int64_t first, std::int64_t end,
                Scratch& worker) const {
    worker.count_macs((end - first) * depth() * columns());
    pg::multiply(x.at(first), x.stride(0), panels, end - first, columns(), depth(), false,
                 part->b.data, part->y.at(first), part->y.stride(0));
  }
};

void packed_panels(const PackedLinear& a, ThreadPool& threads) {
  if (a.parts.empty()) return;
  RoundedCopies<float> rounded;
  std::vector<Product> products;
  std::vector<View<const float, 2>> x;
  std::int64_t floats = 0, tasks = 0;
  for (const PackedPart& p : a.parts) {
    products.push_back({&p, nullptr});
    x.push_back(a.precision == Precision::bf16 ? rounded.of(p.x) : p.x);
    floats += products.back().packed_size();
    tasks += products.back().tasks();
  }
  float* to = threads.shared<float>(floats);
  for (Product& p : products) {
    p.panels = to;
    to += p.packed_size();
  }
  threads.count_packed(4 * floats);
  const auto unpack = [&](std::int64_t task, Scratch& worker) {
    auto p = products.begin();
    while (task >= p->tasks()) task -= p++->tasks();
    p->unpack(task, worker);
  };
  if (floats >= kSmall) {
    threads.run(tasks, unpack);
  } else {
    threads.run(1, [&](std::int64_t, Scratch& worker) {
      for (std::int64_t task = 0; task < tasks; ++task) unpack(task, worker);
    });
  }
  const std::int64_t rows = a.parts.front().x.dim(0);
  const std::int64_t size = rows * floats < kSmall ? std::max<std::int64_t>(rows, 1) : kTaskRows;
  threads.run((rows + size - 1) / size, [&](std::int64_t task, Scratch& worker) {
    const std::int64_t end = std::min(rows, (task + 1) * size);
    for (std::int64_t first = task * size; first < end; first += kTaskRows) {
      for (std::size_t i = 0; i < products.size(); ++i)
        products[i].multiply(x[i], first, std::min(end, first + kTaskRows), worker);
    }
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {
HWY_EXPORT(packed_panels);
}  // namespace

void add_packed_panels_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(packed_panels)>("panels"));
}

}  // namespace subquad
#endif
