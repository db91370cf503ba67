// Decoding with packed weights: every weight is read once, as it lies, for all rows of the batch.
// Schedule: tasks of 64 outputs; in them tiles of four outputs (four streams of codes, the next four
// prefetched a line at a time) and up to four rows of x, which stay in the caches. Codes become f32
// in registers; an int8 row is scaled at its end, an int4 group of 64 after its four products.
// Roofline: reading codes. A line of 64 bytes takes 16 (f32) to 128 (int4) multiply-adds a row, and
// 2 to 3 vector instructions for 16 of them (f32 1): int4 in the caches is bound by those.
// Every element is one chain of multiply-adds per lane, whichever rows meet in a tile: a row's bits
// do not depend on its neighbours.
#include <hwy/cache_control.h>

#include <algorithm>
#include <vector>

#include "subquad/backend/bf16.h"
#include "subquad/backend/cpu/cpu.h"
#include "subquad/backend/packed.h"
#include "subquad/base/round.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/packed_rows.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/backend/cpu/packed_codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

constexpr std::int64_t kTaskOutputs = 64;
constexpr std::int64_t kSmallBytes = 1 << 15;  // of codes: not worth a fork-join
constexpr int kOutputs = 4;
// Rows of x that meet an unpacked weight: as many as the registers hold sums of.
constexpr int most_rows(Packing packing) {
  return (HWY_TARGET <= HWY_AVX3 ? 4 : 2) / (packing == Packing::int4 ? 2 : 1);
}
constexpr int kMostRows = most_rows(Packing::f32);

// What a tile reads: four rows of codes and some of x, equally far apart. (Strides, not pointers:
// those a compiler keeps in a vector register, and takes them out one by one.)
struct Sources {
  const std::byte* codes;
  std::int64_t codes_stride;
  const float* scales;
  std::int64_t scales_stride;
  const float* x;
  std::int64_t x_stride;
};

template <int kRows>
struct Sums {
  V of[kRows][kOutputs];
};

// Adds the products of one line.
template <Packing kPacking, int kRows>
HWY_INLINE void add_line(const Sources& s, Sums<kRows>& sums) {
  const vm::F d;
  for (std::int64_t i = 0; i < pc::line_elements(kPacking); i += vm::kWidth) {
    V x[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = hn::LoadU(d, s.x + r * s.x_stride + i);
    for (int o = 0; o < kOutputs; ++o) {
      const V w = pc::codes_at<kPacking>(s.codes + o * s.codes_stride, i);
      for (int r = 0; r < kRows; ++r) sums.of[r][o] = hn::MulAdd(w, x[r], sums.of[r][o]);
    }
  }
}

// Adds the products of elements 16 kNibble + i + (0 .. kWidth) of four int4 blocks to `group`; the
// first of a group sets it.
template <int kNibble, int kRows>
HWY_INLINE void add_nibbles(const pc::Words* words, const float* x, std::int64_t x_stride,
                            Sums<kRows>& group) {
  const vm::F d;
  V u[kRows];
  for (int r = 0; r < kRows; ++r) u[r] = hn::LoadU(d, x + r * x_stride + 16 * kNibble);
  for (int o = 0; o < kOutputs; ++o) {
    const V w = pc::nibbles<kNibble>(words[o]);
    for (int r = 0; r < kRows; ++r) {
      V& sum = group.of[r][o];
      sum = kNibble % 4 == 0 ? hn::Mul(w, u[r]) : hn::MulAdd(w, u[r], sum);
    }
  }
}
template <int kHalf, int kRows>
HWY_INLINE void add_group(const Sources& s, const pc::Words* words, std::int64_t i,
                          Sums<kRows>& sums) {
  Sums<kRows> group;
  add_nibbles<4 * kHalf, kRows>(words, s.x + i, s.x_stride, group);
  add_nibbles<4 * kHalf + 1, kRows>(words, s.x + i, s.x_stride, group);
  add_nibbles<4 * kHalf + 2, kRows>(words, s.x + i, s.x_stride, group);
  add_nibbles<4 * kHalf + 3, kRows>(words, s.x + i, s.x_stride, group);
  for (int o = 0; o < kOutputs; ++o) {
    const V scale = vm::set(s.scales[o * s.scales_stride + kHalf]);
    for (int r = 0; r < kRows; ++r)
      sums.of[r][o] = hn::MulAdd(group.of[r][o], scale, sums.of[r][o]);
  }
}
template <int kRows>
HWY_INLINE void add_int4_line(const Sources& s, Sums<kRows>& sums) {
  for (std::int64_t i = 0; i < 16; i += vm::kWidth) {
    pc::Words words[kOutputs];
    for (int o = 0; o < kOutputs; ++o) words[o] = pc::words_at(s.codes + o * s.codes_stride, i);
    add_group<0, kRows>(s, words, i, sums);
    add_group<1, kRows>(s, words, i, sums);
  }
}
template <Packing kPacking, int kRows>
HWY_INLINE void add_any_line(const Sources& s, Sums<kRows>& sums) {
  if constexpr (kPacking == Packing::int4) {
    add_int4_line<kRows>(s, sums);
  } else {
    add_line<kPacking, kRows>(s, sums);
  }
}

// Adds the last `count` elements of a row, copied to a line with zeros behind them. By value: the
// caller's sums stay in registers.
template <Packing kPacking, int kRows>
HWY_NOINLINE Sums<kRows> with_tail(Sources s, std::int64_t count, Sums<kRows> sums) {
  constexpr std::int64_t kLine = pc::line_elements(kPacking);
  alignas(64) std::byte line[kOutputs][pc::kLineBytes] = {};
  alignas(64) float padded[kRows][kLine] = {};
  // Rows of int4 are padded themselves.
  const std::int64_t bytes =
      kPacking == Packing::int4 ? pc::kLineBytes : count * pc::kLineBytes / kLine;
  for (int o = 0; o < kOutputs; ++o) std::copy_n(s.codes + o * s.codes_stride, bytes, line[o]);
  for (int r = 0; r < kRows; ++r) std::copy_n(s.x + r * s.x_stride, count, padded[r]);
  s.codes = line[0];
  s.codes_stride = pc::kLineBytes;
  s.x = padded[0];
  s.x_stride = kLine;
  add_any_line<kPacking, kRows>(s, sums);
  return sums;
}

// y[r][o] = x_r . w_o, before the bias.
template <Packing kPacking, int kRows>
HWY_NOINLINE void tile(const Sources& from, std::int64_t ins, float* y) {
  constexpr std::int64_t kLine = pc::line_elements(kPacking);
  Sources s = from;
  Sums<kRows> sums;
  for (int r = 0; r < kRows; ++r) {
    for (int o = 0; o < kOutputs; ++o) sums.of[r][o] = vm::set(0);
  }
  const std::byte* next = s.codes + kOutputs * s.codes_stride;  // what is read after this tile
  std::int64_t left = ins;
  for (; left >= kLine; left -= kLine) {
    for (int o = 0; o < kOutputs; ++o) hwy::Prefetch(next + o * s.codes_stride);
    add_any_line<kPacking, kRows>(s, sums);
    s.codes += pc::kLineBytes;
    next += pc::kLineBytes;
    s.x += kLine;
    if (kPacking == Packing::int4) s.scales += kLine / kInt4Group;
  }
  if (left > 0) sums = with_tail<kPacking, kRows>(s, left, sums);
  for (int r = 0; r < kRows; ++r) {
    auto sum = vm::sum_lanes(sums.of[r][0], sums.of[r][1], sums.of[r][2], sums.of[r][3]);
    if (kPacking == Packing::int8) {
      alignas(16) float scales[kOutputs];
      for (int o = 0; o < kOutputs; ++o) scales[o] = s.scales[o * s.scales_stride];
      sum = hn::Mul(sum, hn::Load(vm::F32x4(), scales));
    }
    hn::StoreU(sum, vm::F32x4(), y + kOutputs * r);
  }
}

using Tile = void (*)(const Sources&, std::int64_t, float*);
template <Packing kPacking>
Tile tile_of(std::int64_t rows) {
  if constexpr (most_rows(kPacking) == 4) {
    if (rows == 4) return tile<kPacking, 4>;
  }
  if constexpr (most_rows(kPacking) >= 2) {
    if (rows == 2) return tile<kPacking, 2>;
  }
  return tile<kPacking, 1>;
}
Tile tile_of(Packing packing, std::int64_t rows) {
  switch (packing) {
    case Packing::f32: return tile_of<Packing::f32>(rows);
    case Packing::bf16: return tile_of<Packing::bf16>(rows);
    case Packing::int8: return tile_of<Packing::int8>(rows);
    case Packing::int4: return tile_of<Packing::int4>(rows);
  }
  return nullptr;
}

// Outputs [first, end) of one part, all rows. The last tile may compute some outputs again; of fewer
// than four rows in all, it reads one four times.
void outputs(const PackedPart& p, std::int64_t first, std::int64_t end) {
  const std::int64_t rows = p.x.dim(0), most = most_rows(p.w.packing);
  const bool few = p.w.rows < kOutputs;
  for (std::int64_t o = first; o < end; o += few ? 1 : kOutputs) {
    const std::int64_t at = few ? o : std::min(o, p.w.rows - kOutputs);
    const std::int64_t count = few ? 1 : std::min<std::int64_t>(kOutputs, end - at);
    Sources s{p.w.row(at),
              few ? 0 : p.w.stride,
              p.w.scales ? p.w.row_of_scales(at) : nullptr,
              few ? 0 : p.w.scales_stride,
              nullptr,
              p.x.stride(0)};
    for (std::int64_t n = 0; n < rows;) {
      const std::int64_t left = rows - n, taken = left >= most            ? most
                                                  : left >= 2 && most > 2 ? 2
                                                                          : 1;
      s.x = p.x.at(n);
      float sums[kMostRows * kOutputs];
      tile_of(p.w.packing, taken)(s, p.w.ins, sums);
      for (std::int64_t r = 0; r < taken; ++r) {
        for (std::int64_t i = o - at; i < count; ++i)
          *p.y.at(n + r, at + i) = sums[kOutputs * r + i] + (p.b ? *p.b.at(at + i) : 0.0F);
      }
      n += taken;
    }
  }
}

void run_parts(std::span<const PackedPart> parts, ThreadPool& threads) {
  std::int64_t tasks = 0, bytes = 0;
  for (const PackedPart& p : parts) {
    tasks += (p.w.rows + kTaskOutputs - 1) / kTaskOutputs;
    bytes += p.w.rows * p.w.stride * p.x.dim(0);
  }
  const auto one = [&](std::int64_t task, Scratch& worker) {
    auto p = parts.begin();
    for (std::int64_t n; task >= (n = (p->w.rows + kTaskOutputs - 1) / kTaskOutputs); ++p)
      task -= n;
    const std::int64_t first = task * kTaskOutputs, end = std::min(p->w.rows, first + kTaskOutputs);
    worker.count_macs(p->x.dim(0) * (end - first) * p->w.ins);
    outputs(*p, first, end);
  };
  if (bytes >= kSmallBytes) {
    threads.run(tasks, one);
  } else {
    threads.run(1, [&](std::int64_t, Scratch& worker) {
      for (std::int64_t task = 0; task < tasks; ++task) one(task, worker);
    });
  }
}

void packed_stream(const PackedLinear& a, ThreadPool& threads) {
  if (a.precision == Precision::f32) return run_parts(a.parts, threads);
  RoundedCopies<float> rounded;
  std::vector<PackedPart> parts(a.parts.begin(), a.parts.end());
  for (PackedPart& p : parts) p.x = rounded.of(p.x);
  run_parts(parts, threads);
}

void packed_embedding(const PackedEmbedding& a, ThreadPool&) {
  a.for_each(
      [](const PackedRows& w, std::int64_t row, float* y) { pc::unpack(w, row, 0, w.ins, y); });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {
HWY_EXPORT(packed_stream);
HWY_EXPORT(packed_embedding);
}  // namespace

void add_packed_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(packed_stream)>(
      "stream", [](const PackedLinear& a) { return a.single_position; }));
  add_packed_tiles_cpu(table);
  add_packed_panels_cpu(table);
  table.add(dispatched<HWY_DISPATCH_TABLE(packed_embedding)>("highway"));
}

}  // namespace subquad
#endif
