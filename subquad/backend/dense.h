// Arguments of the dense kernels: linear, head-wise linear, embedding and cross-entropy rows.
#pragma once

#include <span>

#include "subquad/backend/kernel_table.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

// y = x wᵀ (+ b). Shapes: x (N,Din)  w (Dout,Din)  b (Dout) or absent  y (N,Dout)
template <class T>
struct LinearPart {
  View<const T, 2> x, w;
  View<const T, 1> b;
  View<T, 2> y;
};
// Products over the same N rows in one parallel region: a layer, the parts of one projection, or
// the blocks of a block-diagonal weight. A row's result has the same bits in any batch, but other
// bits as a single position: decoding streams the weights as they lie, longer calls pack them.
template <class T>
struct LinearForward {
  static constexpr std::string_view kOp = "linear";
  std::span<const LinearPart<T>> parts;
  bool single_position = false;  // the rows are one token of each sequence
  Precision precision = Precision::f32;
};

// dx = dy w (written, or added to if add_dx: parts that share x; may be absent), dw += dyᵀ x,
// db += sum dy (may be absent). dx in the order of the parts; no dw or db overlaps another.
template <class T>
struct LinearGradient {
  View<const T, 2> x, w, dy;
  View<T, 2> dx, dw;
  View<T, 1> db;
  bool add_dx = false;
};
template <class T>
struct LinearBackward {
  static constexpr std::string_view kOp = "linear_backward";
  std::span<const LinearGradient<T>> parts;
  Precision precision = Precision::f32;  // bf16: of x, w and dy in dw and dx, not in db
};

// y_n = table[ids_n]. Ids outside [0, V) are refused by the op.
template <class T>
struct EmbeddingForward {
  static constexpr std::string_view kOp = "embedding";
  View<const std::int32_t, 1> ids;
  View<const T, 2> table;
  View<T, 2> y;
};
// dtable[ids_n] += dy_n, rows in order.
template <class T>
struct EmbeddingBackward {
  static constexpr std::string_view kOp = "embedding_backward";
  View<const std::int32_t, 1> ids;
  View<const T, 2> dy;
  View<T, 2> dtable;
};

// Per scored row with c = logits or cap tanh(logits/cap): lse = log sum exp c;
//   loss = lse - c_target + z_weight lse²;  dlogits = row_weight * d(loss)/d(logits), in place of
//   the logits.
// Unscored rows (target < 0): loss 0, gradient 0, predicted -1.
template <class T>
struct CrossEntropyRows {
  static constexpr std::string_view kOp = "cross_entropy_rows";
  View<T, 2> logits;                    // (N,V); overwritten by dlogits if row_weight != 0
  View<const std::int32_t, 1> targets;  // (N)
  View<T, 1> loss;                      // (N)
  View<std::int32_t, 1> predicted;      // (N) arg-max (first of equals), or absent
  double z_weight = 0;
  double soft_cap = 0;
  double row_weight = 0;
};

void add_dense_reference(KernelTable& table);
void add_dense_cpu(KernelTable& table);
void add_dense_bf16_cpu(KernelTable& table);
void add_cross_entropy_cpu(KernelTable& table);

}  // namespace subquad
