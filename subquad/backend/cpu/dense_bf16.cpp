// Linear layers with factors rounded to bf16 and f32 sums. Schedule: what rows are multiplied by is
// packed once (weights; for weight gradients the inputs), then tasks pack their own rows and
// multiply. Roofline: the memory that f32 activations come from and go to; the products themselves
// are several times faster than f32 ones.
// The bits of an element of a result depend on its k factors only, not on the block around it.
#include <algorithm>
#include <deque>
#include <vector>

#include "subquad/backend/bf16.h"
#include "subquad/backend/cpu/bf16_tiles.h"
#include "subquad/backend/cpu/cpu.h"
#include "subquad/backend/dense.h"
#include "subquad/backend/instructions.h"
#include "subquad/base/round.h"

namespace subquad {
namespace {

using bf16::Bits;
using bf16::Block;
using bf16::Epilogue;
using bf16::Factor;
using bf16::Instructions;
using bf16::kLines;
using bf16::kTile;
using bf16::Side;

constexpr std::int64_t kTaskRows = 128;    // of a product's rows: 256 KiB for k = 1024
constexpr std::int64_t kWeightRows = 64;   // of a weight gradient
constexpr std::int64_t kMostDepth = 1024;  // tokens of a weight gradient at a time
constexpr std::int64_t kPackLines = 64;    // of a task that packs
constexpr std::int64_t kSmall = 1 << 20;   // multiply-adds not worth a fork-join

bool same(const Factor& a, const Factor& b) {
  return a.data == b.data && a.stride == b.stride && a.lines == b.lines && a.depth == b.depth &&
         a.lines_contiguous == b.lines_contiguous;
}

// Right factors, packed once each into the shared buffer.
class RightFactors {
 public:
  // Returns the number of the factor.
  std::size_t add(const Factor& f) {
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      if (same(factors_[i], f)) return i;
    }
    factors_.push_back(f);
    offsets_.push_back(size_);
    size_ += f.packed_size();
    return factors_.size() - 1;
  }
  void pack(const Instructions& with, ThreadPool& threads) {
    bits_ = threads.shared<Bits>(size_);
    threads.count_packed(2 * size_);
    std::vector<std::int64_t> tasks;
    std::int64_t all = 0;
    for (const Factor& f : factors_) all += tasks.emplace_back(bf16::tiles(f.lines, kPackLines));
    const auto run = [&](std::int64_t task, Scratch&) {
      std::size_t i = 0;
      while (task >= tasks[i]) task -= tasks[i++];
      const Factor& f = factors_[i];
      const std::int64_t end = std::min(f.lines, (task + 1) * kPackLines);
      for (std::int64_t line = task * kPackLines; line < end; line += kLines)
        with.pack_lines(f, Side::right, line, bits_ + offset(i, line));
    };
    if (size_ >= kSmall / 8) {
      threads.run(all, run);
    } else {
      Scratch unused;
      for (std::int64_t task = 0; task < all; ++task) run(task, unused);
    }
  }
  const Bits* at(std::size_t factor, std::int64_t line = 0) const {
    return bits_ + offset(factor, line);
  }

 private:
  std::int64_t offset(std::size_t factor, std::int64_t line) const {
    return offsets_[factor] + line * factors_[factor].depth_tiles() * bf16::kDepth;
  }

  std::vector<Factor> factors_;
  std::vector<std::int64_t> offsets_;
  std::int64_t size_ = 0;
  Bits* bits_ = nullptr;
};

// One product of whole rows, C = left right (+ C) (+ bias).
struct RowProduct {
  Factor left;
  std::size_t right;
  std::int64_t columns;
  View<float, 2> c;
  Epilogue epilogue;
  const float* bias;
};

// Rows [first, end) of products in their order; a left factor that follows itself is packed once.
void run_rows(const Instructions& with, const std::vector<RowProduct>& products,
              const RightFactors& right, std::int64_t first, std::int64_t end, Scratch& worker) {
  const Factor* packed = nullptr;
  Bits* left = nullptr;
  for (const RowProduct& p : products) {
    const std::int64_t depth = p.left.depth_tiles() * bf16::kDepth;
    if (!packed || !same(*packed, p.left)) {
      packed = &p.left;
      left = worker.get<Bits>(round_up(end - first, kLines) * depth);
      for (std::int64_t line = first; line < end; line += kLines)
        with.pack_lines(p.left, Side::left, line, left + (line - first) * depth);
      worker.count_packed(2 * (end - first) * depth);
    }
    worker.count_macs((end - first) * p.left.depth * p.columns);
    with.multiply({left, right.at(p.right), end - first, p.columns, p.left.depth_tiles(),
                   p.c.at(first), p.c.stride(0), p.epilogue, p.bias});
  }
}

std::int64_t row_tasks(std::int64_t rows, std::int64_t macs) {
  return macs < kSmall ? std::min<std::int64_t>(rows, 1) : bf16::tiles(rows, kTaskRows);
}

template <const Instructions* (*kWith)()>
void linear_forward(const LinearForward<float>& a, ThreadPool& threads) {
  if (a.parts.empty()) return;
  const Instructions& with = *kWith();
  const std::int64_t rows = a.parts.front().x.dim(0);
  std::vector<RowProduct> products;
  RightFactors right;
  std::int64_t macs = 0;
  for (const LinearPart<float>& p : a.parts) {
    const std::int64_t outs = p.w.dim(0), ins = p.w.dim(1);
    products.push_back({{p.x.data, p.x.stride(0), rows, ins, false},
                        right.add({p.w.data, p.w.stride(0), outs, ins, false}),
                        outs,
                        p.y,
                        p.b ? Epilogue::bias : Epilogue::set,
                        p.b.data});
    macs += rows * outs * ins;
  }
  right.pack(with, threads);
  const std::int64_t tasks = row_tasks(rows, macs), size = tasks > 1 ? kTaskRows : rows;
  threads.run(tasks, [&](std::int64_t task, Scratch& worker) {
    run_rows(with, products, right, task * size, std::min(rows, (task + 1) * size), worker);
  });
}

// Rows [first, end) of one dw += dyᵀ x, tokens in blocks.
struct WeightTask {
  const LinearGradient<float>* part;
  const std::vector<std::size_t>* rights;  // the factors, by block of tokens
  std::int64_t first, end;

  void run(const Instructions& with, const RightFactors& right, Scratch& worker) const {
    const std::int64_t tokens = part->x.dim(0), columns = part->x.dim(1), rows = end - first;
    worker.count_macs(rows * columns * tokens);
    auto factor = rights->begin();
    for (std::int64_t t = 0; t < tokens; t += kMostDepth, ++factor) {
      const Factor left = {part->dy.at(t), part->dy.stride(0), part->dy.dim(1),
                           std::min(kMostDepth, tokens - t), true};
      const std::int64_t depth = left.depth_tiles() * bf16::kDepth;
      Bits* packed = worker.get<Bits>(round_up(rows, kLines) * depth);
      for (std::int64_t line = first; line < end; line += kLines)
        with.pack_lines(left, Side::left, line, packed + (line - first) * depth);
      worker.count_packed(2 * rows * depth);
      with.multiply({packed, right.at(*factor), rows, columns, left.depth_tiles(),
                     part->dw.at(first), part->dw.stride(0), Epilogue::add, nullptr});
    }
  }
};

// One parallel region behind the packing: dw first, its tasks are the longest, then db, then dx.
template <const Instructions* (*kWith)()>
void linear_backward(const LinearBackward<float>& a, ThreadPool& threads) {
  if (a.parts.empty()) return;
  const Instructions& with = *kWith();
  const std::int64_t rows = a.parts.front().x.dim(0);
  std::vector<RowProduct> products;
  std::vector<WeightTask> weights;
  std::deque<std::vector<std::size_t>> rights;  // by part; they stay where they are
  RightFactors right;
  std::int64_t macs = 0;
  for (const LinearGradient<float>& p : a.parts) {
    const std::int64_t outs = p.w.dim(0), ins = p.w.dim(1);
    std::vector<std::size_t>& blocks = rights.emplace_back();
    for (std::int64_t t = 0; t < rows; t += kMostDepth) {
      blocks.push_back(
          right.add({p.x.at(t), p.x.stride(0), ins, std::min(kMostDepth, rows - t), true}));
    }
    for (std::int64_t o = 0; o < outs && rows > 0; o += kWeightRows)
      weights.push_back({&p, &blocks, o, std::min(outs, o + kWeightRows)});
    if (!p.dx) continue;
    products.push_back({{p.dy.data, p.dy.stride(0), rows, outs, false},
                        right.add({p.w.data, p.w.stride(0), ins, outs, true}),
                        ins,
                        p.dx,
                        p.add_dx ? Epilogue::add : Epilogue::set,
                        nullptr});
    macs += rows * outs * ins;
  }
  right.pack(with, threads);
  const auto dw_tasks = static_cast<std::int64_t>(weights.size()),
             db_tasks = static_cast<std::int64_t>(a.parts.size());
  const std::int64_t dx_tasks = products.empty() ? 0 : row_tasks(rows, macs),
                     size = dx_tasks > 1 ? kTaskRows : rows;
  threads.run(dw_tasks + db_tasks + dx_tasks, [&](std::int64_t task, Scratch& worker) {
    if (task < dw_tasks) {
      weights[static_cast<std::size_t>(task)].run(with, right, worker);
    } else if (task < dw_tasks + db_tasks) {
      const LinearGradient<float>& p = a.parts[static_cast<std::size_t>(task - dw_tasks)];
      if (p.db) add_column_sums(p.dy, p.db.data, worker);
    } else {
      const std::int64_t first = (task - dw_tasks - db_tasks) * size;
      run_rows(with, products, right, first, std::min(rows, first + size), worker);
    }
  });
}

template <const Instructions* (*kWith)(), class Args>
bool accepts(const Args& a) {
  return a.precision == Precision::bf16 && kWith() != nullptr && widest_instructions_allowed();
}

template <const Instructions* (*kWith)()>
void add(KernelTable& table, std::string_view name) {
  table.add(Impl<LinearForward<float>>{name, accepts<kWith>, linear_forward<kWith>});
  table.add(Impl<LinearBackward<float>>{name, accepts<kWith>, linear_backward<kWith>});
}

}  // namespace

void add_dense_bf16_cpu(KernelTable& table) {
  add<bf16::amx>(table, "bf16 amx");
  add<bf16::avx512>(table, "bf16 avx512");
}

}  // namespace subquad
