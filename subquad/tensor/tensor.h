// Tensor: a shared handle on a contiguous buffer. View: what kernels get.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "subquad/tensor/shape.h"

namespace subquad {

// Keeps released buffers for reuse, keyed by size. The handles it gives out may outlive it.
class StoragePool {
 public:
  StoragePool();
  // 64-byte aligned; contents are not initialised. Returned to the pool when the last handle dies.
  std::shared_ptr<std::byte> allocate(std::int64_t bytes);
  std::int64_t live_bytes() const;  // handed out now
  std::int64_t peak_bytes() const;  // largest live_bytes so far
  void reset_peak();
  std::int64_t allocations() const;  // buffers asked from the system so far, not reused ones

 private:
  struct Shelf;
  std::shared_ptr<Shelf> shelf_;
};

// Rank-N view with explicit strides in elements; the last dimension is contiguous (stride 1).
// A null data pointer means "absent" where an argument is optional.
template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::array<std::int64_t, Rank> dims{};
  std::array<std::int64_t, Rank> strides{};

  explicit operator bool() const { return data != nullptr; }
  std::int64_t dim(int i) const { return dims[static_cast<std::size_t>(i)]; }
  std::int64_t stride(int i) const { return strides[static_cast<std::size_t>(i)]; }
  template <class... I>
  T* at(I... index) const {  // pointer to the element at the leading indices
    static_assert(sizeof...(I) <= Rank);
    std::int64_t offset = 0;
    int axis = 0;
    ((offset += static_cast<std::int64_t>(index) * strides[static_cast<std::size_t>(axis++)]), ...);
    return data + offset;
  }
  operator View<const T, Rank>() const { return {data, dims, strides}; }
};

class Tensor {
 public:
  Tensor() = default;
  // Fresh storage, not initialised, from the pool if one is given.
  Tensor(Shape shape, DType dtype, StoragePool* pool = nullptr);
  static Tensor zeros(Shape shape, DType dtype, StoragePool* pool = nullptr);
  // Memory of somebody else that `data` keeps alive, aligned to an element; nobody writes to it.
  static Tensor borrowed(Shape shape, DType dtype, std::shared_ptr<const std::byte> data);
  template <class T>
  static Tensor from(Shape shape, std::span<const T> values) {
    Tensor t(shape, dtype_of<T>());
    require(static_cast<std::int64_t>(values.size()) == shape.numel(), ErrorCode::shape_mismatch,
            values.size(), " values for a tensor of shape ", shape);
    std::copy(values.begin(), values.end(), t.data<T>());
    return t;
  }

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  std::int64_t numel() const { return numel_; }
  std::int64_t bytes() const { return numel_ * size_of(dtype_); }
  // True if no other handle shares the storage.
  bool unique() const { return storage_.use_count() == 1; }

  Tensor reshaped(Shape shape) const;                           // shares the storage
  Tensor rows(std::int64_t first, std::int64_t count) const;    // slice of dimension 0, shared
  Tensor slice(std::int64_t first_element, Shape shape) const;  // shared
  Tensor clone(StoragePool* pool = nullptr) const;

  template <class T>
  T* data() const {
    require(storage_ != nullptr, ErrorCode::internal, "empty tensor used");
    require(dtype_of<T>() == dtype_, ErrorCode::internal, "tensor holds ", name_of(dtype_),
            ", asked for ", name_of(dtype_of<T>()));
    return reinterpret_cast<T*>(storage_.get()) + offset_;
  }
  template <class T>
  std::span<T> host() const {
    return {data<T>(), static_cast<std::size_t>(numel_)};
  }
  void* raw() const { return storage_.get() + offset_ * size_of(dtype_); }

  // The tensor as a rank-N view; an empty tensor gives an absent view.
  template <class T, int Rank>
  View<T, Rank> view() const {
    View<T, Rank> v;
    if (!storage_) return v;
    require(shape_.rank == Rank, ErrorCode::shape_mismatch, "tensor of shape ", shape_,
            ", wanted rank ", Rank);
    v.data = data<std::remove_const_t<T>>();
    std::int64_t stride = 1;
    for (int i = Rank - 1; i >= 0; --i) {
      v.dims[static_cast<std::size_t>(i)] = shape_[i];
      v.strides[static_cast<std::size_t>(i)] = stride;
      stride *= shape_[i];
    }
    return v;
  }

 private:
  std::shared_ptr<std::byte> storage_;
  std::int64_t offset_ = 0;  // elements
  std::int64_t numel_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace subquad
