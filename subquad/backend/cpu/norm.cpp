// Normalisation kernels. Rows are contiguous, so a tensor is a list of parts (a row, or a group of
// one) that are normalised independently. Schedule: blocks of parts that stay in L1; one sweep for
// the sums of every part, the reciprocal roots of all of them as vectors, one sweep for the output.
// Roofline: cache bandwidth; gated norms: one exponential per element.
#include "subquad/backend/norm.h"

#include <array>
#include <cmath>

#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/norm.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::for_vectors;
using vm::V;

constexpr std::int64_t kParts = 64;  // parts of one sweep

// What is known of the parts of one sweep.
struct alignas(64) Stats {
  std::array<float, kParts> mean, r, shift, slope;
};

// The parts of a view: contiguous, `size` long; part p has the weights of group p % groups, or all
// parts share theirs.
struct Parts {
  std::int64_t groups, size, count;
  bool shared;

  Parts(std::int64_t rows, std::int64_t width, std::int64_t groups_in, std::int64_t weights)
      : groups(groups_in),
        size(width / groups_in),
        count(rows * groups_in),
        shared(weights == size) {}
  std::int64_t weight(std::int64_t p) const { return shared ? 0 : p % groups * size; }
};

// Calls fn(first, count, block) for the sweeps of every block of rows, blocks in parallel.
template <class Fn>
void for_sweeps(ThreadPool& threads, const Parts& parts, Fn&& fn) {
  for_row_blocks(threads, parts.count / parts.groups,
                 [&](std::int64_t begin, std::int64_t end, std::int64_t block, Scratch& scratch) {
                   for (std::int64_t p = begin * parts.groups; p < end * parts.groups; p += kParts)
                     fn(p, std::min(kParts, end * parts.groups - p), block, scratch);
                 });
}

// mean and r of parts that start at x.
void moments(const NormSetup& s, const float* x, std::int64_t n, std::int64_t count, Stats& stats) {
  const float scale = s.sum_not_mean ? 1.0F : 1 / static_cast<float>(n);
  for (std::int64_t p = 0; p < count; ++p, x += n) {
    float mean = 0;
    if (s.center) {
      V total = vm::set(0);
      for_vectors(n, [&](std::int64_t i, std::int64_t left)
                         HWY_ATTR { total = hn::Add(total, vm::load(x + i, left)); });
      mean = vm::sum(total) / static_cast<float>(n);
    }
    const V m = vm::set(mean);
    V square = vm::set(0);
    for_vectors(n, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      V c = hn::Sub(vm::load(x + i, left), m);
      if (left < vm::kWidth)  // lanes past the end must not count as 0 - mean
        c = hn::IfThenElseZero(hn::FirstN(vm::F(), static_cast<std::size_t>(left)), c);
      square = hn::MulAdd(c, c, square);
    });
    stats.mean[static_cast<std::size_t>(p)] = mean;
    stats.r[static_cast<std::size_t>(p)] = vm::sum(square);
  }
  const V factor = vm::set(scale), eps = vm::set(static_cast<float>(s.eps));
  for (std::int64_t p = 0; p < count; p += vm::kWidth) {
    float* r = stats.r.data() + p;
    hn::Store(hn::Div(vm::set(1), hn::Sqrt(hn::MulAdd(hn::Load(vm::F(), r), factor, eps))), vm::F(),
              r);
  }
}

template <bool kCenter, bool kWeight>
void norm_rows(const NormForward<float>& a, const Parts& parts, std::int64_t first,
               std::int64_t count, const Stats& stats) {
  const V plus = vm::set(a.setup.plus_one ? 1.0F : 0.0F);
  for (std::int64_t p = 0; p < count; ++p) {
    const float* x = a.x.data + (first + p) * parts.size;
    float* y = a.y.data + (first + p) * parts.size;
    const std::int64_t at = parts.weight(first + p);
    const float* w = kWeight ? a.w.data + at : nullptr;
    const float* b = a.b ? a.b.data + at : nullptr;
    const V mean = vm::set(stats.mean[static_cast<std::size_t>(p)]),
            r = vm::set(stats.r[static_cast<std::size_t>(p)]);
    for_vectors(parts.size, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      V v = vm::load(x + i, left);
      if (kCenter) v = hn::Sub(v, mean);
      v = hn::Mul(v, r);
      if (kWeight) v = hn::Mul(v, hn::Add(vm::load(w + i, left), plus));
      if (b) v = hn::Add(v, vm::load(b + i, left));
      vm::store(v, y + i, left);
    });
  }
}

void norm_forward(const NormForward<float>& a, ThreadPool& threads) {
  const Parts parts(a.x.dim(0), a.x.dim(1), a.setup.groups, a.w ? a.w.dim(0) : 0);
  for_sweeps(threads, parts, [&](std::int64_t first, std::int64_t count, std::int64_t, Scratch&) {
    Stats stats;
    moments(a.setup, a.x.data + first * parts.size, parts.size, count, stats);
    if (a.setup.center) {
      a.w ? norm_rows<true, true>(a, parts, first, count, stats)
          : norm_rows<true, false>(a, parts, first, count, stats);
    } else {
      a.w ? norm_rows<false, true>(a, parts, first, count, stats)
          : norm_rows<false, false>(a, parts, first, count, stats);
    }
  });
}

// Gradient sweep: with h = (x - mean) r and d = dy w, dx = r (d - mean(d) - h mean(d h)).
template <bool kCenter, bool kWeight>
void norm_rows_backward(const NormBackward<float>& a, const Parts& parts, std::int64_t first,
                        std::int64_t count, Stats& stats, float* dw, float* db) {
  const V plus = vm::set(a.setup.plus_one ? 1.0F : 0.0F);
  const float scale = a.setup.sum_not_mean ? 1.0F : 1 / static_cast<float>(parts.size);
  for (std::int64_t p = 0; p < count; ++p) {
    const std::size_t k = static_cast<std::size_t>(p);
    const std::int64_t from = (first + p) * parts.size, at = parts.weight(first + p);
    const float *x = a.x.data + from, *dy = a.dy.data + from;
    const float* w = kWeight ? a.w.data + at : nullptr;
    const V mean = vm::set(stats.mean[k]), r = vm::set(stats.r[k]);
    V along = vm::set(0), total = vm::set(0);
    for_vectors(parts.size, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      V h = vm::load(x + i, left);
      if (kCenter) h = hn::Sub(h, mean);
      h = hn::Mul(h, r);
      V d = vm::load(dy + i, left);
      if (kWeight) {
        float* dw_at = dw + at + i;
        vm::store(hn::MulAdd(d, h, vm::load(dw_at, left)), dw_at, left);
        if (a.db) vm::store(hn::Add(d, vm::load(db + at + i, left)), db + at + i, left);
        d = hn::Mul(d, hn::Add(vm::load(w + i, left), plus));
      }
      along = hn::MulAdd(d, h, along);  // d is 0 past the end
      if (kCenter) total = hn::Add(total, d);
    });
    stats.slope[k] = vm::sum(along) * scale;
    stats.shift[k] = kCenter ? vm::sum(total) * scale : 0.0F;
  }
  for (std::int64_t p = 0; p < count; ++p) {
    const std::size_t k = static_cast<std::size_t>(p);
    const std::int64_t from = (first + p) * parts.size;
    const float *x = a.x.data + from, *dy = a.dy.data + from;
    const float* w = kWeight ? a.w.data + parts.weight(first + p) : nullptr;
    float* dx = a.dx.data + from;
    const V mean = vm::set(stats.mean[k]), r = vm::set(stats.r[k]), shift = vm::set(stats.shift[k]),
            slope = vm::set(stats.slope[k] * stats.r[k]);
    for_vectors(parts.size, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      V c = vm::load(x + i, left), d = vm::load(dy + i, left);
      if (kCenter) c = hn::Sub(c, mean);
      if (kWeight) d = hn::Mul(d, hn::Add(vm::load(w + i, left), plus));
      if (kCenter) d = hn::Sub(d, shift);
      vm::store(hn::Mul(r, hn::NegMulAdd(c, slope, d)), dx + i, left);
    });
  }
}

void norm_backward(const NormBackward<float>& a, ThreadPool& threads) {
  const std::int64_t weights = a.w ? a.w.dim(0) : 0;
  const Parts parts(a.x.dim(0), a.x.dim(1), a.setup.groups, weights);
  PartialSums sums((a.x.dim(0) + kRowBlock - 1) / kRowBlock,
                   std::max<std::int64_t>(2 * weights, 1));
  for_sweeps(threads, parts,
             [&](std::int64_t first, std::int64_t count, std::int64_t block, Scratch&) {
               Stats stats;
               float *dw = sums.at(block), *db = dw + weights;
               moments(a.setup, a.x.data + first * parts.size, parts.size, count, stats);
               if (a.setup.center) {
                 a.w ? norm_rows_backward<true, true>(a, parts, first, count, stats, dw, db)
                     : norm_rows_backward<true, false>(a, parts, first, count, stats, dw, db);
               } else {
                 a.w ? norm_rows_backward<false, true>(a, parts, first, count, stats, dw, db)
                     : norm_rows_backward<false, false>(a, parts, first, count, stats, dw, db);
               }
             });
  if (a.dw) sums.add_to(a.dw.data, 0, weights);
  if (a.db) sums.add_to(a.db.data, weights, weights);
}

constexpr NormSetup rms(double eps) { return {.eps = eps}; }

// gate_first: what is normalised is v = x f(z), which lies in y meanwhile.
template <Unary kKind, bool kGateFirst>
void gated_rows(const GatedNormForward<float>& a, const Parts& parts, std::int64_t first,
                std::int64_t count) {
  const std::int64_t from = first * parts.size, n = count * parts.size;
  const float *x = a.x.data + from, *z = a.z.data + from;
  float* y = a.y.data + from;
  Stats stats;
  if (kGateFirst) {
    for_vectors(n, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      vm::store(hn::Mul(vm::load(x + i, left), vm::value<kKind>(vm::load(z + i, left))), y + i,
                left);
    });
  }
  moments(rms(a.eps), kGateFirst ? y : x, parts.size, count, stats);
  for (std::int64_t p = 0; p < count; ++p) {
    const float* w = a.w.data + parts.weight(first + p);
    const V r = vm::set(stats.r[static_cast<std::size_t>(p)]);
    const std::int64_t at = p * parts.size;
    for_vectors(parts.size, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      V v =
          hn::Mul(hn::Mul(vm::load((kGateFirst ? y : x) + at + i, left), r), vm::load(w + i, left));
      if (!kGateFirst) v = hn::Mul(v, vm::value<kKind>(vm::load(z + at + i, left)));
      vm::store(v, y + at + i, left);
    });
  }
}

// `value`, `v`: scratch of one sweep. Gates are evaluated once: f(z) is kept, f'(z) goes to dz at
// once and is multiplied there.
template <Unary kKind, bool kGateFirst>
void gated_rows_backward(const GatedNormBackward<float>& a, const Parts& parts, std::int64_t first,
                         std::int64_t count, float* dw, float* value, float* v) {
  const auto& f = a.f;
  const std::int64_t from = first * parts.size, n = count * parts.size;
  const float *x = f.x.data + from, *z = f.z.data + from, *dy = a.dy.data + from;
  float *dx = a.dx.data + from, *dz = a.dz.data + from;
  for_vectors(n, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    const V zi = vm::load(z + i, left), g = vm::value<kKind>(zi);
    vm::store(g, value + i, left);
    vm::store(vm::slope<kKind>(zi), dz + i, left);
    if (kGateFirst) vm::store(hn::Mul(vm::load(x + i, left), g), v + i, left);
  });
  const float* normed = kGateFirst ? v : x;
  Stats stats;
  moments(rms(f.eps), normed, parts.size, count, stats);
  for (std::int64_t p = 0; p < count; ++p) {
    const std::int64_t at = p * parts.size, weight = parts.weight(first + p);
    const float* w = f.w.data + weight;
    float* dw_at = dw + weight;
    const V r = vm::set(stats.r[static_cast<std::size_t>(p)]);
    V along = vm::set(0);
    for_vectors(parts.size, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      const V h = hn::Mul(vm::load(normed + at + i, left), r), wi = vm::load(w + i, left);
      V d = vm::load(dy + at + i, left);
      if (!kGateFirst) {
        const V slope = vm::load(dz + at + i, left);
        vm::store(hn::Mul(hn::Mul(hn::Mul(d, h), wi), slope), dz + at + i, left);
        d = hn::Mul(d, vm::load(value + at + i, left));
      }
      vm::store(hn::MulAdd(d, h, vm::load(dw_at + i, left)), dw_at + i, left);
      d = hn::Mul(d, wi);
      vm::store(d, dx + at + i, left);
      along = hn::MulAdd(d, h, along);
    });
    stats.slope[static_cast<std::size_t>(p)] = vm::sum(along) / static_cast<float>(parts.size);
  }
  for (std::int64_t p = 0; p < count; ++p) {
    const std::int64_t at = p * parts.size;
    const std::size_t k = static_cast<std::size_t>(p);
    const V r = vm::set(stats.r[k]), slope = vm::set(stats.slope[k] * stats.r[k]);
    for_vectors(parts.size, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
      const V d = hn::Mul(
          r, hn::NegMulAdd(vm::load(normed + at + i, left), slope, vm::load(dx + at + i, left)));
      if (kGateFirst) {
        const V xi = vm::load(x + at + i, left), s = vm::load(dz + at + i, left);
        vm::store(hn::Mul(hn::Mul(d, xi), s), dz + at + i, left);
        vm::store(hn::Mul(d, vm::load(value + at + i, left)), dx + at + i, left);
      } else {
        vm::store(d, dx + at + i, left);
      }
    });
  }
}

template <class Fn>
void with_gate(Unary kind, bool gate_first, Fn&& fn) {
  if (kind == Unary::silu) {
    gate_first ? fn.template operator()<Unary::silu, true>()
               : fn.template operator()<Unary::silu, false>();
  } else {
    gate_first ? fn.template operator()<Unary::sigmoid, true>()
               : fn.template operator()<Unary::sigmoid, false>();
  }
}

void gated_norm_forward(const GatedNormForward<float>& a, ThreadPool& threads) {
  const Parts parts(a.x.dim(0), a.x.dim(1), a.groups, a.w.dim(0));
  with_gate(a.activation, a.gate_first, [&]<Unary kKind, bool kGateFirst>() {
    for_sweeps(threads, parts, [&](std::int64_t first, std::int64_t count, std::int64_t, Scratch&) {
      gated_rows<kKind, kGateFirst>(a, parts, first, count);
    });
  });
}

void gated_norm_backward(const GatedNormBackward<float>& a, ThreadPool& threads) {
  const std::int64_t rows = a.f.x.dim(0), weights = a.f.w.dim(0);
  const Parts parts(rows, a.f.x.dim(1), a.f.groups, weights);
  PartialSums sums((rows + kRowBlock - 1) / kRowBlock, weights);
  with_gate(a.f.activation, a.f.gate_first, [&]<Unary kKind, bool kGateFirst>() {
    for_sweeps(threads, parts,
               [&](std::int64_t first, std::int64_t count, std::int64_t block, Scratch& scratch) {
                 float* value = scratch.get<float>(2 * kParts * parts.size);
                 gated_rows_backward<kKind, kGateFirst>(a, parts, first, count, sums.at(block),
                                                        value, value + kParts * parts.size);
               });
  });
  sums.add_to(a.dw.data, 0, weights);
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(norm_forward);
HWY_EXPORT(norm_backward);
HWY_EXPORT(gated_norm_forward);
HWY_EXPORT(gated_norm_backward);

bool plain_gate(Unary kind) { return kind == Unary::silu || kind == Unary::sigmoid; }

}  // namespace

void add_norm_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(norm_forward)>(
      "highway", [](const NormForward<float>& a) { return contiguous(a.x) && contiguous(a.y); }));
  table.add(
      dispatched<HWY_DISPATCH_TABLE(norm_backward)>("highway", [](const NormBackward<float>& a) {
        return contiguous(a.x) && contiguous(a.dy) && contiguous(a.dx);
      }));
  table.add(dispatched<HWY_DISPATCH_TABLE(gated_norm_forward)>(
      "highway", [](const GatedNormForward<float>& a) {
        return plain_gate(a.activation) && contiguous(a.x) && contiguous(a.z) && contiguous(a.y);
      }));
  table.add(dispatched<HWY_DISPATCH_TABLE(gated_norm_backward)>(
      "highway", [](const GatedNormBackward<float>& a) {
        return plain_gate(a.f.activation) && contiguous(a.f.x) && contiguous(a.f.z) &&
               contiguous(a.dx) && contiguous(a.dz) && contiguous(a.dy);
      }));
}

}  // namespace subquad
#endif
