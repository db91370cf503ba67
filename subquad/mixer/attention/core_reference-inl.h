// Causal softmax attention, literally: one query at a time, all its scores at once.
// A template on the scalar: f32 and f64 in the kernel list, a counting scalar in law L8's test.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/mixer/attention/core.h"

namespace subquad::attention_core_reference {

// The keys that query i of a span sees: [first, last].
struct Keys {
  std::int64_t first, last;
};
template <class T>
Keys visible(const AttentionForward<T>& a, const Span& span, std::int64_t i) {
  const std::int64_t past = a.k.dim(1) - a.q.dim(1), last = past + i;
  std::int64_t first = span.reset ? past + span.begin : 0;
  if (a.window > 0) first = std::max(first, last - a.window + 1);
  return {first, last};
}

template <class T>
T dot(const T* x, const T* y, std::int64_t n) {
  T sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

template <class T>
void forward(const AttentionForward<T>& a, ThreadPool&) {
  const std::int64_t D = a.q.dim(3), Dv = a.v.dim(3), group = a.q.dim(2) / a.k.dim(2);
  std::vector<T> p;
  for (std::int64_t b = 0; b < a.q.dim(0); ++b) {
    for (std::int64_t h = 0; h < a.q.dim(2); ++h) {
      for (std::int64_t i = 0; i < a.q.dim(1); ++i) {
        std::fill_n(a.o.at(b, i, h), Dv, T(0));
        *a.lse.at(b, i, h) = 0;
      }
      for (const Span& span : a.spans->row(b)) {
        for (std::int64_t i = span.begin; i < span.end; ++i) {
          const Keys keys = visible(a, span, i);
          p.clear();
          for (std::int64_t j = keys.first; j <= keys.last; ++j) {
            p.push_back(static_cast<T>(a.scale) * dot(a.q.at(b, i, h), a.k.at(b, j, h / group), D));
          }
          const T top = *std::max_element(p.begin(), p.end());
          T sum = 0;
          for (T& s : p) sum += s = std::exp(s - top);
          for (std::int64_t j = keys.first; j <= keys.last; ++j) {
            const T weight = p[static_cast<std::size_t>(j - keys.first)] / sum;
            const T* v = a.v.at(b, j, h / group);
            for (std::int64_t d = 0; d < Dv; ++d) a.o.at(b, i, h)[d] += weight * v[d];
          }
          *a.lse.at(b, i, h) = top + std::log(sum);
        }
      }
    }
  }
}

template <class T>
void backward(const AttentionBackward<T>& g, ThreadPool&) {
  const auto& a = g.f;
  const std::int64_t D = a.q.dim(3), Dv = a.v.dim(3), group = a.q.dim(2) / a.k.dim(2);
  const T scale = static_cast<T>(a.scale);
  for (std::int64_t b = 0; b < a.q.dim(0); ++b) {
    for (std::int64_t j = 0; j < a.k.dim(1); ++j) {
      for (std::int64_t h = 0; h < a.k.dim(2); ++h) {
        std::fill_n(g.dk.at(b, j, h), D, T(0));
        std::fill_n(g.dv.at(b, j, h), Dv, T(0));
      }
    }
    for (std::int64_t h = 0; h < a.q.dim(2); ++h) {
      for (std::int64_t i = 0; i < a.q.dim(1); ++i) std::fill_n(g.dq.at(b, i, h), D, T(0));
      for (const Span& span : a.spans->row(b)) {
        for (std::int64_t i = span.begin; i < span.end; ++i) {
          const Keys keys = visible(a, span, i);
          const T *q = a.q.at(b, i, h), *d_o = g.d_o.at(b, i, h);
          const T along = dot(d_o, a.o.at(b, i, h), Dv);
          for (std::int64_t j = keys.first; j <= keys.last; ++j) {
            const T *k = a.k.at(b, j, h / group), *v = a.v.at(b, j, h / group);
            const T p = std::exp(scale * dot(q, k, D) - *a.lse.at(b, i, h));
            const T ds = scale * p * (dot(d_o, v, Dv) - along);
            for (std::int64_t d = 0; d < D; ++d) {
              g.dq.at(b, i, h)[d] += ds * k[d];
              g.dk.at(b, j, h / group)[d] += ds * q[d];
            }
            for (std::int64_t d = 0; d < Dv; ++d) g.dv.at(b, j, h / group)[d] += p * d_o[d];
          }
        }
      }
    }
  }
}

}  // namespace subquad::attention_core_reference
