// Arguments of the kernels that walk along time below the mixers.
#pragma once

#include "subquad/backend/kernel_table.h"
#include "subquad/backend/segments.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

// y_t = f(b + sum_j w_j x_{t-K+1+j}), f = SiLU or the identity; past inputs come from `initial`
// (zeros if absent) and are zero again where a span resets. final = last K-1 inputs after the last
// valid position. Shapes: x, y (B,T,C)   w (C,K)   b (C)   initial, final (B,K-1,C), oldest first
template <class T>
struct ConvForward {
  static constexpr std::string_view kOp = "short_conv";
  View<const T, 3> x;
  View<const T, 2> w;
  View<const T, 1> b;        // absent: no bias
  View<const T, 3> initial;  // absent: zeros
  const Spans* spans = nullptr;
  bool silu = true;
  View<T, 3> y, final_state;  // final_state may be absent
};
template <class T>
struct ConvBackward {
  static constexpr std::string_view kOp = "short_conv_backward";
  ConvForward<T> f;             // y, final_state unused
  View<const T, 3> dy, dfinal;  // each may be absent
  View<T, 3> dx;                // written
  View<T, 2> dw;                // accumulated into
  View<T, 1> db;                // accumulated into; absent without bias
  View<T, 3> dinitial;          // written; may be absent
};

// Which models stretch positions beyond the length they were trained at, and how. f is a frequency,
// 2 pi / f its wavelength.
//   original_length 0: f / factor (factor 1: f itself)
//   otherwise ("llama3"): f where the wavelength is below original_length / high, f / factor where
//   it is above original_length / low, and a blend between:
//   s = (original_length / wavelength - low) / (high - low),  (1 - s) f / factor + s f
struct RopeScaling {
  double factor = 1, low = 1, high = 4;
  std::int64_t original_length = 0;
};
double rope_frequency(std::int64_t pair, std::int64_t dims, double theta,
                      const RopeScaling& scaling);

// Rotates pairs of features by position * frequency, theta^(-2m/dims) unless scaled. backward: by
// the negative angle.
template <class T>
struct Rope {
  static constexpr std::string_view kOp = "rope";
  View<const T, 4> x;  // (B,T,H,D)
  const Spans* spans = nullptr;
  std::int64_t first_position = 0;
  double theta = 10000;
  std::int64_t dims = 0;
  bool interleaved = false;
  bool backward = false;
  View<T, 4> y;
  RopeScaling scaling{};
};

// decay = -exp(A_log) dt (or 2 exp(-exp(A_log) dt) - 1 if signed_decay), dt = clamp(softplus(raw +
// bias)). write: dt for Mamba-2 (b absent), write_range sigmoid(b) for GDN; it may be absent.
// Shapes: raw, b, decay, write (N,H)   bias (H)   A_log (H), or fewer: one for H / numel neighbours
template <class T>
struct GatesForward {
  static constexpr std::string_view kOp = "gates";
  View<const T, 2> raw, b;
  View<const T, 1> A_log, bias;
  double lo = 0, hi = 1e300;
  bool signed_decay = false;
  double write_range = 1;
  View<T, 2> decay, write;
};
template <class T>
struct GatesBackward {
  static constexpr std::string_view kOp = "gates_backward";
  GatesForward<T> f;                // outputs unused
  View<const T, 2> ddecay, dwrite;  // each may be absent
  View<T, 2> draw, db;              // written; db absent if b is
  View<T, 1> dA_log, dbias;         // accumulated into
};

}  // namespace subquad
