#include "models/cli/stop_signals.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <unistd.h>

namespace unroll::cli {
namespace {

std::atomic<int> stop_signal{0};
std::atomic<bool> finish_step{false};

void watch(const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) return;
    if (!finish_step || stop_signal.exchange(signal) != 0) _exit(128 + signal);
    std::fputs("\nstopping after this step; once more ends at once, without saving\n", stderr);
  }
}

}  // namespace

void take_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(watch, signals).detach();
}

const std::atomic<int>& stop_after_step() {
  finish_step = true;
  return stop_signal;
}

}  // namespace unroll::cli
