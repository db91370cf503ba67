// Short convolution with four taps, and rotary positions. Schedule of the convolution: one row of
// the batch is a task, or a run of its channels where rows are few and long; per vector of channels
// a walk over time keeps the last four inputs (backward: and the last four pre-activation
// gradients) in registers. Roofline: cache bandwidth plus one sigmoid per element.
#include "subquad/backend/sequence.h"

#include <cmath>
#include <vector>

#include "subquad/backend/cpu/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/backend/cpu/sequence.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include "subquad/backend/cpu/dispatch.h"
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

// Channels [c, c + left) of one span.
HWY_INLINE void conv_channels(const ConvForward<float>& a, std::int64_t b, const Span& span,
                              const float* taps, std::int64_t c, std::int64_t left) {
  const std::int64_t channels = a.x.dim(2), x_stride = a.x.stride(1), y_stride = a.y.stride(1);
  const V w0 = vm::load(taps + c, left), w1 = vm::load(taps + channels + c, left);
  const V w2 = vm::load(taps + 2 * channels + c, left),
          w3 = vm::load(taps + 3 * channels + c, left);
  const V bias = a.b ? vm::load(a.b.data + c, left) : vm::set(0);
  V x0 = before(a, b, span, 3, c, left), x1 = before(a, b, span, 2, c, left),
    x2 = before(a, b, span, 1, c, left);
  const float* x = a.x.at(b, span.begin) + c;
  float* y = a.y.at(b, span.begin) + c;
  for (std::int64_t t = span.begin; t < span.end; ++t, x += x_stride, y += y_stride) {
    const V x3 = vm::load(x, left);
    V q = hn::MulAdd(w3, x3, hn::MulAdd(w2, x2, hn::MulAdd(w1, x1, hn::MulAdd(w0, x0, bias))));
    if (a.silu) q = vm::value<Unary::silu>(q);
    vm::store(q, y, left);
    x0 = x1;
    x1 = x2;
    x2 = x3;
  }
}

void conv_row(const ConvForward<float>& a, std::int64_t b, Scratch& scratch) {
  const std::int64_t channels = a.x.dim(2);
  float* taps = scratch.get<float>(4 * channels);
  transpose_taps(a.w, taps);
  std::int64_t done = 0;  // positions written so far; gaps are padding
  for (const Span& span : a.spans->row(b)) {
    vm::for_vectors(channels, [&](std::int64_t c, std::int64_t left)
                                  HWY_ATTR { conv_channels(a, b, span, taps, c, left); });
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

// A task's channels are whole cache lines of a row, and at least kLeast elements.
struct ConvTasks {
  static constexpr std::int64_t kEnough = 8, kLeast = 1 << 15, kLine = 16;
  std::int64_t channels, width, per_row;

  explicit ConvTasks(const View<const float, 3>& x) : channels(x.dim(2)) {
    const std::int64_t most =
        std::min(kEnough / std::max<std::int64_t>(1, x.dim(0)), x.dim(1) * channels / kLeast);
    const std::int64_t parts = std::max<std::int64_t>(1, most), lines = kLine * parts;
    width = std::max<std::int64_t>(1, (channels + lines - 1) / lines) * kLine;
    per_row = std::max<std::int64_t>(1, (channels + width - 1) / width);
  }
  std::int64_t first(std::int64_t part) const { return part * width; }
  std::int64_t count(std::int64_t part) const { return std::min(width, channels - first(part)); }
};

template <class T, int Rank>
void narrow(View<T, Rank>& v, int axis, std::int64_t first, std::int64_t count) {
  if (!v) return;
  v.data += first * v.stride(axis);
  v.dims[static_cast<std::size_t>(axis)] = count;
}

ConvForward<float> some_channels(ConvForward<float> a, std::int64_t first, std::int64_t count) {
  narrow(a.x, 2, first, count);
  narrow(a.w, 0, first, count);
  narrow(a.b, 0, first, count);
  narrow(a.initial, 2, first, count);
  narrow(a.y, 2, first, count);
  narrow(a.final_state, 2, first, count);
  return a;
}

void conv_forward(const ConvForward<float>& a, ThreadPool& threads) {
  const ConvTasks tasks(a.x);
  threads.run(a.x.dim(0) * tasks.per_row, [&](std::int64_t task, Scratch& scratch) {
    const std::int64_t b = task / tasks.per_row, part = task % tasks.per_row;
    const auto own = some_channels(a, tasks.first(part), tasks.count(part));
    conv_row(own, b, scratch);
    if (own.final_state) final_state(own, b);
  });
}

// The same backwards; adds to dw (4,C) and db (C).
HWY_INLINE void conv_channels_backward(const ConvBackward<float>& a, std::int64_t b,
                                       const Span& span, const float* taps, std::int64_t c,
                                       std::int64_t left, float* dw, float* db) {
  const auto& f = a.f;
  const std::int64_t channels = f.x.dim(2), x_stride = f.x.stride(1), dx_stride = a.dx.stride(1);
  const V w0 = vm::load(taps + c, left), w1 = vm::load(taps + channels + c, left);
  const V w2 = vm::load(taps + 2 * channels + c, left),
          w3 = vm::load(taps + 3 * channels + c, left);
  const V zero = vm::set(0), bias = f.b ? vm::load(f.b.data + c, left) : zero;
  V x0 = before(f, b, span, 3, c, left), x1 = before(f, b, span, 2, c, left),
    x2 = before(f, b, span, 1, c, left);
  V d0 = zero, d1 = zero, d2 = zero;  // pre-activation gradients at t-3, t-2, t-1
  V g0 = zero, g1 = zero, g2 = zero, g3 = zero, gb = zero;
  const float* x = f.x.at(b, span.begin) + c;
  const float* dy = a.dy ? a.dy.at(b, span.begin) + c : nullptr;
  const std::int64_t dy_stride = a.dy ? a.dy.stride(1) : 0;
  float* dx = a.dx.at(b, span.begin) + c - 3 * dx_stride;
  // dx of position t - 3 is complete at t, so the walk ends three steps behind the span.
  const auto finish = [&](std::int64_t t, V d3) HWY_ATTR {
    const V sum = hn::MulAdd(w3, d0, hn::MulAdd(w2, d1, hn::MulAdd(w1, d2, hn::Mul(w0, d3))));
    if (t - 3 >= span.begin) {
      vm::store(sum, dx, left);
    } else if (!span.reset && a.dinitial) {  // only a row's first span reaches the state
      vm::store(sum, a.dinitial.at(b, t) + c, left);
    }
    dx += dx_stride;
    d0 = d1;
    d1 = d2;
    d2 = d3;
  };
  for (std::int64_t t = span.begin; t < span.end; ++t, x += x_stride) {
    const V x3 = vm::load(x, left);
    V d3 = zero;
    if (dy) {
      d3 = vm::load(dy, left);
      dy += dy_stride;
    }
    if (f.silu) {
      const V q =
          hn::MulAdd(w3, x3, hn::MulAdd(w2, x2, hn::MulAdd(w1, x1, hn::MulAdd(w0, x0, bias))));
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
    finish(t, d3);
  }
  for (std::int64_t t = span.end; t < span.end + 3; ++t) finish(t, zero);
  vm::store(hn::Add(vm::load(db + c, left), gb), db + c, left);
  const auto add = [&](std::int64_t tap, V g) HWY_ATTR {
    float* to = dw + tap * channels + c;
    vm::store(hn::Add(vm::load(to, left), g), to, left);
  };
  add(0, g0);
  add(1, g1);
  add(2, g2);
  add(3, g3);
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
    vm::for_vectors(channels, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
      conv_channels_backward(a, b, span, taps, c, left, dw, db);
    });
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
  const ConvTasks tasks(a.f.x);
  const std::int64_t batch = a.f.x.dim(0);
  PartialSums sums(batch, 5 * tasks.channels);  // by part: four taps, bias
  threads.run(batch * tasks.per_row, [&](std::int64_t task, Scratch& scratch) {
    const std::int64_t b = task / tasks.per_row, first = tasks.first(task % tasks.per_row),
                       count = tasks.count(task % tasks.per_row);
    ConvBackward<float> own = a;
    own.f = some_channels(a.f, first, count);
    narrow(own.dy, 2, first, count);
    narrow(own.dfinal, 2, first, count);
    narrow(own.dx, 2, first, count);
    narrow(own.dinitial, 2, first, count);
    float* dw = sums.at(b) + 5 * first;
    conv_row_backward(own, b, dw, dw + 4 * count, scratch);
  });
  std::vector<float> sum(static_cast<std::size_t>(5 * tasks.channels), 0.0F);
  sums.add_to(sum.data(), 0, 5 * tasks.channels);
  for (std::int64_t part = 0; part < tasks.per_row; ++part) {
    const std::int64_t first = tasks.first(part), count = tasks.count(part);
    const float* dw = sum.data() + 5 * first;
    for (std::int64_t c = 0; c < count; ++c) {
      for (std::int64_t j = 0; j < 4; ++j) *a.dw.at(first + c, j) += dw[j * count + c];
      if (a.db) *a.db.at(first + c) += dw[4 * count + c];
    }
  }
}

// Cosines and sines of a run of positions, [position][cos | sin][pair]. Every kExact positions they
// are computed afresh in double, in between by turning the last ones: an error of 1e-14 at most.
struct Angles {
  static constexpr std::int64_t kExact = 64;
  std::vector<double> frequency, turn;  // turn: cos and sin of one position, by pair
  std::int64_t half;
  bool backward;

  explicit Angles(const Rope<float>& a)
      : frequency(static_cast<std::size_t>(a.dims / 2)),
        turn(static_cast<std::size_t>(a.dims)),
        half(a.dims / 2),
        backward(a.backward) {
    for (std::int64_t m = 0; m < half; ++m) {
      const double f = rope_frequency(m, a.dims, a.theta, a.scaling);
      frequency[static_cast<std::size_t>(m)] = f;
      turn[static_cast<std::size_t>(m)] = std::cos(f);
      turn[static_cast<std::size_t>(half + m)] = std::sin(f);
    }
  }

  void fill(std::int64_t first, std::int64_t count, float* table) const {
    for (std::int64_t m = 0; m < half; ++m) {
      const double cosine = turn[static_cast<std::size_t>(m)],
                   sine = turn[static_cast<std::size_t>(half + m)];
      double u = 1, v = 0;
      for (std::int64_t t = 0; t < count; ++t) {
        if (t % kExact == 0) {
          const double angle =
              static_cast<double>(first + t) * frequency[static_cast<std::size_t>(m)];
          u = std::cos(angle);
          v = std::sin(angle);
        }
        table[2 * t * half + m] = static_cast<float>(u);
        table[(2 * t + 1) * half + m] = static_cast<float>(backward ? -v : v);
        const double w = u * cosine - v * sine;
        v = u * sine + v * cosine;
        u = w;
      }
    }
  }
};

void rotate_halves(const float* x, const float* table, std::int64_t half, float* y) {
  vm::for_overlapping_vectors(half, [&](std::int64_t m, std::int64_t left) HWY_ATTR {
    const V u = vm::load(x + m, left), v = vm::load(x + half + m, left),
            cosine = vm::load(table + m, left), sine = vm::load(table + half + m, left);
    vm::store(hn::NegMulAdd(v, sine, hn::Mul(u, cosine)), y + m, left);
    vm::store(hn::MulAdd(u, sine, hn::Mul(v, cosine)), y + half + m, left);
  });
}

void rotate_pairs(const float* x, const float* table, std::int64_t half, float* y) {
  for (std::int64_t m = 0; m < half; ++m) {
    const float u = x[2 * m], v = x[2 * m + 1];
    y[2 * m] = u * table[m] - v * table[half + m];
    y[2 * m + 1] = v * table[m] + u * table[half + m];
  }
}

void rope(const Rope<float>& a, ThreadPool& threads) {
  const Angles angles(a);
  const std::int64_t T = a.x.dim(1), H = a.x.dim(2), half = angles.half;
  const auto rotate = [&](std::int64_t b, std::int64_t t, const float* table) {
    for (std::int64_t h = 0; h < H; ++h) {
      const float* x = a.x.at(b, t, h);
      float* y = a.y.at(b, t, h);
      a.interleaved ? rotate_pairs(x, table, half, y) : rotate_halves(x, table, half, y);
      std::copy(x + a.dims, x + a.x.dim(3), y + a.dims);
    }
  };
  // Rows of a plain batch share their positions.
  std::vector<float> shared(static_cast<std::size_t>(a.spans->trivial() ? T * a.dims : 0));
  if (a.spans->trivial()) angles.fill(a.first_position, T, shared.data());
  if (a.spans->trivial()) {
    constexpr std::int64_t kStretch = 64;  // positions of a task
    const std::int64_t stretches = (T + kStretch - 1) / kStretch;
    threads.run(a.x.dim(0) * stretches, [&](std::int64_t task, Scratch&) {
      const std::int64_t first = task % stretches * kStretch;
      for (std::int64_t t = first; t < std::min(T, first + kStretch); ++t)
        rotate(task / stretches, t, shared.data() + t * a.dims);
    });
    return;
  }
  threads.run(a.x.dim(0), [&](std::int64_t b, Scratch& scratch) {
    float* own = scratch.get<float>(T * a.dims);
    std::int64_t done = 0;
    for (const Span& span : a.spans->row(b)) {
      angles.fill(span.reset ? 0 : a.first_position + span.begin, span.size(), own);
      for (std::int64_t t = span.begin; t < span.end; ++t)
        rotate(b, t, own + (t - span.begin) * a.dims);
      done = span.end;
    }
    angles.fill(0, 1, own);
    for (std::int64_t t = done; t < T; ++t) rotate(b, t, own);
  });
}

}  // namespace
}  // namespace subquad::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad {
namespace {

HWY_EXPORT(conv_forward);
HWY_EXPORT(conv_backward);
HWY_EXPORT(rope);

}  // namespace

void add_sequence_cpu(KernelTable& table) {
  table.add(dispatched<HWY_DISPATCH_TABLE(conv_forward)>(
      "highway", [](const ConvForward<float>& a) { return a.w.dim(1) == 4; }));
  table.add(dispatched<HWY_DISPATCH_TABLE(conv_backward)>(
      "highway", [](const ConvBackward<float>& a) { return a.f.w.dim(1) == 4; }));
  table.add(dispatched<HWY_DISPATCH_TABLE(rope)>("highway"));
}

}  // namespace subquad
#endif
