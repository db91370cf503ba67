// A small fixed pool: workers wait awake for some microseconds, then sleep, so that an idle pool
// costs nothing and a busy neighbour process is not starved. Every worker begins with its own share
// of the tasks, which is the same in every region, so that what it wrote is in its cache, and then
// takes what others have left; nobody waits for a worker that has not come yet. Results must depend
// on the task index only (law L10), never on which worker ran it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace subquad {

// What one worker owns: growable 64-byte aligned scratch, whose contents do not survive the next
// call, and a count of the multiply-adds its kernels executed. On its own cache line, so that
// counting disturbs no other worker.
class alignas(64) Scratch {
 public:
  template <class T>
  T* get(std::int64_t count) {
    return static_cast<T*>(bytes(count * static_cast<std::int64_t>(sizeof(T))));
  }
  void count_macs(std::int64_t count) { macs_ += count; }
  std::int64_t macs() const { return macs_; }
  void count_packed(std::int64_t bytes) { packed_ += bytes; }
  std::int64_t packed() const { return packed_; }

 private:
  void* bytes(std::int64_t count);
  struct Free {
    void operator()(void* p) const noexcept;
  };
  std::unique_ptr<void, Free> data_;
  std::int64_t capacity_ = 0;
  std::int64_t macs_ = 0, packed_ = 0;
};

class ThreadPool {
 public:
  explicit ThreadPool(int threads = 1);  // threads >= 1, the caller's thread included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Multiply-adds that entered a leaf product on any worker so far, for law L8: m n k of every
  // GEMM, the tiles of the linear core's small products (forward only), and the products that a
  // token's step, the short convolution and the sLSTM make without a GEMM. Row work (gates, norms,
  // softmax, normaliser) is not counted, but for the pairs of a decay per channel. Read it between calls of run().
  std::int64_t macs() const {
    std::int64_t sum = 0;
    for (const Scratch& s : scratch_) sum += s.macs();
    return sum;
  }

  // Bytes that dense products copied into their own layouts so far.
  std::int64_t packed_bytes() const {
    std::int64_t sum = 0;
    for (const Scratch& s : scratch_) sum += s.packed();
    return sum;
  }
  // Calls of run() with more than one task so far: fork-joins, where there are workers.
  std::int64_t regions() const { return regions_; }

  // By the caller's thread.
  void count_macs(std::int64_t count) { scratch_[0].count_macs(count); }
  void count_packed(std::int64_t bytes) { scratch_[0].count_packed(bytes); }

  // One buffer for all workers, for what a caller prepares before run(): its contents do not
  // survive the next call.
  template <class T>
  T* shared(std::int64_t count) {
    return shared_.get<T>(count);
  }

  // Runs fn(task, scratch) for task = 0 .. tasks-1 and waits. Not re-entrant. The first exception
  // of a task is rethrown here.
  template <class Fn>
  void run(std::int64_t tasks, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    run_erased(
        tasks, [](void* f, std::int64_t task, Scratch& s) { (*static_cast<F*>(f))(task, s); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Body = void (*)(void*, std::int64_t, Scratch&);
  using Clock = std::chrono::steady_clock;
  // How a thread waits: see wait() in thread_pool.cpp.
  struct Patience {
    Clock::time_point glanced{}, company_until{};
    Clock::duration processor{}, slept{};
    template <class Ready>
    void wait(Ready&& ready, std::mutex& mutex, std::condition_variable& called);
    void glance(Clock::time_point now);
  };
  void run_erased(std::int64_t tasks, Body body, void* fn);
  void work(std::size_t worker);
  void drain(std::size_t worker);

  std::vector<Scratch> scratch_;  // [0] is the caller's
  Scratch shared_;
  std::vector<std::jthread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  // Which region, whether workers may still enter it, and how many are inside.
  std::atomic<std::uint64_t> region_{0};
  struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };
  std::vector<Share> shares_;  // one per thread
  std::int64_t regions_ = 0;
  Body body_ = nullptr;
  void* fn_ = nullptr;
  std::exception_ptr error_;
  std::atomic<bool> stop_{false};
  Patience patience_;  // of the caller
};

}  // namespace subquad
