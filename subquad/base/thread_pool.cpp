#include "subquad/base/thread_pool.h"

#include <time.h>

#include <cstdlib>
#include <new>

#include "subquad/base/error.h"
#include "subquad/base/memory.h"
#include "subquad/base/round.h"

namespace subquad {
namespace {

// A decoded token is some sixty regions of 30 us: sleeping between them costs a third of it.
constexpr std::chrono::microseconds kAwake(40), kAwakeInCompany(4), kStolen(500);
constexpr std::chrono::milliseconds kGlance(1), kCompany(100);

// ThreadPool::region_: workers inside, then whether it is open, then the number of the region.
constexpr std::uint64_t kInside = 0xffff, kOpen = 0x10000, kNumber = 0x20000;

std::chrono::nanoseconds processor_time_of_this_thread() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace

// A thread that neither slept nor ran shared its processor. There a sleeper gets a turn as soon as
// it is woken, whereas one that uses up its slices awake loses the processor in the middle of a
// task, and everyone waits for it.
void ThreadPool::Patience::glance(Clock::time_point now) {
  const auto passed = now - glanced;
  if (passed < kGlance) return;
  const Clock::duration used = processor_time_of_this_thread();
  const bool first = glanced == Clock::time_point();
  if (!first && passed - slept - (used - processor) > kStolen) company_until = now + kCompany;
  glanced = now;
  processor = used;
  slept = {};
}

// Returns once ready(): awake for as long as that is cheap, then asleep until `called`.
template <class Ready>
void ThreadPool::Patience::wait(Ready&& ready, std::mutex& mutex, std::condition_variable& called) {
  auto now = Clock::now();
  glance(now);
  const auto end = now + (now < company_until ? kAwakeInCompany : kAwake);
  for (; now < end; now = Clock::now()) {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return;
      __builtin_ia32_pause();
    }
  }
  {
    std::unique_lock lock(mutex);
    called.wait(lock, ready);
  }
  slept += Clock::now() - now;
}

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
    : scratch_(static_cast<std::size_t>(threads < 1 ? 1 : threads)), shares_(scratch_.size()) {
  require(threads >= 1, ErrorCode::invalid_argument, "thread count ", threads,
          ", wanted at least 1");
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { work(static_cast<std::size_t>(i)); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true, std::memory_order_release);
  }
  wake_.notify_all();
  workers_.clear();  // they use the members below theirs
}

void ThreadPool::drain(std::size_t worker) {
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    Share& share = shares_[(worker + i) % shares_.size()];
    for (;;) {
      const std::int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
      if (task >= share.end) break;
      try {
        body_(fn_, task, scratch_[worker]);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        for (Share& rest : shares_) rest.next.store(rest.end, std::memory_order_relaxed);
      }
    }
  }
}

void ThreadPool::work(std::size_t worker) {
  std::uint64_t last = 0, region = 0;
  const auto called = [&] {
    region = region_.load(std::memory_order_acquire);
    return ((region & kOpen) != 0 && region / kNumber != last) ||
           stop_.load(std::memory_order_acquire);
  };
  Patience patience;
  for (;;) {
    patience.wait(called, mutex_, wake_);
    if (stop_.load(std::memory_order_acquire)) return;
    if (!region_.compare_exchange_strong(region, region + 1, std::memory_order_acq_rel)) continue;
    last = region / kNumber;
    drain(worker);
    if ((region_.fetch_sub(1, std::memory_order_acq_rel) & (kInside | kOpen)) == 1) {
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
    const auto threads = static_cast<std::int64_t>(shares_.size());
    for (std::int64_t i = 0; i < threads; ++i) {
      Share& share = shares_[static_cast<std::size_t>(i)];
      share.next.store(tasks * i / threads, std::memory_order_relaxed);
      share.end = tasks * (i + 1) / threads;
    }
    body_ = body;
    fn_ = fn;
    error_ = nullptr;
    // Closed and empty since the last call returned.
    region_.store((region_.load(std::memory_order_relaxed) / kNumber + 1) * kNumber + kOpen,
                  std::memory_order_release);
  }
  wake_.notify_all();
  drain(0);
  const auto finished = [&] { return (region_.load(std::memory_order_acquire) & kInside) == 0; };
  region_.fetch_and(~kOpen, std::memory_order_acq_rel);
  patience_.wait(finished, mutex_, done_);
  if (error_) std::rethrow_exception(error_);
}

}  // namespace subquad
