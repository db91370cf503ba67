// Law L8: a scalar that counts, and kernels that run the literal references with it.
#pragma once

#include <vector>

#include "subquad/autograd/ops.h"
#include "subquad/backend/dense.h"
#include "subquad/backend/sequence.h"
#include "subquad/mixer/attention/core_reference-inl.h"
#include "subquad/mixer/common/linear_core_reference-inl.h"
#include "subquad/mixer/slstm/core_reference-inl.h"
#include "subquad/model/engine.h"

namespace subquad {

// A double whose multiplications are counted; the addition that may follow one is part of the same
// multiply-add. It turns into a double for everything else (exp, comparisons, divisions), whose
// results are not counted.
struct Counted {
  double value = 0;
  static inline std::int64_t multiplications = 0;

  Counted() = default;
  Counted(double v) : value(v) {}
  operator double() const { return value; }

  friend Counted operator*(Counted a, Counted b) {
    ++multiplications;
    return a.value * b.value;
  }
  friend Counted operator-(Counted a) { return -a.value; }
  friend Counted operator+(Counted a, Counted b) { return a.value + b.value; }
  friend Counted operator+(Counted a, double b) { return a.value + b; }
  friend Counted operator-(Counted a, Counted b) { return a.value - b.value; }
  friend Counted operator-(Counted a, double b) { return a.value - b; }
  friend double operator/(Counted a, Counted b) { return a.value / b.value; }
  Counted& operator*=(Counted b) { return *this = *this * b; }
  Counted& operator+=(Counted b) { return *this = *this + b; }
  Counted& operator-=(Counted b) { return *this = *this - b; }
};

// Copies of float views as contiguous views of Counted.
class CountedViews {
 public:
  template <int Rank>
  View<Counted, Rank> operator()(const View<const float, Rank>& from) {
    View<Counted, Rank> to;
    if (!from) return to;
    std::int64_t count = 1;
    to.dims = from.dims;
    for (int i = Rank - 1; i >= 0; --i) {
      to.strides[static_cast<std::size_t>(i)] = count;
      count *= from.dim(i);
    }
    std::vector<Counted>& data = data_.emplace_back(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t offset = 0, rest = i;
      for (int axis = Rank - 1; axis >= 0; --axis) {
        offset += rest % from.dim(axis) * from.stride(axis);
        rest /= from.dim(axis);
      }
      data[static_cast<std::size_t>(i)] = static_cast<double>(from.data[offset]);
    }
    to.data = data.data();
    return to;
  }
  template <int Rank>
  View<Counted, Rank> operator()(const View<float, Rank>& from) {
    return (*this)(View<const float, Rank>(from));
  }

 private:
  std::vector<std::vector<Counted>> data_;
};

// The kernels of the engine, with every projection, convolution and core counted: the cores by
// running their references on Counted, the other two by their sizes. Values come from the usual
// kernels.
KernelTable counting_kernels();

}  // namespace subquad
