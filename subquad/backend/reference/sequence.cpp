// The literal definitions of the kernels that walk along time: short convolution, rotary positions,
// gates.
#include "subquad/backend/sequence.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "subquad/backend/reference/reference.h"
#include "subquad/backend/reference/scalar_math.h"

namespace subquad {
namespace {

// The input that tap j of position t meets: (pointer into x or the initial state) or null for zero.
// `begin` is the start of the span; a span without reset reaches back through earlier spans of its
// row, which never happens in between (spans of a row are either contiguous or reset), and into
// `initial`.
template <class T>
const T* tap(const ConvForward<T>& a, std::int64_t b, const Span& span, std::int64_t source) {
  if (source >= span.begin) return a.x.at(b, source);
  if (span.reset || !a.initial) return nullptr;
  return a.initial.at(b, source + a.w.dim(1) - 1);  // a span without reset starts at column 0
}

template <class T>
void conv_forward(const ConvForward<T>& a, ThreadPool& threads) {
  const std::int64_t taps = a.w.dim(1), channels = a.x.dim(2);
  for (std::int64_t b = 0; b < a.x.dim(0); ++b) {
    for (std::int64_t t = 0; t < a.x.dim(1); ++t) std::fill_n(a.y.at(b, t), channels, T(0));
    for (const Span& span : a.spans->row(b)) {
      threads.count_macs(span.size() * taps * channels);
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        T* y = a.y.at(b, t);
        for (std::int64_t c = 0; c < channels; ++c) y[c] = a.b ? *a.b.at(c) : T(0);
        for (std::int64_t j = 0; j < taps; ++j) {
          const T* x = tap(a, b, span, t - taps + 1 + j);
          if (!x) continue;
          for (std::int64_t c = 0; c < channels; ++c) y[c] += *a.w.at(c, j) * x[c];
        }
        if (a.silu) {
          for (std::int64_t c = 0; c < channels; ++c) y[c] = reference::value(Unary::silu, y[c]);
        }
      }
    }
    if (!a.final_state) continue;
    const auto row = a.spans->row(b);
    for (std::int64_t j = 0; j < taps - 1; ++j) {
      const Span last = row.empty() ? Span{} : row.back();
      const T* x = tap(a, b, last, last.end - (taps - 1) + j);
      for (std::int64_t c = 0; c < channels; ++c) *a.final_state.at(b, j, c) = x ? x[c] : T(0);
    }
  }
}

template <class T>
void conv_backward(const ConvBackward<T>& a, ThreadPool&) {
  const auto& f = a.f;
  const std::int64_t taps = f.w.dim(1), channels = f.x.dim(2);
  std::vector<T> pre(static_cast<std::size_t>(channels));
  for (std::int64_t b = 0; b < f.x.dim(0); ++b) {
    for (std::int64_t t = 0; t < f.x.dim(1); ++t) std::fill_n(a.dx.at(b, t), channels, T(0));
    for (std::int64_t j = 0; a.dinitial && j < taps - 1; ++j)
      std::fill_n(a.dinitial.at(b, j), channels, T(0));
    // Where the gradient of a tap goes: dx, dinitial or nowhere.
    const auto target = [&](const Span& span, std::int64_t source) -> T* {
      if (source >= span.begin) return a.dx.at(b, source);
      return span.reset || !a.dinitial ? nullptr : a.dinitial.at(b, source + taps - 1);
    };
    const auto row = f.spans->row(b);
    for (const Span& span : row) {
      for (std::int64_t t = span.begin; a.dy && t < span.end; ++t) {
        for (std::int64_t c = 0; c < channels; ++c)
          pre[static_cast<std::size_t>(c)] = f.b ? *f.b.at(c) : T(0);
        for (std::int64_t j = 0; f.silu && j < taps; ++j) {
          const T* x = tap(f, b, span, t - taps + 1 + j);
          for (std::int64_t c = 0; x && c < channels; ++c)
            pre[static_cast<std::size_t>(c)] += *f.w.at(c, j) * x[c];
        }
        for (std::int64_t c = 0; c < channels; ++c) {
          T& d = pre[static_cast<std::size_t>(c)];
          d = *a.dy.at(b, t, c) * (f.silu ? reference::slope(Unary::silu, d) : T(1));
          if (a.db) *a.db.at(c) += d;
        }
        for (std::int64_t j = 0; j < taps; ++j) {
          const std::int64_t source = t - taps + 1 + j;
          const T* x = tap(f, b, span, source);
          T* dx = target(span, source);
          for (std::int64_t c = 0; c < channels; ++c) {
            const T d = pre[static_cast<std::size_t>(c)];
            if (x) *a.dw.at(c, j) += d * x[c];
            if (dx) dx[c] += d * *f.w.at(c, j);
          }
        }
      }
    }
    if (!a.dfinal) continue;
    const Span last = row.empty() ? Span{} : row.back();
    for (std::int64_t j = 0; j < taps - 1; ++j) {
      T* dx = target(last, last.end - (taps - 1) + j);
      for (std::int64_t c = 0; dx && c < channels; ++c) dx[c] += *a.dfinal.at(b, j, c);
    }
  }
}

template <class T>
void rope(const Rope<T>& a, ThreadPool&) {
  const std::int64_t dims = a.dims, half = dims / 2;
  std::vector<double> frequency(static_cast<std::size_t>(half));
  for (std::int64_t m = 0; m < half; ++m) {
    frequency[static_cast<std::size_t>(m)] = rope_frequency(m, dims, a.theta, a.scaling);
  }
  for (std::int64_t b = 0; b < a.x.dim(0); ++b) {
    const auto rotate = [&](std::int64_t t, std::int64_t position) {
      for (std::int64_t h = 0; h < a.x.dim(2); ++h) {
        const T* x = a.x.at(b, t, h);
        T* y = a.y.at(b, t, h);
        for (std::int64_t m = 0; m < half; ++m) {
          const double angle =
              static_cast<double>(position) * frequency[static_cast<std::size_t>(m)];
          const T cosine = static_cast<T>(std::cos(angle));
          const T sine = static_cast<T>(a.backward ? -std::sin(angle) : std::sin(angle));
          const std::int64_t i = a.interleaved ? 2 * m : m,
                             j = a.interleaved ? 2 * m + 1 : m + half;
          const T u = x[i], v = x[j];
          y[i] = u * cosine - v * sine;
          y[j] = v * cosine + u * sine;
        }
        std::copy(x + dims, x + a.x.dim(3), y + dims);
      }
    };
    for (std::int64_t t = 0; t < a.x.dim(1); ++t) rotate(t, 0);
    for (const Span& span : a.spans->row(b)) {
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        rotate(t, span.reset ? t - span.begin : a.first_position + t);
      }
    }
  }
}

template <class T>
void gates_forward(const GatesForward<T>& a, ThreadPool&) {
  const std::int64_t per_rate = a.raw.dim(1) / a.A_log.dim(0);
  for (std::int64_t n = 0; n < a.raw.dim(0); ++n) {
    for (std::int64_t h = 0; h < a.raw.dim(1); ++h) {
      const T rate = std::exp(*a.A_log.at(h / per_rate));
      const T soft = reference::softplus(*a.raw.at(n, h) + *a.bias.at(h));
      const T dt = std::clamp(soft, static_cast<T>(a.lo), static_cast<T>(std::min(a.hi, 1e30)));
      *a.decay.at(n, h) = a.signed_decay ? 2 * std::exp(-rate * dt) - 1 : -rate * dt;
      if (!a.write) continue;
      *a.write.at(n, h) =
          a.b ? static_cast<T>(a.write_range) * reference::sigmoid(*a.b.at(n, h)) : dt;
    }
  }
}

template <class T>
void gates_backward(const GatesBackward<T>& a, ThreadPool&) {
  const auto& f = a.f;
  const std::int64_t per_rate = f.raw.dim(1) / f.A_log.dim(0);
  for (std::int64_t n = 0; n < f.raw.dim(0); ++n) {
    for (std::int64_t h = 0; h < f.raw.dim(1); ++h) {
      const T rate = std::exp(*f.A_log.at(h / per_rate)), s = *f.raw.at(n, h) + *f.bias.at(h);
      const T soft = reference::softplus(s);
      const bool inside = soft >= static_cast<T>(f.lo) && static_cast<double>(soft) <= f.hi;
      const T dt = std::clamp(soft, static_cast<T>(f.lo), static_cast<T>(std::min(f.hi, 1e30)));
      T d_decay = a.ddecay ? *a.ddecay.at(n, h) : T(0);
      if (f.signed_decay) d_decay *= 2 * std::exp(-rate * dt);  // d(2 exp(g) - 1)/dg
      T d_dt = -rate * d_decay;
      const T d_write = a.dwrite ? *a.dwrite.at(n, h) : T(0);
      if (f.b) {
        const T sigma = reference::sigmoid(*f.b.at(n, h));
        *a.db.at(n, h) = d_write * static_cast<T>(f.write_range) * sigma * (1 - sigma);
      } else {
        d_dt += d_write;
      }
      const T d_raw = inside ? d_dt * reference::softplus_slope(s) : T(0);
      *a.draw.at(n, h) = d_raw;
      *a.dbias.at(h) += d_raw;
      *a.dA_log.at(h / per_rate) += -rate * dt * d_decay;
    }
  }
}

template <class T>
void add(KernelTable& table) {
  table.add(Impl<ConvForward<T>>{"reference", nullptr, conv_forward<T>});
  table.add(Impl<ConvBackward<T>>{"reference", nullptr, conv_backward<T>});
  table.add(Impl<Rope<T>>{"reference", nullptr, rope<T>});
  table.add(Impl<GatesForward<T>>{"reference", nullptr, gates_forward<T>});
  table.add(Impl<GatesBackward<T>>{"reference", nullptr, gates_backward<T>});
}

}  // namespace

double rope_frequency(std::int64_t pair, std::int64_t dims, double theta,
                      const RopeScaling& scaling) {
  const double f = std::pow(theta, -2.0 * static_cast<double>(pair) / static_cast<double>(dims));
  if (scaling.original_length == 0) return f / scaling.factor;
  const double turns =  // of this pair within the original length
      static_cast<double>(scaling.original_length) * f / (2 * std::numbers::pi);
  if (turns > scaling.high) return f;
  if (turns < scaling.low) return f / scaling.factor;
  const double s = (turns - scaling.low) / (scaling.high - scaling.low);
  return (1 - s) * f / scaling.factor + s * f;
}

void add_sequence_reference(KernelTable& table) {
  add<float>(table);
  add<double>(table);
}

}  // namespace subquad
