// Products of bf16 weights, as they are stored, with inputs rounded to bf16, in the tiles of
// bf16_tiles.h. Schedule: as dense_bf16.cpp: weights are packed once per call, 64 outputs a task,
// then tasks pack their own rows and multiply. Roofline: the memory of f32 activations.
#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "subquad/backend/cpu/bf16_tiles.h"
#include "subquad/backend/instructions.h"
#include "subquad/backend/packed.h"
#include "subquad/base/round.h"

namespace subquad {
namespace {

using bf16::Bits;
using bf16::Instructions;
using bf16::kLines;
using bf16::Side;

constexpr std::int64_t kTaskRows = 128, kPackLines = 64;

std::int64_t padded_depth(std::int64_t ins) { return round_up(ins, bf16::kDepth); }

struct Right {
  const PackedRows* w;
  Bits* packed;

  std::int64_t size() const { return round_up(w->rows, kLines) * padded_depth(w->ins); }
  std::int64_t tasks() const { return bf16::tiles(w->rows, kPackLines); }
  // Lines [64 task, ...): widened, which is exact, because the tiles are packed from f32.
  void pack(const Instructions& with, std::int64_t task, Scratch& worker) const {
    const std::int64_t end = std::min(w->rows, (task + 1) * kPackLines);
    float* wide = worker.get<float>(kLines * w->ins);
    for (std::int64_t line = task * kPackLines; line < end; line += kLines) {
      const std::int64_t lines = std::min(kLines, end - line);
      for (std::int64_t i = 0; i < lines; ++i) {
        for (std::int64_t k = 0; k < w->ins; ++k) {
          Bits bits;  // a file promises alignment to an element only
          std::memcpy(&bits, w->row(line + i) + 2 * k, 2);
          wide[i * w->ins + k] = std::bit_cast<float>(std::uint32_t{bits} << 16);
        }
      }
      with.pack_lines({wide, w->ins, lines, w->ins, false}, Side::right, 0,
                      packed + line * padded_depth(w->ins));
    }
  }
};

template <const Instructions* (*kWith)()>
void packed_tiles(const PackedLinear& a, ThreadPool& threads) {
  if (a.parts.empty()) return;
  const Instructions& with = *kWith();
  std::vector<Right> rights;
  std::int64_t size = 0, pack_tasks = 0;
  for (const PackedPart& p : a.parts) {
    rights.push_back({&p.w, nullptr});
    size += rights.back().size();
    pack_tasks += rights.back().tasks();
  }
  Bits* to = threads.shared<Bits>(size);
  for (Right& r : rights) {
    r.packed = to;
    to += r.size();
  }
  threads.count_packed(2 * size);
  threads.run(pack_tasks, [&](std::int64_t task, Scratch& worker) {
    auto r = rights.begin();
    while (task >= r->tasks()) task -= r++->tasks();
    r->pack(with, task, worker);
  });
  const std::int64_t rows = a.parts.front().x.dim(0);
  threads.run(bf16::tiles(rows, kTaskRows), [&](std::int64_t task, Scratch& worker) {
    const std::int64_t first = task * kTaskRows, end = std::min(rows, first + kTaskRows);
    const float* packed_x = nullptr;
    Bits* left = nullptr;
    for (std::size_t i = 0; i < rights.size(); ++i) {
      const PackedPart& p = a.parts[i];
      const std::int64_t depth = padded_depth(p.w.ins);
      if (p.x.data != packed_x) {  // parts of one projection share x
        packed_x = p.x.data;
        left = worker.get<Bits>(round_up(end - first, kLines) * depth);
        for (std::int64_t line = first; line < end; line += kLines)
          with.pack_lines({p.x.data, p.x.stride(0), rows, p.w.ins, false}, Side::left, line,
                          left + (line - first) * depth);
      }
      worker.count_macs((end - first) * p.w.ins * p.w.rows);
      with.multiply({left, rights[i].packed, end - first, p.w.rows, depth / bf16::kDepth,
                     p.y.at(first), p.y.stride(0), p.b ? bf16::Epilogue::bias : bf16::Epilogue::set,
                     p.b.data});
    }
  });
}

template <const Instructions* (*kWith)()>
bool accepts(const PackedLinear& a) {
  return a.precision == Precision::bf16 && !a.single_position && kWith() != nullptr &&
         widest_instructions_allowed() &&
         std::all_of(a.parts.begin(), a.parts.end(),
                     [](const PackedPart& p) { return p.w.packing == Packing::bf16; });
}

}  // namespace

void add_packed_tiles_cpu(KernelTable& table) {
  table.add(Impl<PackedLinear>{"tiles amx", accepts<bf16::amx>, packed_tiles<bf16::amx>});
  table.add(Impl<PackedLinear>{"tiles avx512", accepts<bf16::avx512>, packed_tiles<bf16::avx512>});
}

}  // namespace subquad
