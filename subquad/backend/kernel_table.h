// Which implementation runs what. Per argument type one ordered list, fastest first, literal
// reference last; the first that accepts the arguments wins. The same list is the test oracle:
// every entry is compared with the last one.
#pragma once

#include <any>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/base/error.h"
#include "subquad/base/thread_pool.h"

namespace subquad {

// Args is an aggregate of views and options with `static constexpr std::string_view kOp`.
template <class Args>
struct Impl {
  std::string_view name;                  // "reference", "highway", "panels"
  bool (*accepts)(const Args&);           // sizes and options only, never values; null = all
  void (*run)(const Args&, ThreadPool&);  // never throws for valid arguments
};

// Wall seconds and calls by op, inclusive; of ops that run at the same time, all.
struct OpProfile {
  struct Entry {
    double seconds = 0;
    std::int64_t calls = 0;
  };
  std::map<std::string_view, Entry> ops;

  void add(std::string_view op, std::chrono::duration<double> time) {
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    ops[op].seconds += time.count();
    ++ops[op].calls;
  }
};

class KernelTable {
 public:
  // Appends behind the entries already there.
  template <class Args>
  void add(Impl<Args> impl) {
    if (lists_.size() <= index_of<Args>()) lists_.resize(index_of<Args>() + 1);
    auto& slot = lists_[index_of<Args>()];
    if (!slot.has_value()) slot = std::vector<Impl<Args>>{};
    std::any_cast<std::vector<Impl<Args>>&>(slot).push_back(impl);
  }

  template <class Args>
  const std::vector<Impl<Args>>& all() const {
    const std::size_t i = index_of<Args>();
    require(i < lists_.size() && lists_[i].has_value(), ErrorCode::unsupported,
            "no implementation of ", Args::kOp, " is registered");
    return *std::any_cast<std::vector<Impl<Args>>>(&lists_[i]);
  }

  template <class Args>
  const Impl<Args>& select(const Args& args) const {
    for (const Impl<Args>& impl : all<Args>()) {
      if (reference_only_ && impl.name != "reference") continue;
      if (!impl.accepts || impl.accepts(args)) return impl;
    }
    std::string names;
    for (const Impl<Args>& impl : all<Args>()) names += " " + std::string(impl.name);
    fail(ErrorCode::unsupported, "no implementation of ", Args::kOp,
         " accepts these arguments; tried:", names);
  }

  template <class Args>
  void run(const Args& args, ThreadPool& threads) const {
    if (!profile_) return select(args).run(args, threads);
    const auto begin = std::chrono::steady_clock::now();
    select(args).run(args, threads);
    profile_->add(Args::kOp, std::chrono::steady_clock::now() - begin);
  }

  // For tests and `verify`: skip everything but the literal references.
  void use_reference_only(bool on) { reference_only_ = on; }

  // Every later run() is timed into `profile` (null: no more). Not owned.
  void profile_into(OpProfile* profile) { profile_ = profile; }

 private:
  // Argument types are numbered as they are met.
  inline static std::atomic<std::size_t> types_ = 0;
  template <class Args>
  static std::size_t index_of() {
    static const std::size_t index = types_++;
    return index;
  }

  std::vector<std::any> lists_;  // by the number of their argument type
  bool reference_only_ = false;
  OpProfile* profile_ = nullptr;
};

}  // namespace subquad
