// bf16: the upper half of an f32 (8 bits of significand). What products of rounded factors are:
// every factor is rounded to the nearest bf16, ties to even; sums, biases and results are not.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <deque>
#include <vector>

#include "subquad/backend/dense.h"

namespace subquad {

// NaN and infinities stay what they are. Processors' own bf16 products take numbers below 2^-126 for 0.
inline float round_to_bf16(float x) {
  if (std::isnan(x)) return x;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
}
// Through f32: what an f32 of the same value becomes.
inline double round_to_bf16(double x) { return round_to_bf16(static_cast<float>(x)); }

// Rounded copies of matrices, one of each.
template <class T>
class RoundedCopies {
 public:
  View<const T, 2> of(const View<const T, 2>& m) {
    for (const Copy& c : copies_) {
      if (c.from.data == m.data && c.from.dims == m.dims && c.from.strides == m.strides)
        return c.view();
    }
    Copy& c = copies_.emplace_back(
        Copy{m, std::vector<T>(static_cast<std::size_t>(m.dim(0) * m.dim(1)))});
    for (std::int64_t i = 0; i < m.dim(0); ++i) {
      std::transform(m.at(i), m.at(i) + m.dim(1), c.values.data() + i * m.dim(1),
                     [](T x) { return static_cast<T>(round_to_bf16(x)); });
    }
    return c.view();
  }

 private:
  struct Copy {
    View<const T, 2> from;
    std::vector<T> values;
    View<const T, 2> view() const { return {values.data(), from.dims, {from.dims[1], 1}}; }
  };
  std::deque<Copy> copies_;
};

// run(the same products in full precision, of rounded factors).
template <class T, class Run>
void with_rounded_factors(const LinearForward<T>& a, Run run) {
  RoundedCopies<T> rounded;
  std::vector<LinearPart<T>> parts(a.parts.begin(), a.parts.end());
  for (LinearPart<T>& p : parts) {
    p.x = rounded.of(p.x);
    p.w = rounded.of(p.w);
  }
  run(LinearForward<T>{parts, a.single_position, Precision::f32});
}
template <class T, class Run>
void with_rounded_factors(const LinearBackward<T>& a, Run run) {
  RoundedCopies<T> rounded;
  std::vector<LinearGradient<T>> parts(a.parts.begin(), a.parts.end());
  for (LinearGradient<T>& p : parts) {
    for (std::int64_t n = 0; p.db && n < p.dy.dim(0); ++n) {  // not a product: of dy as it is
      for (std::int64_t o = 0; o < p.dy.dim(1); ++o) *p.db.at(o) += *p.dy.at(n, o);
    }
    p.db = {};
    p.x = rounded.of(p.x);
    p.w = rounded.of(p.w);
    p.dy = rounded.of(p.dy);
  }
  run(LinearBackward<T>{parts, Precision::f32});
}

}  // namespace subquad
