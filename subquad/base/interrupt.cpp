#include "subquad/base/interrupt.h"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace subquad {
namespace {

std::atomic<bool> flag{false};

}  // namespace

// The signals are blocked in every thread and awaited in one of their own: no handler ever runs on
// the stack of a computing thread, and what it may do is not limited to async-signal-safe calls.
void install_interrupt_handler() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) return;
  std::thread([set] {
    for (;;) {
      int signal = 0;
      if (sigwait(&set, &signal) != 0) continue;
      if (flag.exchange(true) && signal == SIGINT) std::_Exit(130);
    }
  }).detach();
}

bool interrupted() { return flag.load(std::memory_order_relaxed); }

}  // namespace subquad
