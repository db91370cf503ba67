#include "subquad/base/interrupt.h"

#include <csignal>
#include <cstdlib>

namespace subquad {
namespace {

volatile std::sig_atomic_t flag = 0;  // the one thing a signal handler may touch

void on_signal(int signal) {
  if (flag && signal == SIGINT) std::_Exit(130);
  flag = 1;
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return flag != 0; }

}  // namespace subquad
