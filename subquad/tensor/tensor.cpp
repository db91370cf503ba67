#include "subquad/tensor/tensor.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "subquad/base/memory.h"
#include "subquad/base/round.h"

namespace subquad {

struct StoragePool::Shelf {
  std::mutex mutex;
  std::array<std::vector<std::byte*>, 8 * 64> free;  // by size class
  std::int64_t live = 0;
  std::int64_t peak = 0;
  std::int64_t allocations = 0;
  ~Shelf() {
    for (const auto& pieces : free) {
      for (std::byte* p : pieces) std::free(p);
    }
  }
};

StoragePool::StoragePool() : shelf_(std::make_shared<Shelf>()) {}

std::shared_ptr<std::byte> StoragePool::allocate(std::int64_t bytes) {
  // Eight sizes per octave, so that nearly equal sizes share a shelf and a slowly growing buffer
  // does not leave a trail of unusable ones.
  std::int64_t step = 64;
  std::size_t octave = 0;
  while (step * 16 <= bytes) step *= 2, ++octave;
  const std::int64_t size = round_up(std::max<std::int64_t>(bytes, 1), step);
  const std::size_t shelf = 8 * octave + static_cast<std::size_t>(size / step) - 1;
  std::byte* p = nullptr;
  {
    const std::lock_guard lock(shelf_->mutex);
    auto& pieces = shelf_->free[shelf];
    if (!pieces.empty()) {
      p = pieces.back();
      pieces.pop_back();
    } else {
      ++shelf_->allocations;
    }
    shelf_->live += size;
    shelf_->peak = std::max(shelf_->peak, shelf_->live);
  }
  if (p == nullptr) {
    p = static_cast<std::byte*>(allocate_memory(size));
    if (p == nullptr) {
      const std::lock_guard lock(shelf_->mutex);
      shelf_->live -= size;
    }
    require(p != nullptr, ErrorCode::out_of_memory, "no memory for a tensor of ", size, " bytes");
  }
  return {p, [owner = shelf_, size, shelf](std::byte* q) {
            const std::lock_guard lock(owner->mutex);
            owner->live -= size;
            owner->free[shelf].push_back(q);
          }};
}

std::int64_t StoragePool::live_bytes() const {
  const std::lock_guard lock(shelf_->mutex);
  return shelf_->live;
}

std::int64_t StoragePool::peak_bytes() const {
  const std::lock_guard lock(shelf_->mutex);
  return shelf_->peak;
}

void StoragePool::reset_peak() {
  const std::lock_guard lock(shelf_->mutex);
  shelf_->peak = shelf_->live;
}

std::int64_t StoragePool::allocations() const {
  const std::lock_guard lock(shelf_->mutex);
  return shelf_->allocations;
}

Tensor::Tensor(Shape shape, DType dtype, StoragePool* pool)
    : numel_(shape.numel()), shape_(shape), dtype_(dtype) {
  const std::int64_t bytes = std::max<std::int64_t>(numel_ * size_of(dtype), 1);
  if (pool) {
    storage_ = pool->allocate(bytes);
    return;
  }
  auto* p = static_cast<std::byte*>(allocate_memory(bytes));
  require(p != nullptr, ErrorCode::out_of_memory, "no memory for a tensor of shape ", shape);
  storage_ = {p, [](std::byte* q) { std::free(q); }};
}

Tensor Tensor::zeros(Shape shape, DType dtype, StoragePool* pool) {
  Tensor t(shape, dtype, pool);
  std::memset(t.raw(), 0, static_cast<std::size_t>(t.bytes()));
  return t;
}

Tensor Tensor::borrowed(Shape shape, DType dtype, std::shared_ptr<const std::byte> data) {
  Tensor t;
  t.numel_ = shape.numel();
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.storage_ = std::const_pointer_cast<std::byte>(std::move(data));
  return t;
}

Tensor Tensor::reshaped(Shape shape) const {
  require(shape.numel() == numel_, ErrorCode::shape_mismatch, "cannot reshape ", shape_, " to ",
          shape);
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::slice(std::int64_t first_element, Shape shape) const {
  const std::int64_t n = shape.numel();
  require(first_element >= 0 && n <= numel_ - first_element, ErrorCode::shape_mismatch, "slice at ",
          first_element, " of shape ", shape, " does not fit in ", shape_);
  Tensor t = *this;
  t.offset_ += first_element;
  t.numel_ = n;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::rows(std::int64_t first, std::int64_t count) const {
  Shape s = shape_;
  require(s.rank >= 1 && s[0] > 0, ErrorCode::shape_mismatch, "rows of a tensor of shape ", s);
  const std::int64_t stride = numel_ / s[0];
  s.dims[0] = count;
  return slice(first * stride, s);
}

Tensor Tensor::clone(StoragePool* pool) const {
  Tensor t(shape_, dtype_, pool);
  std::memcpy(t.raw(), raw(), static_cast<std::size_t>(bytes()));
  return t;
}

}  // namespace subquad
