// Short convolution with four taps, and rotary positions. Schedule of the convolution: one row of
// the batch is a task; per vector of channels a walk over time keeps the last four inputs
// (backward: and the last four pre-activation gradients) in registers. Roofline: cache bandwidth
// plus one sigmoid per element.
#include "subquad/backend/sequence.h"

#include <cmath>
#include <vector>

#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/sequence.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using vm::V;

// w (C,4) as four rows of C.
void transpose_taps(const View<const float, 2>& w, float* taps) {
  const std::int64_t channels = w.dim(0);
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t j = 0; j < 4; ++j) taps[j * channels + c] = *w.at(c, j);
  }
}

// The input at a position before the span: from the incoming state, or zero.
V before(const ConvForward<float>& a, std::int64_t b, const Span& span, std::int64_t back,
         std::int64_t c, std::int64_t rest) {
  if (span.reset || !a.initial) return vm::set(0);
  return vm::load(a.initial.at(b, 3 - back) + c, rest);  // back = 1: the newest
}

void conv_row(const ConvForward<float>& a, std::int64_t b, Scratch& scratch) {
  const std::int64_t channels = a.x.dim(2), stride = a.x.stride(1);
  float* taps = scratch.get<float>(4 * channels);
  transpose_taps(a.w, taps);
  std::int64_t done = 0;  // positions written so far; gaps are padding
  for (const Span& span : a.spans->row(b)) {
    for (std::int64_t c = 0; c < channels; c += vm::kWidth) {
      const std::int64_t rest = channels - c;
      const V w0 = vm::load(taps + c, rest), w1 = vm::load(taps + channels + c, rest);
      const V w2 = vm::load(taps + 2 * channels + c, rest),
              w3 = vm::load(taps + 3 * channels + c, rest);
      const V bias = a.b ? vm::load(a.b.data + c, rest) : vm::set(0);
      V x0 = before(a, b, span, 3, c, rest), x1 = before(a, b, span, 2, c, rest),
        x2 = before(a, b, span, 1, c, rest);
      const float* x = a.x.at(b, span.begin) + c;
      float* y = a.y.at(b, span.begin) + c;
      for (std::int64_t t = span.begin; t < span.end; ++t, x += stride, y += a.y.stride(1)) {
        const V x3 = vm::load(x, rest);
        V q = hn::MulAdd(w3, x3, hn::MulAdd(w2, x2, hn::MulAdd(w1, x1, hn::MulAdd(w0, x0, bias))));
        if (a.silu) q = vm::value<Unary::silu>(q);
        vm::store(q, y, rest);
        x0 = x1;
        x1 = x2;
        x2 = x3;
      }
    }
    scratch.count_macs(4 * channels * span.size());
    done = span.end;
  }
  for (std::int64_t t = done; t < a.x.dim(1); ++t) std::fill_n(a.y.at(b, t), channels, 0.0F);
}

// The last three inputs after the last valid position, for the outgoing state.
void final_state(const ConvForward<float>& a, std::int64_t b) {
  const auto row = a.spans->row(b);
  const Span last = row.empty() ? Span{} : row.back();
  for (std::int64_t j = 0; j < 3; ++j) {
    const std::int64_t source = last.end - 3 + j;
    float* to = a.final_state.at(b, j);
    const std::int64_t channels = a.x.dim(2);
    if (source >= last.begin) {
      std::copy_n(a.x.at(b, source), channels, to);
    } else if (last.reset || !a.initial) {
      std::fill_n(to, channels, 0.0F);
    } else {
      std::copy_n(a.initial.at(b, source + 3), channels, to);
    }
  }
}

void conv_forward(const ConvForward<float>& a, ThreadPool& threads) {
  threads.run(a.x.dim(0), [&](std::int64_t b, Scratch& scratch) {
    conv_row(a, b, scratch);
    if (a.final_state) final_state(a, b);
  });
}

void conv_row_backward(const ConvBackward<float>& a, std::int64_t b, float* dw, float* db,
                       Scratch& scratch) {
  const auto& f = a.f;
  const std::int64_t channels = f.x.dim(2);
  float* taps = scratch.get<float>(4 * channels);
  transpose_taps(f.w, taps);
  for (std::int64_t j = 0; a.dinitial && j < 3; ++j)
    std::fill_n(a.dinitial.at(b, j), channels, 0.0F);
  std::int64_t done = 0;
  for (const Span& span : f.spans->row(b)) {
    for (std::int64_t c = 0; c < channels; c += vm::kWidth) {
      const std::int64_t rest = channels - c;
      const V w0 = vm::load(taps + c, rest), w1 = vm::load(taps + channels + c, rest);
      const V w2 = vm::load(taps + 2 * channels + c, rest),
              w3 = vm::load(taps + 3 * channels + c, rest);
      const V bias = f.b ? vm::load(f.b.data + c, rest) : vm::set(0);
      V x0 = before(f, b, span, 3, c, rest), x1 = before(f, b, span, 2, c, rest),
        x2 = before(f, b, span, 1, c, rest);
      const V zero = vm::set(0);
      V d0 = zero, d1 = zero, d2 = zero;  // pre-activation gradients at t-3, t-2, t-1
      V g0 = zero, g1 = zero, g2 = zero, g3 = zero, gb = zero;
      // Runs three steps past the end to flush: dx of position s is complete at t = s + 3.
      for (std::int64_t t = span.begin; t < span.end + 3; ++t) {
        V d3 = zero;
        if (t < span.end) {
          const V x3 = vm::load(f.x.at(b, t) + c, rest);
          d3 = a.dy ? vm::load(a.dy.at(b, t) + c, rest) : zero;
          if (f.silu) {
            const V q = hn::MulAdd(
                w3, x3, hn::MulAdd(w2, x2, hn::MulAdd(w1, x1, hn::MulAdd(w0, x0, bias))));
            d3 = hn::Mul(d3, vm::slope<Unary::silu>(q));
          }
          gb = hn::Add(gb, d3);
          g0 = hn::MulAdd(d3, x0, g0);
          g1 = hn::MulAdd(d3, x1, g1);
          g2 = hn::MulAdd(d3, x2, g2);
          g3 = hn::MulAdd(d3, x3, g3);
          x0 = x1;
          x1 = x2;
          x2 = x3;
        }
        const V dx = hn::MulAdd(w3, d0, hn::MulAdd(w2, d1, hn::MulAdd(w1, d2, hn::Mul(w0, d3))));
        const std::int64_t s = t - 3;
        if (s >= span.begin) {
          vm::store(dx, a.dx.at(b, s) + c, rest);
        } else if (!span.reset && a.dinitial) {
          vm::store(dx, a.dinitial.at(b, s + 3) + c,
                    rest);  // only a row's first span reaches the state
        }
        d0 = d1;
        d1 = d2;
        d2 = d3;
      }
      vm::store(hn::Add(vm::load(db + c, rest), gb), db + c, rest);
      const V g[4] = {g0, g1, g2, g3};
      for (std::int64_t j = 0; j < 4; ++j) {
        vm::store(hn::Add(vm::load(dw + j * channels + c, rest), g[j]), dw + j * channels + c,
                  rest);
      }
    }
    done = span.end;
  }
  for (std::int64_t t = done; t < f.x.dim(1); ++t) std::fill_n(a.dx.at(b, t), channels, 0.0F);
  if (!a.dfinal) return;
  const auto row = f.spans->row(b);
  const Span last = row.empty() ? Span{} : row.back();
  for (std::int64_t j = 0; j < 3; ++j) {
    const std::int64_t source = last.end - 3 + j;
    float* dx = source >= last.begin        ? a.dx.at(b, source)
                : last.reset || !a.dinitial ? nullptr
                                            : a.dinitial.at(b, source + 3);
    for (std::int64_t c = 0; dx && c < channels; ++c) dx[c] += *a.dfinal.at(b, j, c);
  }
}

void conv_backward(const ConvBackward<float>& a, ThreadPool& threads) {
  const std::int64_t batch = a.f.x.dim(0), channels = a.f.x.dim(2);
  PartialSums sums(batch, 5 * channels);
  threads.run(batch, [&](std::int64_t b, Scratch& scratch) {
    conv_row_backward(a, b, sums.at(b), sums.at(b) + 4 * channels, scratch);
  });
  std::vector<float> dw(static_cast<std::size_t>(4 * channels), 0.0F);
  sums.add_to(dw.data(), 0, 4 * channels);
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t j = 0; j < 4; ++j)
      *a.dw.at(c, j) += dw[static_cast<std::size_t>(j * channels + c)];
  }
  if (a.db) sums.add_to(a.db.data, 4 * channels, channels);
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(conv_forward);
HWY_EXPORT(conv_backward);

// Angles once per call instead of once per head; the rotation itself is a few plain loops.
void rope(const Rope<float>& a, ThreadPool& threads) {
  const std::int64_t half = a.dims / 2, T = a.x.dim(1), H = a.x.dim(2);
  std::vector<double> frequency(static_cast<std::size_t>(half));
  for (std::int64_t m = 0; m < half; ++m) {
    frequency[static_cast<std::size_t>(m)] =
        std::pow(a.theta, -2.0 * static_cast<double>(m) / static_cast<double>(a.dims));
  }
  const auto fill = [&](std::int64_t position, float* table) {
    for (std::int64_t m = 0; m < half; ++m) {
      const double angle = static_cast<double>(position) * frequency[static_cast<std::size_t>(m)];
      table[m] = static_cast<float>(std::cos(angle));
      table[half + m] = static_cast<float>(a.backward ? -std::sin(angle) : std::sin(angle));
    }
  };
  // Rows of a plain batch share their positions.
  std::vector<float> shared(static_cast<std::size_t>(a.spans->trivial() ? T * a.dims : 0));
  for (std::int64_t t = 0; a.spans->trivial() && t < T; ++t)
    fill(a.first_position + t, shared.data() + t * a.dims);
  threads.run(a.x.dim(0), [&](std::int64_t b, Scratch& scratch) {
    float* own = scratch.get<float>(a.dims);
    const auto rotate = [&](std::int64_t t, const float* table) {
      for (std::int64_t h = 0; h < H; ++h) {
        const float* x = a.x.at(b, t, h);
        float* y = a.y.at(b, t, h);
        for (std::int64_t m = 0; m < half; ++m) {
          const std::int64_t i = a.interleaved ? 2 * m : m,
                             j = a.interleaved ? 2 * m + 1 : m + half;
          const float u = x[i], v = x[j];
          y[i] = u * table[m] - v * table[half + m];
          y[j] = v * table[m] + u * table[half + m];
        }
        std::copy(x + a.dims, x + a.x.dim(3), y + a.dims);
      }
    };
    if (a.spans->trivial()) {
      for (std::int64_t t = 0; t < T; ++t) rotate(t, shared.data() + t * a.dims);
      return;
    }
    std::int64_t done = 0;
    for (const Span& span : a.spans->row(b)) {
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        fill(span.reset ? t - span.begin : a.first_position + t, own);
        rotate(t, own);
      }
      done = span.end;
    }
    fill(0, own);
    for (std::int64_t t = done; t < T; ++t) rotate(t, own);
  });
}

}  // namespace

void add_sequence_cpu(KernelTable& table) {
  table.add(Impl<ConvForward<float>>{"highway",
                                     [](const ConvForward<float>& a) { return a.w.dim(1) == 4; },
                                     [](const ConvForward<float>& a, ThreadPool& t) {
                                       HWY_DYNAMIC_DISPATCH(conv_forward)(a, t);
                                     }});
  table.add(Impl<ConvBackward<float>>{
      "highway", [](const ConvBackward<float>& a) { return a.f.w.dim(1) == 4; },
      [](const ConvBackward<float>& a, ThreadPool& t) {
        HWY_DYNAMIC_DISPATCH(conv_backward)(a, t);
      }});
  table.add(Impl<Rope<float>>{"tables", nullptr, rope});
}

}  // namespace subquad
#endif
