// The literal definitions of the kernels that read packed weights.
#include "subquad/backend/packed.h"

#include "subquad/backend/bf16.h"

namespace subquad {
namespace {

void packed_linear(const PackedLinear& a, ThreadPool&) {
  for (const PackedPart& p : a.parts) {
    for (std::int64_t n = 0; n < p.x.dim(0); ++n) {
      for (std::int64_t o = 0; o < p.w.rows; ++o) {
        float sum = p.b ? *p.b.at(o) : 0.0F;
        for (std::int64_t i = 0; i < p.w.ins; ++i) {
          const float x = *p.x.at(n, i);
          sum += (a.precision == Precision::bf16 ? round_to_bf16(x) : x) * p.w.at(o, i);
        }
        *p.y.at(n, o) = sum;
      }
    }
  }
}

void packed_embedding(const PackedEmbedding& a, ThreadPool&) {
  a.for_each([](const PackedRows& w, std::int64_t row, float* y) {
    for (std::int64_t i = 0; i < w.ins; ++i) y[i] = w.at(row, i);
  });
}

}  // namespace

void add_packed_reference(KernelTable& table) {
  table.add(Impl<PackedLinear>{"reference", nullptr, packed_linear});
  table.add(Impl<PackedEmbedding>{"reference", nullptr, packed_embedding});
}

}  // namespace subquad
