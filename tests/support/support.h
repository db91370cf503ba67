// What many tests need: tensors with given values, comparisons that let no NaN pass, and kernels
// of a chosen instruction set.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "subquad/backend/instructions.h"
#include "subquad/base/rng.h"
#include "subquad/tensor/tensor.h"

namespace subquad {

// A path for a test's files: tests run at the same time, each in a process of its own.
inline std::string temporary_path(const std::string& name) {
  return testing::TempDir() + "/subquad-" + std::to_string(getpid()) + "-" + name;
}

// f32 numbers value(0), value(1), ...
template <class Value>
Tensor filled(const Shape& shape, Value&& value) {
  Tensor t(shape, DType::f32);
  std::uint64_t i = 0;
  for (float& x : t.host<float>()) x = static_cast<float>(value(i++));
  return t;
}

// Normal numbers, a pure function of (stream, shape).
inline Tensor random_tensor(const Shape& shape, std::uint64_t stream, double amplitude = 1) {
  const Rng rng{1, stream};
  return filled(shape, [&](std::uint64_t i) { return amplitude * rng.normal(0, i); });
}

// An output as it is before the call: whatever is not written shows.
inline Tensor nan_tensor(const Shape& shape, DType dtype = DType::f32) {
  Tensor t(shape, dtype);
  with_scalar(dtype, [&]<class T>() {
    for (T& x : t.host<T>()) x = std::numeric_limits<T>::quiet_NaN();
  });
  return t;
}

// Fills the buffers that the pool will give out next for tensors of these sizes.
inline void fill_with_nan(StoragePool& pool, const std::vector<Tensor>& sizes) {
  std::vector<Tensor> held;
  for (const Tensor& size : sizes) {
    for (int i = 0; i < 4; ++i) {
      held.emplace_back(size.shape(), DType::f32, &pool);
      for (float& x : held.back().host<float>()) x = std::numeric_limits<float>::quiet_NaN();
    }
  }
}

inline Tensor to_double(const Tensor& t) {
  Tensor d(t.shape(), DType::f64);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    d.data<double>()[i] = static_cast<double>(t.data<float>()[i]);
  }
  return d;
}

// Largest magnitude; NaN if there is one.
template <class Number>
double largest_of(std::int64_t count, Number&& number) {
  double worst = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = std::abs(static_cast<double>(number(i)));
    if (x > worst || std::isnan(x)) worst = x;  // a NaN stays
  }
  return worst;
}

inline double largest(const Tensor& t) {
  double result = 0;
  with_scalar(t.dtype(), [&]<class T>() {
    result = largest_of(t.numel(), [&](std::int64_t i) { return t.data<T>()[i]; });
  });
  return result;
}

// max|got - want|; NaN if there is one in either.
inline double difference(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.numel(), want.numel());
  if (got.numel() != want.numel()) return std::numeric_limits<double>::quiet_NaN();
  double result = 0;
  with_scalar(got.dtype(), [&]<class G>() {
    with_scalar(want.dtype(), [&]<class W>() {
      const G* g = got.data<G>();
      const W* w = want.data<W>();
      result = largest_of(want.numel(), [&](std::int64_t i) {
        return static_cast<double>(g[i]) - static_cast<double>(w[i]);
      });
    });
  });
  return result;
}

// max|got - want| relative to max(max|want|, floor).
inline double deviation(const Tensor& got, const Tensor& want, double floor = 1e-30) {
  return difference(got, want) / std::max(floor, largest(want));
}

// The same numbers bit for bit. A NaN is none: two outputs nobody wrote are not equal.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && !std::isnan(largest(a)) &&
         std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
}

// Until the end of its scope, however that is left, kernels run in this instruction set.
class InstructionSet {
 public:
  explicit InstructionSet(const std::string& name) { use_instruction_set(name); }
  ~InstructionSet() { use_instruction_set(instruction_sets().back()); }
  InstructionSet(const InstructionSet&) = delete;
  InstructionSet& operator=(const InstructionSet&) = delete;
};

template <class Fn>
void for_each_instruction_set(Fn&& fn) {
  for (const std::string& name : instruction_sets()) {
    const InstructionSet scope(name);
    SCOPED_TRACE(name);
    fn();
  }
}

}  // namespace subquad
