#include "subquad/base/thread_pool.h"

#include <chrono>
#include <cstdlib>
#include <new>

#include "subquad/base/error.h"
#include "subquad/base/memory.h"
#include "subquad/base/round.h"

namespace subquad {
namespace {

constexpr auto kSpin = std::chrono::microseconds(40);

// Spins until ready() or the time is over.
template <class Ready>
bool spin_until(Ready&& ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      __builtin_ia32_pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

void Scratch::Free::operator()(void* p) const noexcept { std::free(p); }

void* Scratch::bytes(std::int64_t count) {
  if (count > capacity_) {
    const std::int64_t size = round_up(count + count / 4, 4096);
    data_.reset();
    capacity_ = 0;
    data_.reset(allocate_memory(size));
    require(data_ != nullptr, ErrorCode::out_of_memory, "no memory for ", size,
            " bytes of scratch");
    capacity_ = size;
  }
  return data_.get();
}

ThreadPool::ThreadPool(int threads)
    : scratch_(static_cast<std::size_t>(threads < 1 ? 1 : threads)) {
  require(threads >= 1, ErrorCode::invalid_argument, "thread count ", threads,
          ", wanted at least 1");
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { work(static_cast<std::size_t>(i)); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
}

void ThreadPool::drain(Scratch& scratch) {
  for (;;) {
    const std::int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
    if (task >= tasks_) return;
    try {
      body_(fn_, task, scratch);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_.store(tasks_, std::memory_order_relaxed);
    }
  }
}

void ThreadPool::work(std::size_t worker) {
  std::uint64_t seen = 0;
  for (;;) {
    const auto changed = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(changed)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, changed);
    }
    seen = generation_.load(std::memory_order_acquire);
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return;
    }
    drain(scratch_[worker]);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::lock_guard lock(mutex_);
      done_.notify_one();
    }
  }
}

void ThreadPool::run_erased(std::int64_t tasks, Body body, void* fn) {
  regions_ += tasks > 1 ? 1 : 0;
  if (workers_.empty() || tasks <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(fn, task, scratch_[0]);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    tasks_ = tasks;
    body_ = body;
    fn_ = fn;
    error_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  drain(scratch_[0]);
  const auto finished = [&] { return busy_.load(std::memory_order_acquire) == 0; };
  if (!spin_until(finished)) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, finished);
  }
  if (error_) std::rethrow_exception(error_);
}

}  // namespace subquad
